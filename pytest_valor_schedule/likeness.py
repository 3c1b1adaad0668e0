"""Whether a fork of this process is like an interpreter that is started (Linux)."""

from __future__ import annotations

import contextlib
import importlib.machinery
import os
import site
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_valor_schedule import forkserver, settings, title
from pytest_valor_schedule.errors import ScheduleError
from pytest_valor_schedule.handshake import JOB_ID_VARIABLE

_AT_IMPORT = "EXECNET_DEBUG"
_SETTING = "fork_workers"
_SUFFIXES = tuple(importlib.machinery.all_suffixes())


def is_like(words: Sequence[str], cwd: str, environment: Mapping[str, str]) -> bool:
    """Return whether a fork would be like a start, and nobody minds.

    Args:
        words: What the interpreter would be started with: `-m pytest ...`, or a script.
        cwd: Its working directory.
        environment: All of its environment; the job's id is in it.
    """
    if not all(map(os.path.isabs, (environment.get("PYTHONPATH") or os.sep).split(os.pathsep))):
        return False  # what it means depends on the folder
    mark = f"{JOB_ID_VARIABLE}={environment.get(JOB_ID_VARIABLE)}"
    alike = _is_wanted(environment) and _at_start(environment) == _at_start(os.environ)
    return alike and title.has_room(mark) and not _hides_any(words, cwd)


def _is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether the submitter, or the machine, has nothing against forks."""
    machine = {_SETTING: settings.machine_value(_SETTING, environment)}
    with contextlib.suppress(ScheduleError):  # of a wrong value the submitter was told
        return settings.is_on(settings.look_up(_SETTING, None, environment, None, machine))
    return True


def _at_start(environment: Mapping[str, str]) -> tuple[object, ...]:
    """Return what an interpreter, and what we import in it, makes of its environment."""
    packages = Path(environment.get("HOME", "~")).expanduser() / ".local" / "lib"
    has_own = bool(site.ENABLE_USER_SITE) and packages.is_dir()
    return (
        forkserver.variables_at_start(environment),
        environment.get(_AT_IMPORT),
        packages if has_own else None,
    )


def _hides_any(words: Sequence[str], cwd: str) -> bool:
    """Whether the first folder on its path has anything that it would import instead of ours.

    So it is in the projects of what pytest needs, such as Pygments.
    """
    folder = Path(cwd) if words[0] == "-m" else Path(words[0]).resolve().parent
    try:
        entries = list(os.scandir(folder))
        Path(cwd).stat()
    except OSError:
        return True  # where it cannot be started either
    names = {
        entry.name.partition(".")[0]
        for entry in entries
        if entry.is_dir() or entry.name.endswith(_SUFFIXES)
    }
    return bool(names & {name.partition(".")[0] for name in sys.modules if name != "__main__"})
