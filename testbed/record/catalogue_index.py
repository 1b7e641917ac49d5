"""The index behind the catalogue: SQLite with a write-ahead log, so that lists and refreshes go on side by side.

It holds nothing of its own. A damaged index, or one of another version, is thrown away and made anew; where
the folder cannot be written, the index lives in memory.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from testbed.errors import RecordError

VERSION = 1
PATIENCE_S = 30.0
TOGETHER = 200

_TABLES = """
CREATE TABLE run (run_id TEXT PRIMARY KEY, stamp TEXT NOT NULL, started TEXT NOT NULL, entry BLOB NOT NULL);
CREATE TABLE fact (run_id TEXT NOT NULL REFERENCES run ON DELETE CASCADE, name TEXT NOT NULL,
                   text TEXT NOT NULL, number REAL);
CREATE INDEX fact_by_name ON fact (name, run_id);
CREATE INDEX fact_by_run ON fact (run_id);
"""
_SIGNS = ("=", "!=", "<", "<=", ">", ">=")
_IN_NAMES = ("run_id", "campaign", "host", "git_commit", "status", "tag")


@dataclass(frozen=True)
class Indexed:
    """A run as the index keeps it.

    Attributes:
        stamp: what its files looked like when it was read.
        started: ISO 8601, to sort by.
        entry: as it is listed, encoded.
        facts: name and value of all that can be searched for.
    """

    run_id: str
    stamp: str
    started: str
    entry: bytes
    facts: tuple[tuple[str, str], ...]


class Index:
    """An open index; close it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def stamps(self) -> dict[str, str]:
        """Run → what its files looked like when it was read."""
        return dict(self._db.execute("SELECT run_id, stamp FROM run"))

    def put(self, runs: Iterable[Indexed]) -> None:
        """Add runs, or replace what is known of them, `TOGETHER` in a transaction."""
        left = iter(runs)
        while some := list(islice(left, TOGETHER)):
            with self._db:
                self._db.executemany("DELETE FROM run WHERE run_id = ?", [(one.run_id,) for one in some])
                rows = [(one.run_id, one.stamp, one.started, one.entry) for one in some]
                self._db.executemany("INSERT INTO run VALUES (?, ?, ?, ?)", rows)
                facts = ((one.run_id, name, text, _number(text)) for one in some for name, text in one.facts)
                self._db.executemany("INSERT INTO fact VALUES (?, ?, ?, ?)", facts)

    def keep_only(self, run_ids: set[str]) -> None:
        """Forget runs that are gone."""
        gone = [(run_id,) for run_id in self.stamps() if run_id not in run_ids]
        with self._db:
            self._db.executemany("DELETE FROM run WHERE run_id = ?", gone)

    def entries(self) -> list[tuple[str, bytes]]:
        """Run and entry, oldest first; runs that do not say when they began come last."""
        rows = self._db.execute("SELECT run_id, entry FROM run ORDER BY started = '', started, run_id")
        return [(run_id, entry) for run_id, entry in rows]

    def names(self) -> set[str]:
        """All that can be asked for in a condition."""
        return {name for (name,) in self._db.execute("SELECT DISTINCT name FROM fact")}

    def containing(self, word: str) -> set[str]:
        """Runs in whose names `word` occurs, whatever the case."""
        marks = ", ".join("?" * len(_IN_NAMES))
        query = f"SELECT DISTINCT run_id FROM fact WHERE name IN ({marks}) AND instr(lower(text), lower(?))"
        return self._ids(query, (*_IN_NAMES, word))

    def meeting(self, name: str, sign: str, value: str) -> set[str]:
        """Runs with a fact `name` that compares so to `value`: as numbers where both are, else as text.

        `!=` is met by all runs that do not meet `=`, also by those without such a fact.
        """
        if sign not in _SIGNS:
            raise RecordError(f"comparison {sign!r} is not one of {', '.join(_SIGNS)}")
        if sign == "!=":
            return set(self.stamps()) - self.meeting(name, "=", value)
        query = (
            "SELECT DISTINCT run_id FROM fact WHERE name = ? AND "
            f"CASE WHEN number IS NOT NULL AND ? IS NOT NULL THEN number {sign} ? ELSE text {sign} ? END"
        )
        number = _number(value)
        return self._ids(query, (name, number, number, value))

    def _ids(self, query: str, values: tuple[object, ...]) -> set[str]:
        return {run_id for (run_id,) in self._db.execute(query, values)}

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def open_index(path: Path) -> Index:
    """The index in `path`, made anew where it is damaged or of another version; in memory where it cannot be used."""
    try:
        return Index(_opened(path))
    except sqlite3.OperationalError:  # not writable, or locked for long: it must not be deleted
        pass
    except sqlite3.DatabaseError:
        with contextlib.suppress(sqlite3.DatabaseError, OSError):
            for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                path.with_name(name).unlink(missing_ok=True)
            return Index(_opened(path))
    return Index(_prepared(sqlite3.connect(":memory:")))


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=PATIENCE_S)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")  # what a power cut takes is made again
        return _prepared(connection)
    except sqlite3.Error:
        connection.close()
        raise


def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    """With tables of this version; raises what SQLite raises where it is no sound index."""
    connection.execute("PRAGMA foreign_keys = ON")
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute("BEGIN IMMEDIATE")
        (version,) = cursor.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in _TABLES.split(";\n"):
                cursor.execute(statement)
            cursor.execute(f"PRAGMA user_version = {VERSION}")
        elif version != VERSION:
            raise sqlite3.DatabaseError(f"index of version {version}")
        cursor.execute("COMMIT")
        cursor.execute("SELECT run_id, stamp, started, entry FROM run LIMIT 1").fetchall()
    return connection
