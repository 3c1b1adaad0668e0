"""Whoever serves a home may be killed: somebody notices, without any call of ours."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import dispatcher, runner, service, watcher
from pytest_valor_schedule.process.identity import Identity
from tests.support.disks import as_root, fill, make_room
from tests.support.scheduled import GATED, open_gate, schedule
from tests.support.waiting import processes_marked, serving, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

ONE_WORKER = ("--max-workers", "1")
A_FEW_LINES = 4096


def _records(home: Home) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in home.results.glob("2*.json")]


def _statuses(home: Home) -> list[str]:
    return sorted(record["status"] for record in _records(home))


def _kill(*pids: int) -> None:
    """End processes, and wait until they have: one that is killed still lives for a moment."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(map(Identity.of, pids)), "they are dead")


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def _schedule_three(project: Path, home: Home) -> None:
    """Have two jobs that run, each at its only test, and one that waits."""
    project.joinpath("test_gated.py").write_text(f"open('begun', 'a').write('x')\n{GATED}")
    for _ in range(3):
        schedule(*ONE_WORKER)
    wait_until(lambda: len(serving(home.root, runner.PROCESS_NAME)) == 2, "two run")
    wait_until(lambda: _statuses(home) == ["running"] * 2 + ["scheduled"], "they say so")


def test_the_queue_goes_on_when_dispatcher_and_runners_are_killed(
    project: Path, home: Home
) -> None:
    """As by the kernel at night: what ran is accounted for, what waited runs, nothing is left."""
    _schedule_three(project, home)
    [served_by] = serving(home.root, dispatcher.NAME)
    _kill(served_by, *serving(home.root, runner.PROCESS_NAME))
    open_gate()
    wait_until(lambda: _statuses(home) == ["completed"] * 3, "all have ended")
    outcomes = [[each["outcome"] for each in record["results"]] for record in _records(home)]
    assert outcomes.count(["passed"]) >= 1
    assert all(len(each) == 1 for each in outcomes)
    wait_until(lambda: not processes_marked(f"VALOR_HOME={home.root}"), "nobody is left")
    assert not list(home.environments.iterdir())


def test_watcher_and_dispatcher_look_after_each_other(project: Path, home: Home) -> None:
    """Killed by turns, each is there again, and a job that runs meanwhile goes on."""
    _schedule_three(project, home)
    [runs_for], [serves] = serving(home.root, watcher.NAME), serving(home.root, dispatcher.NAME)
    _kill(runs_for)
    wait_until(lambda: serving(home.root, watcher.NAME) == [serves], "it has become the watcher")
    for _ in range(2):
        wait_until(lambda: serving(home.root, dispatcher.NAME), "there is another one")
        _kill(*serving(home.root, dispatcher.NAME))
    open_gate()
    wait_until(lambda: _statuses(home) == ["completed"] * 3, "all have ended")
    assert {record["outcome"] for record in _records(home)} == {"passed"}
    assert {record["attempt"] for record in _records(home)} == {1}
    wait_until(lambda: not processes_marked(f"VALOR_HOME={home.root}"), "nobody is left")


def test_what_a_dead_runner_left_unmarked_is_found_below_the_watcher(
    project: Path, home: Home
) -> None:
    """A daemon without environment, whose dispatcher and runner are dead, ends with its job."""
    project.joinpath("test_daemon.py").write_text(
        "import os, sys\n"
        "def test_daemon():\n"
        "    if not os.fork():\n"
        "        os.setsid()\n"
        "        os.fork() and os._exit(0)\n"
        '        code = \'import os, time; open("pid", "w").write(str(os.getpid()) + ".")\\n\'\n'
        "        code += 'time.sleep(600)'\n"
        "        os.execve(sys.executable, [sys.executable, '-c', code], {})\n"
        "    os.wait()\n"
    )
    project.joinpath("test_gated.py").write_text(GATED)
    schedule(*ONE_WORKER, "test_daemon.py", "test_gated.py")
    pid = Path("pid")
    wait_until(lambda: pid.exists() and pid.read_text().endswith("."), "the daemon is up")
    [runs] = serving(home.root, runner.PROCESS_NAME)
    [served_by] = serving(home.root, dispatcher.NAME)
    _kill(served_by)
    wait_until(lambda: serving(home.root, dispatcher.NAME), "another serves")
    _kill(runs)
    wait_until(lambda: _statuses(home) == ["completed"], "the job has ended")
    assert Identity.of(int(pid.read_text().rstrip("."))) is None


def test_a_dispatcher_whose_home_is_gone_has_no_successor(project: Path, home: Home) -> None:
    """Neither makes the home anew nor stays."""
    project.joinpath("test_it.py").write_text("def test_it(): pass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VALOR_SCHEDULE_IDLE_SECONDS", "600")
        schedule()
    wait_until(lambda: _statuses(home) == ["completed"], "the job has ended")
    wait_until(lambda: not serving(home.root, runner.PROCESS_NAME), "its runner has gone")
    [served_by] = wait_until(lambda: serving(home.root, dispatcher.NAME), "somebody serves")
    os.kill(served_by, signal.SIGSTOP)
    wait_until(lambda: _is_stopped(served_by), "it is stopped")
    shutil.rmtree(home.root)
    _kill(served_by)
    wait_until(lambda: not processes_marked(f"VALOR_HOME={home.root}"), "nobody is left")
    assert not home.root.exists()


@as_root
def test_on_a_full_disk_one_successor_waits_for_room(
    project: Path, home: Home, small_disk: Path
) -> None:
    """It is there, does not die again and again, and runs what waits when there is room."""
    _schedule_three(project, home)
    fill(small_disk)
    _kill(*serving(home.root, dispatcher.NAME), *serving(home.root, runner.PROCESS_NAME))
    [successor] = wait_until(lambda: serving(home.root, dispatcher.NAME), "another one serves")
    log = home.dispatcher_log.stat().st_size
    wait_until(lambda: service.is_running(home), "it has the lock")
    open_gate()
    make_room(small_disk)
    wait_until(lambda: _statuses(home) == ["completed"] * 3, "all have ended")
    assert serving(home.root, dispatcher.NAME) in ([successor], [])
    assert home.dispatcher_log.stat().st_size - log < A_FEW_LINES
    wait_until(lambda: not processes_marked(f"VALOR_HOME={home.root}"), "nobody is left")


def test_a_paused_queue_keeps_nobody_busy(project: Path, home: Home) -> None:
    """One that may start nothing has one more dispatcher, which ends."""
    _schedule_three(project, home)
    home.pause_marker.touch()
    _kill(*serving(home.root, dispatcher.NAME))
    open_gate()
    wait_until(lambda: not processes_marked(f"VALOR_HOME={home.root}"), "nobody is left")
    assert _statuses(home) == ["completed"] * 2 + ["scheduled"]
