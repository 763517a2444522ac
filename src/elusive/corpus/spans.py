"""Spans without tags: marked by the answers of questions, by regular expressions, or by a spaCy pipeline."""

import collections
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import regex

from elusive.config.corpus import CorpusSettings
from elusive.config.scoring import ScoreSettings
from elusive.errors import ElusiveError

from .documents import Document, cut_document
from .questions import QuestionItem
from .tags import Span
from .wording import by_field, counted

Marker = Callable[[Iterable[Document]], Iterator[Document]]
"""Adds spans to a stream of documents; takes and gives them in one order."""


NOWHERE = "the answer stands nowhere in its document"


INSIDE_WORDS = "the answer stands in its document only as a part of longer words"


NO_DOCUMENT = "no document has this id"


# What words are made of where white space or punctuation sets them apart: letters, digits and the marks on them.
# Scripts that write words without a space between them, or join particles to them, have no such border: Thai to
# Myanmar, Hangul, Khmer, kana, and Chinese characters.
_LETTER = (
    r"[^\W\u0e00-\u0eff\u1000-\u11ff\u1780-\u17ff\u3040-\u318f\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    r"\U00020000-\U0003ffff]"
)


_MARK = r"[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1-\u05c5\u064b-\u065f\u0900-\u0963\u0970-\u0df3]"  # re's \w has none


_WORD = re.compile(f"{_LETTER}|{_MARK}")


_SPAN_GROUP = "span"


@dataclass(frozen=True)
class Unplaced:
    """A reference answer without a place.

    Attributes:
        id: the question.
        document_id: the document that it names.
        answer: the reference answer.
        reason: why it has no place.
    """

    id: str
    document_id: str
    answer: str
    reason: str


@dataclass
class MarkCounts:
    """What markers did; complete when their stream has ended.

    Attributes:
        questions: questions whose answers were looked for.
        found: reference answers that were found.
        unplaced: reference answers that were not.
        already_marked: reference answers left alone, because their document came with answer spans of its own.
        patterns: matches by field.
        entities: entities by field.
        pipeline: the spaCy pipeline.
    """

    questions: int = 0
    found: int = 0
    unplaced: list[Unplaced] = field(default_factory=list)
    already_marked: int = 0
    patterns: collections.Counter[str] = field(default_factory=collections.Counter)
    entities: collections.Counter[str] = field(default_factory=collections.Counter)
    pipeline: str = ""

    def lines(self) -> list[str]:
        """The counts in words, a line for each kind of marker that did anything."""
        said = []
        if self.found or self.unplaced:
            said.append(self._answers())
        if self.patterns:
            said.append(f"patterns: {by_field(self.patterns, 'match', 'matches')}")
        if self.pipeline:
            said.append(f"{self.pipeline}: {by_field(self.entities, 'entity', 'entities')}")
        return said

    def _answers(self) -> str:
        reasons = collections.Counter(one.reason for one in self.unplaced)
        total = self.found + len(self.unplaced) + self.already_marked
        ways = (
            (reasons[NOWHERE], "stand nowhere in their document"),
            (reasons[INSIDE_WORDS], "stand there only as a part of longer words"),
            (reasons[NO_DOCUMENT], "name no document"),
            (self.already_marked, "left to the spans that their documents came with"),
        )
        rest = ", ".join(f"{number:,} {words}" for number, words in ways if number)
        return f"{self.found:,} of {counted(total, 'answer')} found in their documents" + (f"; {rest}" if rest else "")


