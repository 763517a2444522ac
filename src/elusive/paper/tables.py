"""Tables of the paper, with what its experiments give here, as numbers (`wording` makes text of them)."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from elusive.augmentation.wording import dropout_words
from elusive.config.verbs import SweepRecipe
from elusive.corpus.documents import load_corpus
from elusive.evaluation.predictions import Questions, has_predictions, read_predictions
from elusive.experiments.selection import (
    WAYS,
    Choice,
    Outcome,
    choices,
    difference,
    estimate,
    has_settings,
    read_outcomes,
    words,
)
from elusive.experiments.trials import UNTRAINED, grid_trials
from elusive.reporting.tokens import field_distances, head_drop_rate, read_documents
from elusive.runs.files import read_json, read_jsonl
from elusive.runs.folder import RunFolder, known_answers
from elusive.stats.estimates import Estimate, corrected, corrected_by_name, mean

from .comparison import (
    ArmRow,
    AttemptRow,
    Attempts,
    AttemptScore,
    Block,
    Cell,
    DropRates,
    EpochRow,
    KnownEM,
    PaperTable,
    RivalDifference,
)
from .experiments import ARMS_OF_TABLES, Done
from .families import Family
from .published import COLUMNS, PublishedRow, published_rows

OURS = ("contrast-cues", "contrast-all")
"""The paper's arms; the others are their rivals."""
RESAMPLES = 10_000

TITLES = {
    1: "Questions after plain training, field by field",
    2: "Arms on biographies",
    3: "Arms on paragraphs, contrast over all tokens",
    4: "All queries against cues",
    5: "By epochs",
    6: "Arms on biographies, with dropout by distance",
    7: "The name in a random sentence",
    8: "Arms on paragraphs, contrast at the cues",
}


def table_numbers(family: Family, number: int, done: Sequence[Done]) -> PaperTable:
    """A table's numbers: for each model and each way of choosing settings the paper's, ours, intervals, differences.

    Args:
        family: the pair.
        number: 1 to 8.
        done: the experiments that the table is read off, one for each model.
    """
    arms = ARMS_OF_TABLES[number]
    blocks = [
        block
        for one in done
        for block in ([_by_epochs(one, family)] if number == 5 else _blocks(number, one, family, arms))
    ]
    return PaperTable(number, TITLES[number], tuple(blocks))


def _blocks(number: int, done: Done, family: Family, arms: Sequence[str]) -> list[Block]:
    member = family.member(done.role)
    model = str(member.published.get(str(number), ""))
    rows = {row.arm: row for row in published_rows(number) if row.model == model}
    known, equal = known_of(done), _equal_settings(done)
    blocks = []
    for ways, chosen in _alike(_choices(done, arms)):
        way = ways[0]
        table_rows = [_row(number, arm, chosen, done.asked, rows.get(arm)) for arm in (UNTRAINED, *arms)]
        if way in equal:
            dropped = _dropped(done, equal[way]) if number != 1 else {}
            kept = known.get(way, {})
            table_rows = [
                dataclasses.replace(row, known=kept.get(row.arm), dropped=dropped.get(row.arm)) for row in table_rows
            ]
        blocks.append(
            Block(
                model=member.title,
                published=model,
                way="; the same with ".join(_way_in_words(one, done, family) for one in ways),
                cohorts=len(done.asked),
                documents=sum(asked.document_count for asked in done.asked),
                seeds=_seeds(done),
                budget=_budget(done),
                dropout=dropout_words(done.recipes[0].augment),
                rows=tuple(table_rows),
                pairs=_pairs(number, arms, chosen, done.asked),
                distances=_distances(done) if number == 1 else None,
            )
        )
    return blocks


def _choices(done: Done, arms: Sequence[str]) -> dict[str, dict[str, Choice]]:
    outcomes = [outcome for outcome in done.outcomes if outcome.arm in (UNTRAINED, *arms)]
    found = choices(outcomes, done.asked, done.recipes[0].sweep.metric, equal=done.experiment.equal or ({},))
    if len(outcomes) == len({outcome.arm for outcome in outcomes}):
        return {way: chosen for way, chosen in found.items() if way.startswith("equal")}  # there was no choice
    return found


