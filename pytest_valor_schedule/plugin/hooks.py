"""The entry point of pytest: options, and which plugin object this process needs, if any."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_valor_schedule import env

if TYPE_CHECKING:
    from pytest_valor_schedule.model.run_config import CollectConfig, RunConfig

_START = "valor_schedule_start"
_TOLD = pytest.StashKey["RunConfig | CollectConfig | None"]()
_ENVIRONMENT = pytest.StashKey[dict[str, str]]()
_QUEUED_BY_MACHINE = pytest.StashKey[bool]()
_FORKS = pytest.StashKey[str | None]()
_SAID_TO_STAY = pytest.StashKey[bool]()

_OFF = ("", "none", "0", "false", "no", "off")
_INI_TYPE: Any = str | bool | int | float if pytest.version_tuple >= (9, 2) else None
"""Text, and in TOML what TOML has for it."""
_INI = {
    "schedule": "hand every run of this project over to the background queue: true or false",
    "schedule_wait": "wait for the end of a scheduled run: true or false",
    "priority": "default of --priority",
    "max_workers": "default of --max-workers",
    "timeout_minutes": "default of --timeout-minutes",
    "notify": "default of --notify",
    "test_timeout": "seconds after which a single test of a job is ended; none by default",
    "stall_minutes": "minutes without any event after which a job is ended; default: 5, 0: never",
    "learn": "which runs teach how long tests take: jobs (default), or all that are run here",
    "order": "which tests of a job go first: longest, failed-first or collected",
    "fork_workers": "fork the workers of a job where that is possible: true (default) or false",
    "confirm_failures": "default of --confirm-failures",
    "flaky": "what a test that failed and then passed makes of the run: fail (default) or pass",
    "log_mb": "MiB of a job's output that are kept, head and tail; default: 50",
}


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Make known which hooks of ours there are."""
    from pytest_valor_schedule import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


class _Start:
    """Keeps what this pytest was started with.

    Other plugins change the environment as soon as their first hook runs: pytest-cov writes into it
    what measures every process that is started from then on. A program sets what its pytest shall
    have before that. So it is read when our plugin is registered, anew for each run of a process.
    """

    def __init__(self) -> None:
        self.forks = os.environ.pop(env.FORKS_VARIABLE, None)
        self.environment = dict(os.environ)


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Read the environment, and add the options and their ini twins."""
    pluginmanager.register(_Start(), _START)
    group = parser.getgroup("valor-schedule", "one test queue for the machine")
    group.addoption(
        "--schedule",
        action="store_true",
        default=None,
        help="Collect the tests, hand the run over to the background queue, and return at once",
    )
    group.addoption(
        "--schedule-wait",
        action="store_true",
        default=None,
        help="As --schedule, but wait for the end of the run and return its exit code",
    )
    group.addoption(
        "--priority",
        metavar="{low,normal,high}",
        help="How urgent the scheduled run is. Default: normal.",
    )
    group.addoption(
        "--max-workers",
        metavar="N",
        help="The most pytest-xdist workers that the scheduled run may have. Default: 2.",
    )
    group.addoption(
        "--timeout-minutes",
        metavar="N",
        help="Minutes after its start at which the scheduled run is ended. Default: 10.",
    )
    group.addoption(
        "--notify",
        metavar="CHAT",
        help="Whom to tell about the end: a Telegram chat id, or an Apprise address",
    )
    group.addoption(
        "--confirm-failures",
        metavar="N",
        help="Run what failed again at the end, alone, up to N times, to find what is flaky",
    )
    for name, text in _INI.items():
        help_text = f"valor-schedule: {text}"
        parser.addini(f"valor_schedule_{name}", help_text, type=_INI_TYPE, default=None)


@pytest.fixture(scope="session")
def schedule_slot() -> int | None:
    """The number of this worker's slot, from 0, which no other worker on the machine has.

    It is there to choose a database, a port or a folder that nobody else uses at the same time.
    In a run that is not a scheduled one it is None.
    """
    slot = os.environ.get(env.SLOT_VARIABLE)
    return None if slot is None else int(slot)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Read what one of ours has told this process, before any conftest.py can change or use it."""
    start = early_config.pluginmanager.get_plugin(_START)
    assert isinstance(start, _Start)
    early_config.stash[_FORKS] = start.forks
    early_config.stash[_ENVIRONMENT] = start.environment
    told = _told()
    early_config.stash[_TOLD] = told
    if told is not None and told.death_pipe is not None:
        from pytest_valor_schedule.process.death_pipe import hold_on_to

        hold_on_to(told.death_pipe)
    if env.JOB_ID_VARIABLE in os.environ and (told or "PYTEST_XDIST_WORKER" in os.environ):
        from pytest_valor_schedule.in_job import controller_recorder  # noqa: F401  # while all that it needs is whole


