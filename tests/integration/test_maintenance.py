"""`valor-schedule prune` and `valor-schedule doctor`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_valor_schedule import get_job_results, get_job_status, list_jobs
from pytest_valor_schedule.client import administer, doctor
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import service
from pytest_valor_schedule.env import JOB_ID_VARIABLE
from pytest_valor_schedule.queue.store import JobStore
from tests.support.disks import as_root, fill, make_room
from tests.support.scheduled import (
    GATED,
    is_running,
    open_gate,
    results_of,
    run_pytest,
    run_tool,
    scheduled_id,
)
from tests.support.waiting import processes_marked, wait_until

ENDED_FIELDS = ("results", "summary", "outcome", "started_at", "completed_at", "exit_code")


def test_what_a_job_left_is_pruned(ended: str, home: Home) -> None:
    """Log, journals, record and row go together, and nothing else."""
    assert administer.prune_jobs() == _pruned()
    would = administer.prune_jobs(0, dry_run=True)
    assert (would["logs"], would["records"]) == ((ended,), (ended,))
    assert would["bytes"] > 1000
    assert home.record(ended).exists()
    assert administer.prune_jobs(0) == {**would, "dry_run": False}
    assert not home.job_folder(ended).exists()
    assert not home.record(ended).exists()
    assert list_jobs()["total"] == 0


def _pruned() -> dict[str, object]:
    empty = {"logs": (), "records": (), "others": (), "durations": 0, "bytes": 0}
    return {**empty, "dry_run": False}


def test_what_was_learned_outlives_the_records(ended: str, home: Home) -> None:
    """No number of days for logs and records takes durations away, only a setting of their own."""
    learned = _durations(home)
    assert len(learned) == 3
    assert "the durations of 0 tests" in run_tool("prune", "--keep-days", "0").stdout
    assert list_jobs()["total"] == 0
    home.config.write_text("keep_records_days = 0\nkeep_logs_days = 0\n")
    assert administer.prune_jobs() == _pruned()
    assert _durations(home) == learned
    home.config.write_text("keep_history_days = 0\n")
    assert administer.prune_jobs(1000, dry_run=True)["durations"] == 3
    assert _durations(home) == learned
    assert "the durations of 3 tests" in run_tool("prune", "--keep-days", "1000").stdout
    assert _durations(home) == {}


def _durations(home: Home) -> dict[str, float]:
    with JobStore(home) as store, store.database.reading() as connection:
        return dict(connection.execute("SELECT nodeid, seconds FROM durations").fetchall())


@pytest.mark.usefixtures("one_slot")
def test_a_job_that_has_not_ended_is_never_pruned(project: Path, home: Home) -> None:
    """Neither what runs nor what waits is touched, however little is to be kept."""
    project.joinpath("test_gated.py").write_text(GATED)
    running = scheduled_id(run_pytest("--schedule"))
    wait_until(lambda: is_running(running) and home.job_folder(running).exists(), "it runs")
    waiting = scheduled_id(run_pytest("--schedule"))
    assert administer.prune_jobs(0) == _pruned()
    open_gate()
    assert {results_of(each)["outcome"] for each in (running, waiting)} == {"passed"}


def test_logs_go_before_records(ended: str, home: Home) -> None:
    """Results stay readable when the log is gone."""
    home.config.write_text("keep_logs_mb = 0")
    assert administer.prune_jobs()["logs"] == (ended,)
    assert not home.job_folder(ended).exists()
    assert get_job_results(ended)["summary"]["failed"] == 1


def test_an_idle_dispatcher_prunes(ended: str, home: Home, project: Path) -> None:
    """Nobody has to think of it."""
    home.config.write_text("keep_records = 1")
    project.joinpath("test_it.py").write_text("def test_it(): pass")
    second = scheduled_id(run_pytest("--schedule"))
    results_of(second)
    wait_until(lambda: not service.is_running(home), "the dispatcher has gone")
    assert [job["job_id"] for job in list_jobs()["jobs"]] == [second]
    assert not home.record(ended).exists()


def test_forgotten_folders_and_old_scraps_go(ended: str, home: Home) -> None:
    """What belongs to no job goes when it is old; a link's target is left alone."""
    forgotten, target = home.jobs / "20200101-000000-000000", home.root.parent / "mine"
    forgotten.mkdir()
    forgotten.joinpath("output.log").write_text("x")
    aside = home.schedule / "queue.db.damaged-20200101-000000"
    aside.write_text("x")
    target.mkdir()
    target.joinpath("file").write_text("x")
    (home.jobs / "20200101-000000-000001").symlink_to(target)
    for path in (forgotten, aside):
        os.utime(path, (0, 0))
    pruned = administer.prune_jobs()
    assert pruned["logs"] == (forgotten.name,)
    assert pruned["others"] == (aside.name,)
    assert not forgotten.exists()
    assert not aside.exists()
    assert target.joinpath("file").exists()
    assert home.record(ended).exists()


@as_root
def test_a_full_disk_can_be_pruned(project: Path, home: Home, small_disk: Path) -> None:
    """SQLite cannot delete on a full disk, but the files go first."""
    project.joinpath("test_it.py").write_text("def test_it(): print('x' * 50_000); assert 0")
    job_id = scheduled_id(run_pytest("--schedule"))
    results_of(job_id)
    wait_until(lambda: not service.is_running(home), "the dispatcher has gone")
    fill(small_disk)
    done = run_tool("prune", "--keep-days", "0")
    assert done.returncode == 0, done.stderr
    assert "1 record" in done.stdout
    assert list_jobs()["total"] == 0
    make_room(small_disk)


