"""Record the tests of a job's worker in its event log.

Every worker has an event log of its own, because a report that a worker has made can be lost on its
way to the controller.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import types
import warnings
from collections.abc import Callable, Generator, Iterator
from os import stat
from pathlib import Path
from typing import IO, Any

import pytest

from pytest_valor_schedule._util.log import OUTPUT
from pytest_valor_schedule.compat import pytest_internals, xdist_workers
from pytest_valor_schedule.model.run_config import RunConfig, collection_digest
from pytest_valor_schedule.process import stacks
from pytest_valor_schedule.record import event_log, reports
from pytest_valor_schedule.record.event_log import EventLog
from pytest_valor_schedule.record.reports import MOST_TEXT, report_event, truncate

_MOST_WARNINGS = 10_000  # of one worker
_NODEID = pytest.StashKey[str]()
# As they were: a test may replace or freeze those of the module, and whatever has its name here.
CLOCK = types.SimpleNamespace(time=time.time, monotonic=time.monotonic)


class Recorder:
    """Writes events; a fault in it warns once and never fails the run."""

    def __init__(self, run_config: RunConfig, writer: str) -> None:
        self._log = EventLog(event_log.path(Path(run_config.folder), run_config.prefix, writer))
        self._run_config = run_config
        self._warned = False
        self._write(lambda: {"kind": "open", "version": event_log.VERSION, "pid": self._log.pid})

    def _write(self, make: Callable[[], dict[str, Any]]) -> None:
        try:
            self._log.write(make())
        except Exception as error:
            self._warn(f"A result was not recorded: {error!r}")

    def _warn(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            # No Python warning: `-W error` would make it fail the run.
            print(f"valor-schedule: {text}", file=sys.__stderr__)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        text = str(excinfo.value) or excinfo.typename
        code = getattr(excinfo.value, "returncode", None)  # of pytest.exit, of which xdist does
        more = {"code": int(code)} if isinstance(code, int) else {}  # not know what to make
        self._write(lambda: {"kind": "interrupted", "text": text, **more})

    def pytest_internalerror(
        self, excrepr: object, excinfo: pytest.ExceptionInfo[BaseException]
    ) -> None:
        self._write(
            lambda: {
                "kind": "internal_error",
                "text": truncate(str(excrepr)),
                "from_outside": _came_from_outside(excinfo.value),
            }
        )

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_unconfigure(self) -> Iterator[None]:
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                self._log.settle()
            with contextlib.suppress(OSError):
                self._log.close()


class WorkerRecorder(Recorder):
    """Records the tests that one xdist worker runs."""

    def __init__(self, config: pytest.Config, run_config: RunConfig, worker: str) -> None:
        super().__init__(run_config, worker)
        self._config = config
        self._nodeids: dict[str, str] = {}
        self._worker = worker
        self._output = Path(run_config.folder) / OUTPUT
        self._stacks: IO[bytes] | None = None
        self._warnings = 0
        self._has_result_hook = False
        self._phase: str | None = None  # the last that was reported of the test that runs

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionstart(self) -> Generator[None, object, object]:
        """Have xdist say that this worker is ready when all plugins have started the session.

        By itself it says so before a conftest.py has, which may wipe what the tests of others use.
        """
        with xdist_workers.hold_events(self._config):
            result = yield
        self.enable_stacks()  # after pytest's own faulthandler plugin
        return result

    def enable_stacks(self) -> None:
        """Have the stacks of this process where its runner looks for them."""
        folder = Path(self._run_config.folder)
        path = event_log.stacks_path(folder, self._run_config.prefix, self._worker)
        self._stacks = stacks.enable(path, pytest_internals.crash_output(self._config))

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:  # before xdist adds "@group" to the ids of --dist loadgroup
            item.stash[_NODEID] = item.nodeid

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        hook = self._config.hook.pytest_valor_schedule_result
        self._has_result_hook = bool(hook.get_hookimpls())  # every conftest.py is there by now
        original = {item.nodeid: item.stash.get(_NODEID, item.nodeid) for item in session.items}
        self._nodeids = {new: old for new, old in original.items() if new != old}
        changed = collection_digest(set(original.values())) != self._run_config.digest
        if changed and not self._run_config.is_further:
            self._write(lambda: {"kind": "collected", "ids": list(original.values())})

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._write(
            lambda: {
                "kind": "start",
                "id": self._nodeids.get(nodeid, nodeid),
                "at": CLOCK.time(),
                "moment": CLOCK.monotonic(),
                "log": self._log_size(),
            }
        )

    def _log_size(self) -> int | None:
        """Return from where on the run prints what it does while the test runs."""
        try:
            return stat(self._output).st_size  # noqa: PTH116  # as it was, whatever tests replace
        except Exception:
            return None

    def pytest_sessionfinish(self) -> None:
        """Wait for room on the disk before xdist calls the worker finished, and ends it."""
        with contextlib.suppress(OSError):
            self._log.settle()

    @pytest.hookimpl(tryfirst=True)  # before xdist sends it, which may fail
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        nodeid = self._nodeids.get(report.nodeid, report.nodeid)
        self._phase = report.when or ""
        self._write(lambda: self._event(nodeid, report))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Note a test of which another protocol has reported nothing, or not all."""
        self._phase = None
        result = yield
        if self._phase != "teardown":
            nodeid = item.stash.get(_NODEID, item.nodeid)
            kind = "silent" if self._phase is None else "finish"
            self._write(lambda: {"kind": kind, "id": nodeid, "moment": CLOCK.monotonic()})
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_report_to_serializable(self, report: object) -> Generator[None, Any, Any]:
        """Let xdist send every report: over one that it cannot send it ends the whole run."""
        serial = yield
        if reports.is_plain(report):
            return serial
        if not self._run_config.shows_workers:  # whose controller shows it as if it had run there
            serial = reports.mark_text(serial, report)
        return reports.sendable(serial)

    def _event(self, nodeid: str, report: pytest.TestReport) -> dict[str, Any]:
        """Return one report as an event, with what the project adds to it."""
        event = report_event(self._config, nodeid, report)
        extra = self._extra(report) if self._has_result_hook else {}
        return {**event, "extra": extra} if extra else event

    def _extra(self, report: pytest.TestReport) -> dict[str, Any]:
        """Return what the project's hooks add to the record of a test; a fault of one warns."""
        hook = self._config.hook.pytest_valor_schedule_result
        try:
            extras = hook(config=self._config, report=report)
            merged = {str(k): v for each in reversed(extras) if each for k, v in each.items()}
            if len(json.dumps(merged, allow_nan=False)) <= MOST_TEXT:
                return merged
            raise ValueError(f"more than {MOST_TEXT} characters of JSON")
        except Exception as error:
            self._warn(f"What pytest_valor_schedule_result returned was not recorded: {error!r}")
            return {}

    def pytest_warning_recorded(
        self,
        warning_message: warnings.WarningMessage,
        when: str,
        nodeid: str,
        location: tuple[str, int, str] | None,
    ) -> None:
        if when == "runtest" and self._warnings < _MOST_WARNINGS:  # the others a collection shows
            self._warnings += 1
            nodeid = self._nodeids.get(nodeid, nodeid)
            self._write(lambda: reports.warning_event(warning_message, nodeid, location))


def _came_from_outside(error: BaseException) -> bool:
    """Return whether another process or the disk failed, which need not happen again."""
    of_a_file = getattr(error, "filename", None) is not None  # one that is not there
    return isinstance(error, EOFError | OSError) and not of_a_file
