"""Runs that somebody starts by hand, beside the queue."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_valor_schedule import get_job_status
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.queue import slots
from pytest_valor_schedule.queue.slots import Holder
from tests.support.scheduled import (
    GATED,
    nothing_scheduled,
    open_gate,
    results_of,
    run_pytest,
    run_tool,
    scheduled_id,
)
from tests.support.waiting import wait_until

SLOTS = """
import pathlib, pytest
@pytest.mark.parametrize("number", range(8))
def test_slot(number, schedule_slot, worker_id):
    with open("slots", "a") as file:
        print(worker_id, schedule_slot, file=file)
"""


def _configure(home: Home, line: str) -> None:
    with home.config.open("a") as file:
        print(line, file=file)


@pytest.fixture
def sharing(home: Home) -> Home:
    """A machine on which runs by hand share the slots."""
    home.make()
    _configure(home, 'direct_runs = "share"')
    return home


def _seen() -> set[str]:
    """Return the pairs of worker and slot that the tests of SLOTS wrote down."""
    return set(Path("slots").read_text().splitlines())


def test_auto_means_the_slots_that_are_free(project: Path, sharing: Home) -> None:
    """The workers get their numbers, and the slots are free again at the end."""
    Path("test_slots.py").write_text(SLOTS)
    held = slots.take(sharing, 1, 2, Holder())
    assert held is not None
    assert run_pytest("-n", "auto").returncode == 0
    assert _seen() == {"gw0 1"}
    held.release()
    assert slots.free(sharing, 2) == [0, 1]
    Path("slots").unlink()
    assert run_pytest("-n", "auto").returncode == 0
    assert _seen() == {"gw0 0", "gw1 1"}


def test_auto_waits_for_one_slot_and_says_so(
    project: Path, sharing: Home, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """Where none is free it begins with the first that is."""
    Path("test_slots.py").write_text(SLOTS)
    held = slots.take(sharing, 2, 2, Holder())
    assert held is not None
    run = start("-n", "auto")
    assert run.stderr is not None
    assert run.stderr.readline().startswith("All 2 worker slots of this machine are taken")
    assert not Path("slots").exists()
    held.release()
    assert run.wait() == 0


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """A function that starts a pytest and returns it while it runs."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
            quiet, pipe = subprocess.DEVNULL, subprocess.PIPE
            run = subprocess.Popen(command, stdout=quiet, stderr=pipe, text=True)
            stack.enter_context(run)
            stack.callback(run.kill)  # should the test fail while it runs
            return run

        yield start


def _signed(home: Home) -> list[int]:
    """Return the slots whose holders have said who they are, which they do when they have them."""
    return [number for number, each in slots.holders(home, 2).items() if each != slots.Holder()]


@pytest.mark.home_in_use
@pytest.mark.parametrize(("arguments", "taken"), [((), [0]), (("-n", "2"), [0, 1])])
def test_others_hold_what_they_use(
    project: Path,
    sharing: Home,
    start: Callable[..., subprocess.Popen[str]],
    arguments: tuple[str, ...],
    taken: list[int],
) -> None:
    """Jobs wait for a run by hand, are told so, and `valor-schedule slots` shows it."""
    Path("test_gated.py").write_text(GATED)
    run = start(*arguments)
    wait_until(lambda: _signed(sharing) == taken, "its slots are taken")
    said = run_tool("slots").stdout.splitlines()
    assert f"process {run.pid}: pytest -p no:cacheprovider" in said[0]
    assert str(project) in said[0]
    Path("test_two.py").write_text("def test_1(): pass\ndef test_2(): pass")
    scheduled = run_pytest("--schedule", "test_two.py", "--max-workers", "2")
    job_id = scheduled_id(scheduled)
    if len(taken) == 2:
        assert "waits for 2 worker slots, 0 of 2 free" in scheduled.stdout
        assert f"a direct run in {project} has some" in get_job_status(job_id)["reason"]
        open_gate()
    assert results_of(job_id)["outcome"] == "passed"
    open_gate()
    assert run.wait() == 0


