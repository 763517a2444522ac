"""The files of a source, and the format of each."""

import contextlib
import glob
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from elusive.config.corpus import CorpusFormat
from elusive.corpus.encodings import encoding_of_mark, guess_in_words, wide_encoding
from elusive.corpus.input_files import Line, ReadLimits, bounded_lines, is_compressed, opened
from elusive.errors import ElusiveError
from elusive.inputs import is_pipe, is_there, pipe_blocks, regular_file
from elusive.runs.files import file_hash
from elusive.runs.temporary import temporary_folder
from elusive.storage import Location, UrlPath, is_url, located

from .conversion.forms import FORM_OF_SUFFIX, FORMS
from .markup import markup_of, refused_markup
from .other_forms import OTHER_FORMS

HUB_PREFIX = "hf:"


STANDARD_INPUT = "-"


_DATASET_FILES = ("dataset_dict.json", "dataset_info.json")


_FORMATS: Mapping[str, CorpusFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".markdown": "markdown",
}


_COMPRESSED_SUFFIXES = (".gz", ".zst", ".zstd")


# First bytes of forms that hold no plain text, and what they are.
_FOREIGN = {
    b"\xd0\xcf\x11\xe0": "an office document of before 2007",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"GIF8": "an image",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"ARROW1": "an Arrow file",
    b"SQLite format 3": "a database",
    b"\x7fELF": "a program",
}

_WITHOUT_TEXT: Mapping[str, Sequence[str]] = {
    "image": (
        ".png",
        ".jpg",
        ".jpeg",
        ".gif",
        ".svg",
        ".ico",
        ".webp",
        ".bmp",
        ".tif",
        ".tiff",
        ".xpm",
        ".eps",
        ".avif",
    ),
    "style sheet": (".css", ".scss", ".less", ".xsl"),
    "script of pages": (".js", ".mjs", ".map", ".wasm"),
    "font": (".woff", ".woff2", ".ttf", ".otf", ".eot"),
    "sound or film": (".mp3", ".mp4", ".ogg", ".wav", ".flac", ".webm", ".mov", ".avi", ".mkv", ".m4a"),
    "index of a tool": (".inv", ".devhelp", ".devhelp2", ".pyc", ".mo"),
}
"""Files that stand beside documents and hold none, by their suffixes."""

_BEGINNINGS: Mapping[bytes, CorpusFormat] = {b"%PDF": "pdf", b"{\\rtf": "rtf", b"PAR1": "parquet"}

_PARTS: Mapping[bytes, CorpusFormat] = {
    b"word/": "docx",
    b"ppt/": "pptx",
    b"xl/": "xlsx",
    b"mimetypeapplication/epub+zip": "epub",
    b"mimetypeapplication/vnd.oasis.opendocument.text": "odt",
}
"""What stands near the start, or in the list of parts at the end, of archives that are documents."""

_MAYBE_MARKUP = (
    "",
    ".txt",
    ".text",
    ".md",
    ".markdown",
    ".xml",
    ".in",
    ".doc",
    ".readme",
    ".texi",
    ".texinfo",
    ".info",
)

_SECTION = re.compile(r"\.[1-9n][a-zA-Z]*$")
"""The suffix of a manual page; other files have such names too (`libc.so.6`)."""


_HEAD_BYTES = 1 << 16


_SAMPLE_BYTES = 4096


_MARKDOWN = re.compile(r"\A---[ \t]*\n|^#{1,6} \S|^(```|~~~)", re.MULTILINE)


