"""What the arms that insert write into sentences: each finds a clue to each sentence that holds a query.

Axes: S sentences that hold a query, T tokens.
"""

import dataclasses
from collections.abc import Callable, Collection

import numpy as np
from jaxtyping import Bool, Float, Float64

from elusive.clues.contrast import contrast_rows
from elusive.corpus.documents import Document, Span
from elusive.scoring.positions import answer_spans

from .clue_spans import Clue, Words, clue_spans, evidence, shared
from .draws import copy_generator
from .signals import ScoredDocument, no_head_entity
from .words import first_tokens_of_words

ClueFinder = Callable[[ScoredDocument, Words], list[Clue]]
"""At most one clue for each sentence that holds a query of the run; sentences that need none have none."""


def words_of(scored: ScoredDocument) -> Words:
    """The words of a document that may be parts of clues; a sink, which is never ranked, is a part of its word."""
    text, offsets_T2 = scored.document.text, scored.own.offsets
    words = Words.of(text, offsets_T2, scored.content, first_tokens_of_words(text, offsets_T2, scored.special))
    if scored.settings.clue_answers:
        return words
    answers = answer_spans(scored.document, scored.score.head_fields)
    places_S2 = np.array([[span.start, span.end] for span in answers], dtype=np.int64).reshape(-1, 2)
    return dataclasses.replace(words, barred=words.overlapping(places_S2))


def contrast_clues(scored: ScoredDocument, words: Words) -> list[Clue]:
    """What the large model attends to and the small one overlooks, by difference or ratio (augment.clue_signal).

    Raises:
        ElusiveError: if the two models have other tokens, or were not scored sentence by sentence.
    """
    pair = scored.pair(scored.score.queries, each=True)
    return _found(scored, words, contrast_rows(*pair, scored.settings.clue_signal))


def contrast_facts(scored: ScoredDocument, words: Words) -> list[Clue]:
    """`contrast_clues`, those first from whose sentences the large model attends most to what the small one overlooks.

    Raises:
        ElusiveError: if the two models have other tokens.
    """
    clues = contrast_clues(scored, words)
    large, small = scored.pair(scored.score.queries, each=True)
    gained_ST = np.maximum(large.by_sentence().rows - small.by_sentence().rows, 0)
    gained_S = gained_ST[:, ~scored.sink].sum(axis=1)
    gained = dict(zip(_sentences(scored)[:, 0].tolist(), gained_S.tolist(), strict=True))
    return sorted(clues, key=lambda clue: -gained[clue.sentence])


def attention_clues(scored: ScoredDocument, words: Words) -> list[Clue]:
    """What the trained model itself attends to."""
    return _found(scored, words, scored.own.by_sentence().rows)


def _found(scored: ScoredDocument, words: Words, signal_ST: np.ndarray) -> list[Clue]:
    settings = scored.settings
    signal_ST = _of_neighbour(signal_ST, scored.sink)
    evidence_ST: Float64[np.ndarray, "sentences tokens"] = shared(evidence(signal_ST), settings.clue_reach)
    return clue_spans(words, evidence_ST, _sentences(scored), count=settings.clue_words, margin=settings.clue_margin)


def _of_neighbour(
    signal_ST: Float[np.ndarray, "sentences tokens"], sink_T: Bool[np.ndarray, " tokens"]
) -> Float[np.ndarray, "sentences tokens"]:
    """The signal with that of the token behind the sink in the sink's place.

    What a sink receives says nothing of it, but its word may be a part of a clue, such as the name that a text begins
    with, and a word that is the sink alone would have no evidence otherwise.
    """
    sinks = np.flatnonzero(sink_T)
    if not len(sinks) or sinks[-1] + 1 == len(sink_T):
        return signal_ST
    return np.where(sink_T, signal_ST[:, sinks[-1] + 1, None], signal_ST)


def distance_clues(scored: ScoredDocument, words: Words) -> list[Clue]:
    """The words farthest before each sentence: the first ones of the text that name something."""
    naming_W, starts_W = words.naming(), words.bounds[:, 0]
    clues = []
    for start, end in _sentences(scored).tolist():
        before = np.flatnonzero(naming_W & (starts_W < start)).tolist()
        group = next(words.groups(before), [])[: scored.settings.clue_words]
        clue = _clue(words, group, start) if group else None
        if clue and words.text[clue.start : clue.end] not in words.text[start:end]:
            clues.append(clue)
    return clues


def random_clues(scored: ScoredDocument, words: Words) -> list[Clue]:
    """Two words that stand side by side somewhere outside each sentence, drawn once for all copies."""
    generator = copy_generator(scored.settings.seed, scored.document.id, 0, "random clues")
    starts_W = words.bounds[:, 0]
    clues = []
    for start, end in _sentences(scored).tolist():
        outside = np.flatnonzero((starts_W < start) | (starts_W >= end))
        firsts = outside[:-1][np.diff(outside) == 1].tolist()
        if firsts:
            first = firsts[int(generator.integers(len(firsts)))]
            clues.append(_clue(words, [first, first + 1], start))
    return clues


def head_clues(scored: ScoredDocument, words: Words) -> list[Clue]:
    """The head entity that each sentence tells of, where it is not in it: what a perfect finder of names would give.

    Raises:
        ElusiveError: if the document marks no head entity.
    """
    document, fields = scored.document, scored.score.head_fields
    clues = []
    for start, end in _sentences(scored).tolist():
        head = head_of(document, start, end, fields)
        if head is None:
            raise no_head_entity(document.id, fields)
        if not start <= head.start < end:
            clues.append(Clue(start, head.start, head.end))
    return clues


def head_of(document: Document, start: int, end: int, head_fields: Collection[str]) -> Span | None:
    """The head entity that a sentence tells of: its own, else the last one before it, else the first after it.

    Args:
        document: with its spans.
        start: the sentence's first character.
        end: the one after its last.
        head_fields: fields of head entities.
    """
    heads = sorted((span for span in document.spans if span.field in head_fields), key=lambda span: span.start)
    own = [head for head in heads if start <= head.start < end]
    before = [head for head in heads if head.start < start]
    return (own or before[-1:] or heads[:1] or [None])[0]


def count_right(document: Document, clues: Collection[Clue], head_fields: Collection[str]) -> int:
    """How many clues are the head entity that their sentence tells of, word for word.

    Args:
        document: with its spans.
        clues: found in it.
        head_fields: fields of head entities.
    """
    heads = [head_of(document, clue.sentence, clue.sentence + 1, head_fields) for clue in clues]
    texts = [head and document.text[head.start : head.end] for head in heads]
    return sum(document.text[clue.start : clue.end] == text for clue, text in zip(clues, texts, strict=True))


def _clue(words: Words, group: list[int], sentence: int) -> Clue:
    return Clue(sentence, int(words.bounds[group[0], 0]), int(words.bounds[group[-1], 1]))


def _sentences(scored: ScoredDocument) -> np.ndarray:
    """Characters of the sentences that hold a query, int32 (sentences, 2)."""
    return scored.own.by_sentence().sentences