def _told() -> RunConfig | CollectConfig | None:
    """Return what this process was told by one of ours; an import only where there is anything."""
    if not {env.RUN_CONFIG_VARIABLE, env.COLLECT_VARIABLE} & os.environ.keys():
        return None
    from pytest_valor_schedule.model import run_config

    return run_config.take_config(os.environ)


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    """Set what xdist and others read before the session begins."""
    told = config.stash.get(_TOLD, None)
    if told is not None and told.is_job:
        from pytest_valor_schedule.in_job import roles

        roles.prepare_controller(config, told)
    elif (own := _told_as_worker(config)) is not None:
        from pytest_valor_schedule.in_job import roles

        roles.prepare_worker(config, own)
    elif getattr(config.option, "looponfail", False) and (told or config.option.schedule):
        # Here already, because xdist starts its loop from this hook.
        raise pytest.UsageError("--looponfail never ends; run it directly, not in the background.")
    elif told is None and _may_be_direct(config):
        from pytest_valor_schedule.config.settings import DirectRuns
        from pytest_valor_schedule.plugin import direct_runs

        environment = config.stash[_ENVIRONMENT]
        mode = direct_runs.mode_or_ignore(config, environment)
        if mode is DirectRuns.QUEUE and _must_stay(config):
            mode = DirectRuns.SHARE
        config.stash[_QUEUED_BY_MACHINE] = mode is DirectRuns.QUEUE
        if mode is DirectRuns.SHARE:
            with direct_runs.sharing(config, environment):
                return (yield)
    with _held_back(config, told):
        return (yield)


