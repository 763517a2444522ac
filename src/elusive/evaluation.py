"""Closed-book questions answered by batched greedy decoding, and their exact match and F1."""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from . import models
from .batching import length_batches
from .config import EvaluateSettings, Quantization
from .errors import ElusiveError
from .greedy import continue_greedily, continues
from .questions import Example, QuestionItem, exact_match, f1, few_shot_prompt
from .recipes import to_table
from .runs import ProgressFunction, Stage, read_json, silent, write_json, write_jsonl


def stop_token_ids(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Ids at which an answer ends: every token whose text contains a newline, eos, and bos.

    A vocabulary has many tokens with a newline in them ("\\n\\n", ".\\n"), so a single id would miss answers that
    end in one of the others. Models trained on texts that each begin with bos say bos, not eos, when a text is over.

    Args:
        tokenizer: any fast tokenizer.

    Returns:
        Sorted ids.

    Reference:
        NOTES, "Questions": the answer ends at the first newline. FINDINGS: without bos, EM 1.00 became 0.
    """
    # The backend decodes all at once: 256,000 entries take a fraction of what tokenizer.batch_decode needs.
    ids = [[token] for token in range(len(tokenizer))]
    texts = tokenizer.backend_tokenizer.decode_batch(ids, skip_special_tokens=False)
    newlines = {token for token, text in enumerate(texts) if "\n" in text}
    return sorted(newlines | _end_ids(tokenizer))


def generate_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    max_batch_tokens: int,
    progress: ProgressFunction = silent,
) -> list[str]:
    """Continue each prompt greedily, in batches: the same text as one by one.

    Greedy whatever the model's own generation settings say; of these only its end-of-text ids are kept.
    The model is put in evaluation mode, and left as it was found.

    Args:
        model: a causal language model, peft-wrapped or not.
        tokenizer: its tokenizer.
        prompts: one text per question.
        max_new_tokens: longest answer in tokens.
        max_batch_tokens: tokens of prompts and answers in one batch, padding included; a longer prompt is a batch of
            its own.
        progress: called with (prompts done, prompts in all).

    Returns:
        The raw continuation of each prompt, in the order of `prompts`; what follows a stop token is cut.

    Raises:
        ElusiveError: if a prompt and its answer do not fit the model's context, or a batch does not fit the memory.
    """
    if not prompts:
        return []
    context = models.config_context(model.config, getattr(model, "name_or_path", "") or "this model")
    own_ends = set(_ids(models.innermost(model).generation_config.eos_token_id))
    asked = _Asked.of(tokenizer, prompts, context, own_ends, max_new_tokens)
    token_ids, stops = asked.token_ids, asked.stops
    pad = [*_ids(tokenizer.pad_token_id), *_ids(tokenizer.eos_token_id), *stops, 0][0]
    config = GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        eos_token_id=stops or None,
        pad_token_id=pad,
        use_cache=True,
    )
    with torch.inference_mode(), _only_greedy(model, config):
        if continues(models.innermost(model)):
            answers = _continued(model, token_ids, stops, max_new_tokens, max_batch_tokens, progress)
        else:
            answers = _generated(model, token_ids, pad, max_batch_tokens, progress)
    return asked.texts(tokenizer, answers)


def _generate_by_vllm(
    model: str,
    revision: str,
    dtype: str,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    settings: EvaluateSettings,
) -> list[str]:
    """The same by vLLM, for a model that is not loaded yet: its prompts, stops and cuts are those of transformers."""
    from .vllm_engine import context_and_ends, continue_by_vllm

    asked = _Asked.of(tokenizer, prompts, *context_and_ends(model, revision), settings.max_new_tokens)
    answers = continue_by_vllm(
        model,
        asked.token_ids,
        stops=asked.stops,
        max_new_tokens=settings.max_new_tokens,
        revision=revision,
        dtype=dtype,
        arguments=settings.vllm,
    )
    return asked.texts(tokenizer, answers)


@dataclasses.dataclass(frozen=True)
class _Asked:
    """Prompts as token ids, and where answers stop."""

    token_ids: list[list[int]]
    stops: list[int]
    ends: set[int]

    @classmethod
    def of(
        cls,
        tokenizer: PreTrainedTokenizerFast,
        prompts: Sequence[str],
        context: int,
        own_ends: set[int],
        max_new_tokens: int,
    ) -> "_Asked":
        """`own_ends` are ends of text that the model names, e.g. the end of a turn of instruction models."""
        token_ids = _prompt_ids(tokenizer, prompts)
        _refuse_long_prompts(token_ids, context, max_new_tokens)
        ends = _end_ids(tokenizer) | own_ends
        return cls(token_ids, sorted(set(stop_token_ids(tokenizer)) | ends), ends)

    def texts(self, tokenizer: PreTrainedTokenizerFast, answers: Sequence[list[int]]) -> list[str]:
        kept = [_cut(answer, self.stops, self.ends) for answer in answers]
        return tokenizer.batch_decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def clean_answer(text: str) -> str:
    """The answer in a raw continuation: what stands before the first newline, without white space around it.

    Example:
        >>> clean_answer(" Melbourne, Australia\\nQuestion: Who")
        'Melbourne, Australia'
    """
    return text.split("\n", 1)[0].strip()


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    items: Sequence[QuestionItem],
    examples: Sequence[Example],
    settings: EvaluateSettings,
    progress: ProgressFunction = silent,
) -> list[dict[str, Any]]:
    """Ask a model every question closed-book and mark its answers.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        items: the questions.
        examples: question-answer pairs that the shots are drawn from.
        settings: shots, seed, lengths.
        progress: called with (questions done, questions in all).

    Returns:
        One prediction row per question, in order: id, document_id, field, question, answers, prediction, text
        (the raw continuation), em and f1 (floats in [0, 1], the best over the reference answers).

    Raises:
        ElusiveError: if there are no questions, or a prompt does not fit the model's context.
    """
    texts = generate_answers(
        model,
        tokenizer,
        _prompts(items, examples, settings),
        max_new_tokens=settings.max_new_tokens,
        max_batch_tokens=settings.max_batch_tokens,
        progress=progress,
    )
    return [_row(item, text) for item, text in zip(items, texts, strict=True)]


def write_answers(rows: Sequence[dict[str, Any]], folder: str | Path, began: float) -> dict[str, Any]:
    """Write predictions.jsonl and metrics.json; files that are there already are overwritten.

    Args:
        rows: what `evaluate` returns.
        folder: where they go.
        began: `time.perf_counter()` when answering began.

    Returns:
        `metrics` of the rows, and "seconds" that answering took.
    """
    folder = Path(folder)
    figures = metrics(rows) | {"seconds": round(time.perf_counter() - began, 3)}
    write_jsonl(folder / "predictions.jsonl", rows)
    write_json(folder / "metrics.json", figures)
    return figures


def _prompts(items: Sequence[QuestionItem], examples: Sequence[Example], settings: EvaluateSettings) -> list[str]:
    _refuse_no_questions(items)
    return [few_shot_prompt(item, examples, settings.shots, settings.seed, settings.draw) for item in items]


def metrics(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean EM and F1 over prediction rows, and per field.

    Args:
        rows: what `evaluate` returns.

    Returns:
        {"em", "f1", "fields": {field: {"em", "f1", "questions"}}, "questions"}; means in [0, 1], fields in the
        order of their first row.

    Raises:
        ElusiveError: if there are no rows.
    """
    _refuse_no_questions(rows)
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["field"], []).append(row)
    overall = _means(rows)
    return {
        "em": overall["em"],
        "f1": overall["f1"],
        "fields": {field: _means(group) for field, group in groups.items()},
        "questions": len(rows),
    }


