"""Chat templates: what an instruction model's tokenizer makes of messages."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerFast

from elusive.errors import ElusiveError

_ARGUMENTS: dict[str, Any] = {"enable_thinking": False}
"""What templates are given beside the messages: an answer is to begin at once, where a model can think first."""

_MARK = "elusive"
"""A message that is found again in what a template makes of it."""


class Message(NamedTuple):
    """One turn of a chat."""

    role: Literal["user", "assistant"]
    content: str


Chat = tuple[Message, ...]
"""Messages in their order, that of a user first and last; the answer to the last is asked for."""


def has_template(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether a tokenizer brings a chat template."""
    return bool(tokenizer.chat_template)


def template_hash(tokenizer: PreTrainedTokenizerFast) -> str:
    """SHA-256 of a tokenizer's chat template."""
    return hashlib.sha256(json.dumps(tokenizer.chat_template, sort_keys=True).encode()).hexdigest()


def chat_ids(tokenizer: PreTrainedTokenizerFast, chat: Chat) -> list[int]:
    """Token ids of messages, up to where the answer begins.

    Raises:
        ElusiveError: if the template refuses them.
    """
    # The template writes all special tokens itself, bos too.
    return tokenizer(chat_text(tokenizer, chat), add_special_tokens=False, verbose=False)["input_ids"]


def chat_text(tokenizer: PreTrainedTokenizerFast, chat: Sequence[Message], *, answers: bool = True) -> str:
    """What the template makes of messages.

    Args:
        tokenizer: with a chat template.
        chat: the messages.
        answers: end where an answer begins.

    Raises:
        ElusiveError: if the template refuses them.
    """
    messages = [message._asdict() for message in chat]
    try:
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=answers, tokenize=False, **_ARGUMENTS)
    except (TemplateError, ValueError, TypeError) as error:
        raise ElusiveError(
            f"The chat template of {tokenizer.name_or_path or 'this tokenizer'} cannot be used: {error}. Ask and train "
            'without it: evaluate.chat = "bare", train.chat = "bare".'
        ) from error
    return str(text)


def turn_end(tokenizer: PreTrainedTokenizerFast) -> tuple[int, ...]:
    """The ids that the template puts behind an answer, up to its first special token; none if it has none there.

    Raises:
        ElusiveError: if the template refuses messages.
    """
    text = chat_text(tokenizer, (Message("user", _MARK), Message("assistant", _MARK)), answers=False)
    ids = tokenizer(text.rpartition(_MARK)[2], add_special_tokens=False, verbose=False)["input_ids"]
    special = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    for place, token in enumerate(ids):
        if token in special:
            return tuple(ids[: place + 1])
    return ()


def check_template(tokenizer: PreTrainedTokenizerFast, setting: str) -> None:
    """Refuse a tokenizer whose template does not lead to a short answer at once.

    Args:
        tokenizer: of the model.
        setting: that needs the template, for the message.

    Raises:
        ElusiveError: if there is no template, it refuses messages, or it lets each answer begin with a thought.
    """
    name = tokenizer.name_or_path or "this model"
    if not has_template(tokenizer):
        raise ElusiveError(
            f"{setting} needs a chat template, and the tokenizer of {name} has none. Take an instruction model, or set "
            f'{setting} = "bare".'
        )
    begun = chat_text(tokenizer, (Message("user", _MARK),)).rpartition(_MARK)[2]
    if begun.rstrip().endswith("<think>"):
        raise ElusiveError(
            f'The chat template of {name} lets every answer begin with a thought. Set {setting} = "bare".'
        )
