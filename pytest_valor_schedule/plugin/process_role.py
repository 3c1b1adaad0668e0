"""Decide once what this pytest process does for us.

Every pytest of the machine comes here, so nothing of ours is imported before it is needed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pytest_valor_schedule import env
from pytest_valor_schedule.errors import ScheduleError

if TYPE_CHECKING:
    from pytest_valor_schedule.model.run_config import CollectConfig, RunConfig

_OFF = ("0", "false", "no", "off")


class JobController(NamedTuple):
    """Run the session of a job."""

    run_config: RunConfig


class JobWorker(NamedTuple):
    """Run tests of a job, as one of its xdist workers."""

    run_config: RunConfig


class Collector(NamedTuple):
    """Collect for a function for programs, and run no test."""

    order: CollectConfig


class JobSession(NamedTuple):
    """Collect for the queue, wait for a turn, and run the tests then.

    Attributes:
        collect_config: From its runner.
        control: The descriptor of the socket on which its runner tells it to.
    """

    collect_config: CollectConfig
    control: int


class Submitter(NamedTuple):
    """Collect, and hand the run over to the queue.

    Attributes:
        waits: Whether the run is waited for, and shown.
        problem: Why it cannot be handed over, or None.
    """

    waits: bool
    problem: str | None


class NoJob(Enum):
    """The roles of a pytest that has nothing to do with a job."""

    DIRECT_RUN = auto()  # runs its tests here, on worker slots of the machine
    PLAIN_RUN = auto()  # runs its tests here, as without us
    UNINVOLVED = auto()  # lies within a job, is a worker of another run, or runs nothing


ProcessRole = JobController | JobWorker | Collector | JobSession | Submitter | NoJob


class ProcessStart:
    """Keep what this pytest was started with.

    Other plugins change the environment as soon as their first hook runs: pytest-cov writes into it
    what measures every process that is started from then on. A program sets what its pytest shall
    have before that. So it is read when our plugin is registered, anew for each run of a process.

    Attributes:
        environment: The environment variables.
        fork_server: What forks the workers of a job, see `ForkedWorkers`, or None.
        instructions: What the process of ours that started it wants of it, or None.
    """

    def __init__(self) -> None:
        self.fork_server = os.environ.pop(env.FORKS_VARIABLE, None)
        self.environment = dict(os.environ)
        self.instructions: RunConfig | CollectConfig | None = None

    def take_instructions(self) -> RunConfig | CollectConfig | None:
        """Take the instructions out of the environment; an import only where there are any."""
        if {env.RUN_CONFIG_VARIABLE, env.COLLECT_VARIABLE} & os.environ.keys():
            from pytest_valor_schedule.model import run_config

            self.instructions = run_config.take_config(os.environ)
        return self.instructions

    @property
    def session_threads(self) -> int | None:
        """How many threads the libraries may use in a session; None in all other processes."""
        instructions = self.instructions
        if instructions is None or instructions.is_job:
            return None
        return instructions.threads


START = pytest.StashKey[ProcessStart]()
_DECISION = pytest.StashKey[tuple[bool, ProcessRole]]()


def role_of(config: pytest.Config) -> ProcessRole:
    """Return the role of this process; the first call, before any session, decides it.

    Only a conftest.py that asks for the queue when it is configured changes it once more.
    """
    decision = config.stash.get(_DECISION, None)
    if decision is None or decision[0] != _is_explicit(config):
        decision = config.stash[_DECISION] = _is_explicit(config), _decide(config)
    return decision[1]


def _is_explicit(config: pytest.Config) -> bool:
    return bool(config.option.schedule or config.option.schedule_wait)


def _decide(config: pytest.Config) -> ProcessRole:
    if (workerinput := getattr(config, "workerinput", None)) is not None:
        return _worker(workerinput)
    if (start := config.stash.get(START, None)) is None:
        return NoJob.UNINVOLVED
    if (instructions := start.instructions) is not None:
        if instructions.is_job:
            return JobController(instructions)
        control = instructions.control
        return Collector(instructions) if control is None else JobSession(instructions, control)
    if env.JOB_ID_VARIABLE in os.environ:
        return NoJob.UNINVOLVED
    if env.DIRECT_VARIABLE in os.environ:
        return NoJob.PLAIN_RUN
    if may_be_scheduled(config, start.environment, is_explicit=_is_explicit(config)):
        return _submitter(config, start.environment, by_machine=False)
    return _by_machine(config, start.environment)


def _worker(workerinput: Mapping[str, Any]) -> ProcessRole:
    if "valor_schedule" not in workerinput:
        return NoJob.UNINVOLVED
    from pytest_valor_schedule.model.run_config import RunConfig

    return JobWorker(RunConfig.from_json(workerinput["valor_schedule"]))


def may_be_scheduled(
    config: pytest.Config, environment: Mapping[str, str], *, is_explicit: bool
) -> bool:
    """Return whether option, environment or ini file may ask for the queue, by a first look."""
    by_project: object = config.getini("valor_schedule_schedule")
    values = (is_explicit, environment.get("VALOR_SCHEDULE_SCHEDULE"), by_project)
    return any(str(value).strip().lower() not in ("", "none", *_OFF) for value in values)


def _by_machine(config: pytest.Config, environment: Mapping[str, str]) -> ProcessRole:
    """Return the role of a run that nobody asks to schedule, but perhaps the machine."""
    if not machine_has_settings(environment):
        return NoJob.PLAIN_RUN
    from pytest_valor_schedule.config.settings import DirectRuns
    from pytest_valor_schedule.plugin import direct_runs

    mode = direct_runs.mode_or_ignore(config, environment)
    if mode is DirectRuns.QUEUE:
        return _submitter(config, environment, by_machine=True)
    return NoJob.DIRECT_RUN if mode is DirectRuns.SHARE else NoJob.PLAIN_RUN


def machine_has_settings(
    environment: Mapping[str, str], variable: str = "VALOR_SCHEDULE_DIRECT_RUNS"
) -> bool:
    """Return whether a variable, or else config.toml, may say how this machine has it."""
    if variable in environment:
        return True
    home = environment.get("VALOR_HOME")
    try:
        folder = Path(home).expanduser() if home else Path(environment.get("HOME", ""), ".valor")
        return folder.is_absolute() and (folder / "test_schedule" / "config.toml").exists()
    except (OSError, RuntimeError):  # whoever asks for the queue is told
        return False


def _submitter(
    config: pytest.Config, environment: Mapping[str, str], *, by_machine: bool
) -> ProcessRole:
    """Return the role of a run that goes to the queue, unless it must or should stay here."""
    if _has_plugin_objects(config):
        return NoJob.DIRECT_RUN if by_machine else NoJob.PLAIN_RUN
    from pytest_valor_schedule.plugin import collect_role
    from pytest_valor_schedule.plugin.run_settings import RunSettings

    explicit = _is_explicit(config)
    try:
        settings = RunSettings(config, environment)
        if not (explicit or by_machine or settings.value("schedule")):
            return NoJob.PLAIN_RUN
        problem = collect_role.refusal(config)
        if problem and not explicit:
            return NoJob.PLAIN_RUN  # switched on for all runs, but this one is for the terminal
        return Submitter(by_machine or settings.value("schedule_wait"), problem)
    except ScheduleError as error:
        return Submitter(waits=False, problem=str(error))


def _has_plugin_objects(config: pytest.Config) -> bool:
    """Return whether a program gave plugins that no other process can have, and say so."""
    plugins = config.invocation_params.plugins or ()
    objects = [each for each in plugins if not isinstance(each, str)]
    if objects:
        print(
            f"This run is not handed over but runs here, because {objects[0]!r:.80} was given to "
            "pytest.main() and cannot be sent to another process; name a plugin by -p instead.",
            file=sys.stderr,
        )
    return bool(objects)


def learns_durations(config: pytest.Config) -> bool:
    """Return whether the history is to learn from this run, which is no job."""
    by_hand = role_of(config) in (NoJob.DIRECT_RUN, NoJob.PLAIN_RUN)
    return by_hand and not config.option.collectonly and _nearest_value(config, "learn") == "all"


def fork_server_of(config: pytest.Config) -> str | None:
    """Return what forks the workers of a job; None if there is none or it is not wanted."""
    is_off = str(_nearest_value(config, "fork_workers")).strip().lower() in _OFF
    return None if is_off else config.stash[START].fork_server


def _nearest_value(config: pytest.Config, name: str) -> object:
    """Return what environment, ini file or config.toml say of a setting; None if nothing."""
    environment = config.stash[START].environment
    by_project: object = config.getini(f"valor_schedule_{name}")
    for value in (environment.get(f"VALOR_SCHEDULE_{name.upper()}"), by_project):
        if value not in (None, ""):
            return value
    if not machine_has_settings(environment):
        return None
    from pytest_valor_schedule.config.settings import machine_value

    return machine_value(name, environment)
