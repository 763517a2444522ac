"""Greedy answers to prompts."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from elusive.config.evaluation import EvaluateSettings
from elusive.config.models import ModelRef
from elusive.errors import ElusiveError
from elusive.models import loading
from elusive.models.batching import length_batches
from elusive.models.chat import Chat, chat_ids, turn_end
from elusive.models.rotary import RotaryRule
from elusive.runs.files import ProgressFunction, silent

from .greedy import continue_greedily, continues


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
    prompts: Sequence[str | Chat],
    *,
    max_new_tokens: int,
    max_batch_tokens: int,
    progress: ProgressFunction = silent,
) -> list[str]:
    """Continue each prompt greedily, in batches: the same text as one by one.

    Prompts for which a model would choose other rotary frequencies than for shorter ones (LongRoPE) are answered alone.
    Greedy whatever the model's own generation settings say; of these only its end-of-text ids are kept.
    The model is put in evaluation mode, and left as it was found.

    Args:
        model: a causal language model, peft-wrapped or not.
        tokenizer: its tokenizer.
        prompts: one text per question, or the messages of a chat, whose answers end at the end of a turn alone.
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
    context = loading.config_context(model.config, getattr(model, "name_or_path", "") or "this model")
    own_ends = set(_ids(loading.innermost(model).generation_config.eos_token_id))
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
    finished = 0

    def done(rows: int) -> None:
        nonlocal finished
        finished += rows
        progress(finished, len(prompts))

    with torch.inference_mode(), _only_greedy(model, config):
        shared = RotaryRule.of(loading.innermost(model).config).shared
        fits = [not shared or len(ids) + max_new_tokens <= shared for ids in token_ids]
        together = [ids for ids, fit in zip(token_ids, fits, strict=True) if fit]
        if continues(loading.innermost(model)):
            found = iter(_continued(model, together, stops, max_new_tokens, max_batch_tokens, done))
        else:
            found = iter(_generated(model, together, pad, max_batch_tokens, done))
        # A longer prompt has other rotary frequencies than the texts beside it would, and may change them on its way.
        answers = [
            next(found) if fit else _generated(model, [ids], pad, max_batch_tokens, done)[0]
            for ids, fit in zip(token_ids, fits, strict=True)
        ]
    return asked.texts(tokenizer, answers)


def _generate_by_vllm(
    model: ModelRef,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str | Chat],
    settings: EvaluateSettings,
) -> list[str]:
    """The same by vLLM, for a model that is not loaded yet: its prompts, stops and cuts are those of transformers."""
    from .vllm import context_and_ends, continue_by_vllm

    asked = _Asked.of(tokenizer, prompts, *context_and_ends(model), settings.max_new_tokens)
    answers = continue_by_vllm(
        model,
        asked.token_ids,
        stops=asked.stops,
        max_new_tokens=settings.max_new_tokens,
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
        prompts: Sequence[str | Chat],
        context: int,
        own_ends: set[int],
        max_new_tokens: int,
    ) -> "_Asked":
        """`own_ends` are ends of text that the model names; prompts are all texts, or all chats."""
        texts = [prompt for prompt in prompts if isinstance(prompt, str)]
        chats = [prompt for prompt in prompts if not isinstance(prompt, str)]
        token_ids = _prompt_ids(tokenizer, texts) if texts else [chat_ids(tokenizer, chat) for chat in chats]
        _refuse_long_prompts(token_ids, context, max_new_tokens)
        ends = _end_ids(tokenizer) | own_ends
        if chats:  # a chat's answer may begin with an empty line
            ends |= set(turn_end(tokenizer)[-1:])
            return cls(token_ids, sorted(ends), ends)
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


def clean_chat_answer(text: str, label: str) -> str:
    """The answer in a turn of a chat: its first line that says anything, without the label of answers in prompts.

    Example:
        >>> clean_chat_answer("\\n\\nAnswer: Melbourne, Australia\\n\\nIt lies on ...", "Answer")
        'Melbourne, Australia'
    """
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if line == f"{label}:":  # the answer is below it
        return clean_chat_answer(text.partition(f"{label}:")[2], label)
    return line.removeprefix(f"{label}:").strip()


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
    inner, was_training = loading.innermost(model), model.training
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
    done: Callable[[int], None],
) -> list[list[int]]:
    """New token ids of each prompt, by `greedy.continue_greedily`."""
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
    model: Any, token_ids: list[list[int]], pad: int, max_batch_tokens: int, done: Callable[[int], None]
) -> list[list[int]]:
    """The same by transformers' `generate`, in left-padded batches, for models with a state of another kind."""
    answers: list[list[int]] = [[] for _ in token_ids]
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
        done(len(rows))
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
