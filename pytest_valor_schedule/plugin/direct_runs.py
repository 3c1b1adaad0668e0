"""A pytest that somebody starts by hand: it may share the worker slots with the queue."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping

import pytest

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.config.settings import DirectRuns, direct_runs
from pytest_valor_schedule.env import DIRECT_VARIABLE, SLOT_VARIABLE
from pytest_valor_schedule.errors import ScheduleError
from pytest_valor_schedule.in_job.worker_env import WorkerEnv
from pytest_valor_schedule.queue import slots
from pytest_valor_schedule.queue.slots import Held, Holder

_POLL_SECONDS = 0.05
_RUNS_NO_TEST = (
    "help",
    "version",
    "markers",
    "showfixtures",
    "show_fixtures_per_test",
    "cacheshow",
    "collectonly",
    "setuponly",
    "setupplan",
)
_FOR_THE_TERMINAL = ("usepdb", "trace", "looponfail")


def mode_or_ignore(config: pytest.Config, environment: Mapping[str, str]) -> DirectRuns:
    """Return the mode for a run; a wrong setting of the machine is warned of, and no more."""
    if any(getattr(config.option, name, False) for name in (*_RUNS_NO_TEST, *_FOR_THE_TERMINAL)):
        return DirectRuns.IGNORE
    try:
        return direct_runs(Home.find(environment), environment)
    except ScheduleError as error:
        _warn(error)
        return DirectRuns.IGNORE


def _warn(error: Exception) -> None:
    """Say it in a way that no filter of warnings can turn into a failure of the run."""
    text = f"This run does not share the worker slots of the machine: {error}"
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def sharing(config: pytest.Config, environment: Mapping[str, str]) -> Iterator[None]:
    """Hold slots for the workers of a run, or for the run itself, until it has ended.

    Args:
        config: pytest's, before xdist has read how many workers are wanted.
        environment: The one that this pytest was started with.
    """
    try:
        held = _take(config, Home.find(environment), environment)
    except (ScheduleError, OSError) as error:
        _warn(error)
        held = Held((), ())
    placement = WorkerEnv(held.numbers, threads=None)
    config.pluginmanager.register(placement, "valor_schedule_worker_env")
    try:
        with _told(held.numbers[0] if held.numbers and not _workers(config) else None):
            yield
    finally:
        held.release()


@contextlib.contextmanager
def _told(slot: int | None) -> Iterator[None]:
    """Tell all that this run starts that it has its slots, and its own tests which."""
    told = {DIRECT_VARIABLE: str(os.getpid())}
    if slot is not None:
        told[SLOT_VARIABLE] = str(slot)
    os.environ |= told
    try:
        yield
    finally:
        for name in told:
            os.environ.pop(name, None)


def _workers(config: pytest.Config) -> int:
    """Return how many xdist workers a run starts, if the number was given."""
    asked = getattr(config.option, "numprocesses", None)
    return int(asked or len(getattr(config.option, "tx", None) or ()))


def _take(config: pytest.Config, home: Home, environment: Mapping[str, str]) -> Held:
    home.make()
    total = slots.total(home, environment)
    holder = Holder(
        command=shlex.join(["pytest", *map(str, config.invocation_params.args)]),
        folder=str(config.invocation_params.dir),
        pid=os.getpid(),
        since=time.time(),
    )
    if getattr(config.option, "numprocesses", None) in ("auto", "logical"):
        wanted = min(total, _own_limit(config))
        held = _wait_for_one(home, wanted, total, holder)
        config.option.numprocesses = len(held.numbers)
        return held
    wanted = max(1, _workers(config))
    return slots.take(home, wanted, total, holder, least=0) or Held((), ())


def _own_limit(config: pytest.Config) -> int:
    """Return how many workers `auto` would mean without us."""
    found = config.hook.pytest_xdist_auto_num_workers(config=config)
    most = getattr(config.option, "maxprocesses", None)
    return max(1, min(int(found or 1), most or sys.maxsize))


def _wait_for_one(home: Home, wanted: int, total: int, holder: Holder) -> Held:
    """Take what is free as soon as that is anything at all."""
    said = False
    while (held := slots.take(home, wanted, total, holder, least=1)) is None:
        if not said:
            said = True
            print(
                f"All {total} worker slots of this machine are taken (`valor-schedule slots` shows "
                "by whom); this run begins when one is free.",
                file=sys.stderr,
                flush=True,
            )
        time.sleep(_POLL_SECONDS)
    return held