@contextlib.contextmanager
def _held_back(
    config: pytest.Config, told: RunConfig | CollectConfig | None
) -> Generator[None, None, None]:
    """Before others open their reports, or print: leave both to the job, if there is to be one."""
    if not _goes_elsewhere(config, told):
        yield
        return
    from pytest_valor_schedule.plugin import submit_role

    environment = config.stash[_ENVIRONMENT]
    by_machine = config.stash.get(_QUEUED_BY_MACHINE, False)
    if not submit_role.goes_away(config, environment, certain=told is not None or by_machine):
        yield
        return
    submit_role.leave_streams(config)
    if told is None and (by_machine or submit_role.waits(config, environment)):
        with submit_role.hold_output(config):
            yield
    else:
        yield


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin objects that this process needs."""
    if _is_worker(config):
        plugin = _worker_plugin(config)
    else:
        plugin = _plugin_for(config, config.stash.get(_TOLD, None))
    if plugin is not None:
        config.pluginmanager.register(plugin, "valor_schedule_session")


def _told_as_worker(config: pytest.Config) -> RunConfig | None:
    """Return what a worker of a job was told by its controller; None in any other process."""
    workerinput: dict[str, Any] = getattr(config, "workerinput", {})
    if "valor_schedule" not in workerinput:
        return None
    from pytest_valor_schedule.model.run_config import RunConfig

    return RunConfig.from_json(workerinput["valor_schedule"])


def _worker_plugin(config: pytest.Config) -> object | None:
    told = _told_as_worker(config)
    if told is None:
        return None
    from pytest_valor_schedule.in_job import roles

    return roles.worker(config, told)


def _plugin_for(config: pytest.Config, told: RunConfig | CollectConfig | None) -> object | None:
    if told is not None and told.is_job:
        from pytest_valor_schedule.in_job import roles

        environment = config.stash[_ENVIRONMENT]
        return roles.controller(config, told, _fork_server(config), environment)
    if not _goes_elsewhere(config, told):
        return _learner(config)  # None as almost always, and without an import
    from pytest_valor_schedule.plugin import submit_role

    environment = config.stash[_ENVIRONMENT]
    if told is not None:
        return submit_role.collecting(config, told, environment)
    by_machine = config.stash.get(_QUEUED_BY_MACHINE, False)
    return submit_role.scheduling(config, environment, by_machine=by_machine)


def _goes_elsewhere(config: pytest.Config, told: RunConfig | CollectConfig | None) -> bool:
    """Whether this pytest collects for a job, or is asked to."""
    if told is not None:
        return not told.is_job
    if config.stash.get(_QUEUED_BY_MACHINE, False):
        return True
    return _may_go_elsewhere(config) and _is_asked_for(config) and not _must_stay(config)


def _must_stay(config: pytest.Config) -> bool:
    """Whether a program has given this pytest plugins that no other process can have; say so."""
    given = config.invocation_params.plugins or ()
    objects = [each for each in given if not isinstance(each, str)]
    if objects and not config.stash.get(_SAID_TO_STAY, False):
        config.stash[_SAID_TO_STAY] = True
        print(
            f"This run is not handed over but runs here, because {objects[0]!r:.80} was given to "
            "pytest.main() and cannot be sent to another process; name a plugin by -p instead.",
            file=sys.stderr,
        )
    return bool(objects)


def _fork_server(config: pytest.Config) -> str | None:
    """Return what forks workers, see `ForkedWorkers`; None if there is none or it is not wanted."""
    wanted = str(_nearest(config, "fork_workers")).strip().lower() not in _OFF[2:]
    return config.stash[_FORKS] if wanted else None


def _nearest(config: pytest.Config, name: str) -> object:
    """Return what environment, ini file or config.toml say of a setting; None if nothing."""
    environment = config.stash[_ENVIRONMENT]
    by_project: object = config.getini(f"valor_schedule_{name}")
    for named in (environment.get(f"VALOR_SCHEDULE_{name.upper()}"), by_project):
        if named not in (None, ""):
            return named
    if not _machine_may_care(config):
        return None
    from pytest_valor_schedule.config.settings import machine_value

    return machine_value(name, environment)


def _learner(config: pytest.Config) -> object | None:
    """Return what learns from a run by hand, if the project wants that."""
    no_run = env.JOB_ID_VARIABLE in os.environ or config.option.collectonly
    if no_run or _ENVIRONMENT not in config.stash:
        return None
    if _nearest(config, "learn") != "all":
        return None
    from pytest_valor_schedule.plugin.learn_durations import Learner

    environment = config.stash[_ENVIRONMENT]
    return Learner(environment)


def _may_be_direct(config: pytest.Config) -> bool:
    """Whether this run may concern the machine though it does not ask for the queue."""
    return (
        _may_go_elsewhere(config)
        and not _is_worker(config)
        and not _is_asked_for(config)
        and _machine_may_care(config)
    )


def _may_go_elsewhere(config: pytest.Config) -> bool:
    """Whether this run is no part of a job or of a direct run, nor a Config without a run."""
    inside = env.JOB_ID_VARIABLE in os.environ or env.DIRECT_VARIABLE in os.environ
    return not inside and _ENVIRONMENT in config.stash


def _is_asked_for(config: pytest.Config) -> bool:
    named = (
        config.option.schedule,
        config.option.schedule_wait,
        config.stash[_ENVIRONMENT].get("VALOR_SCHEDULE_SCHEDULE"),
        config.getini("valor_schedule_schedule"),
    )
    return any(str(value).strip().lower() not in _OFF for value in named)


def _machine_may_care(config: pytest.Config) -> bool:
    """Whether there may be machine-wide settings about runs by hand."""
    environment = config.stash[_ENVIRONMENT]
    if "VALOR_SCHEDULE_DIRECT_RUNS" in environment:
        return True
    home = environment.get("VALOR_HOME")
    try:
        folder = Path(home).expanduser() if home else Path(environment.get("HOME", ""), ".valor")
        return folder.is_absolute() and (folder / "test_schedule" / "config.toml").exists()
    except (OSError, RuntimeError):  # whoever asks for the queue is told
        return False
