"""Which questions give cues and which are asked: all of them, or one half of each document's."""

import collections
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from elusive.config.corpus import CorpusSettings, QuestionSet
from elusive.config.scoring import ScoreSettings
from elusive.errors import ElusiveError
from elusive.runs.files import read_json, write_jsonl
from elusive.stats.halves import first_half_within
from elusive.storage import Location, located

from .documents import Document, load_corpus
from .questions import QuestionItem, read_questions
from .spans import find_answer

CUE_QUESTIONS = "cue_questions.jsonl"
"""The questions that give cues, where these are not the ones that are asked."""


def chosen_questions(questions: Sequence[QuestionItem], which: QuestionSet) -> list[QuestionItem]:
    """All questions, or the first or second half of each document's."""
    if which == "all":
        return list(questions)
    first = first_half_within([item.document_id for item in questions], [item.id for item in questions])
    return [item for item, here in zip(questions, first if which == "first" else ~first, strict=True) if here]


def without_answers(document: Document, hidden: Iterable[QuestionItem], heads: Collection[str]) -> Document:
    """A document without the spans that share a character with an answer to a hidden question; heads stay.

    An answer stands where a span of its text does, and at its first place in the text as whole words.
    """
    places = [place for item in hidden for answer in item.answers for place in _places(document, answer)]
    spans = tuple(
        span
        for span in document.spans
        if span.field in heads or not any(start < span.end and span.start < end for start, end in places)
    )
    return Document(document.id, document.text, spans) if len(spans) < len(document.spans) else document


def _places(document: Document, answer: str) -> Iterator[tuple[int, int]]:
    words = answer.split()
    for _, start, end in document.spans:
        if document.text[start:end].split() == words:
            yield start, end
    if found := find_answer(document.text, answer):
        yield found


@dataclass(frozen=True)
class SplitCounts:
    """Questions that give cues, questions that are asked, and spans that are cues no more."""

    cues: int
    asked: int
    hidden_spans: int


def split_questions(folder: Location, settings: CorpusSettings) -> SplitCounts:
    """Keep in a corpus folder the questions that are asked, and the spans that are cues.

    Spans of answers to questions that give no cue are taken out of the documents, so that nothing that reads the folder
    sees them. The questions that give cues go to cue_questions.jsonl.

    Raises:
        ElusiveError: if no question is left to ask.
    """
    corpus = load_corpus(folder)
    cues = chosen_questions(corpus.questions, settings.cue_questions)
    asked = chosen_questions(corpus.questions, settings.asked_questions)
    if corpus.questions and not asked:
        raise ElusiveError(
            f"corpus.asked_questions = {settings.asked_questions!r} leaves no question of "
            f"{len(corpus.questions)}: a document with one question has it in its second half. Ask all, or the second."
        )
    giving = {item.id for item in cues}
    hidden: dict[str, list[QuestionItem]] = collections.defaultdict(list)
    for item in corpus.questions:
        if item.id not in giving:
            hidden[item.document_id].append(item)
    hidden_spans = 0

    def documents() -> Iterator[Document]:
        nonlocal hidden_spans
        for document in corpus.documents:
            kept = without_answers(document, hidden.get(document.id, ()), ScoreSettings.head_fields)
            hidden_spans += len(document.spans) - len(kept.spans)
            yield kept

    write_jsonl(folder / "documents.jsonl", map(vars, documents()))
    write_jsonl(folder / CUE_QUESTIONS, map(vars, cues))
    write_jsonl(folder / "questions.jsonl", map(vars, asked))
    return SplitCounts(len(cues), len(asked), hidden_spans)


def question_sets_in_words(settings: CorpusSettings) -> str:
    """Which questions give cues and which are asked.

    Example:
        >>> question_sets_in_words(CorpusSettings(cue_questions="first", asked_questions="second"))
        "disjoint: cues at the answers to the first half of each document's questions, the second half is asked"
        >>> question_sets_in_words(CorpusSettings())
        'the same: cues at the answers to the questions that are asked'
    """
    cues, asked = settings.cue_questions, settings.asked_questions
    if cues == asked:
        half = "" if cues == "all" else f", the {cues} half of each document's"
        return f"the same: cues at the answers to the questions that are asked{half}"
    if "all" not in (cues, asked):
        return (
            f"disjoint: cues at the answers to the {cues} half of each document's questions, the {asked} half is asked"
        )
    half = f"the {asked if cues == 'all' else cues} half of each document's questions"
    if cues == "all":
        return f"the same and more: cues at all answers, of which {half} is asked"
    return f"the same in part: cues at the answers to {half}, and all are asked"


def sets_of_questions(path: str | Path) -> str:
    """What is known of the questions of a file: whether their answers were cues, in words."""
    path = Path(path)
    sets = question_sets_of(path.parent)
    if sets and path.name == "questions.jsonl":
        return sets
    if sets and path.name == CUE_QUESTIONS:
        return "the same: these questions gave the cues"
    return (
        f"not known: {path} is not the questions.jsonl of a corpus folder, so nobody can say whether the answers were "
        "cues of the training texts"
    )


def questions_that_give_cues(path: str | Path) -> list[QuestionItem]:
    """Of a file of questions that are asked, those that gave the cues: where nothing says otherwise, the same."""
    path = Path(path)
    beside = path.with_name(CUE_QUESTIONS)
    return read_questions(beside if path.name == "questions.jsonl" and beside.exists() else path)


def question_sets_of(folder: str | Location) -> str:
    """What a corpus folder says of its question sets, in words; empty where it has no questions, or is none."""
    done = located(folder) / "done.json"
    return str(read_json(done).get("question_sets", "")) if done.exists() else ""