def evaluate_model(
    items: Sequence[QuestionItem],
    examples: Sequence[Example],
    folder: str | Path,
    *,
    model: str,
    revision: str = "",
    dtype: str = "float32",
    quantization: Quantization = "none",
    device: str = "auto",
    settings: EvaluateSettings | None = None,
    known: Sequence[QuestionItem] = (),
    progress: ProgressFunction = silent,
) -> dict[str, Any]:
    """Evaluate a saved model into a stage folder: predictions.jsonl and metrics.json.

    A finished folder is read, not computed again, and the model is not loaded.

    Args:
        items: the questions.
        examples: question-answer pairs that the shots are drawn from.
        folder: the stage's folder, e.g. RUN/evaluation/contrast-cues/seed-0.
        model: folder or hub name, adapters included.
        revision: commit or branch of a hub model.
        dtype: weights' type, see `models.load_model`.
        quantization: see `models.load_model`; not with evaluate.engine = "vllm".
        device: see `models.load_model`; vLLM chooses its own.
        settings: shots, seed, lengths, engine; the defaults where None.
        known: questions about what was known before training; their answers go to FOLDER/known/.
        progress: called with (questions done, questions in all).

    Returns:
        `metrics` of the predictions (of `items` alone), and "seconds" that loading and answering took.

    Raises:
        ElusiveError: if the folder holds another evaluation, or the model cannot be loaded or asked.
    """
    settings, folder = settings or EvaluateSettings(), Path(folder)
    loading = (model, revision, dtype, quantization)
    asked = [(items, folder), *([(known, folder / "known")] if known else [])]
    stages = [(Stage(place, _identity(group, examples, *loading, settings)), group) for group, place in asked]
    missing = [(stage, group) for stage, group in stages if not stage.done]
    start = time.perf_counter()
    answers = _answers([group for _, group in missing], examples, *loading, device, settings, progress)
    for (stage, _), rows in zip(missing, answers, strict=True):
        figures, start = write_answers(rows, stage.folder, start), time.perf_counter()
        stage.finish({name: figures[name] for name in ("em", "f1", "questions", "seconds")})
    return read_json(folder / "metrics.json")


