"""Which facts the copies still state: how often a span keeps all its tokens, alone and with its head entity."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import regex
from jaxtyping import Bool, Int

from elusive.corpus.documents import Document
from elusive.scoring.positions import tokens_of_spans


@dataclass(frozen=True)
class SpanCounts:
    """Copies of the spans of one field.

    Attributes:
        copies: a span counts once in each copy of its document.
        intact: of these, with all of the span's tokens.
        head_copies: the copies of spans whose document marks a head entity; 0 for head fields.
        with_head: of these, with all tokens of the span and of at least one mention of the head entity.
    """

    copies: int = 0
    intact: int = 0
    head_copies: int = 0
    with_head: int = 0

    def __add__(self, other: "SpanCounts") -> "SpanCounts":
        return SpanCounts(
            self.copies + other.copies,
            self.intact + other.intact,
            self.head_copies + other.head_copies,
            self.with_head + other.with_head,
        )


@dataclass(frozen=True)
class Survival:
    """Share of the copies in which a field's span is intact, alone and together with its head entity.

    Attributes:
        intact: all tokens of the span are kept.
        with_head: and all tokens of a mention of the head entity; None for head fields, and where none is marked.
    """

    intact: float
    with_head: float | None = None


def count_intact(
    document: Document,
    offsets_T2: Int[np.ndarray, "tokens 2"],
    kept_CT: Bool[np.ndarray, "copies tokens"],
    head_fields: Collection[str],
) -> dict[str, SpanCounts]:
    """Of one document, in how many copies the spans of each field are intact.

    Args:
        document: the text and its spans; a span without tokens is left out.
        offsets_T2: characters of each token, (tokens, 2).
        kept_CT: the tokens that stay, (copies, tokens).
        head_fields: fields of head entities.
    """
    if not document.spans or not len(kept_CT):
        return {}
    inside_ST = tokens_of_spans(document.text, document.spans, offsets_T2)
    intact_SC = np.array([kept_CT[:, inside].all(axis=1) for inside in inside_ST])
    present_S = np.logical_or.reduce(inside_ST, axis=1)
    is_head_S = np.array([span.field in head_fields for span in document.spans]) & present_S
    head_C = intact_SC[is_head_S].any(axis=0)
    counts: dict[str, SpanCounts] = {}
    for span, intact_C, present, is_head in zip(document.spans, intact_SC, present_S, is_head_S, strict=True):
        if present:
            beside = len(intact_C) if is_head_S.any() and not is_head else 0
            both = int((intact_C & head_C).sum()) if beside else 0
            one = SpanCounts(len(intact_C), int(intact_C.sum()), beside, both)
            counts[span.field] = counts.get(span.field, SpanCounts()) + one
    return counts


def count_stated(document: Document, texts: Collection[str], head_fields: Collection[str]) -> dict[str, SpanCounts]:
    """`count_intact` of texts in other words: a span is intact where a text says its words (see `says`).

    Args:
        document: the text and its spans.
        texts: the copies.
        head_fields: fields of head entities.
    """
    heads = [document.text[span.start : span.end] for span in document.spans if span.field in head_fields]
    with_head = [any(says(text, head) for head in heads) for text in texts]
    counts: dict[str, SpanCounts] = {}
    for span in document.spans:
        stated = [says(text, document.text[span.start : span.end]) for text in texts]
        beside = len(texts) if heads and span.field not in head_fields else 0
        both = sum(one and head for one, head in zip(stated, with_head, strict=True)) if beside else 0
        counts[span.field] = counts.get(span.field, SpanCounts()) + SpanCounts(len(texts), sum(stated), beside, both)
    return counts


def says(text: str, words: str) -> bool:
    """Whether words stand in a text side by side, whatever their case, white space and kind of apostrophe.

    A Latin letter or a digit does not go on at their rim: "Ada" does not stand in "Canada", nor "5" in "1905".

    Example:
        >>> says("ADA  BYRON's notes", "Ada Byron"), says("Canada, 1905", "Ada"), says("Canada, 1905", "5")
        (True, False, False)
    """
    words = folded(words)
    before = rf"(?<!{_GOES_ON})" if regex.match(_GOES_ON, words) else ""
    behind = rf"(?!{_GOES_ON})" if regex.search(rf"{_GOES_ON}\Z", words) else ""
    return regex.search(before + regex.escape(words) + behind, folded(text)) is not None


_GOES_ON = r"[\p{Latin}\p{N}]"
"""Of scripts without spaces, and those that hang endings on names, anything may stand beside words."""


def folded(words: str) -> str:
    """Words without differences that mean nothing: of case, white space and the kind of apostrophe."""
    return " ".join(words.replace("\u2019", "'").casefold().split())


def added(counted: Iterable[Mapping[str, SpanCounts]]) -> dict[str, SpanCounts]:
    """Counts of several documents, field by field, in the order in which fields are met."""
    total: dict[str, SpanCounts] = {}
    for of_document in counted:
        for field, counts in of_document.items():
            total[field] = total.get(field, SpanCounts()) + counts
    return total


def survival(counted: Mapping[str, SpanCounts]) -> dict[str, Survival]:
    """The shares behind some counts."""
    return {
        field: Survival(one.intact / one.copies, one.with_head / one.head_copies if one.head_copies else None)
        for field, one in counted.items()
    }


def survival_words(found: Mapping[str, Survival]) -> str:
    """The shares in words, e.g. "name 1.2%, company 0.2% (with the head entity 0.0%)"; empty without spans.

    Example:
        >>> survival_words({"name": Survival(0.5), "company": Survival(0.0021, 0.001)})
        'name 50.0%, company 0.2% (with the head entity 0.1%)'
    """
    parts = []
    for field, one in found.items():
        both = "" if one.with_head is None else f" (with the head entity {one.with_head:.1%})"
        parts.append(f"{field} {one.intact:.1%}{both}")
    return ", ".join(parts)
