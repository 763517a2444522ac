"""The documents and questions that the page shows without its script: the first, as every arm sees them."""

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from elusive.augmentation.arms import ARMS
from elusive.corpus.documents import Document
from elusive.evaluation.predictions import Prediction, has_predictions, read_predictions
from elusive.experiments.trials import UNTRAINED
from elusive.runs.folder import RunFolder

from .standing import Standing
from .tokens import Piece, fate_of, ranking_of, token_pieces, with_clues

SHOWN_QUESTIONS = 8
"""Questions about one document that are shown without the script."""


@dataclass(frozen=True)
class GivenAnswer:
    """An arm's answer to a question, whether it is an exact match, and its F1."""

    text: str
    right: bool
    f1: float


@dataclass(frozen=True)
class ShownQuestion:
    """A question about a shown document, what it asks for, its reference answers, and each arm's answer."""

    question: str
    field: str
    document: str
    answers: tuple[str, ...]
    given: dict[str, GivenAnswer] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class ShownDocument:
    """A document as the page shows it.

    Attributes:
        id: the document.
        cut: whether its text continues after the last piece.
        arms: its pieces under every arm that acts on its tokens or writes clues into its sentences.
        questions: questions about it.
    """

    id: str
    cut: bool
    arms: dict[str, list[Piece]]
    questions: list[ShownQuestion]


Asked = dict[str, list[ShownQuestion]]
"""Questions by document."""


def shows_text(arm: str) -> bool:
    """Whether there is something to see in an arm's texts: tokens with probabilities, or clues."""
    return arm not in ARMS or ARMS[arm].drops or ARMS[arm].clues is not None


def shown_documents(
    run: RunFolder, documents: Sequence[Document], standing: Standing, asked: Asked
) -> list[ShownDocument]:
    """Documents, each token with its fate in every arm whose texts are written, each sentence with its clue.

    Args:
        run: the run folder.
        documents: those to show.
        standing: which arms have texts.
        asked: from `questions_about`.

    Raises:
        ElusiveError: if an arm's ranking.parquet is missing.
    """
    by_id = {document.id: document for document in documents}
    pieces: dict[str, dict[str, list[Piece]]] = {document: {} for document in by_id}
    cut: dict[str, bool] = dict.fromkeys(by_id, False)
    for arm in (arm for arm in standing.texts if by_id and shows_text(arm)):
        for ranked in ranking_of(run, arm).documents(by_id):
            document = ranked.document_id
            found, cut[document] = token_pieces(by_id[document].text, ranked, fate_of(arm))
            pieces[document][arm] = with_clues(_plain(found) if arm in ARMS and not ARMS[arm].drops else found, ranked)
    return [
        ShownDocument(document, cut[document], arms, asked.get(document, [])[:SHOWN_QUESTIONS])
        for document, arms in pieces.items()
    ]


def questions_about(run: RunFolder, standing: Standing, documents: Collection[str]) -> Asked:
    """Questions about some documents with the answer of every evaluated model, after the first training seed.

    Args:
        run: the run folder.
        standing: which models were evaluated.
        documents: their ids.
    """
    about = set(documents)
    found: dict[str, dict[str, ShownQuestion]] = {}
    for arm in standing.evaluated:
        folder = run.answers(arm, 0 if arm == UNTRAINED else standing.seeds[0])
        for item in read_predictions(folder, about).items if about and has_predictions(folder) else ():
            of_document = found.setdefault(item.document_id, {})
            of_document.setdefault(item.id, _question(item)).given[arm] = GivenAnswer(
                item.prediction, right=item.em == 1, f1=item.f1
            )
    return {document: list(questions.values()) for document, questions in found.items()}


def _question(item: Prediction) -> ShownQuestion:
    return ShownQuestion(item.question, item.field, item.document_id, item.answers)


def _plain(pieces: Sequence[Piece]) -> list[Piece]:
    """The same text in one piece: of an arm that acts on no token."""
    return [Piece("".join(piece.text for piece in pieces), None)]
