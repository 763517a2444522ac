"""Hugging Face datasets, from the hub by name or from a folder that save_to_disk wrote."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elusive.config.corpus import CorpusSettings
from elusive.errors import ElusiveError

from .files import HUB_PREFIX, Source
from .read_state import Row
from .tables import arrow_rows, used_columns

_BATCH_ROWS = 256


def dataset_rows(source: Source, settings: CorpusSettings) -> Iterator[Row]:
    """The rows of a dataset: streamed from the hub, mapped from disk; remote code is never run.

    Args:
        source: `hf:org/name`, or a folder of save_to_disk.
        settings: subset, split, revision, and which columns are looked for.

    Raises:
        ElusiveError: if `datasets` is not installed, or the dataset cannot be loaded, has several splits of which none
            is named, or lacks the column of texts.
    """
    parts = _splits(_loaded(source.name, settings), source.name, settings.split)
    return arrow_rows(itertools.chain.from_iterable(_batches(part, source.name, settings) for part in parts))


def _loaded(name: str, settings: CorpusSettings) -> Any:
    try:
        import datasets
    except ImportError:
        raise ElusiveError(
            f"{name} needs the package datasets, which is not installed. Install it: pip install 'elusive[datasets]'"
        ) from None
    try:
        if not name.startswith(HUB_PREFIX):
            return datasets.load_from_disk(name)
        return datasets.load_dataset(
            name.removeprefix(HUB_PREFIX), settings.subset or None, revision=settings.revision or None, streaming=True
        )
    except Exception as error:
        raise ElusiveError(_refusal(name, error)) from error


def _refusal(name: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:400]
    return (
        f"The dataset {name} could not be loaded ({type(error).__name__}: {reason}). Check its name and the network; "
        "corpus.subset names one of its configurations, corpus.revision a commit. Datasets that need a script of "
        "their own are not run."
    )


def _splits(loaded: Any, name: str, wanted: str) -> list[Any]:
    if not isinstance(loaded, dict):
        if wanted:
            raise ElusiveError(f"{name} has no splits: expected corpus.split to be empty, got {wanted!r}.")
        return [loaded]
    known = list(loaded)
    if not wanted and len(known) == 1:
        return [loaded[known[0]]]
    names = wanted.split("+") if wanted else []
    if not names or not set(names) <= set(known):
        raise ElusiveError(
            f"{name} has the splits {', '.join(known)}: expected one of them, or several joined by '+', in "
            f"corpus.split (--split), got {wanted!r}."
        )
    return [loaded[part] for part in dict.fromkeys(names)]


def _batches(part: Any, name: str, settings: CorpusSettings) -> Iterator[Any]:
    try:
        names = part.column_names or list(next(iter(part), {}))  # a stream may not know them before its first row
        if not names:
            return
        columns = used_columns(names, settings, name)
        yield from part.with_format("arrow").select_columns(columns).iter(batch_size=_BATCH_ROWS)
    except ElusiveError:
        raise
    except Exception as error:  # whatever a host or a file of the hub comes with
        raise ElusiveError(_refusal(name, error)) from error


def dataset_name(source: Source) -> str:
    """With what the ids of its rows begin."""
    return Path(source.name.removeprefix(HUB_PREFIX)).name
