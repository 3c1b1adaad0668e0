"""The picture of `valor-schedule watch` in the README is one of a real queue.

`NEW_PICTURE=1 pytest tests/integration/test_picture.py` makes it anew.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pytest_valor_schedule import cancel_job, get_job_status
from pytest_valor_schedule.cli import output
from pytest_valor_schedule.config.home import Home
from tests.support import pages, picture
from tests.support.scheduled import results_of, run_tool, schedule
from tests.support.waiting import wait_until

PICTURE = pages.PACKAGE / "docs" / "watch.svg"
COLUMNS = 90
SHOP = """
import itertools, pathlib, time
import pytest

def take_a_turn():
    for turn in itertools.count():
        try:
            pathlib.Path(f"turn-{turn}").touch(exist_ok=False)
        except FileExistsError:
            continue
        return turn

@pytest.mark.parametrize("way", ["card", "cash", "invoice", "voucher"])
@pytest.mark.parametrize("amount", [1, 10, 100, 1000, 10000])
def test_pay(way, amount):
    turn = take_a_turn()
    while turn >= 13:  # until it is cancelled
        time.sleep(0.02)
    time.sleep(0.05)
"""
MAIL = """
def test_receipt_is_sent(): assert "paid" in "an order that was not payed for"
def test_reminder_is_sent(): pass
"""


@pytest.fixture
def busy_queue(home: Home, project: Path) -> list[str]:
    """Lines of `watch`: one job has failed, one has passed, one runs, and two wait for it."""
    for name, text in {"test_shop.py": SHOP, "test_mail.py": MAIL}.items():
        (project / "tests" / name).parent.mkdir(exist_ok=True)
        (project / "tests" / name).write_text(text)
    results_of(schedule("--max-workers=1", "tests/test_mail.py"))
    results_of(schedule("--max-workers=1", "tests/test_mail.py", "-k", "reminder"))
    shop = schedule("tests/test_shop.py")  # of which nothing is known, so it gets both workers
    wait_until(lambda: _is_half_way(shop), "both workers are at the gate")
    waiting = [
        schedule("--priority=low", "tests"),
        schedule("--priority=high", "tests/test_mail.py"),
    ]
    lines = run_tool("watch", "--once").stdout.splitlines()
    for job in (*waiting, shop):
        cancel_job(job)
    return [output.paint(line) for line in lines]


def _is_half_way(job_id: str) -> bool:
    progress = get_job_status(job_id).get("progress") or {}
    return progress.get("finished") == 13 and len(progress.get("running", ())) == 2


def test_the_picture_is_of_a_real_queue(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """It is what a run gives today, but for ids, times and the names of tests."""
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    lines = request.getfixturevalue("busy_queue")
    drawn = picture.svg("valor-schedule watch", lines, COLUMNS)
    if os.environ.get("NEW_PICTURE"):
        PICTURE.write_text(drawn, "utf-8")
    assert _plain(drawn) == _plain(PICTURE.read_text("utf-8"))


def _plain(text: str) -> str:
    """Return a picture without what is another in each run; a cut line only as far as that."""
    text = text.replace("\N{NO-BREAK SPACE}", " ")
    lines = [re.sub(r" starts in .*| textLength=\S+", "", line) for line in text.splitlines()]
    masked = pages.masked("\n".join(lines))
    return re.sub(r"test_pay\[[^]]+\]", "test_pay", masked)
