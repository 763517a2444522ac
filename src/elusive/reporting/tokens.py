"""What the report says about single tokens: distances, ranks at a cue, and each token's chance to stay."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elusive.augmentation.arms import ARMS
from elusive.config.run import Recipe
from elusive.corpus.documents import Document
from elusive.errors import ElusiveError
from elusive.runs.files import read_jsonl
from elusive.scoring.sets import sets_in

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


def field_distances(
    run: Path, documents: Sequence[Row], head_fields: Sequence[str], model: str = "large"
) -> dict[str, float]:
    """Mean distance of each field from the head entity, in tokens, over the documents that hold both.

    Args:
        run: the run folder.
        documents: rows of corpus/documents.jsonl.
        head_fields: span fields of the head entity.
        model: whose scores the tokens are taken from, large or small.

    Returns:
        Mean position of a field's tokens minus mean position of the head entity's; empty where there are no
        head entities or no scores.

    Reference:
        Gao et al. 2025, arXiv 2409.17954, "Definition of Distance" (Figure 1).
    """
    found = {one: path for one, path in sets_in(run / "scores").items() if any(path.glob("part-*.parquet"))}
    # The scores at one field's cue may be of the first documents only.
    folders = [found[one] for one in sorted(found, key=lambda one: one.field) if one.model == model]
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


def scored_cue_field(run: Path, distances: Mapping[str, float]) -> str:
    """The field of the single-cue scores in this run, the farthest one where there are several; "" if none."""
    fields = {one.field for one in sets_in(run / "scores") if one.field}
    return max(sorted(fields), key=lambda field: distances.get(field, 0.0), default="")


def ranks_tokens(arm: str) -> bool:
    """Whether an arm's drop probability follows the ranks of a signal."""
    return arm in ARMS and ARMS[arm].signal is not None


def longest_rank(run: Path, arms: Sequence[str]) -> int:
    """The last rank that a rank-guided arm of this run gave to a token; 0 where there is no such arm."""
    for arm in arms:
        if ranks_tokens(arm):
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
        if (arm in ARMS and not ARMS[arm].copies) or not first:
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


def head_drop_rate(ranking: Path, documents: Mapping[str, Document], head_fields: Sequence[str]) -> float | None:
    """Mean drop probability of the head entity's tokens in an arm's ranking.parquet; None where there is none.

    Args:
        ranking: the file.
        documents: the corpus by id.
        head_fields: span fields of the head entity.
    """
    rates: list[float] = []
    for row in pq.read_table(ranking, columns=["document_id", "starts", "ends", "drop_probability"]).to_pylist():
        spans = [(span.field, span.start, span.end) for span in documents[row["document_id"]].spans]
        fields = token_fields(row["starts"], row["ends"], [span for span in spans if span[0] in head_fields])
        rates += [rate for rate, field in zip(row["drop_probability"], fields, strict=True) if field]
    return float(np.mean(rates)) if rates else None


def _read_scores(folder: Path) -> Iterator[Row]:
    for part in sorted(folder.glob("part-*.parquet")):
        for batch in pq.ParquetFile(part).iter_batches(batch_size=256):
            yield from batch.to_pylist()


def _read_ranking(run: Path, arm: str, columns: list[str]) -> pa.Table:
    path = run / "augmented" / arm / "ranking.parquet"
    if not path.exists():
        raise missing(path, "augment")
    return pq.read_table(path, columns=columns)


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
