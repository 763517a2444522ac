"""What the report says about single tokens: distances, ranks at a cue, and each token's probability to stay."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elusive.augmentation.arms import ARMS
from elusive.augmentation.marks import Use
from elusive.augmentation.rankings import RANKING, RankedDocument, RankingFile
from elusive.corpus.documents import Document, StoredDocuments
from elusive.errors import ElusiveError
from elusive.runs.folder import RunFolder
from elusive.scoring.positions import head_tokens, token_fields
from elusive.scoring.sets import pair_sets, sets_in
from elusive.scoring.shards import iterate_scores

TOP = 10
"""Ranks shown as bars, as in the paper's figures 2 and 3."""
WORDS = 8
"""Single words that get a bar segment of their own."""
OTHER_WORDS = "other words"
SHOWN_TOKENS = 400
"""Longest part of a document that the page colours."""


@dataclass(frozen=True)
class Piece:
    """A part of a text as the page colours it.

    Attributes:
        text: the part.
        keep: the probability that it stays; None for text that is never dropped.
        title: that in words, and its rank; empty for text between tokens.
        clue: whether it is no part of the text, but a clue that copies may write into the sentence behind it.
    """

    text: str
    keep: float | None
    title: str = ""
    clue: bool = False


@dataclass(frozen=True)
class Fate:
    """What an arm does to a token, in words: with a probability, and always where it is never ranked."""

    chance: str
    always: str


STAYS = Fate("stays with", "always stays")
_FATES: dict[Use, Fate] = {
    "delete": STAYS,
    "hide_keys": Fate("seen with", "always seen"),
    "mask_inputs": Fate("seen with", "always seen"),
    "mask_rising": Fate("seen at the end of training with", "always seen"),
    "weigh_loss": Fate("loss weighs", "loss weighs 1"),
}


def fate_of(arm: str) -> Fate:
    """What an arm does to tokens, in words."""
    return _FATES.get(ARMS[arm].use, STAYS) if arm in ARMS else STAYS


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
    """The field at whose cue both models were scored, the farthest one where there are several; "" if none."""
    done = {one for one, folder in sets_in(run.scores_folder()).items() if (folder / "done.json").exists()}
    fields = {one.field for one in done if done.issuperset(pair_sets("cues", one.field)) and one.field}
    return max(sorted(fields), key=lambda field: distances.get(field, 0.0), default="")


def ranks_tokens(arm: str) -> bool:
    """Whether an arm's drop probability follows the ranks of a signal."""
    return arm in ARMS and ARMS[arm].signal is not None


def longest_rank(run: RunFolder, arms: Sequence[str]) -> int:
    """The last rank that a rank-guided arm of this run gave to a token; 0 where there is no such arm."""
    guided = next((arm for arm in arms if ranks_tokens(arm)), "")
    return ranking_of(run, guided).longest_rank() if guided else 0


def token_pieces(text: str, ranked: RankedDocument, fate: Fate = STAYS) -> tuple[list[Piece], bool]:
    """A document's text in pieces: its tokens with their probability to stay, and the text between them.

    Args:
        text: the document's text.
        ranked: its tokens as an arm ranked them.
        fate: what the arm does to them, in words.

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
            title = f"not ranked: {fate.always}" if keep is None else f"{fate.chance} {keep:.2f}"
            pieces.append(Piece(text[start + inner : end], keep, title + (f", rank {rank}" if rank > 0 else "")))
        cursor = end
    if text[cursor:]:
        pieces.append(Piece(text[cursor:], None))
    return pieces, False


def with_clues(pieces: Sequence[Piece], ranked: RankedDocument) -> list[Piece]:
    """The pieces of a text with each clue, as a piece of its own, before the sentence that copies may write it into."""
    written = {clue.sentence: ranked.text[clue.start : clue.end] for clue in ranked.clues}
    found: list[Piece] = []
    at = 0
    for piece in pieces:
        end = at + len(piece.text)
        for sentence in sorted(place for place in written if at <= place < end):
            if before := ranked.text[at:sentence]:
                found.append(dataclasses.replace(piece, text=before))
            found.append(Piece(written[sentence], None, "a clue that copies may write into this sentence", clue=True))
            at = sentence
        found.append(dataclasses.replace(piece, text=ranked.text[at:end]))
        at = end
    return found


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


def ranking_of(run: RunFolder, arm: str) -> RankingFile:
    """An arm's ranking.parquet.

    Raises:
        ElusiveError: if it is missing.
    """
    path = run.augmented(arm) / RANKING
    if not path.exists():
        raise missing(path, "augment")
    return RankingFile(path)
