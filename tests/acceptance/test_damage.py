"""A database or a record that is damaged, deleted or of another version costs no job."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule import (
    get_job_results,
    get_job_status,
    list_jobs,
    schedule_tests,
    wait_for_job,
)
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.errors import StoreError
from pytest_valor_schedule.queue.database_file import is_whole
from pytest_valor_schedule.queue.store import JobStore
from tests.support.scheduled import (
    GATED,
    is_running,
    open_gate,
    results_of,
    run_pytest,
    run_tool,
    schedule,
    scheduled_id,
)
from tests.support.waiting import processes_marked, wait_until

SUITE = """
import os
def test_environment(): assert os.environ["TOLD"] == "by its submitter"
"""


def _noise(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))


def _noise_inside(path: Path) -> None:
    """Spare the first page alone, so that the file still opens."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))


def _truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _emptied(path: Path) -> None:
    os.truncate(path, 0)


def _deleted(path: Path) -> None:
    path.unlink()


def _of_somebody_else(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE jobs (name)")
    connection.close()


def _of_another_shape(path: Path) -> None:
    path.write_text('{"results": 5}')


def _deeply_nested(path: Path) -> None:
    path.write_text("[" * 100_000)


DAMAGES = [_noise, _noise_inside, _truncated, _emptied, _deleted, _of_somebody_else]
Damage = Callable[[Path], None]


def _set_aside(home: Home) -> list[Path]:
    return [each for each in home.schedule.glob("queue.db.damaged-*") if each.name[-1].isdigit()]


@pytest.mark.parametrize("damage", DAMAGES)
def test_ended_jobs_outlive_the_database(
    ended: str, home: Home, damage: Damage, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever happens to the file, the next call has all jobs, and a damaged file is kept."""
    before, results = get_job_status(ended), get_job_results(ended)
    damage(home.database)
    assert [job["job_id"] for job in list_jobs()["jobs"]] == [ended]
    assert get_job_status(ended) == before
    assert get_job_results(ended) == results
    assert is_whole(home.database)
    there = damage is not _deleted
    assert len(_set_aside(home)) == there
    notice = capfd.readouterr().err
    assert "rebuilt from 1 record." in notice
    assert ("set aside" in notice) == there


@pytest.mark.usefixtures("one_slot")
@pytest.mark.parametrize("damage", [_noise, _noise_inside, _deleted])
def test_running_and_waiting_jobs_end_whole(
    project: Path, home: Home, damage: Damage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that runs keeps its runner and its results, and one that waits its environment."""
    project.joinpath("test_gated.py").write_text(GATED)
    project.joinpath("test_it.py").write_text(SUITE)
    running = schedule("test_gated.py")
    wait_until(lambda: is_running(running) and home.job_folder(running).is_dir(), "it runs")
    claim_is_noted = home.job_folder(running) / "1.0-runner.jsonl"
    wait_until(claim_is_noted.exists, "the runner has begun")
    monkeypatch.setenv("TOLD", "by its submitter")
    waiting = schedule("test_it.py")
    monkeypatch.delenv("TOLD")
    damage(home.database)
    open_gate()
    assert results_of(running)["outcome"] == "passed"
    assert results_of(waiting)["outcome"] == "passed"
    assert {job["job_id"] for job in list_jobs()["jobs"]} == {running, waiting}
    assert is_whole(home.database)
    assert scheduled_id(run_pytest("--schedule", "test_gated.py"))


def test_a_database_of_an_older_version_is_made_anew(ended: str, home: Home) -> None:
    """Its jobs come from their records, and it is kept beside the new one."""
    before = get_job_status(ended)
    with JobStore(home) as store, store.database.transaction() as connection:
        connection.execute("PRAGMA user_version = 1")
    assert get_job_status(ended) == before
    assert is_whole(home.database)
    assert len(_set_aside(home)) == 1


def test_a_home_that_was_thrown_away_stays_so(
    project: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dispatcher with nothing to do ends with it, and leaves no empty one behind."""
    monkeypatch.setenv("VALOR_SCHEDULE_IDLE_SECONDS", "600")
    Path("test_it.py").write_text("def test_it(): pass")
    results_of(scheduled_id(run_pytest("--schedule")))
    home.root.rename(home.root.with_name("away"))
    wait_until(lambda: not processes_marked(f"VALOR_HOME={home.root}"), "its dispatcher has gone")
    assert not home.root.exists()


@pytest.mark.usefixtures("one_slot")
def test_a_job_whose_home_is_thrown_away_ends_with_a_record(project: Path, home: Home) -> None:
    """It says that there is no result, and its runner has gone."""
    Path("test_gated.py").write_text(GATED)
    job_id = scheduled_id(run_pytest("--schedule"))
    wait_until(
        lambda: get_job_status(job_id).get("progress", {}).get("running"), "its test is running"
    )
    home.root.rename(home.root.with_name("away"))  # at once, unlike a removal
    open_gate()
    wait_until(home.record(job_id).exists, "the record is there")
    results = results_of(job_id)
    assert (results["outcome"], results["summary"]["not_run"]) == ("error", 1)
    assert results["explanation"] == "The home was thrown away while the job ran."
    wait_until(lambda: not processes_marked(f"VALOR_HOME={home.root}"), "its runner has gone")


@pytest.mark.usefixtures("one_slot")
@pytest.mark.parametrize("what", ["its environment", "the database too"])
def test_a_job_whose_environment_is_lost_ends_with_a_reason(
    project: Path, home: Home, what: str
) -> None:
    """What cannot run any more says so, with every test in its record."""
    project.joinpath("test_gated.py").write_text(GATED)
    running = scheduled_id(run_pytest("--schedule"))
    wait_until(lambda: is_running(running), "it runs")
    # A session has its environment from the start, and runs.
    waiting = scheduled_id(run_pytest("--schedule", "-o", "valor_schedule_inline=never"))
    (home.environments / f"{waiting}.json").unlink()
    if what == "the database too":
        home.database.unlink()
    open_gate()
    results = results_of(waiting)
    assert results["outcome"] == "error"
    assert "schedule it again" in results["explanation"]
    assert [each["outcome"] for each in results["results"]] == ["not_run"]


def test_runner_s_death_is_noticed_with_a_new_database(project: Path, home: Home) -> None:
    """The claim on a running job is found again in the journal of its runner."""
    project.joinpath("test_gated.py").write_text(GATED)
    running = scheduled_id(run_pytest("--schedule"))
    claim_is_noted = home.job_folder(running) / "1.0-runner.jsonl"
    wait_until(claim_is_noted.exists, "the runner has begun")
    with JobStore(home) as store:
        claim = store.claim(running)
    home.database.unlink()
    with JobStore(home) as store:
        assert store.claim(running) == claim is not None
    assert get_job_status(running)["status"] == "running"
    open_gate()
    assert results_of(running)["outcome"] == "passed"


RECORD_DAMAGES: list[Damage] = [
    _noise,
    _truncated,
    _emptied,
    _deleted,
    _of_another_shape,
    _deeply_nested,
]


@pytest.mark.parametrize("damage", RECORD_DAMAGES)
def test_a_record_is_made_anew_from_the_journals(ended: str, home: Home, damage: Damage) -> None:
    """Results come back as they were, and the damaged file is kept beside them."""
    path = home.record(ended)
    before = json.loads(path.read_text())
    damage(path)
    assert get_job_results(ended)["results"] == before["results"]
    assert json.loads(path.read_text()) == before
    assert path.with_name(f"{path.name}.damaged").exists() == (damage is not _deleted)
    assert get_job_status(ended)["results"] == before["results"]


def test_a_record_that_is_gone_with_its_journals_is_said_to_be(ended: str, home: Home) -> None:
    """Nothing is made up: one sentence says what is left."""
    home.record(ended).unlink()
    for file in home.job_folder(ended).glob("*.jsonl"):
        file.unlink()
    answer = get_job_results(ended)
    assert "gone, and so are the event logs" in answer["error"]
    assert [job["summary"]["total"] for job in list_jobs()["jobs"]] == [3]
    assert not home.record(ended).exists()
    assert run_tool("results", ended).returncode == 1


def test_a_newer_version_s_database_is_left_alone(ended: str, project: Path, home: Home) -> None:
    """An older version says that it has to be upgraded, and changes nothing."""
    with JobStore(home) as store, store.database.transaction() as connection:
        connection.execute("PRAGMA user_version = 99")
    project.joinpath("test_it.py").write_text("def test_it(): pass")
    before = home.database.read_bytes()
    for answer in (list_jobs(), schedule_tests("test_it.py"), get_job_status(ended)):
        assert "newer version" in answer["error"]
        assert "pip install -U" in answer["error"]
    assert "newer version" in run_pytest("--schedule").stderr
    assert home.database.read_bytes() == before
    with pytest.raises(StoreError, match="newer version"):
        JobStore(home)
    home.database.unlink()  # or nobody could end the suite's jobs


def test_what_a_newer_version_keeps_with_a_job_stays(project: Path, home: Home) -> None:
    """Of two versions on one home the older one does not throw away what it does not know."""
    project.joinpath("test_gated.py").write_text(GATED)
    job_id = scheduled_id(run_pytest("--schedule"))
    wait_until(lambda: is_running(job_id), "it runs")
    with JobStore(home) as store, store.database.transaction() as connection:
        new = {**_document(connection, job_id), "of_the_future": [1]}
        connection.execute("UPDATE jobs SET document = ?", (json.dumps(new),))
    open_gate()
    assert wait_for_job(job_id, 60)["outcome"] == "passed"
    with JobStore(home) as store, store.database.reading() as connection:
        assert _document(connection, job_id)["of_the_future"] == [1]


def _document(connection: sqlite3.Connection, job_id: str) -> dict[str, Any]:
    query = "SELECT document FROM jobs WHERE id = ?"
    document: dict[str, Any] = json.loads(connection.execute(query, (job_id,)).fetchone()[0])
    return document
