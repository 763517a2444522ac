"""Text and Markdown files as documents, long ones in chunks; and files that are converted to Markdown first."""

import itertools
import re
from collections.abc import Iterator
from typing import BinaryIO

from elusive.config.corpus import CorpusFormat
from elusive.corpus.documents import Document, Entry, chunk_id
from elusive.corpus.encodings import guess_in_words
from elusive.corpus.input_files import bounded_lines, read_bytes
from elusive.corpus.quarantine import RAW_CHARACTERS, LeftOut, bad_row

from .chunks import Block, Chunk, chunked, markdown_blocks, plain_blocks, token_counts
from .conversion.converting import converted
from .files import SourceFile
from .read_state import ReadState

_HAS_HEADS = re.compile(r"^[ ]{0,3}(?:#|-|=|\+\+\+|<!--)", re.MULTILINE)
"""Where a text may have headings, front matter or comments."""

WITHOUT_TEXT = LeftOut("file of headings, links or comments alone")

IN_OTHER_FORM = LeftOut("text that other files have as pages")


def text_entries(file: SourceFile, state: ReadState, *, markdown: bool) -> Iterator[Entry]:
    """The chunks of one file, until the limit; a file that is not UTF-8 or empty is one bad row.

    The id is the file's path in the source, with `#0001` ... behind it where the file makes several chunks.

    Args:
        file: the file; Markdown is read whole, text a line at a time.
        state: ids and limits of the source so far.
        markdown: cut at the blocks of Markdown, not at blank lines.
    """
    line, reason = _problem(file)
    if reason:
        with file.opened() as stream:
            yield bad_row(file.label, line, reason, stream.read(4 * RAW_CHARACTERS))
    elif markdown:
        text = _whole(file)
        state.repeats_pages([text], "markdown", file)
        yield from _markdown_entries(text, file, state)
    elif _repeats_pages(file, state):
        yield IN_OTHER_FORM
    else:
        yield from _chunk_entries(_plain_chunks(file, state), file, state)


def converted_entries(file: SourceFile, state: ReadState, form: CorpusFormat) -> Iterator[Entry]:
    """The chunks of a file that is converted to Markdown.

    Args:
        file: the file; it is read whole.
        state: ids and limits of the source so far.
        form: of the file.

    Raises:
        ElusiveError: with the reason, if it cannot be converted.
    """
    text = converted(file, form, state.settings)
    if state.repeats_pages([text], form, file):
        yield IN_OTHER_FORM
        return
    state.counts.converted[form] += 1
    yield from _markdown_entries(text, file, state)


def _repeats_pages(file: SourceFile, state: ReadState) -> bool:
    with file.opened() as stream:
        return state.repeats_pages(_lines(stream), "text", file)


def _markdown_entries(text: str, file: SourceFile, state: ReadState) -> Iterator[Entry]:
    budget, headings = state.settings.chunk_tokens, state.settings.headings
    if budget and len(text.encode()) > budget:
        count = token_counts(state.tokenizer)
        if count([text])[0] > budget:
            blocks = markdown_blocks(text, lambda part: count([part])[0] > budget)
            yield from _chunk_entries(chunked(blocks, budget, count, headings=headings), file, state)
            return
    # A token stands for at least one byte, so a file this short needs no counting.
    blocks = markdown_blocks(text, lambda part: False) if _HAS_HEADS.search(text) else [Block(text)]
    yield from _chunk_entries(chunked(blocks, 0, _nothing, headings=headings), file, state)


def _nothing(texts: object) -> list[int]:
    return [0] * len(texts)  # type: ignore[arg-type]


def _chunk_entries(chunks: Iterator[Chunk], file: SourceFile, state: ReadState) -> Iterator[Entry]:
    first, second = next(chunks, None), next(chunks, None)
    if first is None:
        yield _without_text(file)
        return
    numbered = enumerate(itertools.chain((first, second), chunks), 1) if second is not None else [(0, first)]
    state.counts.cut += second is not None
    for number, chunk in numbered:
        assert chunk is not None
        if number:
            state.counts.chunks += 1
            state.counts.longest = max(state.counts.longest, chunk.tokens)
        document = Document(chunk_id(file.plain_name, number) if number else file.plain_name, chunk.text)
        reason = state.repeated(document, file.label, "")
        yield bad_row(file.label, 1, reason, document.text.encode()) if reason else document
        if state.full:
            return


def _without_text(file: SourceFile) -> Entry:
    """What becomes of a file that makes no document."""
    with file.opened_as_bytes() as stream:
        raw = stream.read(4 * RAW_CHARACTERS)
    if raw.strip(b"\xef\xbb\xbf \t\r\n\0"):
        return WITHOUT_TEXT
    return bad_row(file.label, 1, "empty text: expected at least one character that is not white space", raw)


def _problem(file: SourceFile) -> tuple[int, str]:
    """The first line that cannot be used, and why; 1 and nothing if there is none."""
    offset = paragraph = 0
    with file.opened() as stream:
        for number, line, problem in bounded_lines(stream, file.limits):
            paragraph = paragraph + len(line) if line.strip() else 0
            if problem or paragraph > file.limits.at_once:
                return number, problem or file.limits.too_long("a paragraph")
            try:
                line.decode()
            except UnicodeDecodeError as error:
                reason = f"not UTF-8 (byte 0x{line[error.start]:02x} at position {offset + error.start})"
                return number, f"{reason}{guess_in_words(line + stream.read(RAW_CHARACTERS))}"
            offset += len(line)
    return 1, ""


def _plain_chunks(file: SourceFile, state: ReadState) -> Iterator[Chunk]:
    budget = state.settings.chunk_tokens
    with file.opened() as stream:
        head = stream.read(budget + 1) if budget else b""
    if len(head) <= budget or not budget:
        yield from chunked([Block(_whole(file))], 0, _nothing)
        return
    with file.opened() as stream:
        yield from chunked(plain_blocks(_lines(stream)), budget, token_counts(state.tokenizer))


def _whole(file: SourceFile) -> str:
    return read_bytes(file.path, file.label, file.limits).decode("utf-8-sig").replace("\r\n", "\n")


def _lines(stream: BinaryIO) -> Iterator[str]:
    for number, line in enumerate(stream):
        yield line.decode("utf-8" if number else "utf-8-sig").replace("\r\n", "\n")
