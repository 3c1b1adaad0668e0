"""The benchmarks that are run by hand do run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import processes_marked

WAITING = Path(__file__).parents[1] / "benchmarks" / "waiting.py"


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder whose path is short, for the names of sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="Processes are looked up in /proc.")
def test_the_costs_of_waiting_are_measured_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scratch: Path
) -> None:
    """Each way of ours ends as plain pytest does, has numbers, and leaves no process or file."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text("def test_it():\n    pass\n")
    monkeypatch.setenv("TMPDIR", str(scratch))
    command = [sys.executable, str(WAITING), str(tmp_path), "--rounds", "1"]
    done = subprocess.run([*command, "--ways", "run"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[-2:]]
    commands = ["pytest", "valor-schedule"]
    assert [row[0] for row in rows] == commands
    for row in rows:
        _, cpu_ratio, _, size_ratio = map(float, row[-4:])
        assert cpu_ratio > 0
        assert size_ratio > 0
    assert not processes_marked(f"VALOR_HOME={scratch}{os.sep}", whole=False)
    assert not list(scratch.glob("tmp*"))
