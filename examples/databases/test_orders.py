from __future__ import annotations

import sqlite3

import pytest


@pytest.mark.parametrize("cents", [450, 900])
def test_order_is_kept(database: sqlite3.Connection, cents: int) -> None:
    with database:
        database.execute("INSERT INTO orders VALUES (?)", [cents])
    assert (cents,) in database.execute("SELECT cents FROM orders")
