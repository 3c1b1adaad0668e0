"""A database for each worker of all runs on the machine."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def database(schedule_slot: int | None) -> Iterator[sqlite3.Connection]:
    path = Path(tempfile.gettempdir(), f"shop-{schedule_slot or 0}.db")
    path.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE orders (cents INTEGER)")
        yield connection