def test_bad_amounts_are_refused(ended: str) -> None:
    """A sentence, and nothing is pruned."""
    done = run_tool("prune", "--keep-days=-1")
    assert done.returncode == 1
    assert "keep_days is -1.0" in done.stderr
    assert list_jobs()["total"] == 1


def test_a_sound_home_has_no_finding(ended: str) -> None:
    """The doctor says so, and with what versions."""
    done = run_tool("doctor")
    assert done.returncode == 0
    assert "nothing is wrong" in done.stdout
    assert "pytest-xdist" in done.stdout


def _findings(*, repair: bool = False) -> list[str]:
    answer = doctor.examine_home(repair=repair)
    return [each["text"] for each in answer["findings"] if each["repaired"] == repair]


def _open_to_others(home: Home, job_id: str) -> str:
    home.record(job_id).chmod(0o644)
    return "open to others"


def _record_gone(home: Home, job_id: str) -> str:
    home.record(job_id).unlink()
    return "damaged or gone"


def _record_unreadable(home: Home, job_id: str) -> str:
    home.record(job_id).write_text("{")
    return "damaged or gone"


def _row_gone(home: Home, job_id: str) -> str:
    with JobStore(home) as store, store.database.transaction() as connection:
        connection.execute("DELETE FROM jobs")
    return "does not know the job"


def _foreign_record(home: Home, job_id: str) -> str:
    home.record("x").write_text("{}")
    home.record("x").chmod(0o600)
    return "cannot be read"


def _database_damaged(home: Home, job_id: str) -> str:
    os.truncate(home.database, 5000)
    return "is damaged"


@pytest.mark.parametrize(
    "harm",
    [
        _open_to_others,
        _record_gone,
        _record_unreadable,
        _row_gone,
        _foreign_record,
        _database_damaged,
    ],
)
def test_what_is_wrong_is_found_and_mended(ended: str, home: Home, harm: object) -> None:
    """A look changes nothing, a repair mends it, and then nothing is wrong any more."""
    before, status = get_job_results(ended), get_job_status(ended)
    text = harm(home, ended)  # type: ignore[operator]
    (found,) = _findings()
    assert text in found
    assert _findings() == [found]
    done = run_tool("doctor", "--repair")
    assert done.returncode == 0, done.stdout
    assert f"mended {found}" in done.stdout
    assert _findings() == []
    assert get_job_results(ended) == before
    assert get_job_status(ended) == status


def test_a_look_at_a_waiting_job_without_its_row_ends_it_not(ended: str, home: Home) -> None:
    """Only a repair gives up what lost its environment."""
    record = json.loads(home.record(ended).read_text())
    waiting = {name: value for name, value in record.items() if name not in ENDED_FIELDS}
    home.record(ended).write_text(json.dumps({**waiting, "status": "scheduled"}))
    before = _row_gone(home, ended) and home.record(ended).read_text()
    assert len(_findings()) == 1
    assert home.record(ended).read_text() == before
    assert len(_findings(repair=True)) == 1
    assert "schedule it again" in get_job_status(ended)["explanation"]


def test_links_and_a_broken_configuration_are_told(ended: str, home: Home) -> None:
    """What we cannot mend is said, and the exit code says that something is left."""
    home.config.write_text("priority = ")
    (home.root / "link").symlink_to("/etc")
    done = run_tool("doctor", "--repair", "--json")
    assert done.returncode == 1
    texts = [each["text"] for each in json.loads(done.stdout)["findings"]]
    assert any("symbolic link" in text for text in texts)
    assert any("config.toml cannot be read" in text for text in texts)


def test_settings_that_cannot_be_used_are_told(
    ended: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the doctor and by `config`, with what may have been meant."""
    home.config.write_text('priorty = "low"\nslots = 0\nkeep_logs_days = -1\nmax_workers = "two"\n')
    monkeypatch.setenv("VALOR_SCHEDULE_TIMEOUT_MINUTE", "5")
    monkeypatch.setenv("VALOR_SCHEDULE_ORDER", "shortest")
    monkeypatch.delenv("VALOR_SCHEDULE_SLOTS")
    texts = [each["text"] for each in json.loads(run_tool("doctor", "--json").stdout)["findings"]]
    assert [text.partition(",")[0] for text in texts] == [
        "config.toml has 'priorty'",
        "The environment has VALOR_SCHEDULE_TIMEOUT_MINUTE",
        "max_workers in config.toml is 'two'",
        "the environment variable VALOR_SCHEDULE_ORDER is 'shortest'",
        "slots in config.toml is 0",
        "keep_logs_days in config.toml is -1",
    ]
    assert "; VALOR_SCHEDULE_TIMEOUT_MINUTES is one" in texts[1]
    shown = run_tool("config").stdout
    assert all(text in shown for text in texts)


def test_processes_of_ended_jobs_are_found_and_ended(ended: str) -> None:
    """A leftover is known by the mark in its environment, never by its name."""
    mark = {JOB_ID_VARIABLE: ended}
    command = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]
    with subprocess.Popen(command, env={**os.environ, **mark}, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        (found,) = _findings()
        assert f"Process {process.pid} was left behind" in found
        assert _findings(repair=True) == [found]
        process.wait(60)
    assert not processes_marked(f"{JOB_ID_VARIABLE}={ended}")
