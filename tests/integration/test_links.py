"""Symbolic links in the home are not followed, and no text becomes a path."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_valor_schedule import get_job_results, list_jobs, schedule_tests
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import service
from tests.support.disks import as_root
from tests.support.scheduled import results_of, run_pytest, run_tool, scheduled_id


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that is none of our business, with a file."""
    folder = tmp_path / "outside"
    folder.mkdir()
    folder.joinpath("file").write_text("mine")
    return folder


@pytest.fixture
def linked(ended: str, home: Home, tmp_path: Path) -> Path:
    """What leads to the home from its place, as to a bigger disk or by a tool for dotfiles."""
    real = tmp_path / "real"
    home.root.rename(real)
    home.root.symlink_to(real)
    return home.root


def test_a_home_may_be_a_link_of_its_user(
    linked: Path, ended: str, home: Home, project: Path, tmp_path: Path
) -> None:
    """It is used as the folder that it leads to, also its config.toml, and nothing is wrong."""
    project.joinpath("test_it.py").write_text("def test_it(): pass")
    job_id = scheduled_id(run_pytest("--schedule"))
    assert results_of(job_id)["outcome"] == "passed"
    assert {job["job_id"] for job in list_jobs()["jobs"]} == {ended, job_id}
    settings = tmp_path / "settings.toml"
    settings.write_text('priority = "low"')
    home.config.symlink_to(settings)
    assert home.settings() == {"priority": "low"}
    assert "nothing is wrong" in run_tool("doctor").stdout


@as_root
def test_a_home_that_somebody_else_leads_to_is_refused(linked: Path, home: Home) -> None:
    """Who may change a link could have jobs run that are not of this user."""
    os.lchown(linked, 65534, 65534)
    assert "symbolic link of another user" in list_jobs()["error"]
    os.lchown(linked, 0, 0)
    assert list_jobs()["total"] == 1


@pytest.mark.parametrize("name", ["test_results", "test_schedule", "test_schedule/jobs"])
def test_a_linked_folder_is_refused(ended: str, home: Home, outside: Path, name: str) -> None:
    """Nothing is read or written behind a link, and the message says what to do."""
    folder = home.root / name
    folder.rename(home.root / "moved")
    folder.symlink_to(outside)
    answer = list_jobs()
    folder.unlink()
    (home.root / "moved").rename(folder)
    assert "symbolic link" in answer["error"]
    assert [path.name for path in outside.iterdir()] == ["file"]
    assert list_jobs()["total"] == 1


def test_a_linked_database_is_refused(ended: str, home: Home, outside: Path) -> None:
    """SQLite would follow the link."""
    home.database.rename(outside / "queue.db")
    home.database.symlink_to(outside / "queue.db")
    assert "symbolic link" in list_jobs()["error"]
    home.database.unlink()


def test_a_linked_record_is_not_read(ended: str, home: Home, outside: Path) -> None:
    """It is made anew from the journals, and what it led to stays as it is."""
    before = get_job_results(ended)
    home.record(ended).unlink()
    home.record(ended).symlink_to(outside / "file")
    assert get_job_results(ended) == before
    assert not home.record(ended).is_symlink()
    assert outside.joinpath("file").read_text() == "mine"


def test_a_linked_log_is_not_shown(ended: str, home: Home, outside: Path) -> None:
    """What a link leads to is not what the job printed."""
    home.output(ended).unlink()
    home.output(ended).symlink_to(outside / "file")
    done = run_tool("logs", ended)
    assert (done.returncode, done.stdout.strip()) == (0, "")


def test_a_job_does_not_run_in_a_linked_folder(
    project: Path, home: Home, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job ends with a reason, and the folder behind the link gets nothing."""
    project.joinpath("test_it.py").write_text("def test_it(): pass")
    with monkeypatch.context() as patch:
        patch.setattr(service, "call", lambda *_: None)
        job_id = schedule_tests("pytest")["job_id"]
    home.job_folder(job_id).symlink_to(outside)
    results = results_of(job_id)
    assert results["outcome"] == "error"
    assert "symbolic link" in results["explanation"]
    assert [path.name for path in outside.iterdir()] == ["file"]
    home.job_folder(job_id).unlink()
    assert results_of(scheduled_id(run_pytest("--schedule")))["outcome"] == "passed"
