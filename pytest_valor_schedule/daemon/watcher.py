"""Watch over a dispatcher as its parent, and start another one when it is killed.

It does next to nothing and imports next to nothing, so that whoever is short of memory kills others
first. The dispatcher is a fork of it. The runners of one that was killed become its children, and
so does what they leave behind, for the next dispatcher to end. When it is killed itself, the
dispatcher notices and becomes the watcher of a new one, by the same command: an `exec` keeps the
children of a process.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from pytest_valor_schedule.process import startup

NAME = "valor-watcher"
_YOUNG_SECONDS = 5.0
_FIRST_PAUSE_SECONDS, _DOUBLINGS, _LONGEST_PAUSE_SECONDS = 1.0, 6, 60.0
_MOST_FAILURES = 10


def become(root: str, deaths: int = 0) -> None:
    """Have this process become the watcher of a home, with all children that it has.

    It returns only where the home was thrown away, and with it the working directory.

    Args:
        root: The folder of the home.
        deaths: How many dispatchers in a row have died young.
    """
    try:
        os.getcwd()  # noqa: PTH109  # pathlib is an import more
    except FileNotFoundError:
        return
    code = f"from {__name__} import main\nmain()"
    os.execv(sys.executable, [sys.executable, "-c", code, root, str(deaths)])  # noqa: S606


def pause_before_next(code: int, lived: float, deaths: int) -> float | None:
    """Return for how many seconds to wait before the next dispatcher is started.

    Args:
        code: The exit code of the last one, negative for a signal.
        lived: For how many seconds it lived.
        deaths: How many before it have died young, one after the other.

    Returns:
        None if there is to be no other: it had nothing to do, or always fails.
    """
    if not code or (code > 0 and deaths >= _MOST_FAILURES):
        return None
    if lived >= _YOUNG_SECONDS:
        return 0.0
    return min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * (1 << min(deaths, _DOUBLINGS)))


def main() -> None:
    """Watch over the dispatcher of the home that the command line names, which is a fork of this.

    The arguments are the folder of the home, how many dispatchers in a row have died young, and,
    where there is one, the descriptor of the lock that keeps others from starting one too.
    """
    root, deaths, *starting = sys.argv[1], int(sys.argv[2]), *map(int, sys.argv[3:])
    startup.heed_signals()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # it ends us as SIGTERM does, without a traceback
    startup.become_subreaper()
    watcher, started_at = os.getpid(), time.monotonic()
    read_end, write_end = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(write_end)
        from pytest_valor_schedule.daemon import (
            dispatcher,  # in the fork, so that this process stays small
        )

        if dispatcher.main(root, starting, dispatcher.Watcher(watcher, read_end)):
            become(root)
        return
    startup.set_name(NAME)
    for handle in (read_end, *starting):
        os.close(handle)
    code = _exit_code_of(pid)
    lived = time.monotonic() - started_at
    pause = pause_before_next(code, lived, deaths)
    if pause is not None:
        time.sleep(pause)
        become(root, deaths + 1 if lived < _YOUNG_SECONDS else 0)


def _exit_code_of(child: int) -> int:
    """Wait for the end of a child, and take leave of all others that end before."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main()