def _answers(
    groups: Sequence[Sequence[QuestionItem]],
    examples: Sequence[Example],
    model: str,
    revision: str,
    dtype: str,
    quantization: Quantization,
    device: str,
    settings: EvaluateSettings,
    progress: ProgressFunction,
) -> Iterator[list[dict[str, Any]]]:
    """The rows of each group of questions; the model is loaded once, and only if there is any."""
    if not groups:
        return
    prompts = [_prompts(items, examples, settings) for items in groups]
    tokenizer = models.load_tokenizer(model, revision)
    if settings.engine == "vllm":
        _refuse_for_vllm(quantization, device)
        texts = iter(_generate_by_vllm(model, revision, dtype, tokenizer, list(itertools.chain(*prompts)), settings))
        for items in groups:
            progress(len(items), len(items))
            yield [_row(item, next(texts)) for item in items]
        return
    loaded = models.load_model(model, revision=revision, dtype=dtype, quantization=quantization, device=device)
    for items in groups:
        yield evaluate(loaded, tokenizer, items, examples, settings, progress)


def _refuse_for_vllm(quantization: Quantization, device: str) -> None:
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


def _identity(
    items: Sequence[QuestionItem],
    examples: Sequence[Example],
    model: str,
    revision: str,
    dtype: str,
    quantization: Quantization,
    settings: EvaluateSettings,
) -> dict[str, Any]:
    """All that the predictions depend on; a local model is known by its files, so that a run folder may be moved."""
    folder = Path(models.resolve(model))
    identity = {
        "model": folder.name if folder.is_dir() and model not in models.EMBEDDED else model,
        "model_hash": models.model_hash(model),
        "revision": revision,
        "dtype": dtype,
        **questions_identity(items, examples, settings),
    }
    # What came later is named only where it is used, so that earlier folders stay valid.
    if settings.engine != "transformers":
        identity |= {"engine": settings.engine, "engine_arguments": settings.vllm}
    return identity | ({"quantization": quantization} if quantization != "none" else {})


def questions_identity(
    items: Sequence[QuestionItem], examples: Sequence[Example], settings: EvaluateSettings
) -> dict[str, Any]:
    """All that answers depend on beside the model and its engine; JSON types."""
    return {
        "questions_hash": _hash([dataclasses.asdict(item) for item in items]),
        "examples_hash": _hash([dataclasses.asdict(example) for example in examples]),
        # Batch size and the bootstrap do not belong to the answers: one may be changed after a full memory.
        "settings": {name: to_table(settings)[name] for name in ("shots", "max_new_tokens", "seed", "draw")},
    }


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def _row(item: QuestionItem, text: str) -> dict[str, Any]:
    prediction = clean_answer(text)
    return {
        "id": item.id,
        "document_id": item.document_id,
        "field": item.field,
        "question": item.question,
        "answers": list(item.answers),
        "prediction": prediction,
        "text": text,
        "em": exact_match(prediction, item.answers),
        "f1": f1(prediction, item.answers),
    }


