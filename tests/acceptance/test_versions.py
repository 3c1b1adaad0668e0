"""Two versions of this package at work on one job: each virtual environment has its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import pytest_valor_schedule
from pytest_valor_schedule import schedule_tests
from tests.support.pages import ROOT
from tests.support.scheduled import JOB_ID, results_of

OLDER = "42e89e0"
"""A commit of this project in which all modules lay in one folder."""
ENTRY_POINTS = "[pytest11]\nvalor_schedule = pytest_valor_schedule.plugin\n"
HISTORY = os.environ.get("HISTORY_OF_THE_PROJECT", str(ROOT))
"""The folder whose git history is looked at; a checkout that is tested may be without one."""


@pytest.fixture(scope="session")
def older_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the older version, and all else of this one."""
    environment = tmp_path_factory.mktemp("older") / "venv"
    command = ["git", "-C", HISTORY, "archive", OLDER, "pytest_valor_schedule"]
    archive = subprocess.run(command, capture_output=True)
    if archive.returncode:
        pytest.skip("the history of the project is not at hand")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    [packages] = environment.glob("lib/python*/site-packages")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as older:
        older.extractall(packages, filter="data")
    about = packages / "pytest_valor_schedule-0.0.1.dist-info"
    about.mkdir()
    about.joinpath("METADATA").write_text("Name: pytest-valor-schedule\nVersion: 0.0.1\n")
    about.joinpath("entry_points.txt").write_text(ENTRY_POINTS)
    packages.joinpath("others.pth").write_text(f"{Path(pytest.__file__).parent.parent}\n")
    return environment


@pytest.fixture(autouse=True)
def suite(project: Path) -> None:
    """Two tests that tell which version is at work beside them."""
    project.joinpath("test_it.py").write_text(
        "import pathlib, pytest, pytest_valor_schedule as ours\n"
        "@pytest.mark.parametrize('n', [1, 2])\n"
        "def test_it(n): pathlib.Path(f'seen{n}').write_text(ours.__file__)\n"
    )


def _versions_seen(job_id: str) -> set[str]:
    results = results_of(job_id)
    assert results["outcome"] == "passed", results
    assert [each["outcome"] for each in results["results"]] == ["passed", "passed"]
    return {Path(f"seen{number}").read_text() for number in (1, 2)}


def test_a_dispatcher_runs_jobs_of_an_older_version(older_environment: Path) -> None:
    """A job is collected, run and recorded by what its own environment has; so is a second one."""
    for _ in range(2):
        answer = schedule_tests(f"{older_environment}/bin/python -m pytest")
        [seen] = _versions_seen(answer["job_id"])
        assert Path(seen).is_relative_to(older_environment)


def test_a_dispatcher_of_an_older_version_runs_jobs_of_this_one(older_environment: Path) -> None:
    """Who upgrades one of many environments has not to wait until nothing runs any more."""
    code = (
        "from pytest_valor_schedule import schedule_tests\n"
        f"print(schedule_tests('{sys.executable} -m pytest')['job_id'])"
    )
    command = [f"{older_environment}/bin/python", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    [job_id] = JOB_ID.findall(done.stdout)
    assert _versions_seen(job_id) == {pytest_valor_schedule.__file__}
