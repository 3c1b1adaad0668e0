"""Pictures of a job."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_valor_schedule.client import query
from pytest_valor_schedule.text import timeline
from tests.support.scheduled import run_tool

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SWITCHES = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


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
    path.write_text(timeline.page(query.get_record(ended)) + measure)
    command = [str(CHROMIUM), *SWITCHES, f"--user-data-dir={tmp_path}/profile", "--dump-dom"]
    done = subprocess.run(
        [*command, path.as_uri()], capture_output=True, text=True, timeout=60, check=True
    )
    title = done.stdout.partition("<title>")[2].partition("</title>")[0]
    assert sorted(title.split()) == [
        *("failed:true", "passed:true", "passed:true", "waiting:true"),
    ]
