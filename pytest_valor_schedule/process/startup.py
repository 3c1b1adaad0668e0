"""Prepare a background process of ours: rid it of what its starter has left it.

A watcher imports it, which is to stay small: nothing else of ours is imported in here.
"""

from __future__ import annotations

import signal
import sys

_SET_CHILD_SUBREAPER, _SET_NAME = 36, 15  # <linux/prctl.h>
_IGNORED_BY_PYTHON = {
    getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ", "SIGXFZ") if hasattr(signal, name)
}


def heed_signals() -> None:
    """Let signals reach this process, and what it starts, as in a terminal.

    Every descendant inherits which ones are ignored or blocked. A shell has `command &` ignore
    SIGINT, nohup SIGHUP, and a conftest.py what it likes.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals() - _IGNORED_BY_PYTHON:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def ignore_interrupts() -> None:
    """Have SIGINT, which is for who has a terminal, do nothing in this background process.

    What it starts heeds it all the same, because a handler, unlike SIG_IGN, ends with an `exec`;
    what it forks calls `heed_signals`.
    """
    signal.signal(signal.SIGINT, lambda *_: None)


def become_subreaper() -> None:
    """Have orphaned descendants handed to this process (Linux); elsewhere do nothing.

    This is how Bazel's process-wrapper and systemd keep hold of daemons.
    """
    _prctl(_SET_CHILD_SUBREAPER, 1)


def set_name(name: str) -> None:
    """Set what `ps` and `top` call this process, at most 15 bytes (Linux)."""
    _prctl(_SET_NAME, name.encode())


def _prctl(option: int, value: int | bytes) -> None:
    if sys.platform == "linux":
        import ctypes

        try:  # noqa: SIM105  # contextlib would be one more import
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
        except (OSError, AttributeError):
            pass
