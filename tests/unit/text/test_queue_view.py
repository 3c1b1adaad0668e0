"""Draw the queue, and cut its lines to the terminal."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_valor_schedule.text import queue_view

RUNNING: dict[str, Any] = {
    "job_id": "20261122-203015-4f9a2c",
    "status": "running",
    "test_count": 10,
    "specification": "pytest tests",
    "started_at": "2026-11-22T20:30:20+00:00",
    "estimated_end": "2026-11-22T20:30:50+00:00",
    "timeout_minutes": 10,
    "progress": {
        "finished": 5,
        "failed": 1,
        "total": 10,
        "running": [{"worker": "gw0", "nodeid": "a::b", "started_at": "2026-11-22T20:30:25+00:00"}],
    },
}


def test_a_picture_of_the_queue() -> None:
    """Slots, bars, the current test of each worker, the waiting and the ended."""
    waiting = {
        "job_id": "20261122-203016-aaaaaa",
        "status": "scheduled",
        "priority": "low",
        "test_count": 1,
        "queue_position": 1,
        "reason": "waits",
        "estimated_start": "2026-11-22T20:30:50+00:00",
    }
    slots = [{"held": True}, {"held": False}]
    now = 1795379430.0  # 2026-11-22T20:30:30+00:00
    assert queue_view.frame([waiting, RUNNING], slots, now, 80) == [
        "slots [#.] 1 of 2 free",
        "",
        "4f9a2c [==========          ] 5/10 1 failed, 20s left  pytest tests",
        "       gw0 5s  a::b",
        "aaaaaa 1st, low, 1 test, starts in 20s: waits",
    ]
    running = {name: value for name, value in RUNNING.items() if name != "estimated_end"}
    assert "4f9a2c [==========          ] 5/10 1 failed  pytest tests" in queue_view.frame(
        [waiting, running], slots, now, 80
    )
    assert queue_view.frame([], slots, now, 80)[-1] == "nothing runs, nothing waits"


@pytest.mark.parametrize(("hours", "since"), [(-1, "1s"), (1, "10m")])
def test_a_picture_outlives_a_change_of_the_clock(hours: int, since: str) -> None:
    """No test has run for less than nothing, or for longer than its job may."""
    now = 1795379430.0 + 3600 * hours
    assert queue_view.frame([RUNNING], [{"held": True}], now, 80)[3] == f"       gw0 {since}  a::b"


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [("abcdef", 6, "abcdef"), ("abcdefg", 6, "abcde~"), ("ああああ", 6, "ああ~"), ("", 3, "")],
)
def test_lines_are_cut_by_columns(text: str, width: int, shown: str) -> None:
    """Wide characters count as two."""
    assert queue_view.clip(text, width) == shown
