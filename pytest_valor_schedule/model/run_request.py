"""Make the request for a run: what shall run and where, apart from its tests."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_valor_schedule import env
from pytest_valor_schedule._util import files
from pytest_valor_schedule.model import command_line, shell

_OF_ANOTHER_RUN = (
    "PYTEST_CURRENT_TEST",
    "PYTEST_VERSION",
    "PYTEST_XDIST_TESTRUNUID",
    "PYTEST_XDIST_WORKER",
    "PYTEST_XDIST_WORKER_COUNT",
    env.COLLECT_VARIABLE,
    env.JOB_ID_VARIABLE,
    env.RUN_CONFIG_VARIABLE,
    env.SLOT_VARIABLE,
    env.DIRECT_VARIABLE,
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A run as it was asked for, in the place that it was asked from."""

    specification: str
    launcher: tuple[str, ...]
    arguments: tuple[str, ...]
    cwd: str
    environment: Mapping[str, str]
    umask: int | None = None
    rerun_of: str | None = None


def parse_request(text: str, cwd: str | os.PathLike[str] | None) -> RunRequest:
    """Return the request that a specification means in this process.

    Args:
        text: A command as a person types it; see `command_line.parse`.
        cwd: The working directory; the current one if None.

    Raises:
        InvalidRequestError: if one of them cannot be used.
    """
    folder = files.existing_folder(cwd)
    command = command_line.parse(text, lambda word: _is_path(folder / word))
    return RunRequest(
        specification=shell.without_secrets(text),
        launcher=_own_interpreter(command.launcher),
        arguments=command.arguments,
        cwd=str(folder),
        environment={**job_environment(), **dict(command.environment)},
        umask=current_umask(),
    )


def request_of_pytest(
    arguments: Sequence[object], cwd: Path, environment: Mapping[str, str]
) -> RunRequest:
    """Return what the command line of the pytest of this process asks for.

    Args:
        arguments: That pytest's.
        cwd: Its working directory at its start.
        environment: The one that it was started with.
    """
    words = [str(argument) for argument in arguments]
    others = command_line.without_schedule_flags(words)
    return RunRequest(
        specification=shlex.join(("pytest", *others)),
        launcher=command_line.invocation(sys.executable, sys.orig_argv, words),
        arguments=others,
        cwd=str(cwd),
        environment=job_environment(environment),
        umask=current_umask(),
    )


def _is_path(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # too long, say
        return False


def _own_interpreter(launcher: tuple[str, ...]) -> tuple[str, ...]:
    """Have `pytest` and `python` without a path mean the interpreter of this process."""
    if launcher[0] in ("python", "python3"):
        return (sys.executable, *launcher[1:])
    if launcher[0] in ("pytest", "py.test"):
        script = Path(sys.executable).with_name("pytest")
        start = (str(script),) if script.exists() else ("-m", "pytest")
        return (sys.executable, *start)
    return launcher


def job_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment that a job gets: without what the run around us told its own."""
    return {name: value for name, value in environment.items() if name not in _OF_ANOTHER_RUN}


def current_umask() -> int:
    """Return the umask of this process, which can only be read by setting it."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
