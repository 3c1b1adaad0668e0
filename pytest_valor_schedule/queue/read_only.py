"""Reading a SQLite file that cannot be written, with what its write-ahead log holds."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path


def can_write(path: Path) -> bool:
    """Return whether this user may change a database, which needs files beside it too."""
    return os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))


def connect(path: Path, patience: float) -> tuple[sqlite3.Connection, bool]:
    """Open a database for reading alone.

    Those who have one open share an index of its log, which is a file too. Where there is none and
    none can be made, nobody else has it open, and a private index in memory will do. SQLite keeps
    one for who needs no locks.

    Args:
        path: Of the database.
        patience: Seconds to wait for others who write.

    Returns:
        The connection, and whether it will see what others change from now on.
    """
    log, index = (path.with_name(f"{path.name}{ending}") for ending in ("-wal", "-shm"))
    if index.exists():
        with contextlib.suppress(sqlite3.OperationalError):  # it is cut short, on a full disk
            return _opened(path, "mode=ro", patience), True
    how = "mode=ro&vfs=unix-none" if log.exists() else "mode=ro&immutable=1"
    return _opened(path, how, patience), False


def _opened(path: Path, how: str, patience: float) -> sqlite3.Connection:
    name = f"{path.as_uri()}?{how}"
    connection = sqlite3.connect(name, timeout=patience, isolation_level=None, uri=True)
    try:
        if "vfs" in how:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA user_version").fetchone()  # opens the log
    except BaseException:
        connection.close()
        raise
    return connection