def markers(settings: CorpusSettings, questions: Iterable[QuestionItem] = ()) -> tuple[list[Marker], MarkCounts]:
    """The markers of a corpus's settings, to be chained in this order.

    Answers (`mark_answers`): each reference answer is marked at its first place in the document with its question's
    document_id, as whole words, in its own case or else in any; its white space matches any run of white space. The
    span's field is the question's. Where a document or a file was cut into chunks, its id stands for all of them, and
    an answer is marked in the first chunk that holds it. A document that comes with answer spans of its own stays as
    it is.
    Patterns (`patterns`): "field=regex", each match of Python's `re`, or of its group `span` where it has one.
    Entities (`spacy`): each entity of a spaCy pipeline, under its label in lower case.

    Args:
        settings: which markers.
        questions: their answers are marked.

    Returns:
        Markers for one iteration over the documents (existing spans stay, none is doubled, and they are sorted by
        place), and their counts, which are complete when the stream has ended.

    Raises:
        ElusiveError: if a pattern is no regular expression, or spaCy or its pipeline is missing.
    """
    counts = MarkCounts()
    chosen: list[Marker] = []
    sought: dict[str, list[_Wanted]] = collections.defaultdict(list)
    for item in questions if settings.mark_answers else ():
        counts.questions += 1
        sought[item.document_id] += [_Wanted(item, answer) for answer in item.answers]
    if sought:
        chosen.append(lambda documents: _mark_answers(documents, sought, counts))
    if settings.patterns:
        patterns = [_pattern(given) for given in settings.patterns]
        counts.patterns.update(dict.fromkeys((name for name, _ in patterns), 0))
        chosen.append(lambda documents: _mark_patterns(documents, patterns, settings.pattern_seconds, counts))
    if settings.spacy:
        pipeline = _spacy_pipeline(settings.spacy)
        counts.pipeline = settings.spacy
        chosen.append(lambda documents: _mark_entities(documents, pipeline, counts))
    return chosen, counts


def mark(documents: Iterable[Document], chosen: Sequence[Marker]) -> Iterator[Document]:
    """Run documents through markers, one after the other, as a stream."""
    for marker in chosen:
        documents = marker(documents)
    yield from documents


def mark_entries(entries: Iterable[Any], chosen: Sequence[Marker]) -> Iterator[Any]:
    """The same for a stream that holds other things too: these pass by, no later than the document after them."""
    passed: collections.deque[Any] = collections.deque()

    def documents() -> Iterator[Document]:
        for entry in entries:
            if isinstance(entry, Document):
                yield entry
            else:
                passed.append(entry)

    for document in mark(documents(), chosen):
        while passed:
            yield passed.popleft()
        yield document
    yield from passed


def _with_spans(document: Document, found: Iterable[Span]) -> Document:
    new = set(found) - set(document.spans)
    if not new:
        return document
    spans = sorted((*document.spans, *new), key=lambda span: (span.start, span.end, span.field))
    return Document(document.id, document.text, tuple(spans))


# Answers


@dataclass
class _Wanted:
    """A reference answer that has no place yet, and why."""

    item: QuestionItem
    answer: str
    reason: str = NO_DOCUMENT


def _mark_answers(
    documents: Iterable[Document], sought: dict[str, list[_Wanted]], counts: MarkCounts
) -> Iterator[Document]:
    for document in documents:
        spans: list[Span] = []
        for name in filter(None, (document.id, cut_document(document.id))):
            wanted = sought.get(name)
            if not wanted:
                continue
            if any(span.field not in ScoreSettings.head_fields for span in document.spans):
                counts.already_marked += len(sought.pop(name))
                continue
            spans += _answer_spans(document.text, wanted)
            sought[name] = [one for one in wanted if one.reason]  # a later chunk may hold them
            counts.found += len(wanted) - len(sought[name])
        yield _with_spans(document, spans) if spans else document
    for wanted in sought.values():
        counts.unplaced += [Unplaced(one.item.id, one.item.document_id, one.answer, one.reason) for one in wanted]


def _answer_spans(text: str, wanted: Iterable[_Wanted]) -> Iterator[Span]:
    """The places of the answers; stores with each answer the reason why it has none."""
    for one in wanted:
        if place := find_answer(text, one.answer):
            one.reason = ""
            yield Span(one.item.field, *place)
        elif one.reason != INSIDE_WORDS:
            inside = one.answer.strip() and re.search(_words(one.answer), text, re.IGNORECASE)
            one.reason = INSIDE_WORDS if inside else NOWHERE


def find_answer(text: str, answer: str) -> tuple[int, int] | None:
    """Where an answer first stands in a text as whole words, in its own case or else in any.

    Args:
        text: the text.
        answer: the answer; its white space matches any run of white space.

    Returns:
        Start and end in characters, or None.

    Example:
        >>> find_answer("The British\\n  Museum", "the British Museum")
        (0, 20)
        >>> find_answer("a party", "art") is None
        True
    """
    words = _words(answer)
    for flags in (re.NOFLAG, re.IGNORECASE) if words else ():
        for start, end in _places(re.compile(words, flags), text):
            if not (_runs_on(text, start) or _runs_on(text, end)):
                return start, end
    return None


def _words(answer: str) -> str:
    return r"\s+".join(map(re.escape, answer.split()))