class SourceFile(NamedTuple):
    """One file of a source.

    Attributes:
        path: where its bytes stand, on this machine or at a URL.
        label: what messages call it.
        name: its path within the source, with which ids begin.
        alone: whether the source is this file.
        limits: how much of it is read.
    """

    path: Location
    label: str
    name: str
    alone: bool
    limits: ReadLimits = ReadLimits()

    @property
    def plain_name(self) -> str:
        """The name without the suffix of a compression."""
        stem, suffix = os.path.splitext(self.name)
        return stem if suffix.lower() in _COMPRESSED_SUFFIXES else self.name

    @property
    def may_repeat(self) -> bool:
        """Whether its name says that pages may be read in it once more, in another form."""
        suffix = os.path.splitext(self.plain_name)[1].lower()
        return (_FORMATS.get(suffix) or FORM_OF_SUFFIX.get(suffix)) in OTHER_FORMS

    def opened(self) -> contextlib.AbstractContextManager[BinaryIO]:
        """Its bytes as a stream, decompressed (see `input_files.opened`)."""
        return opened(self.path, self.label, self.limits)

    def opened_as_bytes(self) -> contextlib.AbstractContextManager[BinaryIO]:
        """The same for a file that may be no text."""
        return opened(self.path, self.label, self.limits.of_bytes)

    @contextlib.contextmanager
    def unpacked(self) -> Iterator[Path]:
        """The file itself, or where it was unpacked or fetched to, for readers that do not begin at its start."""
        path = regular_file(self.path, self.label)
        if isinstance(path, Path) and not is_compressed(path):
            yield path
            return
        with temporary_folder() as folder:
            path = folder / "unpacked"
            with self.opened_as_bytes() as stream, path.open("wb") as copy:
                shutil.copyfileobj(stream, copy, 1 << 20)
            yield path

    @property
    def row_prefix(self) -> str:
        """With what the id of a row that has none begins; its number in the file follows."""
        return f"{Path(self.plain_name).stem}-" if self.alone else f"{self.plain_name}#"


@dataclass(frozen=True)
class Source:
    """What `corpus.source` names.

    Attributes:
        name: as given.
        spooled: where standard input, or a pipe, was written to.
    """

    name: str
    spooled: Path | None = None

    @property
    def is_on_hub(self) -> bool:
        """Whether it is the name of a dataset on the hub; `hf://` is the URL of a file or folder there."""
        return self.name.startswith(HUB_PREFIX) and not is_url(self.name)

    @property
    def is_dataset(self) -> bool:
        """Whether the library `datasets` reads it: a name on the hub, or a folder of save_to_disk on this machine."""
        folder = Path(self.name)
        return self.is_on_hub or any(os.path.isfile(folder / name) for name in _DATASET_FILES)

    def files(self) -> Iterator[SourceFile]:
        """Its files in the order of their paths, without hidden ones; what may be pages in another form comes last."""
        yield from (file for file in self._named_files() if not file.may_repeat)
        yield from (file for file in self._named_files() if file.may_repeat)

    def _named_files(self) -> Iterator[SourceFile]:
        return (file._replace(label=_as_text(file.label), name=_as_text(file.name)) for file in self._files())

    def _files(self) -> Iterator[SourceFile]:
        path = located(self.name)
        if self.spooled:
            label = "standard input" if self.name == STANDARD_INPUT else self.name
            yield SourceFile(self.spooled, label, "stdin", alone=True)
        elif isinstance(path, UrlPath):
            yield from _files_at_url(path)
        elif os.path.isdir(path):
            for name in _walk(path, (path.resolve(),)):
                yield SourceFile(path / name, str(path / name), name, alone=False)
        elif os.path.exists(path):
            yield SourceFile(path, str(path), path.name, alone=True)
        else:
            base = _fixed_part(self.name)
            for match in sorted(glob.glob(self.name, recursive=True)):
                if os.path.isfile(match):
                    yield SourceFile(Path(match), match, Path(match).relative_to(base).as_posix(), alone=False)

    def hash(self) -> str:
        """SHA-256 over the names and contents of its files; empty for a dataset on the hub."""
        if self.is_on_hub:
            return ""
        digest = hashlib.sha256()
        for file in self.files():
            # Ids begin with the names, but the name of a single file's folder changes nothing.
            digest.update(json.dumps([file.name, _hash(file)]).encode())
        return digest.hexdigest()


