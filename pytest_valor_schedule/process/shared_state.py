"""Find what this process has that a fork of it would not have, or would share with it (Linux)."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import sys
import threading
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path

from pytest_valor_schedule.process.fork_server import SERVER_NAME

_OWN_THREADS = ("valor-schedule-death-pipe",)  # waits in the kernel, and holds no lock there
_WAITERS = ("eventpoll", "inotify", "io_uring", "timerfd", "signalfd")
_GRAPHICS = ("/dev/nvidia", "/dev/dri/", "/dev/kfd")
_PROC = Path("/proc/self")


def threads() -> str | None:
    """Say which threads there are beside the main one, but for those that end at a fork."""
    others = [each for each in threading.enumerate() if each is not threading.main_thread()]
    names = [each.name for each in others if each.name not in _OWN_THREADS]
    if names:
        return f"It has further threads: {', '.join(sorted(names))}."
    if _native_threads() and _native_threads_after_fork():
        return f"It has {_native_threads()} threads that Python does not know of."
    return None


def _native_threads() -> int:
    return len(os.listdir(_PROC / "task")) - len(threading.enumerate())  # noqa: PTH208


def _native_threads_after_fork() -> int:
    """Count them after a fork that does nothing: OpenBLAS ends its own when it is to come."""
    with warnings.catch_warnings():  # Python 3.12 warns of threads
        warnings.simplefilter("ignore")
        pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    return _native_threads()


def children() -> str | None:
    """Say that there are child processes, but for what forks workers for us."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    try:
        names = [_name_of(pid) for pid in _children()]
    except OSError:  # such a kernel does not tell
        names = ["unknown"]
    names = [name for name in names if name != SERVER_NAME]
    return f"It has child processes: {', '.join(sorted(names))}." if names else None


def _children() -> Iterator[str]:
    for task in (_PROC / "task").iterdir():
        yield from (task / "children").read_text().split()


def _name_of(pid: str) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def descriptors(ours: Collection[int], files: Collection[str]) -> list[str]:
    """Say what open descriptors would be shared.

    Args:
        ours: Those that do not count.
        files: The paths of files that do not count.
    """
    targets = _targets()
    usual = {targets.get(handle) for handle in (0, 1, 2)} | set(files)
    said = (
        _said_of(handle, target)
        for handle, target in sorted(targets.items())
        if handle > 2 and handle not in ours and target not in usual
    )
    return [sentence for sentence in said if sentence is not None]


def _targets() -> dict[int, str]:
    targets = {}
    for name in os.listdir(_PROC / "fd"):  # noqa: PTH208
        try:
            targets[int(name)] = os.readlink(_PROC / "fd" / name)  # noqa: PTH115
        except OSError:  # that of the listing itself
            continue
    return targets


def _said_of(handle: int, target: str) -> str | None:
    if target.startswith("socket:"):
        return "It has an open socket."
    if any(name in target for name in _WAITERS):
        return f"It has an event loop, or what one is made of: {target}."
    if target.startswith(_GRAPHICS):
        return f"It uses a graphics processor: {target}."
    if stat.S_ISREG(os.fstat(handle).st_mode) and _is_written(handle):
        return f"It has a file open for writing: {target}."
    return None


def _is_written(handle: int) -> bool:
    """Whether what is written goes to a place that all who share the descriptor move."""
    flags = fcntl.fcntl(handle, fcntl.F_GETFL)
    return flags & os.O_ACCMODE != os.O_RDONLY and not flags & os.O_APPEND


def mappings() -> str | None:
    """Say that there is memory which forks would share."""
    for line in (_PROC / "maps").read_text(errors="replace").splitlines():
        fields = line.split(maxsplit=5)
        if fields[1].startswith("rw-s"):
            return f"It shares memory: {fields[5] if len(fields) > 5 else 'without a name'}."
    return None


def traced() -> str | None:
    """Say that the process is traced, measured or has an alarm, which no fork would have."""
    monitoring = getattr(sys, "monitoring", None)
    tools = monitoring and [name for each in range(6) if (name := monitoring.get_tool(each))]
    if sys.gettrace() is not None or sys.getprofile() is not None or tools:
        return "It is traced, as by a debugger or for coverage."
    if signal.getitimer(signal.ITIMER_REAL)[0]:
        return "It has set itself an alarm."
    return None
