"""Documents as questions are written about them: their headings, their topic, and their sentences of prose."""

from dataclasses import dataclass
from functools import cached_property

from elusive.corpus.documents import Document, cut_document
from elusive.corpus.readers.chunks import markdown_blocks
from elusive.corpus.sentences import sentences

_LEVELS_OF_TOPIC = 2
"""Headings that a topic is named by, from the top."""


@dataclass(frozen=True)
class Passage:
    """A document, and what its Markdown says of its parts; plain text is one part without headings.

    Attributes:
        document: the text and its spans.
        headings: titles of the headings at its start, from the top.
        body: the first character behind these headings.
        sentences: first character of each sentence of prose, and the one after its last; code and tables have none.
    """

    document: Document
    headings: tuple[str, ...]
    body: int
    sentences: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, document: Document) -> "Passage":
        """Read a document's parts."""
        headings: list[str] = []
        found: list[tuple[int, int]] = []
        body = place = 0
        at_start = True
        for block in markdown_blocks(document.text, lambda text: False):
            if at_start and block.kind in ("heading", "front matter"):
                headings += [block.title] if block.kind == "heading" else []
                body = place + len(block.text)
            elif block.text.strip():
                at_start = False
                if block.kind == "text":
                    found += [(place + start, place + end) for start, end in sentences(block.text)]
            place += len(block.text)
        return cls(document, tuple(headings), body, tuple(found))

    @property
    def text(self) -> str:
        """All of the document's text."""
        return self.document.text

    @cached_property
    def topic(self) -> str:
        """What a document belongs to: its file, and the first headings where there are several in it."""
        file = cut_document(self.document.id)
        return " > ".join([*([file] if file else []), *self.headings[:_LEVELS_OF_TOPIC]]) or self.document.id

    def sentence_at(self, place: int) -> tuple[int, int]:
        """The sentence of prose that holds a character; else the line."""
        for start, end in self.sentences:
            if start <= place < end:
                return start, end
        end = self.text.find("\n", place)
        return self.text.rfind("\n", 0, place) + 1, end if end >= 0 else len(self.text)
