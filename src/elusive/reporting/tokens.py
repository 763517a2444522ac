"""What the report says about single tokens: distances, ranks at a cue, and each token's chance to stay."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..config import Recipe
from ..errors import ElusiveError
from ..runs import read_jsonl

RANK_GUIDED = ("attention", "distance", "contrast-all", "contrast-cues")
"""Arms whose drop probability follows p(r)."""
TOP = 10
"""Ranks shown as bars, as in the paper's figures 2 and 3."""
WORDS = 8
"""Single words that get a bar segment of their own."""
OTHER_WORDS = "other words"
SHOWN_TOKENS = 400
"""Longest part of a document that the page colours."""
SHOWN_QUESTIONS = 8
Row = dict[str, Any]


def missing(path: Path, stage: str) -> ElusiveError:
    """The error for a file that a stage has not written."""
    return ElusiveError(
        f"{path} is missing. Run the stage '{stage}' of this run first, then the report again; `elusive run` with the "
        "run's recipe.toml does only what is missing."
    )


def read_documents(run: Path) -> list[Row]:
    """Rows of corpus/documents.jsonl.

    Raises:
        ElusiveError: if the corpus stage has not run.
    """
    path = run / "corpus" / "documents.jsonl"
    if not path.exists():
        raise missing(path, "corpus")
    return list(read_jsonl(path))


def field_distances(run: Path, documents: Sequence[Row], head_fields: Sequence[str]) -> dict[str, float]:
    """Mean distance of each field from the head entity, in tokens, over the documents that hold both.

    Args:
        run: the run folder; offsets come from the large model's scores.
        documents: rows of corpus/documents.jsonl.
        head_fields: span fields of the head entity.

    Returns:
        Mean position of a field's tokens minus mean position of the head entity's; empty where there are no
        head entities or no scores.

    Reference:
        Gao et al. 2025, arXiv 2409.17954, "Definition of Distance" (Figure 1).
    """
    folders = [path for path in (run / "scores").glob("large-*") if any(path.glob("part-*.parquet"))]
    # The scores at one field's cue may be of the first documents only.
    folders.sort(key=lambda path: (path.name.startswith("large-cue-"), path.name))
    has_head = any(span[0] in head_fields for row in documents for span in row["spans"])
    if not folders or not has_head:
        return {}
    by_id = {row["id"]: row for row in documents}
    distances: dict[str, list[float]] = {}
    for tokens in _read_scores(folders[0]):
        fields = token_fields(tokens["starts"], tokens["ends"], by_id[tokens["document_id"]]["spans"])
        positions: dict[str, list[int]] = {}
        for position, field in enumerate(fields):
            if field:
                positions.setdefault(field, []).append(position)
        head = [position for field in head_fields for position in positions.get(field, [])]
        for field in positions.keys() - set(head_fields):
            if head:
                distances.setdefault(field, []).append(float(np.mean(positions[field]) - np.mean(head)))
    means = {field: float(np.mean(values)) for field, values in distances.items()}
    return dict(sorted(means.items(), key=lambda item: item[1]))


def token_fields(starts: Sequence[int], ends: Sequence[int], spans: Sequence[Sequence[Any]]) -> list[str]:
    """The field of each token: that of the first span it shares a character with, or an empty text."""
    return [
        next((span[0] for span in spans if max(start, span[1]) < min(end, span[2])), "")
        for start, end in zip(starts, ends, strict=True)
    ]


def ranked_tokens(text: str, starts: Sequence[int], ends: Sequence[int], excluded: Sequence[str]) -> np.ndarray:
    """Which tokens take part in a ranking: bool (tokens,); not special, white-space-only or excluded ones."""
    pieces = (text[start:end].strip() for start, end in zip(starts, ends, strict=True))
    return np.array([bool(piece) and piece not in excluded for piece in pieces], dtype=bool)


def scored_cue_field(run: Path, distances: Mapping[str, float]) -> str:
    """The field of the single-cue scores in this run, the farthest one where there are several; "" if none."""
    fields = {path.name.split("-cue-", 1)[1] for path in sorted((run / "scores").glob("*-cue-*"))}
    return max(sorted(fields), key=lambda field: distances.get(field, 0.0), default="")


