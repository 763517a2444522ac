"""The same text in another form: a manual as HTML pages, and beside them as a PDF, an EPUB and a plain text.

Documentation is often shipped so. Read each time, it would be learned several times as often as the rest, and questions
would be written about each copy.
"""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator

import regex

from elusive.config.corpus import CorpusFormat

OTHER_FORMS: tuple[CorpusFormat, ...] = ("epub", "docx", "odt", "rtf", "pdf", "text")
"""Forms in which pages are shipped once more. They keep less of headings, tables and code than pages do."""

MOST_NEW = 0.25
"""Another form of a text has at most this share of word sequences that the pages lack. Of the handbooks of three Debian
packages in HTML, PDF, EPUB and text it is .05 to .18, of other files of the same packages .87 or more."""

_WORDS_TOGETHER = 8

_FEWEST = 100
"""Of fewer sequences nothing is said."""

_MOST_HELD = 1 << 18

_WORD = regex.compile(r"[\p{L}\p{N}]+")


class PageText:
    """The word sequences of the pages read so far, or of a share of them that is chosen by their hash.

    Memory does not grow with the pages: whenever there are too many, half of the sequences are no longer looked at.
    """

    def __init__(self) -> None:
        self._held: set[int] = set()
        self._one_of = 1

    def add(self, text: str) -> None:
        """Note the text of a page."""
        self._held.update(self._looked_at([text]))
        while len(self._held) > _MOST_HELD:
            self._one_of *= 2
            self._held = {one for one in self._held if one % self._one_of == 0}

    def share_of(self, lines: Iterable[str]) -> float:
        """The share of a text's word sequences that stand in pages, 0 to 1; 0 for a short text."""
        if not self._held:
            return 0.0
        found = set(self._looked_at(lines))
        return len(found & self._held) / len(found) if len(found) >= _FEWEST else 0.0

    def _looked_at(self, lines: Iterable[str]) -> Iterator[int]:
        together: deque[str] = deque(maxlen=_WORDS_TOGETHER)
        for line in lines:
            for word in _WORD.findall(line.casefold()):
                together.append(word)
                if len(together) == _WORDS_TOGETHER:
                    digest = hashlib.blake2b(" ".join(together).encode(), digest_size=8).digest()
                    if (number := int.from_bytes(digest)) % self._one_of == 0:
                        yield number