def _files_at_url(place: UrlPath) -> Iterator[SourceFile]:
    """A file, those below a folder without hidden ones, or those of a pattern; in the order of their paths."""
    if place.is_file():
        yield SourceFile(place, str(place), place.name, alone=True)
        return
    parts = place.url.split("/")
    fixed = next((index for index, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    base = UrlPath("/".join(parts[:fixed]))
    for file in base.files_below("/".join(parts[fixed:])):
        name = file.url.removeprefix(f"{base.url}/")
        if not any(part.startswith(".") for part in name.split("/")):
            yield SourceFile(file, str(file), name, alone=False)


def _as_text(name: str) -> str:
    """A name as text: bytes that are not UTF-8, which a system allows in names, as `\\xNN`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _hash(file: SourceFile) -> str:
    """The hash of a file's content, or why it has none; that is said when the file is read."""
    try:
        return file_hash(regular_file(file.path))
    except ElusiveError as error:
        return str(error)


@contextlib.contextmanager
def opened_source(name: str) -> Iterator[Source]:
    """Find a source. Standard input and pipes are written to a temporary file, which stays until the block ends.

    Raises:
        ElusiveError: if there is nothing at `name`, or standard input is a terminal.
    """
    if is_url(name):
        if not any(Source(name).files()):
            raise ElusiveError(f"No file at {name}, and none below it. Give the URL of a corpus that exists.")
        yield Source(name)
    elif name.startswith(HUB_PREFIX):
        yield Source(name)
    elif name == STANDARD_INPUT:
        if sys.stdin is None or sys.stdin.isatty():
            raise ElusiveError(
                "corpus.source = '-': expected a file or a pipe on standard input, got a terminal. "
                "Write e.g. zstdcat corpus.jsonl.zst | elusive generate --source - --output corpus"
            )
        with _spooled(iter(lambda: sys.stdin.buffer.read(1 << 20), b"")) as path:
            yield Source(name, path)
    elif is_there(name):
        if is_pipe(name):
            with _spooled(pipe_blocks(name)) as path:
                yield Source(name, path)
        else:
            if not os.path.isdir(name):
                regular_file(name)
            yield Source(name)
    elif glob.has_magic(name):
        if not any(map(os.path.isfile, glob.iglob(name, recursive=True))):
            raise ElusiveError(f"No file matches the pattern {name!r}. Use * within a folder and ** for all below it.")
        yield Source(name)
    else:
        raise ElusiveError(
            f"No file or folder at {name}. Give the path of a corpus that exists, "
            "or hf:org/name for a dataset on the Hugging Face hub."
        )


@contextlib.contextmanager
def _spooled(blocks: Iterable[bytes]) -> Iterator[Path]:
    with temporary_folder() as folder:
        path = folder / "stdin"
        with path.open("wb") as copy:
            copy.writelines(blocks)
        yield path


def _walk(folder: Path, above: tuple[Path, ...], prefix: str = "") -> Iterator[str]:
    """Paths of all files under a folder, sorted, one folder held at a time; of a folder that is closed, its own."""
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError:
        if not prefix:
            raise
        yield prefix.removesuffix("/")  # why it cannot be read is said when it is
        return
    # With its slash a folder sorts among files as their whole paths do.
    for entry in sorted(visible, key=lambda entry: entry.name + "/" * os.path.isdir(entry)):
        if not os.path.isdir(entry):
            yield prefix + entry.name
            continue
        real = Path(entry.path).resolve()
        if real not in above:  # a link to a folder around it would never end
            yield from _walk(Path(entry.path), (*above, real), f"{prefix}{entry.name}/")


def _fixed_part(pattern: str) -> Path:
    """The folder in front of the first wildcard."""
    parts = Path(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:fixed])


def seen_format(file: SourceFile, columns: Sequence[str]) -> CorpusFormat:
    """The form of a file: by its suffix, and where that says nothing by its content.

    Args:
        file: the file.
        columns: names of which one stands in the header of a table; the first may stand there alone.

    Raises:
        ElusiveError: with the reason only, if it has none of the forms that can be read.
    """
    with file.opened_as_bytes() as stream:
        first_line = stream.readline(_HEAD_BYTES)
        head = first_line + stream.read(_HEAD_BYTES)
    suffix = os.path.splitext(file.plain_name)[1].lower()
    if head.startswith(b"PK\x03\x04"):
        return _archive(head, suffix)
    for magic, form in _BEGINNINGS.items():
        if head.startswith(magic):
            return form
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            raise ElusiveError(f"{what}, which cannot be read: {_remedy(what)}")
    by_name = _FORMATS.get(suffix) or FORM_OF_SUFFIX.get(suffix)
    if not file.limits.encoding and not encoding_of_mark(head) and wide_encoding(head[:_SAMPLE_BYTES]):
        raise ElusiveError(f"not UTF-8{guess_in_words(head[:_SAMPLE_BYTES])}")
    if by_name == "parquet":
        raise ElusiveError("expected a Parquet file, and it does not begin like one: copy or download it again")
    if by_name and by_name in FORMS and (FORMS[by_name].is_archive or by_name == "pdf"):
        raise ElusiveError(f"expected {FORMS[by_name].words}, and it does not begin like it: copy or download it again")
    if by_name == "json":
        return "jsonl" if _is_jsonl(file, head) else "json"
    if by_name in ("text", "markdown"):
        return _markup(head, suffix) or by_name
    return by_name or _format_of_text(file, head, suffix, columns)


def _archive(head: bytes, suffix: str) -> CorpusFormat:
    """The form of a document that is a ZIP archive: by its suffix, or by the names of its first parts."""
    by_name = FORM_OF_SUFFIX.get(suffix)
    if by_name and FORMS[by_name].is_archive:
        return by_name
    form: CorpusFormat | None = next((form for part, form in _PARTS.items() if part in head), None)
    if not form:
        raise ElusiveError(f"a ZIP archive, which cannot be read: {_remedy('a ZIP')}")
    return form


def _markup(head: bytes, suffix: str) -> CorpusFormat | None:
    """The form of a text whose name does not say that it has markup.

    Raises:
        ElusiveError: with the reason only, if it has markup that is not read.
    """
    text = _as_characters(head)
    if reason := refused_markup(text):
        raise ElusiveError(reason)
    return markup_of(text, markdown=_FORMATS.get(suffix) == "markdown")


def _as_characters(head: bytes) -> str:
    encoding = encoding_of_mark(head) or "utf-8"
    return head.decode(encoding, "replace").replace("\r\n", "\n")


def left_out(file: SourceFile) -> str:
    """Why a file of a folder is left out: it holds no text, or is read under another name. Empty for others."""
    if isinstance(file.path, Path) and os.path.islink(file.path) and os.path.isfile(file.path):
        root = str(file.path).removesuffix(file.name)
        if Path(os.path.realpath(file.path)).is_relative_to(os.path.realpath(root or ".")):
            return "link to another file of the source"
    suffix = os.path.splitext(file.plain_name)[1].lower()
    words = next((words for words, suffixes in _WITHOUT_TEXT.items() if suffix in suffixes), "")
    return f"{words} beside documents" if words else ""


def _remedy(what: str) -> str:
    if what.startswith(("a ZIP", "a bzip2", "an xz")):
        return "unpack it, and give the folder"
    if what.startswith("an office"):
        return "save it as .docx, .pptx or .xlsx"
    if what == "an Arrow file":
        return "give the folder that save_to_disk wrote, or save it as Parquet"
    return "convert it to text first" if what != "an image" else "leave it out, or put its text in a file"


def _format_of_text(file: SourceFile, head: bytes, suffix: str, columns: Sequence[str]) -> CorpusFormat:
    text = _as_characters(head)
    if "\0" in text and not file.limits.encoding:
        raise ElusiveError("a binary file of a form that is not known: convert it to text first")
    if (suffix in _MAYBE_MARKUP or _SECTION.match(suffix)) and (form := _markup(head, suffix)):
        return form
    if re.match(r'\s*[{\[]\s*(["{\[]|$)', text):
        return "jsonl" if _is_jsonl(file, head) else "json"
    header = text.partition("\n")[0]
    for delimiter in ",;\t":
        cells = {cell.strip().strip('"') for cell in header.split(delimiter)}
        if (len(cells) > 1 and cells & set(columns)) or cells == set(columns[:1]):
            return "tsv" if delimiter == "\t" else "csv"
    # A number sign begins a comment in most files with a suffix of their own.
    return "markdown" if suffix == "" and _MARKDOWN.search(text) else "text"


def _is_jsonl(file: SourceFile, head: bytes) -> bool:
    """Whether the first line is a JSON object of its own, and not the whole of one large value."""
    with file.opened() as stream:
        lines = (line for line in bounded_lines(stream, file.limits) if line.raw.strip())
        first = next(lines, Line(1, b""))
        if first.problem:
            return True  # then it is too long for one value as well
        try:
            value = json.loads(first.raw.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            return False
        alone = next(lines, None) is None
    return isinstance(value, dict) and not (alone and isinstance(value.get("data"), list))
