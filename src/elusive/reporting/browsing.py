"""What the page's script shows: a bounded number of documents with every token's numbers, and the questions about them.

Numbers are whole, so that the page stays small: attention in ten-thousandths, probabilities in thousandths.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from elusive.augmentation.arms import ARMS
from elusive.augmentation.rankings import RankedDocument
from elusive.config.run import Recipe
from elusive.corpus.documents import Document, Span
from elusive.runs.folder import RunFolder
from elusive.scoring.positions import trimmed_offsets
from elusive.scoring.sets import ScoreSet, pair_sets, sets_in
from elusive.scoring.shards import TokenScores, iterate_scores

from .shown import Asked, ShownQuestion, shows_text
from .standing import Standing
from .tokens import SHOWN_TOKENS, fate_of, ranking_of

MOST_BYTES = 600_000
"""Above this the documents are thinned out, evenly over the corpus."""
_ATTENTION, _CHANCE = 10_000, 1_000
_CUE_WORDS = 48
"""Characters of a sentence that name its cue."""

T = TypeVar("T")

Scores = Mapping[str, TokenScores]
"""Scores of one set, by document."""


@dataclass(frozen=True)
class Browsed:
    """What the script shows.

    Attributes:
        data: the documents and questions, as JSON types.
        documents: how many there are in it.
        questions: how many questions.
    """

    data: dict[str, Any]
    documents: int
    questions: int


@dataclass(frozen=True)
class _Tokens:
    """The tokens of a document that have characters of their own, as far as they are shown.

    Attributes:
        places: int (tokens,), the place of each among all tokens of the model.
        bounds: int (tokens, 2), its characters without white space.
    """

    places: np.ndarray
    bounds: np.ndarray

    def of(self, offsets_T2: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Values of a model's tokens at these, by their first characters where that model's tokens differ."""
        if len(offsets_T2) > self.places.max(initial=-1) and np.array_equal(
            offsets_T2[self.places, 1], self.bounds[:, 1]
        ):
            return values[..., self.places]
        own = np.flatnonzero(offsets_T2[:, 1] > offsets_T2[:, 0])
        at = np.searchsorted(offsets_T2[own, 1], self.bounds[:, 0], side="right")
        return values[..., own[np.minimum(at, len(own) - 1)]] if len(own) else np.zeros((*values.shape[:-1], len(at)))


