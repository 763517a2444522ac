"""What the report says about single tokens: distances, ranks at a cue, and each token's probability to stay."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from elusive.augmentation.arms import ARMS
from elusive.augmentation.rankings import RANKING, RankedDocument, RankingFile
from elusive.config.run import Recipe
from elusive.corpus.documents import Document, StoredDocuments
from elusive.errors import ElusiveError
from elusive.evaluation.predictions import has_predictions, read_predictions
from elusive.experiments.trials import UNTRAINED
from elusive.runs.folder import RunFolder
from elusive.scoring.positions import head_tokens, token_fields
from elusive.scoring.sets import sets_in
from elusive.scoring.shards import iterate_scores

TOP = 10
"""Ranks shown as bars, as in the paper's figures 2 and 3."""
WORDS = 8
"""Single words that get a bar segment of their own."""
OTHER_WORDS = "other words"
SHOWN_TOKENS = 400
"""Longest part of a document that the page colours."""
SHOWN_QUESTIONS = 8


@dataclass(frozen=True)
class Piece:
    """A part of a text as the page colours it.

    Attributes:
        text: the part.
        keep: the probability that it stays; None for text that is never dropped.
        title: that in words, and its rank; empty for text between tokens.
    """

    text: str
    keep: float | None
    title: str = ""


@dataclass(frozen=True)
class GivenAnswer:
    """An arm's answer to a question, and whether it is an exact match."""

    text: str
    right: bool


@dataclass(frozen=True)
class ShownQuestion:
    """A question about a shown document, its reference answers, and each arm's answer."""

    question: str
    answers: tuple[str, ...]
    given: dict[str, GivenAnswer] = field(default_factory=dict)


@dataclass(frozen=True)
class ShownDocument:
    """A document as the page shows it.

    Attributes:
        id: the document.
        cut: whether its text continues after the last piece.
        arms: its pieces under every arm that drops tokens.
        questions: questions about it.
    """

    id: str
    cut: bool
    arms: dict[str, list[Piece]]
    questions: list[ShownQuestion]


def missing(path: Path, stage: str) -> ElusiveError:
    """The error for a file that a stage has not written."""
    return ElusiveError(
        f"{path} is missing. Run the stage '{stage}' of this run first, then the report again; `elusive run` with the "
        "run's recipe.toml does only what is missing."
    )


def read_documents(run: RunFolder) -> list[Document]:
    """The documents of a run.

    Raises:
        ElusiveError: if the corpus stage has not run.
    """
    if not run.documents.exists():
        raise missing(run.documents, "corpus")
    return list(StoredDocuments(run.documents))


def field_distances(
    run: RunFolder, documents: Collection[Document], head_fields: Sequence[str], model: str = "large"
) -> dict[str, float]:
    """Mean distance of each field from the head entity, in tokens, over the documents that hold both.

    Args:
        run: the run folder.
        documents: its corpus.
        head_fields: span fields of the head entity.
        model: whose scores the tokens are taken from, large or small.

    Returns:
        Mean position of a field's tokens minus mean position of the head entity's; empty where there are no
        head entities or no scores.

    Reference:
        Gao et al. 2025, arXiv 2409.17954, "Definition of Distance" (Figure 1).
    """
    found = {one: path for one, path in sets_in(run.scores_folder()).items() if (path / "done.json").exists()}
    # The scores at one field's cue may be of the first documents only.
    folders = [found[one] for one in sorted(found, key=lambda one: (one.field, one.each)) if one.model == model]
    has_head = any(span.field in head_fields for document in documents for span in document.spans)
    if not folders or not has_head:
        return {}
    by_id = {document.id: document for document in documents}
    distances: dict[str, list[float]] = {}
    for scores in iterate_scores(folders[0]):
        document = by_id[scores.document_id]
        positions: dict[str, list[int]] = {}
        for position, name in enumerate(token_fields(document.text, document.spans, scores.offsets)):
            if name:
                positions.setdefault(name, []).append(position)
        head = [position for name in head_fields for position in positions.get(name, [])]
        for name in positions.keys() - set(head_fields):
            if head:
                distances.setdefault(name, []).append(float(np.mean(positions[name]) - np.mean(head)))
    means = {field: float(np.mean(values)) for field, values in distances.items()}
    return dict(sorted(means.items(), key=lambda item: item[1]))


def scored_cue_field(run: RunFolder, distances: Mapping[str, float]) -> str:
    """The field of the single-cue scores in this run, the farthest one where there are several; "" if none."""
    fields = {one.field for one in sets_in(run.scores_folder()) if one.field}
    return max(sorted(fields), key=lambda field: distances.get(field, 0.0), default="")


