"""Questions for a model in its training."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from elusive.config.evaluation import EvaluateSettings
from elusive.corpus.questions import Example, QuestionItem
from elusive.models import processes
from elusive.models.loading import is_sharded
from elusive.runs.files import ProgressFunction, silent
from elusive.runs.folder import epoch_answers
from elusive.training.stage import Evaluator

from .language import in_language_of
from .stage import evaluate, questions_identity, write_answers


def evaluator_of(
    items: Sequence[QuestionItem],
    examples: Sequence[Example],
    settings: EvaluateSettings,
    folder: str | Path,
    progress: ProgressFunction = silent,
) -> Evaluator:
    """How a model is evaluated during its training, by transformers whatever evaluate.engine says.

    Answers and measures go to FOLDER/epoch-N/.

    Processes that train together share the questions, or answer all of them where weights are spread over them.

    Args:
        items: the questions.
        examples: question-answer pairs that the shots are drawn from.
        settings: shots, seed, lengths.
        folder: RUN/evaluation/ARM/seed-S, or the model's own.
        progress: called with (questions done, questions in all).
    """
    settings = in_language_of(items, settings)  # before a process sees its share of the questions alone

    def evaluate_now(model: Any, tokenizer: Any, epoch: float) -> Mapping[str, float]:
        began = time.perf_counter()
        together = is_sharded(model)
        share = items if together else processes.own_share(items)
        answers = evaluate(model, tokenizer, share, examples, settings, progress) if share else []
        answers = answers if together else processes.gathered(answers)
        if not processes.is_main():
            return {}
        found = write_answers(answers, epoch_answers(folder, epoch), began)
        return {name: getattr(found, name) for name in ("em", "f1", "questions", "seconds")}

    return Evaluator(evaluate_now, questions_identity(items, examples, settings))