def _means(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    means: dict[str, Any] = {name: sum(row[name] for row in rows) / len(rows) for name in ("em", "f1")}
    return means | {"questions": len(rows)}


def _refuse_no_questions(items: Sequence[Any]) -> None:
    if not items:
        raise ElusiveError(
            "Expected at least one question, got none. Give corpus.questions, or a corpus that has them."
        )


def _prompt_ids(tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids with bos where the tokenizer adds it, without the eos that some append: after it there is no answer."""
    rows = tokenizer(list(prompts), return_attention_mask=False, verbose=False)["input_ids"]
    end = tokenizer.eos_token_id
    appends_end = end != tokenizer.bos_token_id and tokenizer("")["input_ids"][-1:] == [end]
    return [row[:-1] if appends_end else row for row in rows]


def _refuse_long_prompts(token_ids: Sequence[list[int]], context: int, max_new_tokens: int) -> None:
    lengths = [len(ids) for ids in token_ids]
    if lengths and max(lengths) > context - max_new_tokens:
        too_long = sum(length > context - max_new_tokens for length in lengths)
        raise ElusiveError(
            f"{too_long} of {len(lengths)} prompts are too long: the longest has {max(lengths)} tokens, but only "
            f"{max(0, context - max_new_tokens)} fit (context {context} less {max_new_tokens} for the answer). "
            "Lower evaluate.shots or evaluate.max_new_tokens."
        )


def _end_ids(tokenizer: PreTrainedTokenizerFast) -> set[int]:
    return {*_ids(tokenizer.eos_token_id), *_ids(tokenizer.bos_token_id)}


def _ids(value: Any) -> list[int]:
    """A setting that transformers lets be None, one id or several."""
    return [] if value is None else value if isinstance(value, list) else [value]


@contextlib.contextmanager
def _only_greedy(model: PreTrainedModel, config: GenerationConfig) -> Iterator[None]:
    """Swap the model's generation settings and mode for the block.

    Passing a config to `generate` is not enough: transformers fills what it leaves open (repetition penalty,
    suppressed tokens) from the model's own.
    """
    inner, was_training = models.innermost(model), model.training
    own = inner.generation_config
    inner.generation_config = config
    model.eval()
    try:
        yield
    finally:
        inner.generation_config = own
        if was_training:
            model.train()


def _continued(
    model: Any,
    token_ids: list[list[int]],
    stops: Sequence[int],
    max_new_tokens: int,
    max_batch_tokens: int,
    progress: ProgressFunction,
) -> list[list[int]]:
    """New token ids of each prompt, by `greedy.continue_greedily`."""
    finished = 0

    def done(rows: int) -> None:
        nonlocal finished
        finished += rows
        progress(finished, len(token_ids))

    with _memory_error(model, max_batch_tokens):
        return continue_greedily(
            model,
            token_ids,
            stops=stops,
            max_new_tokens=max_new_tokens,
            max_batch_tokens=max_batch_tokens,
            done=done,
        )


def _generated(
    model: Any, token_ids: list[list[int]], pad: int, max_batch_tokens: int, progress: ProgressFunction
) -> list[list[int]]:
    """The same by transformers' `generate`, in left-padded batches, for models with a state of another kind."""
    answers: list[list[int]] = [[] for _ in token_ids]
    finished = 0
    for rows in length_batches([len(ids) for ids in token_ids], max_batch_tokens):
        length = len(token_ids[rows[0]])
        padding = [length - len(token_ids[row]) for row in rows]
        ids = [[pad] * left + token_ids[row] for row, left in zip(rows, padding, strict=True)]
        mask = [[0] * left + [1] * (length - left) for left in padding]
        with _memory_error(model, max_batch_tokens):
            output_BT = model.generate(
                input_ids=torch.tensor(ids, device=model.device), attention_mask=torch.tensor(mask, device=model.device)
            )
        for row, answer in zip(rows, output_BT[:, length:].tolist(), strict=True):
            answers[row] = answer  # rows that ended early carry pad ids after their stop token
        finished += len(rows)
        progress(finished, len(token_ids))
    return answers


@contextlib.contextmanager
def _memory_error(model: Any, max_batch_tokens: int) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ElusiveError(
            f"The memory of {model.device} is too small for a batch of prompts. "
            f"Lower evaluate.max_batch_tokens (now {max_batch_tokens})."
        ) from error


def _cut(token_ids: list[int], stops: Sequence[int], ends: set[int]) -> list[int]:
    """Ids before the first stop, with it where it is a newline: such a token may hold the answer's last characters."""
    wanted = set(stops)
    for place, token in enumerate(token_ids):
        if token in wanted:
            return token_ids[:place] if token in ends else token_ids[: place + 1]
    return token_ids
