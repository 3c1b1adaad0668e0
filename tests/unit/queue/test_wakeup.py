"""Waking the dispatcher."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

from pytest_valor_schedule.queue.wakeup import Wakeup, wake

FOR_EVER = 60.0


def test_a_ring_ends_the_wait(tmp_path: Path) -> None:
    """Whether it comes before or while somebody waits, and many rings are one."""
    with contextlib.closing(Wakeup(tmp_path / "bell")) as bell:
        for _ in range(100_000 // 50):
            wake(tmp_path / "bell")
        begin = time.monotonic()
        bell.wait(FOR_EVER)
        thread = threading.Timer(0.05, wake, [tmp_path / "bell"])
        thread.start()
        bell.wait(FOR_EVER)
        thread.join()
        assert time.monotonic() - begin < FOR_EVER
        assert (tmp_path / "bell").stat().st_mode & 0o777 == 0o600


def test_nobody_needs_to_listen(tmp_path: Path) -> None:
    """A ring without a listener, or without a pipe, is lost and does no harm."""
    wake(tmp_path / "bell")
    os.mkfifo(tmp_path / "bell")
    wake(tmp_path / "bell")
    assert list(tmp_path.iterdir()) == [tmp_path / "bell"]


def test_without_a_pipe_the_wait_is_short(tmp_path: Path) -> None:
    """Something else in its place is left alone."""
    (tmp_path / "bell").write_text("mine")
    with contextlib.closing(Wakeup(tmp_path / "bell")) as bell:
        bell.wait(FOR_EVER)
    wake(tmp_path / "bell")
    assert (tmp_path / "bell").read_text() == "mine"