def _alike(found: Mapping[str, Mapping[str, Choice]]) -> list[tuple[list[str], Mapping[str, Choice]]]:
    """Ways of choosing that come to the same answers of every arm, together."""
    groups: list[tuple[list[str], Mapping[str, Choice]]] = []
    for way, chosen in found.items():
        for ways, other in groups:
            if all(_same_answers(choice, other[arm]) for arm, choice in chosen.items()):
                ways.append(way)
                break
        else:
            groups.append(([way], chosen))
    return groups


def _same_answers(a: Choice, b: Choice) -> bool:
    pairs = zip(a.cohorts, b.cohorts, strict=True)
    return all(np.array_equal(one.em, other.em) and np.array_equal(one.f1, other.f1) for one, other in pairs)


def _equal_settings(done: Done) -> dict[str, Mapping[str, Any]]:
    """The settings behind each way of equal settings, by the way's name."""
    return {f"equal: {words(settings)}": settings for settings in done.experiment.equal or ({},)}


def _dropped(done: Done, settings: Mapping[str, Any]) -> dict[str, DropRates]:
    """Mean share of tokens that each arm drops at equal settings: of all of a text, and of the head entity's."""
    rates: dict[str, list[tuple[float, float | None]]] = {}
    for recipe in done.recipes:
        run = RunFolder(Path(recipe.output))
        documents = {document.id: document for document in load_corpus(run.corpus).documents}
        for trial in grid_trials(recipe):
            if trial.arm != UNTRAINED and has_settings(dict(trial.chosen), settings):
                texts = trial.texts_folder(run)
                overall = read_json(texts / "done.json")["mean_drop_rate"]
                of_head = head_drop_rate(texts / "ranking.parquet", documents, recipe.score.head_fields)
                rates.setdefault(trial.arm, []).append((overall, of_head))
    return {
        arm: DropRates(
            all=float(np.mean([overall for overall, _ in found])),
            head=mean([of_head for _, of_head in found if of_head is not None]),
        )
        for arm, found in rates.items()
    }


def _way_in_words(way: str, done: Done, family: Family) -> str:
    key, _, settings = way.partition(": ")
    said = WAYS[key] + (f" ({settings})" if settings else "")
    grid = done.recipes[0].sweep.grid
    missing = {
        name: value
        for one in family.experiment(done.name, done.role).equal
        for name, value in one.items()
        if key == "equal" and name in grid and value not in grid[name]
    }
    return said + (f", the first values tried, in the place of the family's {words(missing)}" if missing else "")


def _seeds(done: Done) -> int:
    """Trainings of each arm."""
    return sum(len(recipe.seeds) for recipe in done.recipes)


def _row(
    number: int, arm: str, chosen: Mapping[str, Choice], questions: Sequence[Questions], printed: PublishedRow | None
) -> ArmRow:
    choice = chosen[arm]
    cells = {}
    for column in COLUMNS[number]:
        field, metric = _field_and_metric(column)
        ours = estimate(choice, questions, metric, field, resamples=RESAMPLES)
        cells[column] = Cell(printed.values.get(column) if printed else None, ours)
    paper_settings = ""
    if printed and printed.alpha is not None:
        paper_settings = f"alpha {printed.alpha:g}" + (f", beta {printed.beta:g}" if printed.beta else "")
    overall = estimate(choice, questions, "em", resamples=RESAMPLES)
    return ArmRow(arm, choice.settings, paper_settings, cells, overall)


def _field_and_metric(column: str) -> tuple[tuple[str, ...], str]:
    """A column's field (none: all questions) and metric: university_em -> ("university",), "em"."""
    field, _, metric = column.rpartition("_")
    return ((field,) if field else ()), metric


def _fields(number: int) -> list[str]:
    return list(dict.fromkeys(field for column in COLUMNS[number] for field in _field_and_metric(column)[0]))


def _pairs(
    number: int, arms: Sequence[str], chosen: Mapping[str, Choice], questions: Sequence[Questions]
) -> tuple[RivalDifference, ...]:
    """Contrast against each rival in EM, over the table's fields and over all questions."""
    if number == 1:
        return ()
    groups: dict[str, list[str]] = {}
    if fields := _fields(number):
        groups[" and ".join(fields)] = fields
    groups["all questions"] = []
    return tuple(
        corrected(
            [
                RivalDifference(
                    **dataclasses.asdict(difference(chosen[ours], chosen[rival], questions, "em", fields)),
                    a=ours,
                    b=rival,
                    over=over,
                )
                for ours in OURS
                if ours in arms
                for rival in arms
                if rival not in OURS or (ours == OURS[0] and rival == OURS[1])
                for over, fields in groups.items()
            ]
        )
    )


