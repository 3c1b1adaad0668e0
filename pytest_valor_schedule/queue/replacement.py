"""A new SQLite file in the place of a damaged or missing one.

SQLite cannot notice that a file was replaced, and would mix the write-ahead logs of both. So a
new one is put in place only while nobody has the old one open; see `Database`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pytest_valor_schedule._util import locks
from pytest_valor_schedule.errors import StoreError
from pytest_valor_schedule.queue import read_only

Refill = Callable[[sqlite3.Connection, Path | None], str]
"""Fills a new database; gets the damaged file, if any, and returns what to tell about it."""

VERSION = 2
PATIENCE_SECONDS = 30.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- age in the queue, whatever the clock says
    id TEXT NOT NULL UNIQUE,
    tail TEXT NOT NULL,                     -- last part of the id
    status TEXT NOT NULL,
    folder TEXT NOT NULL,                   -- the working directory
    document TEXT NOT NULL,                 -- the job as JSON
    claim TEXT,                             -- the process that runs it
    progress TEXT,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    tests BLOB                              -- node ids, compressed
);
CREATE INDEX IF NOT EXISTS jobs_in_order ON jobs (status, seq);
CREATE INDEX IF NOT EXISTS jobs_by_tail ON jobs (tail);
CREATE INDEX IF NOT EXISTS jobs_by_folder ON jobs (folder, seq);
CREATE TABLE IF NOT EXISTS totals (         -- so that nobody has to count the jobs
    status TEXT PRIMARY KEY,
    jobs INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS job_added AFTER INSERT ON jobs BEGIN
    INSERT INTO totals VALUES (new.status, 1) ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER IF NOT EXISTS job_removed AFTER DELETE ON jobs BEGIN
    UPDATE totals SET jobs = jobs - 1 WHERE status = old.status;
END;
CREATE TRIGGER IF NOT EXISTS job_moved AFTER UPDATE OF status ON jobs BEGIN
    UPDATE totals SET jobs = jobs - 1 WHERE status = old.status;
    INSERT INTO totals VALUES (new.status, 1) ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TABLE IF NOT EXISTS durations (
    project TEXT NOT NULL,
    nodeid TEXT NOT NULL,
    seconds REAL NOT NULL,
    runs INTEGER NOT NULL,
    failed INTEGER NOT NULL,                -- when it was run last
    seen_at REAL NOT NULL,
    PRIMARY KEY (project, nodeid)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (           -- what jobs of one kind were like
    project TEXT NOT NULL,
    selection TEXT NOT NULL,                -- digest of the arguments
    workers INTEGER NOT NULL,
    overhead_seconds REAL,
    gap_seconds REAL,
    peak_memory_bytes REAL,
    seen_at REAL NOT NULL,
    PRIMARY KEY (project, selection)
) WITHOUT ROWID;
"""
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full; make room, `valor-schedule prune` helps",
    sqlite3.SQLITE_IOERR: "the disk is full, over its quota, or failing; make room",
    sqlite3.SQLITE_BUSY: "another process has kept it locked for too long; try again later",
    sqlite3.SQLITE_READONLY: "it cannot be written; check its permissions, or set VALOR_HOME",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check its permissions, or set VALOR_HOME",
    sqlite3.SQLITE_PROTOCOL: "its file system has no locks; set VALOR_HOME to a local folder",
}


def empty(connection: sqlite3.Connection, damaged: Path | None) -> str:
    """Leave a new database empty."""
    return ""


def is_damage(error: Exception) -> bool:
    """Return whether an error says that the file is no database or a damaged one."""
    return _code(error) in _DAMAGE


def is_lack_of_room(error: Exception) -> bool:
    """Return whether an error says that the disk refused to take more."""
    return _code(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def is_busy(error: Exception) -> bool:
    """Return whether an error says that another process writes."""
    return _code(error) == sqlite3.SQLITE_BUSY


def _code(error: Exception) -> int:
    """Return SQLite's primary result code; 0 for an error that is not SQLite's own."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def reason(error: Exception) -> str:
    """Return what is wrong and what to do, as the end of a sentence."""
    if isinstance(error, OSError):
        return f"{error.strerror}; check whose it is, or set VALOR_HOME"
    return _REASONS.get(_code(error), f"{error}; `valor-schedule doctor` may tell more")


def lock_path(path: Path) -> Path:
    """Return the file that each connection to a database has locked."""
    return path.with_name("queue.lock")


def mark_path(path: Path) -> Path:
    """Return the file whose presence says that a database is damaged."""
    return path.with_name("queue.damaged")


def in_place(path: Path) -> bool:
    """Whether there is a database that nobody has found to be damaged."""
    try:
        return path.stat().st_size > 0 and not mark_path(path).exists()
    except FileNotFoundError:
        return False


def replace(path: Path, refill: Refill) -> None:
    """Put a new database in the place of a damaged or missing one, unless it is whole.

    Raises:
        StoreError: if somebody keeps the damaged one open for too long.
    """
    handle = locks.take_exclusive(lock_path(path), PATIENCE_SECONDS, lambda: in_place(path))
    if handle is None:
        return  # somebody else has done it
    try:
        if not is_whole(path):
            _replace(path, refill)
        mark_path(path).unlink(missing_ok=True)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"The queue {path} cannot be made anew: {reason(error)}.") from error
    finally:
        os.close(handle)


def is_whole(path: Path) -> bool:
    """Return whether a file is no older than this package and SQLite finds nothing wrong in it."""
    if not path.is_file() or not path.stat().st_size:
        return False
    try:
        with contextlib.closing(_opened(path)) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            return bool(
                version >= VERSION
                and connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            )
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        return False


def _opened(path: Path) -> sqlite3.Connection:
    if read_only.can_write(path):
        return sqlite3.connect(path, timeout=PATIENCE_SECONDS)
    return read_only.connect(path, PATIENCE_SECONDS)[0]


def _replace(path: Path, refill: Refill) -> None:
    new = path.with_name("queue.new")
    for suffix in ("", "-wal", "-journal"):
        new.with_name(new.name + suffix).unlink(missing_ok=True)
    new.touch(mode=0o600)
    damaged = path.exists()
    with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as connection:
        connection.executescript(f"BEGIN;{_SCHEMA}")
        notice = refill(connection, path if damaged else None)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
    aside = _set_aside(path)
    if damaged:
        notice = f"The queue was damaged, or old, and set aside as {aside}. {notice}"
    new.replace(path)
    if notice:
        print(f"valor-schedule: {notice}", file=sys.stderr)


def _set_aside(path: Path) -> Path:
    """Keep a damaged file and its write-ahead log under another name, and return that.

    The old name stays until the new database takes it: cut off here, all begins anew. A log
    goes even where its database is gone: SQLite would take it for that of the new one.
    """
    stamp = f"{datetime.fromtimestamp(time.time(), UTC):%Y%m%d-%H%M%S}"
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    aside.unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        aside.hardlink_to(path)
    with contextlib.suppress(FileNotFoundError):
        path.with_name(f"{path.name}-wal").replace(aside.with_name(f"{aside.name}-wal"))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    return aside
