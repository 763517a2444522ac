"""Forms of documents that are converted: their suffixes, and who reads them."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from elusive.config.corpus import CorpusFormat


class Form(NamedTuple):
    """One form of documents.

    Attributes:
        words: what messages and counts call it.
        pandoc: pandoc's name of it (empty: another converter reads it).
        suffixes: of files that have it.
        is_archive: whether it is a ZIP archive of parts.
    """

    words: str
    pandoc: str
    suffixes: tuple[str, ...]
    is_archive: bool = False

    def reader(self, content: bytes) -> str:
        """The name of pandoc's reader for a content: manual pages are written in one of two sets of macros."""
        return "mdoc" if self.pandoc == "man" and _MDOC.search(content) else self.pandoc


_MDOC = re.compile(rb"^\.(?:Dd|Sh)\b", re.MULTILINE)

FORMS: Mapping[CorpusFormat, Form] = {
    "html": Form("HTML", "html", (".html", ".htm", ".xhtml")),
    "pdf": Form("PDF", "", (".pdf",)),
    "docx": Form("Word", "docx", (".docx",), is_archive=True),
    "pptx": Form("PowerPoint", "pptx", (".pptx",), is_archive=True),
    "xlsx": Form("Excel", "xlsx", (".xlsx",), is_archive=True),
    "odt": Form("OpenDocument", "odt", (".odt",), is_archive=True),
    "epub": Form("EPUB", "epub", (".epub",), is_archive=True),
    "notebook": Form("notebook", "ipynb", (".ipynb",)),
    "rst": Form("reStructuredText", "rst", (".rst", ".rest")),
    "man": Form("manual page", "man", (".man", ".roff", ".mdoc")),
    "asciidoc": Form("AsciiDoc", "asciidoc", (".adoc", ".asciidoc")),
    "rtf": Form("RTF", "rtf", (".rtf",)),
    "org": Form("Org", "org", (".org",)),
    "latex": Form("LaTeX", "latex", (".tex", ".latex")),
    "docbook": Form("DocBook", "docbook", (".dbk", ".docbook")),
    "mediawiki": Form("MediaWiki", "mediawiki", (".wiki", ".mediawiki")),
    "pod": Form("POD", "pod", (".pod",)),
}
"""The forms, by their names in `corpus.format`."""

FORM_OF_SUFFIX: Mapping[str, CorpusFormat] = {suffix: name for name, form in FORMS.items() for suffix in form.suffixes}
