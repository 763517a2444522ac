"""A file of any of the forms as Markdown."""

from collections.abc import Callable, Mapping

from elusive.config.corpus import CorpusFormat, CorpusSettings
from elusive.corpus.encodings import decoded
from elusive.corpus.input_files import ReadLimits, read_bytes

from ..files import SourceFile
from .archives import check_archive
from .forms import FORMS
from .html import without_boilerplate
from .pandoc import to_markdown
from .pdf import pdf_to_markdown
from .sources import without_comments, without_includes, without_requests

_PREPARED: Mapping[str, Callable[[str], str]] = {
    "html": without_boilerplate,
    "man": without_requests,
    "asciidoc": without_includes,
    "rst": without_comments,
}


def converted(file: SourceFile, form: CorpusFormat, settings: CorpusSettings) -> str:
    """The content of a file as Markdown.

    Args:
        file: the file, compressed or not.
        form: one of `forms.FORMS`.
        settings: `convert_seconds`, `max_read_bytes`, `max_expansion` and `encoding`.

    Raises:
        ElusiveError: with what to install, if the converter is missing; with the reason, if the file cannot be
            converted within the limits.
    """
    limits = ReadLimits.of(settings)
    if form == "pdf":
        return pdf_to_markdown(file, settings)
    content = read_bytes(file.path, file.label, limits.of_bytes)
    if FORMS[form].is_archive:
        check_archive(content, limits, file.path.name)
    else:
        text = decoded(content, settings.encoding, declared=form in ("html", "docbook"))
        content = _PREPARED.get(form, str)(text).encode("utf-8", "replace")
    return to_markdown(content, FORMS[form].reader(content), settings)
