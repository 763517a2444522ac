"""ZIP archives that office documents and books are: checked before anything reads them."""

import io
import zipfile
import zlib

from elusive.corpus.input_files import ReadLimits
from elusive.errors import ElusiveError

_MOST_PARTS = 100_000

_HEAD_BYTES = 4096

_MARKUP = (".xml", ".rels", ".opf", ".ncx", ".xhtml", ".html", ".htm")


def check_archive(content: bytes, limits: ReadLimits, name: str = "") -> None:
    """Refuse an archive that would fill the memory, or that defines entities.

    Args:
        content: the archive.
        limits: how far it may grow.
        name: of the file.

    Raises:
        ElusiveError: with the reason only.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = archive.infolist()
            _check_size(parts, len(content), limits)
            for part in parts:
                if part.filename.lower().endswith(_MARKUP):
                    with archive.open(part) as stream:
                        _check_entities(stream.read(_HEAD_BYTES), part.filename)
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        ValueError,
        OSError,
        zlib.error,
    ) as error:
        words = "it is encrypted" if "encrypted" in str(error) else str(error) or type(error).__name__
        raise ElusiveError(f"an archive that cannot be read ({words}): save it again without a password") from None


def _check_size(parts: list[zipfile.ZipInfo], size: int, limits: ReadLimits) -> None:
    most = max(limits.at_once, min(limits.expansion * size, 4 * limits.at_once))
    total = sum(part.file_size for part in parts)
    if total > most or len(parts) > _MOST_PARTS:
        raise ElusiveError(
            f"an archive of {size:,} bytes that grows to {total:,} in {len(parts):,} parts, of at most {most:,}: look "
            "what it holds, or raise corpus.max_read_bytes"
        )


def _check_entities(head: bytes, part: str) -> None:
    if b"<!ENTITY" in head.replace(b"\0", b""):
        raise ElusiveError(f"its part {part} defines entities, which no document needs: check where it comes from")
