"""Declare dead workers down in a job's controller, so that the run does not wait for ever.

The watch is a thread of the controller, which runs no tests and so never holds the GIL for long.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from pytest_valor_schedule.compat import xdist_workers

_POLL_SECONDS = 0.25
_PATIENCE_SECONDS = 1.0  # for xdist to find out by itself that a worker is dead


class WorkerWatchdog:
    """Watches over the processes of the workers."""

    def __init__(self) -> None:
        self._nodes: dict[Any, float | None] = {}  # -> when its process was first seen dead
        self._is_over = threading.Event()
        self._thread = threading.Thread(
            target=self._watch, daemon=True, name="valor-schedule-watchdog"
        )

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Watch a worker from its start."""
        self._nodes[node] = None

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Watch it no more."""
        self._nodes.pop(node, None)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Take leave of the workers before xdist does, which may take too long."""
        xdist_workers.end_workers(session)

    def pytest_sessionstart(self) -> None:
        """Start to watch."""
        self._thread.start()

    def pytest_unconfigure(self) -> None:
        """Watch no more: what a thread holds is not finalised, and a node holds all of the run."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        """Declare a worker down whose pipe is held open by a child that it forked."""
        while not self._is_over.wait(_POLL_SECONDS):
            for node, dead_since in list(self._nodes.items()):
                code = xdist_workers.exit_code_of(node)
                if code is not None:
                    self._notice(node, code, dead_since)

    def _notice(self, node: Any, code: int, dead_since: float | None) -> None:
        now = time.monotonic()
        if dead_since is None:
            self._nodes[node] = now
        elif now - dead_since >= _PATIENCE_SECONDS and self._nodes.pop(node, None) is not None:
            xdist_workers.declare_down(node, f"Ended with exit code {code}")
