"""Processes: telling them apart, starting them, ending them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_valor_schedule.process import kill, processes
from pytest_valor_schedule.process.identity import Identity
from pytest_valor_schedule.process.processes import Start
from tests.support.pages import ROOT
from tests.support.waiting import DEADLINE_SECONDS, processes_marked, wait_until

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="other kernels offer less")
SLEEPER = "import time; time.sleep(600)"


@contextmanager
def _job(output: Path, code: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run Python code as a job while the caller looks at it."""
    command = (sys.executable, "-c", code)
    process = processes.start(
        Start(command=command, cwd=output.parent, output=output, environment=os.environ)
    )
    try:
        yield process
    finally:
        kill.end_group(process)


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A job that sleeps."""
    with _job(tmp_path / "sleeper.log", SLEEPER) as process:
        yield process


def _identity(pid: int) -> Identity:
    identity = Identity.of(pid)
    assert identity is not None
    return identity


def test_a_live_process_has_an_identity_that_travels_as_text() -> None:
    """Another process can tell from the text whether the very same one still runs."""
    identity = _identity(os.getpid())
    assert identity.alive
    assert Identity.from_text(identity.to_text()) == identity
    assert Identity.from_text(identity.to_text()).alive


def test_a_dead_process_is_not_alive() -> None:
    """Neither a zombie nor a process that has been reaped is alive."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = _identity(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
    assert Identity.of(process.pid) is None
    assert not identity.alive
    process.communicate()
    assert Identity.of(process.pid) is None
    assert not identity.alive


@pytest.mark.parametrize("part", ["started", "boot"])
def test_a_later_process_of_the_same_number_is_another(part: str) -> None:
    """A number that was given again, also after a restart of the machine, is not mistaken."""
    fields = json.loads(_identity(os.getpid()).to_text())
    earlier = Identity.from_text(json.dumps({**fields, part: "another"}))
    assert earlier.pid == os.getpid()
    assert not earlier.alive


def test_two_processes_have_two_identities(sleeper: subprocess.Popen[bytes]) -> None:
    """An identity is that of one process."""
    assert _identity(sleeper.pid) != _identity(os.getpid())


def test_a_job_leads_a_session_of_its_own(sleeper: subprocess.Popen[bytes]) -> None:
    """What happens to the submitter's terminal does not reach a job."""
    assert os.getsid(sleeper.pid) == os.getpgid(sleeper.pid) == sleeper.pid


def test_a_job_reads_nothing_and_prints_to_a_private_file(tmp_path: Path) -> None:
    """Standard input is empty, and both outputs are appended to a file of the user's own."""
    output = tmp_path / "output.log"
    code = "import sys; print(repr(sys.stdin.read())); print('err', file=sys.stderr)"
    for _ in range(2):
        command = (sys.executable, "-c", code)
        process = processes.start(Start(command=command, cwd="/", output=output, environment={}))
        assert process.wait(DEADLINE_SECONDS) == 0
    assert sorted(output.read_text().split()) == ["''", "''", "err", "err"]
    assert output.stat().st_mode & 0o777 == 0o600


def test_a_job_has_the_folder_and_the_environment_that_it_was_given(tmp_path: Path) -> None:
    """Nothing of our own environment leaks into a job."""
    output = tmp_path / "output.log"
    code = "import os; print(os.getcwd(), os.environ.get('MINE'), os.environ.get('VALOR_HOME'))"
    command = (sys.executable, "-c", code)
    process = processes.start(
        Start(command=command, cwd=tmp_path, output=output, environment={"MINE": "1"})
    )
    assert process.wait(DEADLINE_SECONDS) == 0
    assert output.read_text().split() == [str(tmp_path), "1", "None"]


@pytest.mark.parametrize(
    ("command", "folder"), [("/no/such/command", "/"), (sys.executable, "/no/such/folder")]
)
def test_what_is_not_there_cannot_be_started(command: str, folder: str, tmp_path: Path) -> None:
    """The error is an OSError that names what is missing."""
    wanted = Start(command=(command,), cwd=folder, output=tmp_path / "output.log", environment={})
    with pytest.raises(OSError, match="/no/such"):
        processes.start(wanted)


FAMILY = """
import os, signal, time
if os.fork():
    signal.signal(signal.SIGINT, lambda *_: os._exit(3))
os.write(1, b"%d\\n" % os.getpid())
time.sleep(600)
"""


