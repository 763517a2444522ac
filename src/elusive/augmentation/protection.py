"""Tokens that no arm drops: those of chosen spans, and those that chosen patterns match."""

import dataclasses
import difflib
from collections.abc import Collection, Iterable

import numpy as np
from jaxtyping import Bool, Int

from elusive.config.augmentation import AugmentSettings
from elusive.config.patterns import compiled_pattern, matches
from elusive.corpus.documents import Document, Span
from elusive.errors import ElusiveError
from elusive.scoring.positions import tokens_of_spans

HEADS, ANSWERS = "heads", "answers"
"""Names in augment.protected_spans of all head fields, and of all others."""


def protected_tokens(
    document: Document,
    offsets_T2: Int[np.ndarray, "tokens 2"],
    settings: AugmentSettings,
    head_fields: Collection[str],
) -> Bool[np.ndarray, " tokens"]:
    """Which tokens no arm drops: they share a character, other than white space, with a protected span or match.

    Args:
        document: the text and its spans.
        offsets_T2: characters of each token, (tokens, 2).
        settings: protected_spans and protected_patterns.
        head_fields: fields of head entities.

    Returns:
        bool, (tokens,).

    Raises:
        ElusiveError: if a pattern takes longer than settings.pattern_seconds.
    """
    fields = _fields(settings, {span.field for span in document.spans}, head_fields)
    spans = [span for span in document.spans if span.field in fields]
    for pattern in settings.protected_patterns:
        spans += [Span("", *place) for place in matched_places(pattern, document.text, document.id, settings)]
    if not spans:
        return np.zeros(len(offsets_T2), dtype=bool)
    return np.logical_or.reduce(tokens_of_spans(document.text, spans, offsets_T2), axis=0)


def sparing(settings: AugmentSettings, fields: Collection[str]) -> AugmentSettings:
    """The settings with more fields whose spans are protected."""
    return dataclasses.replace(settings, protected_spans=(*settings.protected_spans, *fields))


def check_protected(documents: Iterable[Document], settings: AugmentSettings, head_fields: Collection[str]) -> None:
    """Refuse protected fields that no document has: a name that is written wrongly would protect nothing.

    Raises:
        ElusiveError: names the field, and those that the corpus has.
    """
    if not settings.protected_spans:
        return
    fields = {span.field for document in documents for span in document.spans}
    for name in settings.protected_spans:
        if not _fields(AugmentSettings(protected_spans=(name,)), fields, head_fields) & fields:
            near = difflib.get_close_matches(name, fields, n=1)
            raise ElusiveError(
                f"augment.protected_spans: no document has a span of {name!r}. Expected {HEADS}, {ANSWERS} or fields "
                f"of the corpus ({', '.join(sorted(fields)) or 'it has no spans'})."
                + (f" Did you mean {near[0]!r}?" if near else "")
            )


def _fields(settings: AugmentSettings, fields: set[str], head_fields: Collection[str]) -> set[str]:
    """The protected fields among some fields."""
    named, heads = set(settings.protected_spans), set(head_fields)
    return fields & (named | (heads if HEADS in named else set()) | (fields - heads if ANSWERS in named else set()))


def matched_places(pattern: str, text: str, document_id: str, settings: AugmentSettings) -> list[tuple[int, int]]:
    """Where a pattern matches in a document's text, as [start, end) in characters.

    Raises:
        ElusiveError: if that takes longer than settings.pattern_seconds.
    """
    compiled = compiled_pattern(pattern, "augment.protected_patterns")
    try:
        return list(matches(compiled, text, settings.pattern_seconds))
    except TimeoutError:
        raise ElusiveError(
            f"augment.protected_patterns: {pattern!r} took longer than {settings.pattern_seconds:g} s on document "
            f"{document_id!r} ({len(text):,} characters). Write it without nested repetitions, or raise "
            "augment.pattern_seconds."
        ) from None
