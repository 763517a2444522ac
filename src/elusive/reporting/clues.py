"""What a run's pair looks at from the cues: the kinds of token that lead its rankings, and clue recall."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..config import Recipe
from ..documents import Document, Span
from ..errors import ElusiveError
from ..recall import ALL_CUES, RANKED, Clues, best_ranked, clue_recall, read_clues
from ..shards import TokenScores, read_shard
from .tokens import OTHER_WORDS, TOP, WORDS, Row, token_fields


def run_recall(run: Path, documents: Sequence[Row], recipe: Recipe, field: str) -> dict[str, Any] | None:
    """Clue recall@10 of a run's pair, at all cues and at one field's, where the run has both models' scores there.

    Args:
        run: the run folder.
        documents: rows of corpus/documents.jsonl.
        recipe: head fields, excluded tokens, and the bootstrap's settings.
        field: the field whose cue the rank bars look from ("" for none).

    Returns:
        k, head_fields, and rows as `recall.clue_recall` gives them; None where there is no row.

    Raises:
        ElusiveError: if the models' tokens differ and augment.across_tokenizers is not set.
    """
    rows = {}
    for name, queries in ((ALL_CUES, "cues"), (field, f"cue-{field}")):
        clues = _run_clues(run, documents, queries, recipe) if name else []
        if row := clue_recall(clues, TOP, recipe.evaluate.resamples, recipe.evaluate.seed):
            rows[name] = row
    return {"k": TOP, "head_fields": list(recipe.score.head_fields), "rows": rows} if rows else None


def cue_ranks(run: Path, documents: Sequence[Row], field: str, recipe: Recipe) -> dict[str, Any] | None:
    """Which kinds of token lead the ranking at the cue before a field: by large, small, and large minus small.

    Args:
        run: the run folder, with scores/large-cue-<field> and scores/small-cue-<field>.
        documents: rows of corpus/documents.jsonl.
        field: whose cue to look from; "" for none.
        recipe: head fields and excluded tokens.

    Returns:
        kinds: "(field)" for tokens of spans, single words, "other words"; rankings: for each of large, small,
        contrast the share of each kind at ranks 1 to 10, ranks x kinds; None where no document has the cue. Documents
        whose scores are all tied do not count in that ranking; where none is left, its shares are 0.

    Raises:
        ElusiveError: if a model's scores are missing, or the two differ in their tokens.

    Reference:
        Gao et al. 2025, arXiv 2409.17954, Figures 2 and 3.
    """
    if not field:
        return None
    for folder in (run / "scores" / f"{model}-cue-{field}" for model in ("large", "small")):
        if not any(folder.glob("part-*.parquet")):
            raise ElusiveError(
                f"{folder} holds no scores, and the rank bars look from the cue before '{field}'. "
                "Run the stage 'score' of this run first, or choose another report.cue_field."
            )
    by_id = {row["id"]: row for row in documents}
    best: dict[str, list[list[str]]] = {name: [] for name in RANKED}
    for one in _run_clues(run, documents, f"cue-{field}", recipe):
        kinds = _kinds(by_id[one.document_id], one.offsets)
        for name in RANKED:
            if len(ranked := best_ranked(one.signal(name), TOP)):
                best[name].append([kinds[place] for place in ranked])
    if not any(best.values()):
        return None
    heads = [f"({field})" for field in recipe.score.head_fields]
    return {"field": field, "documents": len(best["large"]), **_shares(best, heads), "head_kinds": heads}


def _run_clues(run: Path, documents: Sequence[Row], queries: str, recipe: Recipe) -> list[Clues]:
    """The ranked tokens of a run's documents at one kind of query; none where a model was not scored at it."""
    large, small = (_scores(run / "scores" / f"{model}-{queries}") for model in ("large", "small"))
    return read_clues(
        [Document(row["id"], row["text"], tuple(Span(*span) for span in row["spans"])) for row in documents],
        large,
        small,
        head_fields=recipe.score.head_fields,
        excluded_tokens=recipe.augment.excluded_tokens,
        across_tokenizers=recipe.augment.across_tokenizers,
    )


def _scores(folder: Path) -> Mapping[str, TokenScores]:
    return {row.document_id: row for path in sorted(folder.glob("part-*.parquet")) for row in read_shard(path)}


def _kinds(row: Row, offsets_T2: np.ndarray) -> list[str]:
    """ "(field)" for a token of a span, else the whole word, in lower case, that the token is part of."""
    words = [(match.start(), match.end()) for match in re.finditer(r"\w+(?:['\u2019-]\w+)*|[^\w\s]+", row["text"])]
    starts, ends = offsets_T2[:, 0].tolist(), offsets_T2[:, 1].tolist()
    fields = token_fields(starts, ends, row["spans"])
    names = token_fields(starts, ends, [(row["text"][start:end].lower(), start, end) for start, end in words])
    return [f"({field})" if field else name for field, name in zip(fields, names, strict=True)]


def _head_kinds(recipe: Recipe) -> list[str]:
    return [f"({field})" for field in recipe.score.head_fields]


def _shares(best: Mapping[str, Sequence[Sequence[str]]], head_kinds: Sequence[str]) -> dict[str, Any]:
    """Count the kinds at each rank: the shares of results.json's cue_ranks."""
    everything = Counter(kind for documents in best.values() for kinds in documents for kind in kinds)
    fields = sorted((kind for kind in everything if _is_field(kind)), key=lambda kind: (kind not in head_kinds, kind))
    words = [kind for kind, _ in everything.most_common() if not _is_field(kind)]
    kinds = [*fields, *words[:WORDS], *([OTHER_WORDS] if len(words) > WORDS else [])]
    rankings: dict[str, list[list[float]]] = {}
    for name, documents in best.items():
        counts = np.zeros((TOP, len(kinds)))
        for ranked in documents:
            for rank, kind in enumerate(ranked):
                counts[rank, kinds.index(kind if kind in kinds else OTHER_WORDS)] += 1
        rankings[name] = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).tolist()
    return {"kinds": kinds, "rankings": rankings}


def _is_field(kind: str) -> bool:
    return len(kind) > 2 and kind.startswith("(") and kind.endswith(")")