def cue_ranks(run: Path, documents: Sequence[Row], field: str, recipe: Recipe) -> dict[str, Any] | None:
    """Which kinds of token lead the ranking at the cue before a field: by large, small, and large minus small.

    Args:
        run: the run folder, with scores/large-cue-<field> and scores/small-cue-<field>.
        documents: rows of corpus/documents.jsonl.
        field: whose cue to look from; "" for none.
        recipe: head fields and excluded tokens.

    Returns:
        kinds: "(field)" for tokens of spans, single words, "other words"; rankings: for each of large, small,
        contrast the share of each kind at ranks 1 to 10, ranks x kinds; head_share: share of head tokens among
        the ten best; chance: their share among all ranked tokens. None where no document has the cue. Documents
        whose scores are all tied do not count in that ranking; where none is left, its shares are 0 and its
        head_share is None.

    Raises:
        ElusiveError: if a model's scores are missing, or the two differ in their tokens.

    Reference:
        Gao et al. 2025, arXiv 2409.17954, Figures 2 and 3.
    """
    if not field:
        return None
    folders = [run / "scores" / f"{model}-cue-{field}" for model in ("large", "small")]
    for folder in folders:
        if not any(folder.glob("part-*.parquet")):
            raise ElusiveError(
                f"{folder} holds no scores, and the rank bars look from the cue before '{field}'. "
                "Run the stage 'score' of this run first, or choose another report.cue_field."
            )
    by_id = {row["id"]: row for row in documents}
    best: dict[str, list[list[str]]] = {"large": [], "small": [], "contrast": []}
    heads = ranked = 0
    of_small = {tokens["document_id"]: tokens for tokens in _read_scores(folders[1])}
    for large in _read_scores(folders[0]):
        small = of_small.get(large["document_id"])
        if small is None or small["token_ids"] != large["token_ids"]:
            raise _other_tokens(large["document_id"], folders)
        row = by_id[large["document_id"]]
        chosen = ranked_tokens(row["text"], large["starts"], large["ends"], recipe.augment.excluded_tokens)
        chosen &= np.array(large["queries"]) > 0
        kinds = _kinds(row, large["starts"], large["ends"])
        heads += sum(kinds[position] in _head_kinds(recipe) for position in np.flatnonzero(chosen))
        ranked += int(chosen.sum())
        scores = {"large": np.array(large["scores"]), "small": np.array(small["scores"])}
        scores["contrast"] = scores["large"] - scores["small"]
        for name, values in scores.items():
            positions = np.flatnonzero(chosen)
            if len(positions) > 1 and np.ptp(values[positions]) == 0:
                continue  # all tied, as when both models are one: the order would be that of the text
            order = positions[np.argsort(-values[positions], kind="stable")]
            best[name].append([kinds[position] for position in order[:TOP]])
    if ranked == 0:
        return None
    return {
        "field": field,
        "documents": sum(bool(kinds) for kinds in best["large"]),
        **_shares(best, _head_kinds(recipe)),
        "chance": heads / ranked,
        "head_kinds": _head_kinds(recipe),
    }


def longest_rank(run: Path, arms: Sequence[str]) -> int:
    """The last rank that a rank-guided arm of this run gave to a token; 0 where there is no such arm."""
    for arm in arms:
        if arm in RANK_GUIDED:
            rows = _read_ranking(run, arm, ["ranks"]).column("ranks")
            return max((max(ranks) for ranks in rows.to_pylist() if ranks), default=0)
    return 0


def shown_documents(run: Path, documents: Sequence[Row], recipe: Recipe, number: int) -> list[dict[str, Any]]:
    """The first documents with each token's chance to stay in every arm that drops tokens, and their answers.

    Returns:
        For each document id, cut (whether it goes on), arms: {arm: pieces}, a piece being text, keep (None for
        text that is never dropped), title; and questions with each arm's answer.
    """
    first = {row["id"]: row for row in documents[:number]}
    pieces: dict[str, dict[str, list[dict[str, Any]]]] = {document: {} for document in first}
    cut: dict[str, bool] = dict.fromkeys(first, False)
    for arm in recipe.arms:
        if arm == "plain" or not first:
            continue
        columns = ["document_id", "starts", "ends", "ranks", "drop_probability"]
        table = _read_ranking(run, arm, columns)
        places = [place for place, one in enumerate(table.column("document_id").to_pylist()) if one in first]
        for tokens in table.take(pa.array(places, pa.int64())).to_pylist():
            document = tokens["document_id"]
            pieces[document][arm], cut[document] = token_pieces(first[document]["text"], tokens)
    answers = _answers(run, recipe, first) if first else {}
    return [
        {"id": document, "cut": cut[document], "arms": arms, "questions": answers.get(document, [])}
        for document, arms in pieces.items()
    ]


