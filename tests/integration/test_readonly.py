"""A home that can only be read is read whole, and what would change it is refused in a sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_valor_schedule import get_job_results, get_job_status, list_jobs, wait_for_job
from pytest_valor_schedule.config.home import Home
from tests.support.disks import as_root, read_only
from tests.support.jobs import a_job
from tests.support.pages import ROOT
from tests.support.scheduled import GATED, is_running, open_gate, run_pytest, run_tool, scheduled_id
from tests.support.waiting import wait_until

WAITING = a_job().job_id
SCHEDULE_AND_DIE = """
import os
from tests.support.jobs import a_job
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.queue.store import JobStore
JobStore(Home.find(os.environ)).add(a_job(), ["tests/test_a.py::test_one"], {})
os._exit(0)
"""
"""The job is in SQLite's write-ahead log, and nobody has put that into the database."""


def _log_and_index(home: Home) -> None:
    subprocess.run([sys.executable, "-c", SCHEDULE_AND_DIE], check=True, cwd=ROOT)
    assert home.database.with_name("queue.db-wal").stat().st_size


def _log_alone(home: Home) -> None:
    _log_and_index(home)
    home.database.with_name("queue.db-shm").unlink()


LOOKS = (
    *("list", "watch --once", "watch --json", "slots", "config", "prune --dry-run"),
    *(f"status {WAITING}", f"logs {WAITING}"),
)
CHANGES = (
    *(f"cancel {WAITING}", f"hold {WAITING}", f"release {WAITING}", f"priority {WAITING} low"),
    *("pause", "resume", "prune --keep-days 0"),
)


@as_root
@pytest.mark.parametrize("leave", [_log_and_index, _log_alone])
def test_what_is_only_in_the_log_is_seen(ended: str, home: Home, leave: object) -> None:
    """Whoever had written died: every look shows the last change all the same, and ends."""
    leave(home)  # type: ignore[operator]
    with read_only(home.root):
        assert [job["job_id"] for job in list_jobs()["jobs"]] == [ended, WAITING][::-1]
        looks = {look: run_tool(*look.split()) for look in LOOKS}
        assert {look: done.stderr for look, done in looks.items() if done.returncode} == {}
        assert "scheduled" in looks[f"status {WAITING}"].stdout
        assert WAITING[-6:] in looks["watch --once"].stdout
        for change in CHANGES:
            done = run_tool(*change.split())
            assert (done.returncode, done.stderr.count("error: ")) == (1, 1), change
            assert "cannot be" in done.stderr
            assert len(done.stderr.splitlines()) == 1


@as_root
def test_nobody_waits_for_a_queue_that_nobody_serves(ended: str, home: Home) -> None:
    """Nobody can be started to run the job, and waiting for it would never end."""
    _log_and_index(home)
    with read_only(home.root):
        for command in ("wait", "follow"):
            done = run_tool(command, WAITING)
            assert (done.returncode, done.stdout) == (1, "")
            assert "nobody serves the queue" in done.stderr
        assert run_tool("wait", ended).returncode == 1  # as a test of it failed


@as_root
def test_an_ended_job_is_read_whole(ended: str, home: Home, project: Path) -> None:
    """Its results are shown, also where its record is lost and cannot be made anew."""
    project.joinpath("test_it.py").write_text("def test_it(): pass")
    before = get_job_results(ended)
    home.record(ended).write_text("{")
    with read_only(home.root):
        assert get_job_results(ended) == before
        for look in ("results", "results --all", "follow", "replay"):
            words = look.split()
            assert "test_one[1]" in run_tool(words[0], ended, *words[1:]).stdout
        refused = run_pytest("--schedule")
        assert refused.returncode != 0
        assert "cannot be written" in refused.stderr
        assert "Traceback" not in refused.stdout + refused.stderr
        assert home.record(ended).read_text() == "{"


@as_root
def test_a_doctor_says_that_nothing_can_be_written(ended: str, home: Home) -> None:
    """It is a finding, beside which there is no other, and no repair for it."""
    with read_only(home.root):
        for arguments in ("doctor", "--json"), ("doctor", "--json", "--repair"):
            done = run_tool(*arguments)
            (finding,) = json.loads(done.stdout)["findings"]
            assert done.returncode == 1
            assert "can only be read" in finding["text"]
            assert not finding["repairable"]


@as_root
def test_damage_is_told_where_it_cannot_be_mended(ended: str, home: Home) -> None:
    """One sentence, and the damaged file stays as it is."""
    home.database.write_bytes(b"no database" * 1000)
    with read_only(home.root):
        for words in ("list",), ("status", ended), ("watch", "--once"):
            done = run_tool(*words)
            assert done.returncode == 1
            assert "not a database" in done.stderr
            assert len(done.stderr.splitlines()) == 1
        assert "is damaged" in run_tool("doctor").stdout


@as_root
def test_a_queue_at_work_is_seen_through_a_read_only_view(
    project: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its owner writes is seen as it comes, and waiting ends with the job."""
    project.joinpath("test_gated.py").write_text(GATED)
    job_id = scheduled_id(run_pytest("--schedule"))
    wait_until(lambda: is_running(job_id), "it runs")
    view = project.parent / "view"
    view.mkdir()
    with read_only(home.root, view), monkeypatch.context() as patch:
        patch.setenv("VALOR_HOME", str(view))
        running = lambda: get_job_status(job_id).get("progress", {}).get("running")  # noqa: E731
        wait_until(running, "the test that runs is shown")
        assert wait_for_job(job_id, 0.2)["status"] == "running"
        open_gate()
        assert wait_for_job(job_id, 60)["outcome"] == "passed"
