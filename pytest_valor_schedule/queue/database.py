"""Open the database of the queue, and run transactions in it."""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from pytest_valor_schedule._util import locks
from pytest_valor_schedule.errors import QueueRebuiltError, StoreError
from pytest_valor_schedule.queue import database_file
from pytest_valor_schedule.queue.database_file import PATIENCE_SECONDS, VERSION, Refill

_LOOK_SECONDS = 2.0  # of waiting to write, until we see whether the others get on


class Database:
    """One connection. Never carried across a fork; closed by its owner."""

    def __init__(self, path: Path, refill: Refill = lambda connection, aside: "") -> None:
        self.path = path
        self._refill = refill
        self._connection: sqlite3.Connection | None = None
        self._lock: int | None = None
        with self._explained():
            self._open()

    def _open(self) -> None:
        self._refusal: sqlite3.Error | None = None
        self._stays_current = True
        try:
            if not database_file.can_write(self.path):
                self._connect_to_read()
                return
            while not self._connect():
                self.mend()
        except BaseException:
            self.close()
            raise

    def _connect(self) -> bool:
        """Connect for reading and writing; return False for what is missing, damaged or old."""
        self._lock = locks.take_shared(database_file.lock_path(self.path), PATIENCE_SECONDS)
        try:
            self._file = self.path.stat().st_ino
            return self._take(database_file.connect(self.path)) >= VERSION
        except FileNotFoundError:
            return False
        except sqlite3.Error as error:
            if database_file.is_lack_of_room(error):  # even readers need some, for the common log
                self._refusal = error.with_traceback(None)  # whose frames would keep files open
                self._connect_to_read()
                return True
            if database_file.is_damage(error) or not self.path.exists():
                return False
            raise

    def mend(self) -> None:
        """Put a new file in the place of a damaged or missing one, which then is opened anew."""
        self.close()
        database_file.mend(self.path, self._refill)

    def _connect_to_read(self) -> None:
        self._file = self.path.stat().st_ino
        connection, self._stays_current = database_file.connect_to_read(self.path)
        self._take(connection)

    def _take(self, connection: sqlite3.Connection) -> int:
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous = FULL")
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version > VERSION:
                raise StoreError(
                    f"The queue {self.path} was made by a newer version of pytest-valor-schedule "
                    "than this one; upgrade it here: pip install -U pytest-valor-schedule"
                )
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return version

    @property
    def read_only(self) -> bool:
        """Whether nothing can be changed: no permission, or no room."""
        return self._lock is None or self._refusal is not None

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextlib.contextmanager
    def transaction(
        self, patience: float = PATIENCE_SECONDS, at_most: float = math.inf
    ) -> Iterator[sqlite3.Connection]:
        """Give the connection inside one write transaction, rolled back at any exception.

        Args:
            patience: Seconds to wait for others who write without getting anything done.
            at_most: Seconds to wait for others in any case.
        """
        with self._explained():
            connection = self._current()
            if self._refusal is not None:
                raise self._refusal.with_traceback(None)
            _begin(connection, patience, at_most)
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for queries."""
        with self._explained():
            yield self._current()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Have all that is read inside be of one moment, whatever others change meanwhile."""
        with self._explained():
            connection = self._current()
            connection.execute("BEGIN")
        try:
            yield
        finally:
            with contextlib.suppress(sqlite3.Error):  # it was closed, because of damage
                connection.execute("ROLLBACK")

    def _current(self) -> sqlite3.Connection:
        """Return the connection to the file that is in place by now."""
        connection = self._connection
        if connection is None or (not connection.in_transaction and self._outdated()):
            self.close()
            self._open()
        assert self._connection is not None
        return self._connection

    def _outdated(self) -> bool:
        try:
            return (
                self._refusal is not None
                or not self._stays_current
                or self.path.stat().st_ino != self._file
            )
        except FileNotFoundError:
            return True

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except (sqlite3.Error, OSError) as error:
            if database_file.is_damage(error) and database_file.can_write(self.path):
                self.mend()
                text = f"The queue {self.path} was damaged and is rebuilt; ask again."
                raise QueueRebuiltError(text) from error
            here = self.path.parent.is_dir()
            why = database_file.reason(error) if here else "its folder is gone"
            raise StoreError(f"The queue {self.path} cannot be used: {why}.") from error


def _begin(connection: sqlite3.Connection, patience: float, at_most: float) -> None:
    """Begin a write transaction as soon as those who write let us.

    In a crowd somebody may wait for long: SQLite serves whom it pleases. Nobody gives up while the
    others get on.
    """
    begin = moved_at = time.monotonic()
    version = _version(connection)
    while True:
        end = min(moved_at + patience, begin + at_most)
        seconds = min(max(0.0, end - time.monotonic()), _LOOK_SECONDS)
        try:
            connection.execute(f"PRAGMA busy_timeout = {1000 * seconds:.0f}")
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.Error as error:
            if not database_file.is_busy(error):
                raise
            before, version = version, _version(connection)
            now = time.monotonic()
            if version != before:  # somebody has written
                moved_at = now
            if now >= min(moved_at + patience, begin + at_most):
                raise
        finally:
            connection.execute(f"PRAGMA busy_timeout = {1000 * PATIENCE_SECONDS:.0f}")


def _version(connection: sqlite3.Connection) -> int:
    """Return a number that changes when somebody else has written."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def storable(text: str) -> str:
    """Return a path or node id as SQLite can keep it: without lone surrogates."""
    return text.encode(errors="backslashreplace").decode()