def _places(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    """All matches, also those that overlap."""
    start = 0
    while match := pattern.search(text, start):
        yield match.span()
        start = match.start() + 1


def _runs_on(text: str, border: int) -> bool:
    """Whether a word continues across a border; next to a bracket, say, none does."""
    return 0 < border < len(text) and all(map(_WORD.match, text[border - 1 : border + 1]))


# Patterns


_Pattern = tuple[str, regex.Pattern[str]]
"""A field, and the regular expression that finds it."""


def _pattern(given: str) -> _Pattern:
    """The field and the regular expression of "field=regex"."""
    name, equals, expression = given.partition("=")
    name = name.strip()
    if not equals or not name or not expression:
        raise ElusiveError(
            f'corpus.patterns: expected "field=regular expression", got {given!r}. '
            'Write the field in front, e.g. "year=\\b[12][0-9]{3}\\b".'
        )
    try:
        return name, regex.compile(expression)
    except (regex.error, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise ElusiveError(
            f"corpus.patterns: {expression!r} (field {name!r}) is no regular expression: {error}. "
            "Write it as for Python's re."
        ) from None


def _mark_patterns(
    documents: Iterable[Document], patterns: Sequence[_Pattern], seconds: float, counts: MarkCounts
) -> Iterator[Document]:
    for document in documents:
        found = ((one[0], place) for one in patterns for place in _matches(*one, document, seconds))
        spans = [Span(name, *place) for name, place in found]
        counts.patterns.update(span.field for span in spans)
        yield _with_spans(document, spans)


def _matches(name: str, pattern: regex.Pattern[str], document: Document, seconds: float) -> Iterator[tuple[int, int]]:
    group = _SPAN_GROUP if _SPAN_GROUP in pattern.groupindex else 0
    try:
        for match in pattern.finditer(document.text, timeout=seconds):
            start, end = match.span(group)
            if start < end:  # a group that took no part is at -1
                yield start, end
    except TimeoutError:
        raise ElusiveError(
            f"corpus.patterns: {pattern.pattern!r} (field {name!r}) did not end within {seconds:g} s in document "
            f"{document.id!r} ({len(document.text):,} characters). Leave out repetitions within repetitions, such as "
            "(a+)+, or raise corpus.pattern_seconds."
        ) from None


# spaCy


def _spacy_pipeline(name: str) -> Any:
    try:
        import spacy
    except ImportError:
        raise ElusiveError(
            f"corpus.spacy = {name!r} needs the package spacy, which is not installed. "
            f"Install it: pip install 'elusive[spacy]' && python -m spacy download {name}"
        ) from None
    try:
        pipeline = spacy.load(name)
    except OSError as error:
        raise ElusiveError(
            f"corpus.spacy: expected the name or folder of a spaCy pipeline, and {name!r} could not be loaded "
            f"({_first_line(error)}). Install it: python -m spacy download {name}"
        ) from None
    except ValueError as error:
        raise ElusiveError(
            f"corpus.spacy: the pipeline {name!r} does not fit the installed spaCy "
            f"({_first_line(error)}). Install the one made for it: python -m spacy download {name}"
        ) from None
    if not any("doc.ents" in pipeline.get_pipe_meta(part).assigns for part in pipeline.pipe_names):
        raise ElusiveError(
            f"corpus.spacy: expected a pipeline that finds entities, got {name!r} with the parts "
            f"{', '.join(pipeline.pipe_names) or '(none)'}. Choose one with ner or entity_ruler."
        )
    return pipeline


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]


def _mark_entities(documents: Iterable[Document], pipeline: Any, counts: MarkCounts) -> Iterator[Document]:
    texts = ((_not_too_long(document, pipeline).text, document) for document in documents)
    for parsed, document in pipeline.pipe(texts, as_tuples=True):
        spans = [
            Span(entity.label_.lower(), entity.start_char, entity.end_char) for entity in parsed.ents if entity.label_
        ]
        counts.entities.update(span.field for span in spans)
        yield _with_spans(document, spans)


def _not_too_long(document: Document, pipeline: Any) -> Document:
    if len(document.text) > pipeline.max_length:
        raise ElusiveError(
            f"document {document.id!r} has {len(document.text):,} characters, and spaCy reads at most "
            f"{pipeline.max_length:,} at once. Cut the corpus into shorter documents."
        )
    return document