def known_outcomes(done: Done) -> tuple[list[Outcome], list[Questions]]:
    """Every trial's answers about what was known before training, and the questions; none where none were asked."""
    runs = [RunFolder(Path(recipe.output)) for recipe in done.recipes]
    trials = [grid_trials(recipe) for recipe in done.recipes]
    answers = [known_answers(here[0].answers_folder(run, 0)) for run, here in zip(runs, trials, strict=True)]
    if not all(map(has_predictions, answers)):
        return [], []
    questions = [read_predictions(folder).questions for folder in answers]
    return read_outcomes(runs, trials, questions, known=True), questions


def known_of(done: Done) -> dict[str, dict[str, KnownEM]]:
    """EM on what was known before training, for each equal way: of each arm, and what it lost."""
    outcomes, questions = known_outcomes(done)
    if not outcomes:
        return {}
    found: dict[str, dict[str, KnownEM]] = {}
    for way, settings in _equal_settings(done).items():
        chosen = choices(outcomes, questions, equal=(settings,))[way]
        trained = {arm: choice for arm, choice in chosen.items() if arm != UNTRAINED}
        before = chosen[UNTRAINED]
        lost = {arm: difference(choice, before, questions, "em") for arm, choice in trained.items()}
        lost = corrected_by_name([lost])[0]
        found[way] = {
            arm: KnownEM(len(questions[0].ids), estimate(choice, questions, "em").value, lost.get(arm))
            for arm, choice in chosen.items()
        }
    return found


def _distances(done: Done) -> dict[str, float]:
    """Mean head-to-tail distance of each field in tokens of the trained model, over cohorts, from near to far."""
    found: list[Mapping[str, float]] = []
    for recipe in done.recipes:
        run = RunFolder(Path(recipe.output))
        found.append(field_distances(run, read_documents(run), recipe.score.head_fields, done.role))
    means = {field: float(np.mean([one[field] for one in found])) for field in found[0]}
    return dict(sorted(means.items(), key=lambda item: item[1]))


def _by_epochs(done: Done, family: Family) -> Block:
    """Table 5: EM and F1 after a number of epochs, with steps, tokens and seconds."""
    member = family.member(done.role)
    model = str(member.published.get("5", ""))
    rows = [_printed_row(row) for row in published_rows(5) if row.model == model]
    settings = done.experiment.equal[0] if done.experiment.equal else {}
    for outcome in done.outcomes:
        own = dict(outcome.chosen)
        if outcome.arm in ARMS_OF_TABLES[5] and has_settings(own, settings):
            rows.append(_epoch_row(outcome, done))
    way = _way_in_words(f"equal: {words(settings)}" if settings else "equal", done, family)
    documents = sum(asked.document_count for asked in done.asked)
    return Block(
        model=member.title,
        published=model,
        way=way,
        cohorts=len(done.asked),
        documents=documents,
        seeds=_seeds(done),
        budget=_budget(done),
        dropout=dropout_words(done.recipes[0].augment),
        rows=tuple(rows),
    )


def _budget(done: Done) -> str:
    """What is equal for all arms: steps, tokens, or epochs."""
    train = done.recipes[0].train
    if train.max_steps:
        return f"{train.max_steps:,} steps each"
    return f"{train.max_tokens:,} tokens each" if train.max_tokens else f"{train.epochs:g} epochs"


def _printed_row(row: PublishedRow) -> EpochRow:
    cells = {name: Estimate(value, None, None) for name, value in row.values.items()}
    return EpochRow(row.arm, True, row.epoch or 0.0, row.steps or 0, None, None, cells)


