"""A suite that nobody here wrote gives the same results through the queue."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest

from pytest_valor_schedule import get_job_results, list_jobs
from tests.tools import parity, replay_parity

PACKAGE = f"pluggy=={version('pluggy')}"  # comes with pytest; its suite needs nothing else


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution from the package index."""
    folder = tmp_path_factory.mktemp("archive")
    options = ["download", "-q", "--no-deps", "--no-binary", ":all:"]
    command = [sys.executable, "-m", "pip", *options, "-d", str(folder), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True)
    archives = list(folder.glob("*.tar.gz"))
    if done.returncode or not archives:
        pytest.skip(f"no package index: {done.stderr[-200:]}")
    return archives[0]


@pytest.fixture
def unpacked(archive: Path, tmp_path: Path) -> Path:
    """The project in the archive."""
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    return next(path for path in tmp_path.iterdir() if path.is_dir())


@pytest.mark.home_in_use
def test_pluggy_s_suite_ends_as_it_does_directly(
    unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outcomes, sections, last line, exit code and JUnit file, with tests of every kind added."""
    project = replay_parity.extended(unpacked, tmp_path / "extended")
    monkeypatch.setenv("PLAIN_OUTCOMES", str(tmp_path / "outcomes.json"))
    monkeypatch.setenv("PYTHONPATH", str(parity.SUPPORT))
    options = ("-rA", "--max-workers=2")
    direct = replay_parity.ending(project, [*options, "-p", "plain_outcomes"])
    waiting = replay_parity.ending(project, [*options, "--schedule-wait"])
    assert replay_parity.compared(direct, waiting) == []
    plain = json.loads((tmp_path / "outcomes.json").read_text())
    assert len(plain) > 50
    assert _outcomes_of_the_last_job() == plain


def _outcomes_of_the_last_job() -> dict[str, str]:
    [job] = list_jobs(limit=1)["jobs"]
    return {each["nodeid"]: each["outcome"] for each in get_job_results(job["job_id"])["results"]}
