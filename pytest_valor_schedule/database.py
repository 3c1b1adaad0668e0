"""The SQLite file: opening it, its tables, its transactions."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pytest_valor_schedule.errors import StoreError

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- age in the queue, whatever the clock says
    id TEXT NOT NULL UNIQUE,
    tail TEXT NOT NULL,                     -- last part of the id
    status TEXT NOT NULL,
    rank INTEGER NOT NULL,                  -- of the priority
    document TEXT NOT NULL,                 -- the job as JSON
    claim TEXT,                             -- the process that runs it
    progress TEXT,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    environment TEXT,                       -- erased when the job has ended
    tests BLOB                              -- node ids, compressed
);
CREATE INDEX IF NOT EXISTS jobs_in_order ON jobs (status, rank, seq);
CREATE INDEX IF NOT EXISTS jobs_by_tail ON jobs (tail);
CREATE TABLE IF NOT EXISTS durations (
    project TEXT NOT NULL,
    nodeid TEXT NOT NULL,
    seconds REAL NOT NULL,
    runs INTEGER NOT NULL,
    seen_at REAL NOT NULL,
    PRIMARY KEY (project, nodeid)
) WITHOUT ROWID;
"""


class Database:
    """One connection. Never carried across a fork; closed by its owner."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._explained():
            path.touch(mode=0o600, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            self._prepare()

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA synchronous = FULL")
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version < _VERSION:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}COMMIT;")
            self._connection.execute(f"PRAGMA user_version = {_VERSION}")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection inside one write transaction, rolled back at any exception."""
        with self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for queries."""
        with self._explained():
            yield self._connection

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"The queue {self.path} cannot be used ({error}); check that the disk has space "
                "and that the file is yours."
            ) from error
