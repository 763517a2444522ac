"""Texts as answers in a chat: rows that begin with a request for the text, on which nothing is trained."""

import re
from collections.abc import Iterable

import numpy as np
from transformers import PreTrainedTokenizerFast

from elusive.augmentation.marks import MarkedText
from elusive.errors import ElusiveError
from elusive.models.chat import Message, chat_ids, check_template, turn_end

from .marked_rows import MarkedRow, Row
from .sequences import pieces_of

_HEADING = re.compile(r"#{1,6}\s+(.+?)\s*#*$")
_TITLE_CHARACTERS = 100
_FIRST_WORDS = 6


def chat_rows(
    texts: Iterable[tuple[str, MarkedText]],
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    request: str,
    name: str = "text",
) -> list[Row]:
    """Rows of texts as a model's answers, in its chat template.

    The request has no loss; the text and the end of the turn have. A long text is several answers to the same request,
    of which the last alone ends.

    Args:
        texts: what each is about, and the text.
        tokenizer: of the model to be trained, with a chat template.
        max_length: longest row in tokens.
        request: what a user says before each text, with {subject} in it.
        name: what the texts are, for messages.

    Raises:
        ElusiveError: if there are no texts, the template cannot be used, a request leaves no room for its text, or
            marks on tokens of a text act in training.
    """
    check_template(tokenizer, "train.chat")
    end = turn_end(tokenizer) or (() if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,))
    rows: list[Row] = []
    for subject, (text, marks) in texts:
        if marks is not None and marks.acts:
            raise ElusiveError(
                'train.chat: expected "bare" for an arm that acts on single tokens in training: its marks are of the '
                "bare text."
            )
        before = chat_ids(tokenizer, (Message("user", request.replace("{subject}", subject)),))
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        room = max_length - len(before)
        if room < 2:
            raise ElusiveError(
                f"train.max_length: the request for a text takes {len(before)} tokens of {max_length}, which leaves no "
                'room for the text. Raise it, shorten train.chat_request, or set train.chat = "bare".'
            )
        pieces = pieces_of(np.array([*ids, *end], dtype=np.int32), room)
        rows += [_answer(before, piece) for piece in pieces]
    if not rows:
        raise ElusiveError(f"No {name} to train on: expected at least one text.")
    return rows


def _answer(before: list[int], text: np.ndarray) -> MarkedRow:
    weights = np.repeat(np.array([0, 1], dtype=np.float32), [len(before), len(text)])
    return MarkedRow(np.concatenate([np.array(before, dtype=np.int32), text]), "weigh_loss", weights)


def subject_of(text: str) -> str:
    """What a text is about: its headings, its title, or its first words.

    Example:
        >>> subject_of("# Install\\n## Network\\n\\nPlug in the cable.")
        'Install: Network'
        >>> subject_of("Ada Lovelace was born in London in 1815, and ...")
        '“Ada Lovelace was born in London ...”'
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    headings: list[str] = []
    for line in lines:
        if not (found := _HEADING.match(line)):
            break
        headings.append(found[1])
    if headings:
        return ": ".join(headings)
    first = lines[0] if lines else ""
    if len(lines) > 1 and len(first) <= _TITLE_CHARACTERS and first[-1:].isalnum():
        return first
    return f"“{' '.join(first.split()[:_FIRST_WORDS])[:_TITLE_CHARACTERS]} ...”"
