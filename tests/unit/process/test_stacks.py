"""Asking a process where it is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_valor_schedule.process import stacks
from tests.support.waiting import DEADLINE_SECONDS

BUSY = """
import faulthandler, sys
from pathlib import Path
from pytest_valor_schedule.process import stacks

def busy() -> None:
    print("up", flush=True)
    while True:
        pass

faulthandler.enable()
kept = stacks.enable(Path(sys.argv[1]))
busy()
"""
ASKING = """
import sys
from pathlib import Path
from pytest_valor_schedule.process import stacks

print(repr(stacks.ask(0, Path(sys.argv[1]))))
"""


LEAVING = """
import faulthandler, os, sys, threading
from pathlib import Path
from pytest_valor_schedule.process import stacks

def ended_by_another() -> None:
    threading.Timer(0, os._exit, [7]).start()
    threading.Event().wait()

faulthandler.enable()
kept = stacks.enable(Path(sys.argv[1]))
if os.fork() == 0:
    os._exit(5)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 5
assert not Path(sys.argv[1]).read_text()
ended_by_another()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the stacks go."""
    return tmp_path / "1.1-gw0.stacks"


@pytest.fixture
def busy(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that never lets go of the GIL for long."""
    command = [sys.executable, "-c", BUSY, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
        process.kill()


def test_a_busy_process_tells_where_it_is(busy: subprocess.Popen[str], path: Path) -> None:
    """The stacks name the function, each time it is asked, and the process goes on."""
    for _ in range(2):
        assert "in busy" in stacks.ask(busy.pid, path)
    assert busy.poll() is None


def test_a_process_that_ends_at_once_leaves_its_stacks(path: Path) -> None:
    """So pytest-timeout ends one from a thread; that a child of it ends so is no news."""
    done = subprocess.run([sys.executable, "-c", LEAVING, str(path)], timeout=DEADLINE_SECONDS)
    assert done.returncode == 7
    assert "in ended_by_another" in stacks.read(path)


def test_what_was_written_can_be_read(path: Path) -> None:
    """Stacks that are not there are empty."""
    assert stacks.read(path) == ""
    path.write_bytes(b"File \xff")
    assert stacks.read(path) == "File \ufffd"


def test_a_process_that_is_not_known_is_not_asked(path: Path) -> None:
    """The number 0, which stands for whoever asks and all its group, is no process."""
    command = [sys.executable, "-c", ASKING, str(path)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True, timeout=DEADLINE_SECONDS
    )
    assert (done.returncode, done.stdout) == (0, "''\n")
