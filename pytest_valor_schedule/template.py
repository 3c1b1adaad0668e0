"""A job's pytest as a fork of this process, which has imported pytest for all of them (Linux).

Half of what a pytest that starts has to do is to import pytest. The dispatcher does it once, its
runners are forks of it, and a fork of a runner becomes the pytest. All that an `exec` would give
anew is put right in here; where that cannot be done, a job's pytest is started as any other. What
stays different is the hash seed, which is the same for all jobs of a dispatcher.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import os
import site
import sys
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from pytest_valor_schedule import files, forkserver, processes, settings, title
from pytest_valor_schedule.errors import ScheduleError
from pytest_valor_schedule.handshake import JOB_ID_VARIABLE

PROCESS_NAME = "pytest"
_AT_IMPORT = "EXECNET_DEBUG"
_SETTING = "fork_workers"
_PACKAGES = ("site-packages", "dist-packages")
_OURS = ("pytest_valor_schedule", "filelock")
_STANDARD = ("ctypes", "_ctypes", "resource", "sqlite3", "_sqlite3", "tomllib")
"""This package, which pytest imports as a plugin, and what it needs that pytest does not."""


def prepare() -> None:
    """Import what every pytest imports; where that is not possible, each job does it itself."""
    if forkserver.can_fork() and not is_prepared():
        with contextlib.suppress(Exception):  # whatever is wrong, the pytest of a job says it
            forkserver.import_pytest()


def is_prepared() -> bool:
    """Return whether this process has imported pytest."""
    return "_pytest.config" in sys.modules


def changed_at() -> float:
    """Return when a package was last installed, or one of our files changed.

    Returns:
        Seconds since the epoch, 0 where nothing of it is there any more.
    """
    found = importlib.util.find_spec("pytest")
    pytests = [] if found is None or found.origin is None else [Path(found.origin).parents[1]]
    installed = [path for path in map(Path, sys.path) if path.name in _PACKAGES]
    times = [0.0]
    for path in (*pytests, *installed, *Path(__file__).parent.glob("*.py")):
        with contextlib.suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times)


def start_job(
    command: Sequence[str],
    cwd: str,
    environment: Mapping[str, str],
    output: Path,
    inherited: Collection[int] = (),
    umask: int | None = None,
) -> processes.Process:
    """Start a job's pytest as `processes.start_job` does, by a fork where that is the same.

    The caller has closed what must not cross a fork: its database.

    Raises:
        OSError: if the command or the folder is not there.
    """
    forking = forkserver.forking(command, sys.executable)
    if not _is_like(command, forking, cwd, environment):
        return processes.start_job(forking, cwd, environment, output, inherited, umask)
    with open(output, "ab", opener=files.opener) as file:
        return processes.fork(
            lambda: _become(forking[2:], cwd, environment, file.fileno(), inherited, umask)
        )


def _is_like(
    command: Sequence[str], forking: Sequence[str], cwd: str, environment: Mapping[str, str]
) -> bool:
    """Whether a fork of this process is like an interpreter that is started with the command."""
    if not is_prepared() or tuple(command) == tuple(forking) or not forkserver.can_fork():
        return False
    mark = f"{JOB_ID_VARIABLE}={environment.get(JOB_ID_VARIABLE)}"
    alike = _is_wanted(environment) and _at_start(environment) == _at_start(os.environ)
    return alike and Path(cwd).is_dir() and title.has_room(mark)


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


def _become(
    words: Sequence[str],
    cwd: str,
    environment: Mapping[str, str],
    output: int,
    inherited: Collection[int],
    umask: int | None,
) -> NoReturn:
    """Be the Python that was started with these words: what `exec` does, by hand."""
    os.setsid()
    gc.freeze()  # nothing that the caller has left is to be taken apart in here
    null = os.open(os.devnull, os.O_RDONLY)
    for target, handle in enumerate((null, output, output)):
        os.dup2(handle, target)
    processes.close_all(keep=inherited)
    for handle in inherited:
        os.set_inheritable(handle, True)
    if umask is not None:
        os.umask(umask)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    mark = {JOB_ID_VARIABLE: environment[JOB_ID_VARIABLE]}
    title.show_as((sys.executable, *words), {**mark, **environment})
    processes.set_name(PROCESS_NAME)
    _forget()
    _leave(_code_of(lambda: forkserver.main(words)))


def _forget() -> None:
    """Forget what a run may have of its own by that name, and where temporary files go."""
    for name in list(sys.modules):
        if name.partition(".")[0] in (*_OURS, *_STANDARD):
            del sys.modules[name]
    if (tempfile := sys.modules.get("tempfile")) is not None:
        tempfile.tempdir = None  # type: ignore[attr-defined]  # found anew by the environment


def _code_of(run: Callable[[], None]) -> int:
    """Run it and return the code that an interpreter ends with, whose main program it is."""
    try:
        run()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _leave(code: int) -> NoReturn:
    """End as an interpreter does: threads, `atexit`, open files. No caller gets to go on."""
    ctypes.pythonapi.Py_Exit(code)
    os._exit(code)