@pytest.fixture
def family(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A job that has a child, and the child's pid."""
    output = tmp_path / "family.log"
    with _job(output, FAMILY) as process:
        wait_until(lambda: len(output.read_text().split()) == 2, "parent and child are up")
        (child,) = {int(pid) for pid in output.read_text().split()} - {process.pid}
        yield process, child


def test_ending_a_group_ends_all_of_it_and_no_other_child(
    family: tuple[subprocess.Popen[bytes], int], sleeper: subprocess.Popen[bytes]
) -> None:
    """A job's children go with it, and the caller's other children stay."""
    process, child = family
    kill.end_group(process)
    assert process.returncode == -signal.SIGKILL
    wait_until(lambda: Identity.of(child) is None, "the job's child has ended")
    assert sleeper.poll() is None
    assert _identity(sleeper.pid).alive


def test_an_ended_group_can_be_ended_again(tmp_path: Path) -> None:
    """Ending what has ended does nothing."""
    with _job(tmp_path / "output.log", "") as process:
        assert process.wait(DEADLINE_SECONDS) == 0
        kill.interrupt(process)
        kill.end_group(process)
    assert process.returncode == 0


def test_an_interrupt_reaches_the_whole_group(
    family: tuple[subprocess.Popen[bytes], int],
) -> None:
    """A job and its children are interrupted as by Ctrl-C."""
    process, child = family
    kill.interrupt(process)
    assert process.wait(DEADLINE_SECONDS) == 3
    wait_until(lambda: Identity.of(child) is None, "the child was interrupted")


SUPERVISOR = """
import os, sys
from pathlib import Path
from pytest_valor_schedule.process import kill, processes, startup
from tests.support.waiting import wait_until

output, daemon = Path(sys.argv[1]), sys.argv[2]
startup.become_subreaper()
process = processes.start(
    processes.Start(command=(sys.executable, "-c", daemon), cwd="/", output=output)
)
wait_until(output.read_text, "the daemon is up")
kill.end_tree(process)
print("status", process.returncode)
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("none left")
"""
DAEMON = """
import os, signal, sys, time
if os.fork():
    time.sleep(600)  # the job itself
os.setsid()
if os.fork():
    os._exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
"""
HABITS = {
    "sleeps": "time.sleep(600)",
    "is stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
    "forks and forks": "end = time.monotonic() + 60\n"
    "while time.monotonic() < end and not os.fork(): time.sleep(0.002)",
}


def _printed_by(code: str, *arguments: str) -> list[str]:
    """Run Python code that may import modules of these tests; return its lines."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    return done.stdout.splitlines()


@linux_only
@pytest.mark.parametrize("habit", HABITS)
def test_ending_a_tree_ends_daemons_too(habit: str, tmp_path: Path) -> None:
    """A grandchild that left the session, forked twice and ignores TERM goes with the job."""
    output = str(tmp_path / "output.log")
    assert _printed_by(SUPERVISOR, output, DAEMON + HABITS[habit]) == ["status -9", "none left"]


KEEPING = """
import os, sys
from pathlib import Path
from pytest_valor_schedule.process import identity, kill, processes

command = (sys.executable, "-c", "import time; time.sleep(600)")
wanted = processes.Start(command=command, cwd="/", output=Path(sys.argv[1]), environment={})
kept, other = (processes.start(wanted) for _ in range(2))
kill.end_children(keep={kept.pid})
print(identity.Identity.of(other.pid) is None, kept.poll())
kill.end_children()
print(identity.Identity.of(kept.pid) is None)
"""


@linux_only
def test_children_that_are_to_be_kept_live_on(tmp_path: Path) -> None:
    """Of all children only those named survive."""
    assert _printed_by(KEEPING, str(tmp_path / "output.log")) == ["True None", "True"]


@linux_only
def test_marked_processes_are_ended_wherever_they_are(
    tmp_path: Path, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mark in the environment finds a job's daemon too, and spares who does not have it."""
    monkeypatch.setenv("MARK_OF_A_JOB", tmp_path.name)
    output = tmp_path / "output.log"
    with _job(output, DAEMON + HABITS["sleeps"]) as process:
        wait_until(output.read_text, "the daemon is up")
        kill.end_all_with_variable("MARK_OF_A_JOB", tmp_path.name)
        assert process.wait(DEADLINE_SECONDS) == -signal.SIGKILL
    assert processes_marked(f"MARK_OF_A_JOB={tmp_path.name}") == []
    assert sleeper.poll() is None


FORKING = """
import os, sys
from pathlib import Path
from pytest_valor_schedule.process import processes
kept = open(__file__)
def action():
    Path(sys.argv[1]).write_text(f"{os.getsid(0) == os.getpid()} {os.listdir('/proc/self/fd')}")
    if len(sys.argv) > 2:
        raise RuntimeError("it went wrong")
child = processes.fork_supervised(action)
while child.poll() is None:
    pass
print("parent", child.poll(), child.poll(), kept.closed)
"""


@linux_only
@pytest.mark.parametrize("fails", [False, True])
def test_a_fork_does_one_thing_and_ends(tmp_path: Path, fails: bool) -> None:
    """In a session of its own, without what its parent has open; a failure is printed."""
    (tmp_path / "forking.py").write_text(FORKING)
    command = [sys.executable, "forking.py", "seen", *(["fail"] if fails else [])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == f"parent {int(fails)} {int(fails)} False\n"
    assert ("RuntimeError: it went wrong" in done.stderr) == fails
    session, handles = (tmp_path / "seen").read_text().split(" ", 1)
    assert session == "True"
    assert len(handles.split(",")) <= 5  # the standard three, the listing, the file it writes


def test_a_child_that_a_look_leaves_out_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one child ends, the kernel may leave out another: no single look is believed."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    looks = iter([[], [child.pid]])
    monkeypatch.setattr(kill, "children", lambda _: next(looks, []))
    try:
        kill.end_children()
        wait_until(lambda: Identity.of(child.pid) is None, "the child has ended")
    finally:
        child.kill()
        child.wait()
