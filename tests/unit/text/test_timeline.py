"""Draw a job as a page and as a trace."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from pytest_valor_schedule.text import timeline

RECORD: dict[str, Any] = {
    "job_id": "20261122-203015-4f9a2c",
    "outcome": "failed",
    "specification": "pytest <tests>",
    "cwd": "/srv",
    "created_at": "2026-11-22T20:30:15+00:00",
    "started_at": "2026-11-22T20:30:17+00:00",
    "completed_at": "2026-11-22T20:30:25+00:00",
    "summary": {"total": 3, "passed": 1, "failed": 1, "not_run": 1, "duration_seconds": 8.0},
    "results": [
        {
            "nodeid": "t.py::test_<b>",
            "outcome": "passed",
            "worker": "gw0",
            "started_at": "2026-11-22T20:30:18+00:00",
            "duration_seconds": 2.5,
        },
        {
            "nodeid": "t.py::test_bad",
            "outcome": "failed",
            "worker": "gw10",
            "started_at": "2026-11-22T20:30:19+00:00",
            "duration_seconds": 4.0,
            "longrepr": "assert </pre> & so",
        },
        {"nodeid": "t.py::test_never", "outcome": "not_run"},
    ],
}


class _Bars(HTMLParser):
    """Gathers the bars of a page, and everything that it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.bars: list[dict[str, str | None]] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "i" and "title" in found:
            self.bars.append(found)
        if tag in ("script", "link", "img", "iframe") or "src" in found or "href" in found:
            self.loaded.append(tag)


def test_a_page_has_a_bar_for_each_test() -> None:
    """Each has its outcome, its place in time and what it is; the page needs nothing else."""
    page = _Bars()
    page.feed(timeline.page(RECORD))
    assert [bar["class"] for bar in page.bars] == ["waiting", "passed", "failed"]
    assert page.bars[1]["title"] == "t.py::test_<b>\npassed, 2.500 s"
    assert page.bars[0]["style"] == "left:0.000%;width:20.000%"
    assert page.bars[1]["style"] == "left:30.000%;width:25.000%"
    assert page.loaded == []
    assert "url(" not in timeline.page(RECORD)


def test_a_clock_that_was_set_back_leaves_no_time_before_the_beginning() -> None:
    """A job that was scheduled an hour later than it started has its tests in their places."""
    record = {**RECORD, "created_at": "2026-11-22T21:30:15+00:00"}
    page = _Bars()
    page.feed(timeline.page(record))
    lefts = [str(bar["style"]).partition(";")[0] for bar in page.bars[1:]]
    assert len(set(lefts)) == len(lefts) == 2
    times = [event["ts"] for event in timeline.trace(record)["traceEvents"] if "ts" in event]
    assert min(times) >= 0


def test_a_trace_is_what_perfetto_reads() -> None:
    """Complete events in microseconds, each on the line of its worker, which has a name."""
    events = timeline.trace(RECORD)["traceEvents"]
    names = {each["tid"]: each["args"]["name"] for each in events if each["ph"] == "M"}
    assert names == {0: "queue", 1: "gw0", 2: "gw10"}
    spans = {each["name"]: each for each in events if each["ph"] == "X"}
    assert (spans["t.py::test_bad"]["ts"], spans["t.py::test_bad"]["dur"]) == (4_000_000, 4_000_000)
    assert spans["in the queue"]["dur"] == 2_000_000
    assert "t.py::test_never" not in spans


def test_a_job_that_never_ran_has_a_picture_too() -> None:
    """Without a start there are no lanes, and no error."""
    record = {**RECORD, "started_at": None, "results": RECORD["results"][2:]}
    assert "queue" in timeline.page(record)
    assert timeline.trace(record)["traceEvents"][0]["ph"] == "M"