def ranks_tokens(arm: str) -> bool:
    """Whether an arm's drop probability follows the ranks of a signal."""
    return arm in ARMS and ARMS[arm].signal is not None


def longest_rank(run: RunFolder, arms: Sequence[str]) -> int:
    """The last rank that a rank-guided arm of this run gave to a token; 0 where there is no such arm."""
    guided = next((arm for arm in arms if ranks_tokens(arm)), "")
    return _ranking(run, guided).longest_rank() if guided else 0


def shown_documents(run: RunFolder, documents: Sequence[Document], recipe: Recipe, number: int) -> list[ShownDocument]:
    """The first documents, each token with its probability to stay in every arm that drops tokens, and the answers."""
    first = {document.id: document for document in documents[:number]}
    pieces: dict[str, dict[str, list[Piece]]] = {document: {} for document in first}
    cut: dict[str, bool] = dict.fromkeys(first, False)
    for arm in recipe.arms if first else ():
        if arm not in ARMS or ARMS[arm].copies:
            for ranked in _ranking(run, arm).documents(first):
                document = ranked.document_id
                pieces[document][arm], cut[document] = token_pieces(first[document].text, ranked)
    answers = _answers(run, recipe, first) if first else {}
    return [
        ShownDocument(document, cut[document], arms, answers.get(document, [])) for document, arms in pieces.items()
    ]


def token_pieces(text: str, ranked: RankedDocument) -> tuple[list[Piece], bool]:
    """A document's text in pieces: its tokens with their probability to stay, and the text between them.

    Returns:
        The pieces, whose texts join to the document's text, and whether it continues after the last piece.
    """
    pieces: list[Piece] = []
    cursor = 0
    columns = zip(ranked.offsets.tolist(), ranked.ranks.tolist(), ranked.drop_probability.tolist(), strict=True)
    for number, ((start, end), rank, dropped) in enumerate(columns):
        if number == SHOWN_TOKENS:
            return pieces, True
        # Several byte-level tokens of one character share its offsets: the first of them carries the text.
        start = max(start, cursor)
        if end <= start:
            continue
        inner = len(text[start:end]) - len(text[start:end].lstrip())
        if between := text[cursor : start + inner]:
            pieces.append(Piece(between, None))
        if start + inner < end:
            keep = None if rank == 0 and dropped == 0 else round(1 - dropped, 3)
            title = "not ranked: always stays" if keep is None else f"stays with {keep:.2f}"
            pieces.append(Piece(text[start + inner : end], keep, title + (f", rank {rank}" if rank > 0 else "")))
        cursor = end
    if text[cursor:]:
        pieces.append(Piece(text[cursor:], None))
    return pieces, False


def head_drop_rate(ranking: Path, documents: Mapping[str, Document], head_fields: Sequence[str]) -> float | None:
    """Mean drop probability of the head entity's tokens in an arm's ranking.parquet; None where there is none.

    Args:
        ranking: the file.
        documents: the corpus by id.
        head_fields: span fields of the head entity.
    """
    rates: list[float] = []
    for ranked in RankingFile(ranking).documents():
        is_head_T = head_tokens(documents[ranked.document_id], ranked.offsets, head_fields)
        rates += ranked.drop_probability[is_head_T].tolist()
    return float(np.mean(rates)) if rates else None


def _ranking(run: RunFolder, arm: str) -> RankingFile:
    path = run.augmented(arm) / RANKING
    if not path.exists():
        raise missing(path, "augment")
    return RankingFile(path)


def _answers(run: RunFolder, recipe: Recipe, documents: Collection[str]) -> dict[str, list[ShownQuestion]]:
    """Questions about the shown documents with every arm's answer, from the first training seed."""
    answers: dict[str, dict[str, ShownQuestion]] = {}
    for arm in (UNTRAINED, *recipe.arms):
        folder = run.answers(arm, 0 if arm == UNTRAINED else recipe.seeds[0])
        for item in read_predictions(folder).items if has_predictions(folder) else ():
            if item.document_id in documents:
                of_document = answers.setdefault(item.document_id, {})
                shown = of_document.setdefault(item.id, ShownQuestion(item.question, item.answers))
                shown.given[arm] = GivenAnswer(item.prediction, right=item.em == 1)
    return {document: list(questions.values())[:SHOWN_QUESTIONS] for document, questions in answers.items()}
