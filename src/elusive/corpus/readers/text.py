"""Text and Markdown files as documents, long ones in chunks."""

import itertools
from collections.abc import Iterator
from typing import BinaryIO

from elusive.corpus.documents import Document, Entry, chunk_id
from elusive.corpus.input_files import bounded_lines, read_bytes
from elusive.corpus.quarantine import RAW_CHARACTERS, bad_row

from .chunks import Block, chunked, markdown_blocks, plain_blocks, token_counts
from .files import SourceFile
from .read_state import ReadState


def text_entries(file: SourceFile, state: ReadState, *, markdown: bool) -> Iterator[Entry]:
    """The chunks of one file, until the limit; a file that is not UTF-8 or empty is one bad row.

    The id is the file's path in the source, with `#0001` ... behind it where the file makes several chunks.

    Args:
        file: the file; Markdown is read whole, text a line at a time.
        state: ids and limits of the source so far.
        markdown: cut at the blocks of Markdown, not at blank lines.
    """
    line, reason = _problem(file)
    texts = iter(()) if reason else _texts(file, state, markdown)
    first, second = next(texts, None), next(texts, None)
    if first is None:
        with file.opened() as stream:
            reason = reason or "empty text: expected at least one character that is not white space"
            yield bad_row(file.label, line, reason, stream.read(4 * RAW_CHARACTERS))
        return
    numbered = enumerate(itertools.chain((first, second), texts), 1) if second is not None else [(0, first)]
    state.counts.cut += second is not None
    for number, text in numbered:
        state.counts.chunks += number > 0
        document = Document(chunk_id(file.plain_name, number) if number else file.plain_name, text or "")
        reason = state.repeated(document, file.label, "")
        yield bad_row(file.label, 1, reason, document.text.encode()) if reason else document
        if state.full:
            return


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
                return number, f"not UTF-8 (byte 0x{line[error.start]:02x} at position {offset + error.start})"
            offset += len(line)
    return 1, ""


def _texts(file: SourceFile, state: ReadState, markdown: bool) -> Iterator[str]:
    budget = state.settings.chunk_tokens
    with file.opened() as stream:
        head = stream.read(budget + 1) if budget else b""
    if len(head) <= budget or not budget:
        # A token stands for at least one byte, so a file this short needs no counting.
        yield from chunked([Block(_whole(file), whole=True)], 0, lambda texts: [0] * len(texts))
        return
    count = token_counts(state.tokenizer)
    if markdown:
        yield from chunked(markdown_blocks(_whole(file), lambda part: count([part])[0] > budget), budget, count)
    else:
        with file.opened() as stream:
            yield from chunked(plain_blocks(_lines(stream)), budget, count)


def _whole(file: SourceFile) -> str:
    return read_bytes(file.path, file.label, file.limits).decode("utf-8-sig").replace("\r\n", "\n")


def _lines(stream: BinaryIO) -> Iterator[str]:
    for number, line in enumerate(stream):
        yield line.decode("utf-8" if number else "utf-8-sig").replace("\r\n", "\n")
