"""Pictures of a job."""

from __future__ import annotations

import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule.client import api
from pytest_valor_schedule.text import timeline
from tests.support.scheduled import run_tool

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SWITCHES = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
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


def test_files_are_written(ended: str, tmp_path: Path) -> None:
    """`timeline` writes the page and the trace where it is told to."""
    page, trace = tmp_path / "page.html", tmp_path / "trace.json"
    done = run_tool("timeline", ended, "-o", str(page), "--perfetto", str(trace))
    assert done.returncode == 0
    assert ended in page.read_text()
    assert len(json.loads(trace.read_text())["traceEvents"]) >= 5
    refused = run_tool("timeline", ended, "-o", str(tmp_path / "no" / "page.html"))
    assert refused.returncode == 1
    assert "cannot be written" in refused.stderr


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_a_browser_shows_it(ended: str, tmp_path: Path) -> None:
    """In a real browser every bar of a test is there and has a width."""
    measure = (
        "<script>onload = () => { document.title = [...document.querySelectorAll('.track i')]"
        ".map(e => e.className + ':' + (e.getBoundingClientRect().width > 0)).join(' ') }</script>"
    )
    path = tmp_path / "page.html"
    path.write_text(timeline.page(api.get_record(ended)) + measure)
    command = [str(CHROMIUM), *SWITCHES, f"--user-data-dir={tmp_path}/profile", "--dump-dom"]
    done = subprocess.run(
        [*command, path.as_uri()], capture_output=True, text=True, timeout=60, check=True
    )
    title = done.stdout.partition("<title>")[2].partition("</title>")[0]
    assert sorted(title.split()) == [
        *("failed:true", "passed:true", "passed:true", "waiting:true"),
    ]
