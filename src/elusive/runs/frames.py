"""Results as tables: data frames of pandas and polars, data sets, and what a notebook shows of them."""

import importlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, TypeVar

from elusive.errors import ElusiveError

if TYPE_CHECKING:
    import datasets
    import pandas
    import polars  # pyright: ignore[reportMissingImports] # nothing here needs it

SHOWN_ROWS = 20
"""Rows that a notebook shows."""
_SHOWN_CHARACTERS = 200
_SHOWN_COLUMNS = 12
_INSTALL = {"datasets": "'elusive[datasets]'"}


ItemT = TypeVar("ItemT")
TabularT = TypeVar("TabularT", bound="Tabular")


class Tabular:
    """What has columns: it turns into a table of whatever library is there, and shows itself in a notebook."""

    def columns(self) -> dict[str, list[Any]]:
        """One list a column, each with one value a row."""
        raise NotImplementedError

    def to_pandas(self) -> "pandas.DataFrame":
        """The rows as a data frame of pandas.

        Raises:
            ElusiveError: if pandas is missing.
        """
        return needed("pandas", "to_pandas").DataFrame(self.columns())

    def to_polars(self) -> "polars.DataFrame":
        """The rows as a data frame of polars.

        Raises:
            ElusiveError: if polars is missing.
        """
        return needed("polars", "to_polars").DataFrame(self.columns(), strict=False)

    def to_datasets(self) -> "datasets.Dataset":
        """The rows as a data set of Hugging Face datasets.

        Raises:
            ElusiveError: if datasets is missing.
        """
        return needed("datasets", "to_datasets").Dataset.from_dict(self.columns())

    def _repr_html_(self) -> str:
        return html_table(self.columns())


class Joined(list[TabularT], Tabular):
    """A list of tables that is also their rows in one table."""

    def columns(self) -> dict[str, list[Any]]:
        """The items' columns, one item's rows after the other's."""
        tables = [item.columns() for item in self]
        return {name: [value for table in tables for value in table[name]] for name in (tables[0] if tables else ())}


class Items(list[ItemT], Tabular):
    """A list that is also a table, with a row for each item.

    Args:
        items: what it holds.
        names: attributes of the items, which become columns.
    """

    def __init__(self, items: Iterable[ItemT], names: Sequence[str]) -> None:
        super().__init__(items)
        self._names = tuple(names)

    def columns(self) -> dict[str, list[Any]]:
        """One list a column, each with one value an item."""
        return {name: [_plain(getattr(item, name)) for item in self] for name in self._names}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def html_table(columns: Mapping[str, Sequence[Any]]) -> str:
    """The first rows as an HTML table, everything in it escaped; says how many more there are.

    Args:
        columns: values by the name of their column.
    """
    shown = list(columns)[:_SHOWN_COLUMNS]
    rows = len(columns[shown[0]]) if shown else 0
    head = "".join(f"<th>{escape(name)}</th>" for name in shown)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(columns[name][row])}</td>" for name in shown) + "</tr>"
        for row in range(min(rows, SHOWN_ROWS))
    )
    more = f"<div>rows not shown: {rows - SHOWN_ROWS:,}</div>" if rows > SHOWN_ROWS else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
    return escape(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + " …")


def needed(module: str, method: str) -> Any:
    """A library that only some users have.

    Args:
        module: its name.
        method: what needs it.

    Raises:
        ElusiveError: if it is missing.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ElusiveError(
            f"{method} needs {module}, which is missing. Run: pip install {_INSTALL.get(module, module)}"
        ) from error