def token_pieces(text: str, tokens: Mapping[str, Any]) -> tuple[list[dict[str, Any]], bool]:
    """A document's text in pieces: its tokens with their chance to stay, and the text between them as it is.

    Returns:
        The pieces, whose texts join to the document's text, and whether it goes on past the last piece.
    """
    pieces: list[dict[str, Any]] = []
    cursor = 0
    columns = zip(tokens["starts"], tokens["ends"], tokens["ranks"], tokens["drop_probability"], strict=True)
    for number, (start, end, rank, dropped) in enumerate(columns):
        if number == SHOWN_TOKENS:
            return pieces, True
        # Several byte-level tokens of one character share its offsets: the first of them carries the text.
        start = max(start, cursor)
        if end <= start:
            continue
        inner = len(text[start:end]) - len(text[start:end].lstrip())
        between = text[cursor : start + inner]
        if between:
            pieces.append({"text": between, "keep": None, "title": ""})
        if start + inner < end:
            keep = None if rank == 0 and dropped == 0 else round(1 - dropped, 3)
            title = "not ranked: always stays" if keep is None else f"stays with {keep:.2f}"
            if rank > 0:
                title += f", rank {rank}"
            pieces.append({"text": text[start + inner : end], "keep": keep, "title": title})
        cursor = end
    if text[cursor:]:
        pieces.append({"text": text[cursor:], "keep": None, "title": ""})
    return pieces, False


def _read_scores(folder: Path) -> Iterator[Row]:
    for part in sorted(folder.glob("part-*.parquet")):
        for batch in pq.ParquetFile(part).iter_batches(batch_size=256):
            yield from batch.to_pylist()


def _read_ranking(run: Path, arm: str, columns: list[str]) -> pa.Table:
    path = run / "augmented" / arm / "ranking.parquet"
    if not path.exists():
        raise missing(path, "augment")
    return pq.read_table(path, columns=columns)


def _other_tokens(document: str, folders: Sequence[Path]) -> ElusiveError:
    return ElusiveError(
        f"Expected the same tokens in {folders[0]} and {folders[1]}, got other ids in document '{document}'. "
        "Two models contrast only where they share a tokenizer; delete both folders and run the stage 'score' again."
    )


def _kinds(row: Row, starts: Sequence[int], ends: Sequence[int]) -> list[str]:
    """ "(field)" for a token of a span, else the whole word, in lower case, that the token is part of."""
    words = [(match.start(), match.end()) for match in re.finditer(r"\w+(?:['\u2019-]\w+)*|[^\w\s]+", row["text"])]
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
    head_share: dict[str, float | None] = {}
    for name, documents in best.items():
        counts = np.zeros((TOP, len(kinds)))
        for ranked in documents:
            for rank, kind in enumerate(ranked):
                counts[rank, kinds.index(kind if kind in kinds else OTHER_WORDS)] += 1
        rankings[name] = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).tolist()
        heads = sum(counts[:, kinds.index(kind)].sum() for kind in head_kinds if kind in kinds)
        head_share[name] = float(heads / counts.sum()) if counts.any() else None
    return {"kinds": kinds, "rankings": rankings, "head_share": head_share}


def _is_field(kind: str) -> bool:
    return len(kind) > 2 and kind.startswith("(") and kind.endswith(")")


def _answers(run: Path, recipe: Recipe, documents: Mapping[str, Row]) -> dict[str, list[dict[str, Any]]]:
    """Questions about the shown documents with every arm's answer, from the first training seed."""
    answers: dict[str, dict[str, dict[str, Any]]] = {}
    for arm in ("untrained", *recipe.arms):
        seed = 0 if arm == "untrained" else recipe.seeds[0]
        path = run / "evaluation" / arm / f"seed-{seed}" / "predictions.jsonl"
        for row in read_jsonl(path) if path.exists() else ():
            if row["document_id"] in documents:
                of_document = answers.setdefault(row["document_id"], {})
                question = of_document.setdefault(row["id"], {**row, "given": {}})
                question["given"][arm] = {"text": row["prediction"], "right": row["em"] == 1}
    return {document: list(questions.values())[:SHOWN_QUESTIONS] for document, questions in answers.items()}
