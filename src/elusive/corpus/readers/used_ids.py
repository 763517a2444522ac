"""The ids that a source has used, in a temporary file so that memory does not grow with them."""

import sqlite3
from typing import Any

from elusive.errors import ElusiveError

_CACHE_KIB = 16_384


def temporary_database(*tables: str) -> sqlite3.Connection:
    """An empty SQLite database in a temporary file that vanishes on close; memory holds a small part."""
    database = sqlite3.connect("", isolation_level=None)
    for setting in ("journal_mode = OFF", "synchronous = OFF", "temp_store = FILE", f"cache_size = -{_CACHE_KIB}"):
        database.execute(f"PRAGMA {setting}")
    for table in tables:
        database.execute(f"CREATE TABLE {table}")
    database.execute("BEGIN")
    return database


def execute(database: sqlite3.Connection, statement: str, values: tuple[Any, ...]) -> sqlite3.Cursor:
    """Run a statement.

    Raises:
        ElusiveError: if the disk is full.
    """
    try:
        return database.execute(statement, values)
    except sqlite3.OperationalError as error:
        raise ElusiveError(
            f"The temporary file of ids could not be written ({error}). Free some space in the temporary folder, "
            "or name another one in the variable TMPDIR."
        ) from None


class UsedIds:
    """Ids with the place of their first use."""

    def __init__(self) -> None:
        self._database = temporary_database(
            "file (number INTEGER PRIMARY KEY, label TEXT)",
            "seen (id TEXT PRIMARY KEY, file INTEGER, place TEXT) WITHOUT ROWID",
        )
        self._file = 0
        self._label = ""

    def add(self, id: str, label: str, place: str) -> str:
        """Note an id.

        Args:
            id: the id.
            label: its file; files come one after another.
            place: where in the file.

        Returns:
            The place of its first use, in words; empty if it is new.
        """
        if label != self._label:
            self._label, self._file = label, self._file + 1
            execute(self._database, "INSERT INTO file VALUES (?, ?)", (self._file, label))
        values = (id, self._file, place)
        if execute(self._database, "INSERT INTO seen VALUES (?, ?, ?) ON CONFLICT DO NOTHING", values).rowcount:
            return ""
        question = "SELECT file, label, place FROM seen JOIN file ON file.number = seen.file WHERE id = ?"
        file, before, where = execute(self._database, question, (id,)).fetchone()
        return ", ".join(part for part in (before if file != self._file else "", where) if part) or before

    def close(self) -> None:
        """Remove the temporary file."""
        self._database.close()
