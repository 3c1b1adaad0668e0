"""A suite that nobody here wrote gives the same results through the queue."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.tools import replay_parity
from tests.tools.parity import differences, plain_outcomes, scheduled_results

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
def test_pluggy_s_suite_ends_as_it_does_directly(unpacked: Path) -> None:
    """For every node id of pluggy's suite the outcome is that of a plain run."""
    plain = plain_outcomes(unpacked, ["-p", "no:randomly"])
    assert len(plain) > 50
    assert differences(plain, scheduled_results(unpacked, ["--max-workers", "2"])) == []


@pytest.mark.home_in_use
def test_a_waiting_pytest_ends_as_a_direct_one(unpacked: Path, tmp_path: Path) -> None:
    """Sections, last line, exit code and JUnit file, with tests of every kind added to pluggy's."""
    project = replay_parity.extended(unpacked, tmp_path / "extended")
    assert replay_parity.differences(project, ["-rA", "--max-workers=2"]) == []
