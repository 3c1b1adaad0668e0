"""Count worker slots: taken once, free when all who hold them are gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.errors import InvalidRequestError
from pytest_valor_schedule.queue import slots
from pytest_valor_schedule.queue.slots import Holder
from tests.support.waiting import wait_until

ME = Holder(command="pytest", folder="/project", pid=7, since=1.0)


@pytest.fixture
def made(home: Home) -> Home:
    """A home whose folders are there."""
    home.make()
    return home


def test_slots_are_taken_once(made: Home) -> None:
    """Nobody gets a slot that is held, and nobody a part of what was asked for."""
    first = slots.take(made, 2, 3, ME)
    assert first is not None
    assert first.numbers == (0, 1)
    assert slots.take(made, 2, 3, ME) is None
    assert slots.free(made, 3) == [2]
    second = slots.take(made, 1, 3, ME)
    assert second is not None
    assert second.numbers == (2,)
    first.release()
    assert slots.free(made, 3) == [0, 1]
    second.release()


def test_a_slot_is_free_when_all_who_inherited_it_are_gone(made: Home) -> None:
    """The death of whoever took it is not enough while its children live, and then it is."""
    program = (
        "import sys, subprocess; from pathlib import Path;"
        "from pytest_valor_schedule.queue import slots;"
        "from pytest_valor_schedule.config.home import Home;"
        "held = slots.take(Home(Path(sys.argv[1])), 1, 1, slots.Holder());"
        "child = subprocess.Popen(['sleep', '600'], pass_fds=held.handles);"
        "print(child.pid, flush=True)"
    )
    command = [sys.executable, "-c", program, str(made.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        child = int(process.stdout.readline())
    assert slots.free(made, 1) == []
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: slots.free(made, 1) == [0], "the slot is free")


def test_the_setting_comes_before_the_cpus(made: Home) -> None:
    """Environment, then config.toml, then what the machine has."""
    assert slots.total(made, {}) == slots.usable_cpus() >= 1
    made.config.write_text("slots = 3")
    assert slots.total(made, {}) == 3
    assert slots.total(made, {"VALOR_SCHEDULE_SLOTS": "5"}) == 5


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
def test_a_wrong_number_of_slots_is_named(made: Home, value: str) -> None:
    """A submitter is told, and the dispatcher goes on with the CPUs."""
    environment = {"VALOR_SCHEDULE_SLOTS": value}
    with pytest.raises(InvalidRequestError, match=r"VALOR_SCHEDULE_SLOTS is .* number of 1 or"):
        slots.total(made, environment)
    assert slots.total_or_cpus(made, environment) == slots.usable_cpus()
