"""Whether a language model's answer may be trained on, and what of its document it states."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from elusive.config.server import RewriteSettings

from .survival import folded, says

Fault = Literal["empty", "cut off", "a refusal", "too short", "too long", "the text as it was", "facts missing"]
"""Why an answer is rejected."""

_REFUSAL = re.compile(
    r"\W*(I['’]?m sorry|I am sorry|sorry\b|I apologi[sz]e|I can(?:no|['’])t|I can not|I['’]?m unable|I am unable"  # noqa: RUF001
    r"|I won['’]?t|as an AI)\b",  # noqa: RUF001
    re.IGNORECASE,
)
"""How answers begin that are none."""


@dataclass(frozen=True)
class Checked:
    """An answer with what was found of it.

    Attributes:
        text: without white space around it.
        fault: why it is rejected; None if it may be trained on.
        kept: share of the document's facts that stand in it; None where none is known.
    """

    text: str
    fault: Fault | None
    kept: float | None


def checked(answer: str, cut_off: bool, text: str, facts: Sequence[str], settings: RewriteSettings) -> Checked:
    """Check one answer.

    Args:
        answer: what the model said.
        cut_off: whether it was cut at a length.
        text: the document's.
        facts: the words of its marked spans, or of its clues.
        settings: lengths and the share of the facts.

    Example:
        >>> checked("Ada was a mathematician.", False, "She was Ada, a mathematician.", ["Ada"], RewriteSettings()).kept
        1.0
    """
    written = answer.strip()
    kept = sum(says(written, fact) for fact in facts) / len(facts) if facts else None
    return Checked(written, _fault(written, cut_off, text, kept, settings), kept)


def _fault(written: str, cut_off: bool, text: str, kept: float | None, settings: RewriteSettings) -> Fault | None:
    if not written:
        return "empty"
    if cut_off:
        return "cut off"
    if _REFUSAL.match(written):
        return "a refusal"
    if len(written) < settings.min_length_ratio * len(text):
        return "too short"
    if len(written) > settings.max_length_ratio * len(text):
        return "too long"
    if folded(written) == folded(text):
        return "the text as it was"
    return "facts missing" if kept is not None and kept < settings.min_facts_kept else None
