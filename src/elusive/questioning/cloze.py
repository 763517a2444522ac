"""Questions without a language model: the sentences of a document, each with a gap in the place of a fact.

These are cloze statements, no questions as people ask them: they measure whether a model completes what it read.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import regex

from elusive.corpus.tags import Span

from .checks import PRONOUN, Asking
from .pairs import Kind, Pair, Rejected, Written, kind_of
from .passages import Passage
from .terms import MONTHS, function_words, looks_like_code, names, places

GAP = "____"

_FEWEST_WORDS, _MOST_WORDS = 5, 45
"""Of a sentence that gets a gap."""

_QUANTITY = regex.compile(
    r"(?<![\w.,/-])\p{N}[\p{N}.,:]*(?:\s?(?:%|°C|[kKMG]?i?[BbWV]|[kcm]?m|bar|[kmM]?g|[mk]?Hz|[mk]?s|min)\b|\s?%)?(?![\w-])"
)

_KINDS: tuple[Kind, ...] = ("date", "number", "entity", "code", "phrase")
"""What gaps are made of, the most telling first."""


@dataclass(frozen=True)
class _Gap:
    """What may be left out of a sentence."""

    start: int
    end: int
    field: Kind
    marked: bool


def cloze_statements(asking: Asking, heads: Iterable[str]) -> Iterator[Written | Rejected]:
    """The cloze statements of a document, one a sentence at most: marked spans first, then dates, numbers, names.

    Args:
        asking: the document.
        heads: fields of head entities, which name the subject and are no facts.
    """
    heads = frozenset(heads)
    passage = asking.passage
    subject = _subject(passage, heads)
    gaps = {place: _gaps(asking, *place, heads) for place in passage.sentences if _is_askable(passage, *place)}
    order = sorted((place for place in gaps if gaps[place]), key=lambda place: _rank(gaps[place][0]))
    for place in order:
        best: Written | Rejected | None = None
        for gap in gaps[place]:
            best = _statement(asking, place, gap, subject)
            if isinstance(best, Written):
                break
        if best:
            yield best


def _statement(asking: Asking, place: tuple[int, int], gap: _Gap, subject: str) -> Written | Rejected:
    text, answer = asking.passage.text, asking.passage.text[gap.start : gap.end]
    sentence = text[place[0] : gap.start] + GAP + text[gap.end : place[1]]
    sentence = " ".join(regex.sub(r"\A\s*(?:[-*+•>]\s+|\d+[.)]\s+)*|\*\*|`", "", sentence).split())
    lead = "Complete" if asking.language in ("en", "") else ""
    found = asking.checked(Pair(f"{lead}: {sentence}".removeprefix(": "), answer), field=gap.field)
    unnamed = isinstance(found, Rejected) or _begins_unnamed(sentence)
    if unnamed and subject and subject not in sentence and subject != answer:
        named = f"{lead} ({subject}): {sentence}" if lead else f"({subject}) {sentence}"
        found = asking.checked(Pair(named, answer), field=gap.field)
    elif not isinstance(found, Rejected) and _begins_unnamed(sentence):
        return Rejected(found.document_id, PRONOUN, found.question, answer)
    if isinstance(found, Rejected):
        return found
    # The answer's first place in the document may be another one than that of the gap.
    return Written(
        found.document_id, found.question, answer, gap.start, gap.end, place[0], found.field, found.topic, found.request
    )


_UNNAMED = regex.compile(r"(?:he|she|it|they|his|her|its|their|this|these|that|those)\b", regex.IGNORECASE)


def _begins_unnamed(sentence: str) -> bool:
    return _UNNAMED.match(sentence) is not None


def _subject(passage: Passage, heads: frozenset[str]) -> str:
    """What a document is about: its marked head entity, or its last heading and the first above it."""
    marked = [passage.text[span.start : span.end] for span in passage.document.spans if span.field in heads]
    if marked:
        return marked[0]
    titles = list(dict.fromkeys([*passage.headings[:1], *passage.headings[-1:]]))
    return ", ".join(title.strip().rstrip(":") for title in titles)


def _is_askable(passage: Passage, start: int, end: int) -> bool:
    sentence = passage.text[start:end].strip()
    words = len(places(sentence))
    return start >= passage.body and _FEWEST_WORDS <= words <= _MOST_WORDS and not sentence.startswith(("|", "!", "<"))


def _rank(gap: _Gap) -> tuple[bool, int, int]:
    kind = _KINDS.index(gap.field) if gap.field in _KINDS else 0
    return not gap.marked, kind, gap.start


def _gaps(asking: Asking, start: int, end: int, heads: frozenset[str]) -> list[_Gap]:
    """What may be left out of a sentence, the most telling first."""
    passage = asking.passage
    marked = [
        _Gap(span.start, span.end, span.field, True)
        for span in passage.document.spans
        if start <= span.start and span.end <= end and span.field not in heads
    ]
    if marked:
        return marked
    found = [
        _Gap(span.start, span.end, span.field, False) for span in _facts(passage.text, start, end, asking.language)
    ]
    titles = " ".join(passage.headings).lower()
    telling = [gap for gap in found if passage.text[gap.start : gap.end].lower() not in titles]
    return sorted(telling, key=_rank)


def _facts(text: str, start: int, end: int, language: str) -> Iterator[Span]:
    """The dates, numbers, names and words of code in a sentence."""
    sentence = text[start:end]
    taken: list[tuple[int, int]] = []
    for first, last in [*_quantities(sentence), *_code(sentence), *_named(sentence, language)]:
        apart = not any(first < other_last and other_first < last for other_first, other_last in taken)
        if apart and _stands_alone(sentence, first, last):
            taken.append((first, last))
            yield Span(kind_of(sentence[first:last]), start + first, start + last)


_BESIDE_WORDS = regex.compile(r"[\s()\[\]{}\"“”„«».,;:!?*`'’]")  # noqa: RUF001

_REFERENCE = regex.compile(
    r"(?:section|chapter|figure|table|appendix|part|page|step|abschnitt|kapitel|seite|chapitre|capítulo|§)\s*\Z",
    regex.IGNORECASE,
)
"""What stands in front of a number of another part of the text."""


_MARKED = (regex.compile(r"(?:\w\(|(?<!\w)\[)\Z"), regex.compile(r"[)\]]"))
"""What stands around the section of a manual page, `dpkg(8)`, or the number of a note, `[3]`."""


def _stands_alone(sentence: str, start: int, end: int) -> bool:
    """Whether what may be left out is a word or more, no piece of an address, and no number of a section or note."""
    before, after = sentence[:start], sentence[end : end + 1]
    whole = all(not beside or _BESIDE_WORDS.match(beside) for beside in (before[-1:], after))
    number = sentence[start:end].rstrip("0123456789.")
    mark = sentence[start:end].isdigit() and _MARKED[0].search(before) and _MARKED[1].match(after)
    return whole and not mark and not before.endswith("://") and not _REFERENCE.search(before + number)


_DATE = regex.compile(
    rf"(?:\d{{1,2}}\.?\s+)?\b(?:{MONTHS})\s+(?:\d{{1,2}}(?:st|nd|rd|th)?,?\s+)?\d{{4}}\b|\b\d{{4}}-\d\d-\d\d\b"
)


def _quantities(sentence: str) -> Iterator[tuple[int, int]]:
    for pattern in (_DATE, _QUANTITY):
        yield from (
            (match.start(), match.start() + len(match.group().rstrip(".,:"))) for match in pattern.finditer(sentence)
        )


def _code(sentence: str) -> Iterator[tuple[int, int]]:
    for match in regex.finditer(r"`([^`'\n]{1,60})`", sentence):
        yield match.span(1)
    yield from ((start, end) for start, end, word in places(sentence) if looks_like_code(word))


def _named(sentence: str, language: str) -> Iterator[tuple[int, int]]:
    """Words side by side that name something."""
    naming = names(sentence, language)
    group: list[tuple[int, int]] = []
    for start, end, word in places(sentence):
        is_name = word.lower() in naming and word.lower() not in function_words(language)
        if group and not (is_name and sentence[group[-1][1] : start].isspace()):
            yield group[0][0], group[-1][1]
            group = []
        if is_name:
            group.append((start, end))
    if group:
        yield group[0][0], group[-1][1]