def sample(documents: Sequence[T], most: int) -> list[T]:
    """All documents, or so many of them at even steps from the first."""
    if len(documents) <= most:
        return list(documents)
    return [documents[number * len(documents) // most] for number in range(most)]


def browse(run: RunFolder, chosen: Sequence[Document], recipe: Recipe, standing: Standing, asked: Asked) -> Browsed:
    """The data of the script.

    Args:
        run: the run folder.
        chosen: the documents, from `sample`.
        recipe: its queries.
        standing: which arms have texts.
        asked: from `questions_about`.

    Returns:
        At most MOST_BYTES of documents, and the questions about these.
    """
    ids = [document.id for document in chosen]
    scores = _scores(run, recipe, ids)
    arms = [arm for arm in standing.texts if shows_text(arm)]
    rankings = {arm: {one.document_id: one for one in ranking_of(run, arm).documents(ids)} for arm in arms if ids}
    rows = [_document(document, scores, rankings) for document in chosen]
    lengths = [_size(row) + _size(_questions(asked, [row["id"]], standing)) for row in rows]
    rows = sample(rows, min(len(rows), len(rows) * MOST_BYTES // max(sum(lengths), 1)))
    questions = _questions(asked, [row["id"] for row in rows], standing)
    data = {
        "arms": {arm: _arm(arm) for arm in arms},
        "evaluated": list(standing.evaluated),
        "documents": rows,
        "questions": questions,
    }
    return Browsed(data, len(rows), len(questions))


def _size(data: Any) -> int:
    """Bytes of data as the page holds it."""
    return len(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())


def _scores(run: RunFolder, recipe: Recipe, ids: Sequence[str]) -> dict[ScoreSet, Scores]:
    """Both models' scores of the documents: one set at all queries, with single sentences if kept, and single cues."""
    done = {one for one, folder in sets_in(run.scores_folder()).items() if (folder / "done.json").exists()}
    queries = dict.fromkeys((recipe.score.queries, "cues", "spans", "all"))
    pairs = [pair_sets(one, each=each) for one in queries for each in (True, False)]  # type: ignore[arg-type]
    chosen = next((pair for pair in pairs if done.issuperset(pair)), ())
    single = chosen and chosen[0].each  # then each sentence's cue is there, and the one before a field says the same
    fields = [] if single else [one for one in sorted(done) if one.field and one.model in ("large", "small")]
    return {
        one: {row.document_id: row for row in iterate_scores(run.scores(one), ids)} for one in (*chosen, *fields) if ids
    }


def _arm(name: str) -> dict[str, Any]:
    fate = fate_of(name)
    return {"chance": fate.chance, "always": fate.always, "drops": name not in ARMS or ARMS[name].drops}


def _document(
    document: Document, scores: Mapping[ScoreSet, Scores], rankings: Mapping[str, Mapping[str, RankedDocument]]
) -> dict[str, Any]:
    of_document = {one: rows[document.id] for one, rows in scores.items() if document.id in rows}
    ranked = {arm: rows[document.id] for arm, rows in rankings.items() if document.id in rows}
    tokenised = [*of_document.values(), *ranked.values()]
    tokens = _shown_tokens(document.text, tokenised[0].offsets if tokenised else np.zeros((0, 2), int))
    end = int(tokens.bounds[-1, 1]) if len(tokens.bounds) == SHOWN_TOKENS else len(document.text)
    return {
        "id": document.id,
        "text": document.text[:end],
        "cut": len(document.text) - end,
        # What stands before each token, and its length: smaller numbers than places.
        "gaps": (tokens.bounds[:, 0] - np.append(0, tokens.bounds[:-1, 1])).tolist() if len(tokens.bounds) else [],
        "lengths": (tokens.bounds[:, 1] - tokens.bounds[:, 0]).tolist(),
        "spans": [[span.field, span.start, span.end] for span in document.spans if span.end <= end],
        "cues": _cues(document, of_document, tokens, end),
        "arms": {arm: _fates(one, tokens, end) for arm, one in ranked.items()},
    }


def _shown_tokens(text: str, offsets_T2: np.ndarray) -> _Tokens:
    """The first tokens; of several byte-level tokens of one character, the first alone."""
    places, bounds, cursor = [], [], 0
    for place, (start, end) in enumerate(trimmed_offsets(text, offsets_T2).tolist()):
        start = max(start, cursor)
        if start < end and len(places) < SHOWN_TOKENS:
            places.append(place)
            bounds.append((start, end))
            cursor = end
    return _Tokens(np.array(places, dtype=int), np.array(bounds, dtype=int).reshape(-1, 2))


def _cues(
    document: Document, scores: Mapping[ScoreSet, TokenScores], tokens: _Tokens, end: int
) -> list[dict[str, Any]]:
    """Where attention is captured from: all queries together, each sentence's, and the cue before a field."""
    found: dict[tuple[str, int, int], dict[str, Any]] = {}
    for one, row in scores.items():
        start, stop = _before(document.spans, one.field)
        entry = found.setdefault((one.field, start, stop), {"name": one.field, "start": start, "end": stop})
        entry[one.model] = _thin(tokens.of(row.offsets, row.scores))
        if row.sentences is None or row.rows is None:
            continue
        for (start, stop), values in zip(row.sentences.tolist(), row.rows, strict=True):
            if stop <= end:
                name = _sentence_name(document, start, stop)
                entry = found.setdefault(("", start, stop), {"name": name, "start": start, "end": stop})
                entry[one.model] = _thin(tokens.of(row.offsets, values))
    return [entry for entry in found.values() if "large" in entry and "small" in entry]


def _before(spans: Iterable[Span], field: str) -> tuple[int, int]:
    """The characters of a field's first span, behind its cue; (-1, -1) of all fields together."""
    return next(((span.start, span.end) for span in spans if span.field == field), (-1, -1))


def _sentence_name(document: Document, start: int, end: int) -> str:
    words = " ".join(document.text[start:end].split())
    return words if len(words) <= _CUE_WORDS else words[: _CUE_WORDS - 1].rstrip() + "\u2026"


def _thin(values: np.ndarray) -> list[int]:
    """Attention in ten-thousandths, without the zeros at the end."""
    whole = np.rint(np.asarray(values, dtype=float) * _ATTENTION).astype(int)
    return whole[: int(np.max(np.flatnonzero(whole), initial=-1)) + 1].tolist()


def _fates(ranked: RankedDocument, tokens: _Tokens, end: int) -> dict[str, Any]:
    """What an arm does to each token, in thousandths (-1: never ranked), its ranks, and the clues of sentences."""
    found: dict[str, Any] = {}
    ranks, dropped = (tokens.of(ranked.offsets, one) for one in (ranked.ranks, ranked.drop_probability))
    if dropped.any():
        keep = np.rint((1 - dropped) * _CHANCE).astype(int)
        found["keep"] = np.where((ranks == 0) & (dropped == 0), -1, keep).tolist()
    if ranks.any():
        found["ranks"] = ranks.astype(int).tolist()
    if ranked.clues:
        found["clues"] = [[one.sentence, one.start, one.end] for one in ranked.clues if one.end <= end]
    return found


def _questions(asked: Asked, ids: Sequence[str], standing: Standing) -> list[dict[str, Any]]:
    return [_question(one, standing) for document in ids for one in asked.get(document, [])]


def _question(one: ShownQuestion, standing: Standing) -> dict[str, Any]:
    """A question with each answer once, and for each model which of them it gave (-1: none)."""
    given = [one.given.get(arm) for arm in standing.evaluated]
    different = list(dict.fromkeys(answer for answer in given if answer))
    return {
        "document": one.document,
        "field": one.field,
        "question": one.question,
        "answers": list(one.answers),
        "different": [[answer.text, int(answer.right), round(answer.f1, 3)] for answer in different],
        "given": [different.index(answer) if answer else -1 for answer in given],
    }
