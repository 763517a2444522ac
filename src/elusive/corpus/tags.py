"""Spans, and the tags that mark them in a text: `<date>10 May</date>`."""

import itertools
import re
from typing import NamedTuple

_TAG = re.compile(r"(</?[^\W\d][\w-]*>)")


_FLAT_FIELD = re.compile(r"<([^\W\d][\w-]*)>([^<]*)</\1>")


class Span(NamedTuple):
    """A marked part of a text, in characters, end exclusive."""

    field: str
    start: int
    end: int


def parse_tags(tagged: str) -> tuple[str, tuple[Span, ...]]:
    """Take balanced tags out of a text.

    A closing tag belongs to the nearest open tag of its name. Tags without a partner stay in the text, and so does
    whatever else stands in angle brackets (`a < b`, `<br>`, `<a href="...">`). Tags may be nested.

    Args:
        tagged: a text with `<field>..</field>` around its fields.

    Returns:
        The text without these tags, and its spans in the order of their opening tags.

    Example:
        >>> parse_tags("<name>Ada</name> was born on <date>10 May</date>.<br>")
        ('Ada was born on 10 May.<br>', (Span(field='name', start=0, end=3), Span(field='date', start=16, end=22)))
    """
    parts = _FLAT_FIELD.split(tagged)  # text, field, marked text, text, field, marked text, ..., text
    if any(map(_TAG.search, parts[::3])):
        return _parse_nested_tags(tagged)
    spans = []
    end = 0
    for before, field, marked in zip(parts[::3], parts[1::3], parts[2::3]):  # noqa: B905 (the last text has no field)
        start = end + len(before)
        end = start + len(marked)
        spans.append(Span(field, start, end))
    del parts[1::3]
    return "".join(parts), tuple(spans)


def _parse_nested_tags(tagged: str) -> tuple[str, tuple[Span, ...]]:
    """`parse_tags` for any text; slower than the way of texts in which no field holds another tag."""
    parts = _TAG.split(tagged)  # text, tag, text, tag, ..., text
    pairs = _tag_pairs(parts)
    fields = [parts[opening][1:-1] for opening, _ in pairs]
    for opening, closing in pairs:
        parts[opening] = parts[closing] = ""
    ends = list(itertools.accumulate(map(len, parts)))
    spans = [Span(field, ends[opening], ends[closing]) for field, (opening, closing) in zip(fields, pairs, strict=True)]
    return "".join(parts), tuple(spans)


def _tag_pairs(parts: list[str]) -> list[tuple[int, int]]:
    """Places of opening and closing tags that belong together, in the order of the opening ones.

    Args:
        parts: text and tags in turn.
    """
    opened: list[tuple[str, int]] = []
    waiting: dict[str, int] = {}  # how often each tag is in `opened`
    pairs: list[tuple[int, int]] = []
    for place in range(1, len(parts), 2):
        tag = parts[place]
        if not tag.startswith("</"):
            opened.append((tag, place))
            waiting[tag] = waiting.get(tag, 0) + 1
            continue
        wanted = tag.replace("/", "")
        if waiting.get(wanted):
            found, partner = "", 0
            while found != wanted:  # tags opened after the partner lose theirs
                found, partner = opened.pop()
                waiting[found] -= 1
            pairs.append((partner, place))
    return sorted(pairs)
