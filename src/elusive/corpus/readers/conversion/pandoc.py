"""Pandoc in a process of its own: without files, without a network, within a time and a memory."""

import os
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from elusive.config.corpus import CorpusSettings
from elusive.errors import ElusiveError

_MEMORY = "2g"

_WRITER = "gfm-raw_html"


@lru_cache(maxsize=1)
def pandoc_path() -> str:
    """Where pandoc is: that of the package pypandoc_binary, or else the system's.

    Raises:
        ElusiveError: with what to install, if there is none.
    """
    try:
        import pypandoc

        return str(pypandoc.get_pandoc_path())
    except (ImportError, OSError):
        if found := shutil.which("pandoc"):
            return found
    raise ElusiveError(
        "pandoc converts this form to text, and is not installed. Install it: pip install 'elusive[documents]'"
    )


def to_markdown(content: bytes, reader: str, settings: CorpusSettings) -> str:
    """A document as Markdown whose blocks alone have marks: no emphasis, no links, no raw HTML.

    Args:
        content: the document, text as UTF-8.
        reader: pandoc's name of its form.
        settings: `convert_seconds`, and how many bytes may come out.

    Raises:
        ElusiveError: with the reason only, if it cannot be converted.
    """
    command = [
        *(pandoc_path(), "--sandbox", "--from", reader, "--to", _WRITER, "--wrap=preserve"),
        *("--lua-filter", str(_filter()), "+RTS", f"-M{_MEMORY}", "-RTS"),
    ]
    with tempfile.TemporaryFile() as written, tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as given:
        given.write(content)
        given.seek(0)
        try:
            done = subprocess.run(
                command, stdin=given, stdout=written, stderr=said, timeout=settings.convert_seconds, check=False
            )
        except subprocess.TimeoutExpired:
            raise ElusiveError(
                f"not converted within {settings.convert_seconds:g} s (corpus.convert_seconds): split it, convert it "
                "to Markdown, or raise that setting"
            ) from None
        if done.returncode:
            raise ElusiveError(_reason(_content(said, 4096), done.returncode))
        if written.tell() > settings.max_read_bytes:
            raise ElusiveError(f"it becomes more than {settings.max_read_bytes:,} bytes (corpus.max_read_bytes)")
        return _content(written, -1)


def _content(stream: BinaryIO, most: int) -> str:
    stream.seek(0)
    return stream.read(most).decode("utf-8", "replace")


@lru_cache(maxsize=1)
def _filter() -> Path:
    path = Path(__file__).with_name("plain.lua")
    if not os.path.exists(path):
        raise ElusiveError(f"{path} is missing. Install the package again.")
    return path


def _reason(said: str, code: int) -> str:
    if "heap" in said.lower() or code in (251, -9):
        return f"pandoc needs more than {_MEMORY.upper()}B of memory for it: split it, or convert it to Markdown"
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith("[WARNING]")]
    words = " ".join(" ".join(lines).split())[:300] or f"it ended with code {code}"
    return f"pandoc cannot read it ({words}): check the file, or convert it to Markdown"
