"""Make, open and replace the SQLite file of the queue.

A damaged file is set aside as soon as anybody comes upon the damage, and a missing one is made
anew. SQLite cannot notice that a file was replaced, and would mix the write-ahead logs of both: so
each connection holds a shared lock beside the file while it is open, and the new one is put in
place by who has the exclusive lock, once all have let go.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pytest_valor_schedule._util import locks
from pytest_valor_schedule.errors import StoreError

Refill = Callable[[sqlite3.Connection, Path | None], str]
"""Fills a new database; gets the file set aside last, if any, and returns what to tell people."""

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


def mend(path: Path, refill: Refill) -> None:
    """Put a new database in the place of a damaged or missing one; leave one that is whole.

    Raises:
        StoreError: if somebody keeps the damaged one open for too long, or the disk refuses.
    """
    try:
        _set_aside_if_damaged(path)
        handle = locks.take_exclusive(lock_path(path), PATIENCE_SECONDS, path.exists)
        if handle is None:
            return  # somebody else has made it
        with os.fdopen(handle):
            if not path.exists():
                _create(path, refill)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"The queue {path} cannot be made anew: {reason(error)}.") from error


def _set_aside_if_damaged(path: Path) -> None:
    handle = locks.take_shared(lock_path(path), PATIENCE_SECONDS)  # so that nobody puts a new one
    with os.fdopen(handle):
        if path.exists() and not is_whole(path):
            aside = _set_aside(path)
            _tell(f"The queue was damaged, or old, and set aside as {aside}.")


def _set_aside(path: Path) -> Path:
    """Keep a database and its write-ahead log under another name, and return that."""
    aside = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    for ending in ("", "-wal"):
        with contextlib.suppress(FileNotFoundError):
            _beside(path, ending).replace(_beside(aside, ending))
    _beside(path, "-shm").unlink(missing_ok=True)
    return aside


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _tell(notice: str) -> None:
    print(f"valor-schedule: {notice}", file=sys.stderr)


def is_whole(path: Path) -> bool:
    """Return whether a file is no older than this package and SQLite finds nothing wrong in it."""
    if not path.is_file():
        return False
    try:
        database = connect(path) if can_write(path) else connect_to_read(path)[0]
        with contextlib.closing(database) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            state = connection.execute("PRAGMA integrity_check").fetchone()[0]
            return bool(version >= VERSION and state == "ok")
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        return False


def _create(path: Path, refill: Refill) -> None:
    new = path.with_name("queue.new")
    for ending in ("", "-wal", "-journal"):
        _beside(new, ending).unlink(missing_ok=True)
    new.touch(mode=0o600)
    asides = path.parent.glob(f"{path.name}.damaged-*[0-9]")
    with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as connection:
        connection.executescript(f"BEGIN;{_SCHEMA}")
        notice = refill(connection, max(asides, default=None))
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
    _set_aside(path)  # a log without its database, which SQLite would take for that of the new one
    new.replace(path)
    if notice:
        _tell(notice)


def can_write(path: Path) -> bool:
    """Return whether this user may change a database, which needs files beside it too."""
    return os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))


def connect(path: Path, how: str = "mode=rw") -> sqlite3.Connection:
    """Open a database that is there."""
    name = f"{path.as_uri()}?{how}"
    return sqlite3.connect(name, timeout=PATIENCE_SECONDS, isolation_level=None, uri=True)


def connect_to_read(path: Path) -> tuple[sqlite3.Connection, bool]:
    """Open a database for reading alone, with what its write-ahead log holds.

    Those who have one open share an index of its log, which is a file too. Where there is none and
    none can be made, nobody else has it open, and a private index in memory will do. SQLite keeps
    one for who needs no locks.

    Returns:
        The connection, and whether it will see what others change from now on.
    """
    if _beside(path, "-shm").exists():
        with contextlib.suppress(sqlite3.OperationalError):  # it is cut short, on a full disk
            return _connect_to_read(path, "mode=ro"), True
    has_log = _beside(path, "-wal").exists()
    how = "mode=ro&vfs=unix-none" if has_log else "mode=ro&immutable=1"
    return _connect_to_read(path, how), False


def _connect_to_read(path: Path, how: str) -> sqlite3.Connection:
    connection = connect(path, how)
    try:
        if "vfs" in how:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA user_version").fetchone()  # opens the log
    except BaseException:
        connection.close()
        raise
    return connection