def test_more_than_there_are_do_not_wait(project: Path, sharing: Home) -> None:
    """`-n K` is a choice; workers without a slot of their own have no number."""
    Path("test_slots.py").write_text(SLOTS)
    held = slots.take(sharing, 1, 2, Holder())
    assert held is not None
    assert run_pytest("-n", "3").returncode == 0
    held.release()
    assert _seen() <= {"gw0 1", "gw1 None", "gw2 None"}
    Path("slots").unlink()
    assert run_pytest().returncode == 0
    assert _seen() == {"master 0"}


@pytest.mark.parametrize(
    "arguments",
    [("--collect-only",), ("-p", "no:valor_schedule"), ("--fixtures",), ("--pdb",), ("--help",)],
)
@pytest.mark.parametrize("mode", ["share", "queue"])
def test_what_is_no_run_for_the_machine_is_left_alone(
    project: Path, home: Home, monkeypatch: pytest.MonkeyPatch, mode: str, arguments: tuple[str]
) -> None:
    """No slot is taken, and nothing is scheduled."""
    home.make()
    monkeypatch.setenv("VALOR_SCHEDULE_DIRECT_RUNS", mode)
    Path("test_it.py").write_text(
        "import os\ndef test_it(): assert 'VALOR_SCHEDULE_DIRECT_RUN' not in os.environ"
    )
    assert run_pytest(*arguments).returncode == 0
    assert list(home.slots.iterdir()) == []
    assert nothing_scheduled()


@pytest.mark.home_in_use
def test_a_run_inside_of_a_run_takes_no_further_slot(
    project: Path, sharing: Home, one_slot: None
) -> None:
    """A test that starts pytest does not wait for what its own run holds."""
    Path("test_it.py").write_text(
        "import subprocess, sys\n"
        "def test_it():\n"
        "    command = [sys.executable, '-m', 'pytest', '-n', 'auto', 'inner.py']\n"
        "    assert subprocess.run(command).returncode == 0\n"
    )
    Path("inner.py").write_text("def test_inner(): pass")
    assert run_pytest("-n", "auto").returncode == 0
    assert results_of(scheduled_id(run_pytest("--schedule")))["outcome"] == "passed"


@pytest.mark.home_in_use
@pytest.mark.parametrize(("body", "code"), [("pass", 0), ("assert False", 1)])
def test_a_machine_may_queue_all_runs(project: Path, home: Home, body: str, code: int) -> None:
    """A plain pytest waits for its job, shows the results and returns its exit code."""
    home.make()
    _configure(home, 'direct_runs = "queue"')
    Path("test_it.py").write_text(f"def test_it(): {body}")
    done = run_pytest()
    assert done.returncode == code
    assert results_of(scheduled_id(done))["exit_code"] == code
    if code:
        asked = run_pytest("--schedule")
        assert asked.returncode == 0
        assert "results: " in asked.stdout
        assert results_of(scheduled_id(asked))["exit_code"] == code


@pytest.mark.parametrize("text", ['direct_runs = "sometimes"', "direct_runs = ["])
def test_a_wrong_setting_of_the_machine_fails_no_run(project: Path, home: Home, text: str) -> None:
    """It is warned of in each run, which goes on as if there was none."""
    home.make()
    home.config.write_text(text)
    Path("test_it.py").write_text("def test_it(): pass")
    done = run_pytest()
    assert done.returncode == 0
    assert done.stderr.startswith("This run does not share the worker slots of the machine: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_home_that_cannot_be_used_fails_no_run(project: Path, sharing: Home) -> None:
    """Nor does a home that is not there to be used."""
    sharing.slots.rmdir()
    sharing.slots.touch()
    Path("test_it.py").write_text("def test_it(): pass")
    done = run_pytest("-n", "auto")
    assert done.stderr.startswith("This run does not share the worker slots of the machine: ")
    assert done.returncode == 0


def test_variables_of_a_run_do_not_stay(pytester: pytest.Pytester, sharing: Home) -> None:
    """A pytest inside of a program leaves its environment as it was."""
    pytester.makepyfile("def test_it(schedule_slot): assert schedule_slot == 0")
    before = set(os.environ) - {"PYTEST_CURRENT_TEST"}
    pytester.inline_run().assertoutcome(passed=1)
    assert set(os.environ) - {"PYTEST_CURRENT_TEST"} == before
    assert slots.free(sharing, 2) == [0, 1]