def _epoch_row(outcome: Outcome, done: Done) -> EpochRow:
    choice = Choice(outcome.arm, "", outcome.cohorts)
    runs = [(RunFolder(Path(recipe.output)), recipe) for recipe in done.recipes]
    figures = [figure for run, recipe in runs for figure in _steps_at(run, recipe, outcome)]
    epoch, steps, tokens, seconds = (float(np.mean(of_seeds)) for of_seeds in zip(*figures, strict=True))
    return EpochRow(
        outcome.arm,
        False,
        epoch,
        steps,
        tokens,
        seconds,
        cells={metric: estimate(choice, done.asked, metric, ("company",)) for metric in ("em", "f1")},
        all=estimate(choice, done.asked, "em"),
        settings=words(dict(outcome.chosen)),
    )


def _steps_at(run: RunFolder, recipe: SweepRecipe, outcome: Outcome) -> list[tuple[float, float, float, float]]:
    """Of each seed: epochs, steps, tokens and seconds up to an outcome; seconds as its share of all steps."""
    trial = next(one for one in grid_trials(recipe) if (one.arm, one.name) == (outcome.arm, outcome.name))
    found = []
    for seed in trial.seeds:
        model = trial.model_folder(run, seed)
        done = read_json(model / "done.json")
        steps, tokens = done["steps"], done["tokens_trained"]
        if outcome.epoch is not None:
            asked_after = [row for row in read_jsonl(model / "metrics.jsonl") if "em" in row]
            at = asked_after[sorted(trial.recipe.train.evaluate_at_epochs).index(outcome.epoch)]
            steps, tokens = at["step"], at["tokens"]
        train = trial.recipe.train
        epochs = train.batch_size * steps / done["rows"]
        if not (train.max_steps or train.max_tokens):
            epochs = min(epochs, train.epochs)  # the last step may hold fewer texts
        seconds = done["seconds"] * steps / done["steps"]
        found.append((epochs, steps, tokens, seconds))
    return found


def attempts_numbers(base: Done | None, attempts: Sequence[Done]) -> Attempts:
    """What was tried in addition to the tables: EM of each arm over all questions, and contrast against its rivals.

    Args:
        base: the biographies, for the arms that an attempt leaves as they are; its own row is the first.
        attempts: the experiments.
    """
    rows = []
    baseline: dict[str, Choice] = {}
    if base is not None:
        # Attempts are made on the first cohorts: the same people, so that differences are paired.
        base = _first_cohorts(base, max((len(one.asked) for one in attempts), default=len(base.asked)))
        settings = next(one for one in reversed(base.experiment.equal))
        baseline = next(iter(choices(base.outcomes, base.asked, equal=(settings,)).values()))
        lost = known_of(base).get(f"equal: {words(settings)}", {})
        rows.append(_attempt_row(f"as in Table 2, {words(settings)}", baseline, base.asked, lost))
    for one in attempts:
        chosen = next(iter(choices(one.outcomes, one.asked, equal=({},)).values()))
        missing = {arm: baseline[arm] for arm in one.experiment.borrows if arm in baseline}
        lost = known_of(one).get("equal: ", {})
        rows.append(_attempt_row(one.experiment.attempt, {**missing, **chosen}, one.asked, lost, own=set(chosen)))
    pairs = corrected_by_name([row.pairs for row in rows])
    rows = [dataclasses.replace(row, pairs=here) for row, here in zip(rows, pairs, strict=True)]
    return Attempts("What was tried to set contrast apart", tuple(rows))


def _first_cohorts(done: Done, count: int) -> Done:
    outcomes = [dataclasses.replace(one, cohorts=one.cohorts[:count]) for one in done.outcomes]
    return dataclasses.replace(done, recipes=done.recipes[:count], asked=done.asked[:count], outcomes=outcomes)


def _attempt_row(
    name: str,
    chosen: Mapping[str, Choice],
    questions: Sequence[Questions],
    known: Mapping[str, KnownEM],
    own: set[str] | None = None,
) -> AttemptRow:
    arms = (UNTRAINED, "plain", "random-matched", "attention", "contrast-cues")
    em = {arm: estimate(chosen[arm], questions, "em") for arm in arms if arm in chosen}
    return AttemptRow(
        name,
        {arm: AttemptScore(*dataclasses.astuple(one), own=own is None or arm in own) for arm, one in em.items()},
        {
            rival: difference(chosen["contrast-cues"], chosen[rival], questions, "em")
            for rival in ("random-matched", "attention")
        },
        known.get(OURS[0]),
    )
