"""The table of cells in SQLite: what is finished, what failed and why. It outlives whoever fills it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import RecordError
from testbed.sweep.cell import Cell, Figures

ATTEMPTS = 3
"""A cell that crashes this often is marked failed, and left alone."""

SCHEMA = """
create table if not exists cells (
    key text primary key, variant text not null, overrides text not null, campaign text not null,
    status text not null default 'open' check (status in ('open', 'done', 'failed')),
    attempts integer not null default 0, figures text, error text, seconds real
)"""


@dataclass(frozen=True)
class Row:
    """A cell and how it ended.

    Attributes:
        status: "open", "done" or "failed"; attempts: how often it crashed.
        figures: of `testbed.sweep.cell.run_cell`, None unless done; error: the last one, None unless it crashed.
    """

    key: str
    variant: str
    overrides: dict[str, object]
    status: str
    attempts: int
    figures: Figures | None
    error: str | None


class CellTable:
    """The cells of a sweep on disk; every change is committed at once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def add(self, cells: Sequence[Cell]) -> None:
        """Cells that are not there yet become open; those that are stay as they are."""
        rows = [(c.key, c.variant, json.dumps(dict(c.overrides)), c.campaign) for c in cells]
        with self._db:
            self._db.executemany(
                "insert or ignore into cells (key, variant, overrides, campaign) values (?, ?, ?, ?)", rows
            )

    def finish(self, key: str, figures: Figures, seconds: float) -> None:
        """The cell is done."""
        with self._db:
            self._db.execute(
                "update cells set status = 'done', figures = ?, seconds = ? where key = ?",
                (json.dumps(figures), seconds, key),
            )

    def crash(self, key: str, error: str) -> bool:
        """The cell crashed once more; whether it may be tried again."""
        with self._db:
            self._db.execute(
                "update cells set attempts = attempts + 1, error = ?, "
                "status = case when attempts + 1 >= ? then 'failed' else 'open' end where key = ?",
                (error, ATTEMPTS, key),
            )
        return self.row(key).status == "open"

    def row(self, key: str) -> Row:
        """The cell of that key; RecordError when there is none."""
        found = self.rows([key])
        if not found:
            raise RecordError(f"cell {key} is not in this table")
        return found[0]

    def rows(self, keys: Sequence[str]) -> list[Row]:
        """The cells of those keys that are here, in that order."""
        query = "select key, variant, overrides, status, attempts, figures, error from cells where key = ?"
        found = [self._db.execute(query, (key,)).fetchone() for key in keys]
        return [
            Row(one[0], one[1], json.loads(one[2]), one[3], one[4], one[5] and json.loads(one[5]), one[6])
            for one in found
            if one is not None
        ]


@contextmanager
def open_table(path: Path) -> Iterator[CellTable]:
    """The table in that file, made where there is none.

    Raises:
        RecordError: the file is no such table.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    try:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")
        connection.execute(SCHEMA)
        yield CellTable(connection)
    except sqlite3.DatabaseError as error:
        raise RecordError(f"{path}: {error}; move it away to begin anew") from error
    finally:
        connection.close()
