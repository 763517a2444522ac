"""Parquet files of ours, with a checksum on each page: a changed bit is an error, not another number."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from elusive.errors import ElusiveError
from elusive.inputs import regular_file
from elusive.storage import Location, UrlPath

WRITE: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
"""How they are written."""


@contextlib.contextmanager
def opened_parquet(path: Location, again: str, metadata: pq.FileMetaData | None = None) -> Iterator[pq.ParquetFile]:
    """A Parquet file to read from.

    Args:
        path: the file.
        again: what makes it again, for the message.
        metadata: of the file, if it was read before.

    Raises:
        ElusiveError: if it is missing or damaged; in the block also where a value has another type than expected.
    """
    place = regular_file(path)
    try:
        with contextlib.ExitStack() as stack:
            source = stack.enter_context(place.open("rb")) if isinstance(place, UrlPath) else place
            yield stack.enter_context(pq.ParquetFile(source, metadata=metadata, page_checksum_verification=True))
    except ElusiveError:
        raise
    # What pyarrow raises of a page, and NumPy of a value, that is not what the schema says.
    except (OSError, pa.ArrowException, ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        raise ElusiveError(f"{path} is damaged ({str(error).strip()}). {again}") from error
