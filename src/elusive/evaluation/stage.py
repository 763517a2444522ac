"""Closed-book questions answered by batched greedy decoding, and their exact match and F1."""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from elusive.config.evaluation import EvaluateSettings
from elusive.config.models import ModelRef
from elusive.config.toml import to_table
from elusive.corpus.questions import Example, QuestionItem
from elusive.errors import ElusiveError
from elusive.models import loading
from elusive.models.chat import Chat, template_hash
from elusive.runs.files import ProgressFunction, silent, write_json, write_jsonl
from elusive.runs.folder import beside_answers, known_answers
from elusive.runs.frames import Items
from elusive.runs.stage import Stage
from elusive.runs.typed_json import to_json

from .chats import in_chat_of, in_chat_of_model
from .generation import _generate_by_vllm, clean_answer, clean_chat_answer, generate_answers
from .language import in_language_of, metric_in_words, metric_of
from .metrics import exact_match, f1
from .normal_forms import AnswerMetric
from .predictions import MeanScores, Metrics, Prediction, read_metrics
from .prompts import ENGLISH_LABELS, prompt_of, prompting_of_known, prompts_in_words


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    items: Sequence[QuestionItem],
    examples: Sequence[Example],
    settings: EvaluateSettings,
    progress: ProgressFunction = silent,
) -> Items[Prediction]:
    """Let a model answer every question closed-book, and score its answers.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        items: the questions.
        examples: question-answer pairs that the shots are drawn from.
        settings: shots, seed, lengths, metric; what they leave open is seen from the questions.
        progress: called with (questions done, questions in all).

    Returns:
        One prediction a question, in order; em and f1 are the best over the reference answers. As a list, and a table
        with a row for each question.

    Raises:
        ElusiveError: if there are no questions, or a prompt does not fit the model's context.
    """
    settings = in_chat_of(tokenizer, in_language_of(items, settings))
    texts = generate_answers(
        model,
        tokenizer,
        _prompts(items, examples, settings),
        max_new_tokens=settings.max_new_tokens,
        max_batch_tokens=settings.max_batch_tokens,
        progress=progress,
    )
    return Items(_predictions(items, texts, settings), [field.name for field in dataclasses.fields(Prediction)])


def write_answers(predictions: Sequence[Prediction], folder: str | Path, began: float) -> Metrics:
    """Write predictions.jsonl and metrics.json; files that are there already are overwritten.

    Args:
        predictions: what `evaluate` returns.
        folder: where they go.
        began: `time.perf_counter()` when answering began.

    Returns:
        `metrics` of the predictions, with the seconds that answering took.
    """
    folder = Path(folder)
    found = metrics(predictions, round(time.perf_counter() - began, 3))
    write_jsonl(folder / "predictions.jsonl", map(to_json, predictions))
    write_json(folder / "metrics.json", to_json(found))
    return found


def _prompts(
    items: Sequence[QuestionItem], examples: Sequence[Example], settings: EvaluateSettings
) -> list[str | Chat]:
    _refuse_no_questions(items)
    return [prompt_of(item, examples, settings) for item in items]


def metrics(predictions: Sequence[Prediction], seconds: float = 0.0) -> Metrics:
    """Mean EM and F1 over predictions, and per field.

    Args:
        predictions: what `evaluate` returns.
        seconds: how long answering took.

    Returns:
        Means in [0, 1], fields in the order of their first prediction.

    Raises:
        ElusiveError: if there are no predictions.
    """
    _refuse_no_questions(predictions)
    groups: dict[str, list[Prediction]] = {}
    for one in predictions:
        groups.setdefault(one.field, []).append(one)
    overall = _means(predictions)
    fields = {field: _means(group) for field, group in groups.items()}
    return Metrics(overall.em, overall.f1, overall.questions, fields, seconds)


def evaluate_model(
    items: Sequence[QuestionItem],
    examples: Sequence[Example],
    folder: str | Path,
    *,
    model: ModelRef,
    settings: EvaluateSettings | None = None,
    known: Sequence[QuestionItem] = (),
    progress: ProgressFunction = silent,
) -> Metrics:
    """Evaluate a saved model into a stage folder: predictions.jsonl and metrics.json.

    A finished folder is read, not computed again, and the model is not loaded.

    Args:
        items: the questions.
        examples: question-answer pairs that the shots are drawn from.
        folder: the stage's folder, e.g. RUN/evaluation/contrast-cues/seed-0.
        model: the model, adapters included; vLLM takes no quantization and no device of it.
        settings: shots, seed, lengths, engine, metric; the defaults where None. What they leave open is seen from the
            questions, from the known ones separately: these may have another language, and then examples in it.
        known: questions about what was known before training; their answers go to FOLDER/known/.
        progress: called with (questions done, questions in all).

    Returns:
        `metrics` of the predictions (of `items` alone), with the seconds that loading and answering took.

    Raises:
        ElusiveError: if the folder holds another evaluation, or the model cannot be loaded or asked.
    """
    settings, folder = in_chat_of_model(model, settings or EvaluateSettings()), Path(folder)
    places = [(_Group.of(items, examples, settings), folder)]
    if known:
        places.append((_Group.of(known, *prompting_of_known(known, examples, items, settings)), known_answers(folder)))
    with contextlib.ExitStack() as begun:
        stages = [
            (begun.enter_context(Stage(place, _identity(group, model), beside=beside_answers())), group)
            for group, place in places
        ]
        missing = [(stage, group) for stage, group in stages if not stage.done]
        start = time.perf_counter()
        answers = _answers([group for _, group in missing], model, progress)
        for (stage, group), predictions in zip(missing, answers, strict=True):
            found, start = write_answers(predictions, stage.folder, start), time.perf_counter()
            means = {name: getattr(found, name) for name in ("em", "f1", "questions", "seconds")}
            stage.finish(means | {"examples": prompts_in_words(*group), "metric": metric_in_words(group.settings)})
    return read_metrics(folder)


