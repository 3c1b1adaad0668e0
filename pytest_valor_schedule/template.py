"""A job's pytest as a fork of this process, which has imported pytest for all of them (Linux).

Half of what a pytest that starts has to do is to import pytest. The dispatcher does it once, its
runners are forks of it, and a fork of a runner becomes the pytest. All that an `exec` would give
anew is put right in here; where that cannot be done, a job's pytest is started as any other. What
stays different is the hash seed, which is the same for all jobs of a dispatcher.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import gc
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from pytest_valor_schedule import forkserver, likeness, processes, startup, title
from pytest_valor_schedule.handshake import JOB_ID_VARIABLE
from pytest_valor_schedule.processes import Start

PROCESS_NAME = "pytest"
_PACKAGES = ("site-packages", "dist-packages")
_OURS = (
    *("pytest_valor_schedule", "filelock"),  # the first is imported once more, as a plugin
    *("ctypes", "_ctypes", "hmac", "resource", "secrets", "sqlite3", "_sqlite3", "tomllib"),
)
"""What a runner has imported and a pytest has not."""


def prepare() -> None:
    """Import what every pytest imports; where that is not possible, each job does it itself."""
    if forkserver.can_fork() and not is_prepared():
        with contextlib.suppress(Exception):  # whatever is wrong, the pytest of a job says it
            forkserver.import_pytest()


def is_prepared() -> bool:
    """Return whether this process has imported pytest."""
    return "_pytest.config" in sys.modules


def changed_at() -> float:
    """Return when a package or this interpreter was last installed, or one of our files changed.

    Returns:
        Seconds since the epoch, 0 where nothing of it is there any more.
    """
    installed = [path for path in map(Path, sys.path) if path.name in _PACKAGES]
    added = [path for folder in installed for path in folder.glob("*.pth")]
    times = [0.0]
    for path in (*installed, *added, *Path(__file__).parent.glob("*.py")):
        with contextlib.suppress(OSError):
            times.append(path.stat().st_mtime)
    with contextlib.suppress(OSError):
        times.append(Path(sys.executable).stat().st_ctime)  # packages keep its time of building
    return max(times)


def is_edited(since: float) -> bool:
    """Return whether what this process has imported was changed after a time in epoch seconds.

    So it is for those who work on pytest, or on this package.
    """
    for module in list(sys.modules.values()):
        with contextlib.suppress(OSError):
            name = getattr(module, "__file__", None)
            if name is not None and Path(name).stat().st_mtime > since:
                return True
    return False


def start_job(wanted: Start, *, may_fork: bool = True) -> processes.Process:
    """Start a job's pytest as `processes.start` does, by a fork where that is the same.

    The caller has closed what must not cross a fork: its database.

    Args:
        wanted: What to start.
        may_fork: Whether whoever scheduled it has nothing against a fork.

    Raises:
        OSError: if the command or the folder is not there.
    """
    forking = forkserver.forking(wanted.command, sys.executable)
    can_fork = may_fork and is_prepared() and tuple(wanted.command) != forking
    words, cwd, environment = forking[2:], str(wanted.cwd), wanted.environment
    if (
        not (can_fork and forkserver.can_fork())
        or environment is None
        or not likeness.is_like(words, cwd, environment)
    ):
        return processes.start(dataclasses.replace(wanted, command=forking))
    with wanted.opened() as output:
        return processes.fork(lambda: _become(words, wanted, environment, output))


def _become(
    words: Sequence[str], wanted: Start, environment: Mapping[str, str], output: int
) -> NoReturn:
    """Be the Python that was started with these words: what `exec` does, by hand."""
    os.setsid()
    startup.heed_signals()
    gc.freeze()  # nothing that the caller has left is to be taken apart in here
    null = os.open(os.devnull, os.O_RDONLY)
    for target, handle in enumerate((null, output, output)):
        os.dup2(handle, target)
    processes.close_all(keep=wanted.inherited)
    for handle in wanted.inherited:
        os.set_inheritable(handle, True)
    if wanted.umask is not None:
        os.umask(wanted.umask)
    os.chdir(wanted.cwd)
    os.environ.clear()
    os.environ.update(environment)
    mark = {JOB_ID_VARIABLE: environment[JOB_ID_VARIABLE]}
    title.show_as((sys.executable, *words), {**mark, **environment})
    startup.set_name(PROCESS_NAME)
    _forget()
    sys.setrecursionlimit(sys.getrecursionlimit() + _depth())
    _leave(_code_of(lambda: forkserver.main(words)))


def _forget() -> None:
    """Forget what a run may have of its own by that name, and where temporary files go."""
    for name in list(sys.modules):
        if name.partition(".")[0] in _OURS:
            del sys.modules[name]
    sys.path_importer_cache.clear()  # folders of PYTHONPATH that were not there
    if (tempfile := sys.modules.get("tempfile")) is not None:
        tempfile.tempdir = None  # type: ignore[attr-defined]  # found anew by the environment


def _depth() -> int:
    """Return how many calls of the dispatcher and the runner lie below the pytest."""
    frame, depth = sys._getframe(), 0
    while (caller := frame.f_back) is not None:
        frame, depth = caller, depth + 1
    return depth


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
