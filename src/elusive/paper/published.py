"""The numbers that the paper prints in its Tables 1 to 8, as printed; published.toml notes what is odd about them."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from elusive.errors import ElusiveError

_UNIVERSITY_AND_COMPANY = ("university_em", "university_f1", "company_em", "company_f1")
_ALL_QUESTIONS = ("em", "f1")

COLUMNS: dict[int, tuple[str, ...]] = {
    1: (
        "date_em",
        "date_f1",
        "city_em",
        "city_f1",
        "university_em",
        "university_f1",
        "major_em",
        "major_f1",
        "company_em",
        "company_f1",
    ),
    2: _UNIVERSITY_AND_COMPANY,
    3: _ALL_QUESTIONS,
    4: _UNIVERSITY_AND_COMPANY,
    5: _ALL_QUESTIONS,
    6: _UNIVERSITY_AND_COMPANY,
    7: _UNIVERSITY_AND_COMPANY,
    8: _ALL_QUESTIONS,
}
"""Names of the measured columns of each table, in the order of print."""


@dataclass(frozen=True)
class PublishedRow:
    """One row of a table of the paper.

    Attributes:
        table: 1 to 8.
        model: name of the model, e.g. "Llama 3 8B".
        arm: our name of the arm, e.g. "contrast-cues".
        printed: the row's name as the paper prints it.
        alpha: maximum drop probability; None where none is printed.
        beta: how fast the drop probability rises with the rank; None where none is printed.
        epoch: epochs of training; only Table 5 prints them.
        steps: steps of training; only Table 5 prints them.
        values: the measures by column (`COLUMNS`), shares from 0 to 1.
    """

    table: int
    model: str
    arm: str
    printed: str
    alpha: float | None
    beta: float | None
    epoch: float | None
    steps: int | None
    values: Mapping[str, float]


@cache
def _all_rows() -> tuple[PublishedRow, ...]:
    table = tomllib.loads((Path(__file__).parent / "published.toml").read_text(encoding="utf-8"))
    nothing = dict.fromkeys(("alpha", "beta", "epoch", "steps"))
    return tuple(PublishedRow(**nothing | row) for row in table["row"])


def published_rows(table: int | None = None) -> tuple[PublishedRow, ...]:
    """Rows of one table of the paper, or of all, in the order of print.

    Args:
        table: 1 to 8; None for all.

    Raises:
        ElusiveError: if the paper has no such table.

    Reference:
        Gao et al. 2025, arXiv 2409.17954, Tables 1 to 8.
    """
    if table is not None and table not in COLUMNS:
        raise ElusiveError(f"Expected a table of the paper, 1 to {max(COLUMNS)}, got {table!r}.")
    return tuple(row for row in _all_rows() if table in (None, row.table))


def published_value(table: int, model: str, arm: str, column: str, *, epoch: float | None = None) -> float | None:
    """One printed number.

    Args:
        table: 1 to 8.
        model: name of the model as in `PublishedRow`.
        arm: our name of the arm.
        column: one of `COLUMNS[table]`.
        epoch: which row of Table 5, where the arm has two; the later one where None.

    Returns:
        The number; None where the paper prints nothing.

    Raises:
        ElusiveError: if the paper has no such table.

    Example:
        >>> published_value(2, "Llama 3 8B", "contrast-cues", "company_em")
        0.42
    """
    found = [
        row.values.get(column)
        for row in published_rows(table)
        if (row.model, row.arm) == (model, arm) and epoch in (None, row.epoch)
    ]
    return found[-1] if found else None