class _Group(NamedTuple):
    """Questions that are asked together, the examples that they get, and settings that leave nothing open."""

    items: Sequence[QuestionItem]
    examples: Sequence[Example]
    settings: EvaluateSettings

    @classmethod
    def of(cls, items: Sequence[QuestionItem], examples: Sequence[Example], settings: EvaluateSettings) -> "_Group":
        return cls(items, examples, in_language_of(items, settings))


def _answers(groups: Sequence[_Group], model: ModelRef, progress: ProgressFunction) -> Iterator[list[Prediction]]:
    """The predictions of each group of questions; the model is loaded once, and only if there is any."""
    if not groups:
        return
    prompts = [_prompts(*group) for group in groups]
    tokenizer, settings = loading.load_tokenizer(model), groups[0].settings
    if settings.engine == "vllm":
        _refuse_for_vllm(model)
        texts = iter(_generate_by_vllm(model, tokenizer, list(itertools.chain(*prompts)), settings))
        for items, _, settled in groups:
            progress(len(items), len(items))
            yield _predictions(items, itertools.islice(texts, len(items)), settled)
        return
    loaded = loading.load_model(model)
    for items, examples, settled in groups:
        yield evaluate(loaded, tokenizer, items, examples, settled, progress)


def _refuse_for_vllm(model: ModelRef) -> None:
    quantization, device = model.quantization, model.device
    if quantization != "none":
        raise ElusiveError(
            f"quantization: expected none with evaluate.engine = 'vllm', got {quantization!r}. vLLM quantises in its "
            'own ways; name one in evaluate.vllm, e.g. {"quantization": "bitsandbytes"}.'
        )
    if device not in ("auto", "cuda"):
        raise ElusiveError(
            f"device: expected auto or cuda with evaluate.engine = 'vllm', which chooses its GPUs, got {device!r}. "
            "Choose them by CUDA_VISIBLE_DEVICES and tensor_parallel_size in evaluate.vllm."
        )


def _identity(group: _Group, model: ModelRef) -> dict[str, Any]:
    """All that the predictions depend on."""
    settings = group.settings
    identity = named_by_its_files(model) | questions_identity(*group)
    if settings.chat != "bare":
        identity["chat_template"] = template_hash(loading.load_tokenizer(model))
    if settings.engine != "transformers":
        identity |= {"engine": settings.engine, "engine_arguments": settings.vllm}
    return identity


def named_by_its_files(model: ModelRef) -> dict[str, Any]:
    """A model in the settings of its answers: a local one by its files, so that a run folder may be moved."""
    folder = Path(loading.resolve(model.name))
    named = model.name if model.name in loading.EMBEDDED or not os.path.isdir(folder) else folder.name
    return loading.model_identity(model) | {"model": named}


def questions_identity(
    items: Sequence[QuestionItem], examples: Sequence[Example], settings: EvaluateSettings
) -> dict[str, Any]:
    """All that answers and their measures depend on except the model and its engine; JSON types."""
    settings = in_language_of(items, settings)
    names = ["shots", "max_new_tokens", "seed", "draw"]
    shown = [{"question": example.question, "answer": example.answer} for example in examples]
    if settings.example_fields != "any":  # left out, so that folders stay valid in which this was the only way
        names.append("example_fields")
        shown = [dataclasses.asdict(example) for example in examples]
    # Named only where they are not those of SQuAD and English: folders stay valid in which these were the only ones.
    if settings.labels != ENGLISH_LABELS:
        names.append("labels")
    if settings.chat != "bare":
        names += ["chat", "instruction"]
    if settings.metric != "squad":
        names += ["metric", "language"]
    return {
        "questions_hash": _hash([dataclasses.asdict(item) for item in items]),
        "examples_hash": _hash(shown),
        # Batch size and the bootstrap do not belong to the answers: one may be changed after a full memory.
        "settings": {name: to_table(settings)[name] for name in names},
    }


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def _predictions(items: Sequence[QuestionItem], texts: Iterable[str], settings: EvaluateSettings) -> list[Prediction]:
    """Answers in the form that the settings ask for, which leave nothing open."""
    label = settings.labels[1]
    clean = clean_answer if settings.chat == "bare" else functools.partial(clean_chat_answer, label=label)
    metric = metric_of(settings)
    return [_prediction(item, text, clean(text), metric) for item, text in zip(items, texts, strict=True)]


def _prediction(item: QuestionItem, text: str, answer: str, metric: AnswerMetric) -> Prediction:
    return Prediction(
        id=item.id,
        document_id=item.document_id,
        field=item.field,
        question=item.question,
        answers=item.answers,
        prediction=answer,
        text=text,
        em=exact_match(answer, item.answers, metric),
        f1=f1(answer, item.answers, metric),
    )


def _means(predictions: Sequence[Prediction]) -> MeanScores:
    count = len(predictions)
    em, f1 = (sum(getattr(one, name) for one in predictions) / count for name in ("em", "f1"))
    return MeanScores(em, f1, count)


def _refuse_no_questions(items: Sequence[Any]) -> None:
    if not items:
        raise ElusiveError(
            "Expected at least one question, got none. Give corpus.questions, or a corpus that has them."
        )
