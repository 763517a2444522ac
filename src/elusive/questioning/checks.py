"""What a question must be like, as far as that can be seen without a model: each reason to reject one has its rule."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from elusive.augmentation.survival import says
from elusive.config.questions import QuestionRules
from elusive.corpus.documents import cut_document
from elusive.corpus.english import PERSONS
from elusive.corpus.spans import find_answer

from .pairs import Pair, Rejected, Written, kind_of
from .passages import Passage
from .terms import names, places, shared_terms, terms, word_set

# Reasons why a question is rejected, as rejected.jsonl gives them; in the order in which they are looked for.

UNREADABLE = "no question with an answer in the requested form"

CUT_OFF = "cut off at the longest answer"

NO_QUESTION = "not a question"

NOWHERE = "the answer does not stand in the document"

LONG = "the answer is too long"

UNTELLING = "the answer is yes, no or a word that names nothing"

GIVEN_AWAY = "the question gives its answer away"

POINTS = "the question speaks of its document"

PRONOUN = "a pronoun in the question stands for nothing that it names"

NO_SUBJECT = "the question names no subject of the document"

SAID_BEFORE = "nearly the same question as another one"

NOT_ANSWERED = "the model does not answer it with the document"

KNOWN = "the model answers it without the document"

CONTRADICTED = "documents answer it differently"

NOT_NEEDED = "more questions than were asked for"

BEYOND_MOST = "beyond questions.max_questions"


_LONGEST_QUESTION = 400
"""In characters."""

_FEWEST_SHARED = 3
"""So many content words of the document tell what a question is about where none of them is a name."""

_QUESTION_MARK = re.compile(r"[?？؟՞;⸮]")  # noqa: RUF001

_WITHOUT_MARK = ("th", "ja", "zh", "ko")
"""Languages whose questions often end without a question mark."""

_UNTELLING = word_set(
    """yes no true false none not maybe ja nein sí si oui non sim não да нет both neither all several some"""
)

_GENERAL_TITLES = word_set(
    """
    about abstract appendix background basics chapter conclusion configuration description details example examples faq
    features general guide history index information installation introduction manual name notes options overview part
    preface reference requirements section see setup start summary synopsis table title usage use using
    """
)
"""Words of headings that say nothing of what a document is about."""

_THIS = (
    r"this|these|that|those|the (?:above|following|given|provided|present|preceding|previous|current)|following|above"
)
_OF_TEXTS = r"text|document|passage|excerpt|article|paragraph|section|chapter|snippet|page|context|sentence|statement"
_SHOWN = r"example|table|figure|list|code|image|command|program|option|file"
_POINTING = re.compile(
    rf"\b(?:{_THIS})\s+(?:{_OF_TEXTS}|{_SHOWN})s?\b"
    rf"|\bthe\s+(?:passage|excerpt|snippet|author|authors|speaker|narrator|writer)\b"
    rf"|\b(?:according to|based on|in|by|from)"
    rf"\s+the\s+(?:{_OF_TEXTS})\b|\b(?:mentioned|described|shown|listed|discussed|{_SHOWN})\s+(?:above|below|here)\b"
    r"|\b(?:diese[rmsn]?|(?:der|dem|den|des|vorliegende[rmn]?)) (?:Text|Textes|Dokuments?|Abschnitts?|Absatz|Autors?)\b"
    r"|\bim (?:Text|Dokument|Abschnitt|Absatz)\b"
    r"|\b(?:este|esta|el|del|según el) (?:texto|documento|pasaje|párrafo|autor|sección)\b"
    r"|\b(?:ce|cette|le|du|selon le) (?:texte|document|passage|paragraphe|section)\b|\bl['’]auteur\b",  # noqa: RUF001
    re.IGNORECASE,
)

_POINTING_WORDS = PERSONS | word_set("it its they them their theirs themselves itself this these")


@dataclass(frozen=True)
class Asking:
    """A document that questions are written about, and what its questions have to name.

    Attributes:
        passage: the document.
        language: of the corpus, by its code; empty where it is not known.
        settings: what is asked of questions.
    """

    passage: Passage
    language: str
    settings: QuestionRules

    @cached_property
    def _terms(self) -> frozenset[str]:
        return frozenset(terms(self.passage.text, self.language)) | self._titles

    @cached_property
    def _titles(self) -> frozenset[str]:
        document = self.passage.document.id
        file = PurePosixPath(cut_document(document) or document).stem.replace("-", " ").replace("_", " ")
        titles = terms(" . ".join((file, *self.passage.headings)), self.language)
        return frozenset(titles) - _GENERAL_TITLES

    @cached_property
    def _names(self) -> frozenset[str]:
        return self._titles | names(self.passage.text, self.language)

    def checked(self, pair: Pair, request: str = "", field: str = "") -> Written | Rejected:
        """A pair with the place of its answer, or the first reason to reject it.

        Args:
            pair: as it was written.
            request: that it answers.
            field: what it asks for, where that is known.
        """
        found = self.place(pair.answer)
        reason = self._fault(pair, found is not None)
        if reason or found is None:
            return Rejected(self.passage.document.id, reason, pair.question, pair.answer, request)
        return self.written(pair, found, request, field)

    def written(self, pair: Pair, place: tuple[int, int], request: str = "", field: str = "") -> Written:
        """A pair whose answer stands at a place of the document."""
        start, end = place
        answer = self.passage.text[start:end]
        return Written(
            self.passage.document.id,
            pair.question,
            answer,
            start,
            end,
            self.passage.sentence_at(start)[0],
            field or kind_of(answer),
            self.passage.topic,
            request,
        )

    def place(self, answer: str) -> tuple[int, int] | None:
        """Where an answer stands behind the headings: first character, and the one after its last."""
        found = find_answer(self.passage.text[self.passage.body :], answer) if answer.strip() else None
        return (found[0] + self.passage.body, found[1] + self.passage.body) if found else None

    def _fault(self, pair: Pair, stands: bool) -> str:
        question, answer = pair.question, pair.answer
        asks = _QUESTION_MARK.search(question) or self.language in _WITHOUT_MARK or "____" in question
        if not asks or len(question) > _LONGEST_QUESTION:
            return NO_QUESTION
        if not stands:
            return NOWHERE
        answered = terms(answer, self.language)
        if _words(answer) > self.settings.max_answer_words:
            return LONG
        if not answered or set(answered) <= _UNTELLING:
            return UNTELLING
        if says(question, answer) or set(answered) <= set(terms(question, self.language)):
            return GIVEN_AWAY
        if _POINTING.search(question):
            return POINTS
        if self._dangles(question):
            return PRONOUN
        return "" if self.names_subject(question, answered) else NO_SUBJECT

    def names_subject(self, question: str, answered: Sequence[str]) -> bool:
        """Whether a question tells what it is about: by a name of the document or of a heading, or by several words.

        Args:
            question: its text.
            answered: terms of its answer, which do not count.
        """
        shared = set(shared_terms(question, self._terms, self.language)) - set(answered)
        return bool(shared & self._names) or len(shared) >= _FEWEST_SHARED

    def _dangles(self, question: str) -> bool:
        """Whether a pronoun stands before anything that it could stand for."""
        for start, _, word in places(question):
            if word.lower() in _POINTING_WORDS:
                before = question[:start]
                named = set(terms(before, self.language)) & self._names
                return not named and len(shared_terms(before, self._terms, self.language)) < 2
        return False


def _words(answer: str) -> int:
    """Words of an answer; of scripts without spaces, every two characters count as one."""
    return (len(places(answer)) + 1) // 2 if not answer.isascii() and " " not in answer else len(answer.split())
