"""What a trained model answered, as its card shows it: each value with its interval."""

from pathlib import Path

import numpy as np

from elusive.config.evaluation import EvaluateSettings
from elusive.errors import ElusiveError
from elusive.evaluation.predictions import Predictions, has_predictions, read_predictions
from elusive.experiments.trials import UNTRAINED
from elusive.runs.files import read_json
from elusive.runs.folder import RunFolder, known_answers
from elusive.runs.stage import stage_settings
from elusive.stats.estimates import Estimate, estimate
from elusive.training.card import Answered, CardResults


def results_of(answers: Path, model_hash: str, settings: EvaluateSettings, run: RunFolder | None) -> CardResults:
    """The results of one model.

    Args:
        answers: the folder of its answers.
        model_hash: of its files.
        settings: how intervals are drawn.
        run: the run that it lies in, which has the answers of the model before training.

    Raises:
        ElusiveError: if the answers are not finished, or another model's.
    """
    if not (answers / "done.json").exists():
        raise ElusiveError(f"The answers in {answers} are not finished: done.json is missing. Run `elusive evaluate`.")
    if stage_settings(answers).get("model_hash") != model_hash:
        raise ElusiveError(
            f"{answers} holds answers of another model: expected those of the exported files. Evaluate these, or give "
            "other --answers."
        )
    noted = read_json(answers / "done.json")
    before = run.answers(UNTRAINED, 0) if run else None
    found = read_predictions(answers)
    rows = _rows(found, settings, _of_same_questions(before, found))
    known = known_answers(answers)
    if has_predictions(known):
        of_known = read_predictions(known)
        before_known = _of_same_questions(known_answers(before) if before else None, of_known)
        rows += [_row("known before training", of_known, slice(None), settings, before_known)]
    return CardResults(tuple(rows), noted.get("examples", ""), noted.get("metric", ""))


def _of_same_questions(folder: Path | None, answered: Predictions) -> Predictions | None:
    if folder is None or not has_predictions(folder):
        return None
    found = read_predictions(folder)
    return found if {item.id for item in found.items} == {item.id for item in answered.items} else None


def _rows(found: Predictions, settings: EvaluateSettings, before: Predictions | None) -> list[Answered]:
    fields = found.questions.fields
    names = list(dict.fromkeys(fields.tolist()))
    rows = [_row("all", found, slice(None), settings, before)]
    return rows + ([_row(name, found, fields == name, settings, before) for name in names] if len(names) > 1 else [])


def _row(
    name: str, found: Predictions, here: np.ndarray | slice, settings: EvaluateSettings, before: Predictions | None
) -> Answered:
    ids, about = found.questions.ids.tolist(), found.questions.documents[here].tolist()

    def mean_of(values: np.ndarray) -> Estimate:
        return estimate([values[here]], [about], resamples=settings.resamples, seed=settings.seed)

    em, f1 = map(mean_of, found.scores(ids))
    return Answered(name, len(about), em, f1, mean_of(before.scores(ids)[0]) if before else None)
