"""Inside a job: report hooks that write journals.

Every worker writes its own journal, because a report that a worker has made can be lost on its
way to the controller. The controller writes what only it can know: crashes, and its own end.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import time
import types
import warnings
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from pytest_valor_schedule import journal, reports, stacks, workers
from pytest_valor_schedule.captured import Captured
from pytest_valor_schedule.handshake import Handshake, collection_digest
from pytest_valor_schedule.journal import Journal
from pytest_valor_schedule.variables import JOB_ID_VARIABLE

_MOST_TEXT = 64 * 1024  # characters of one section or traceback

_PLAIN_KEYS = 5  # of the event for a phase that passed
_MOST_WARNINGS = 10_000  # of one worker
_DEATH_SECONDS = 0.5  # between the end of a worker's pipe and that of its process
_NODEID = pytest.StashKey[str]()
# As they were: a test may replace or freeze those of the module, and whatever has its name here.
_CLOCK = types.SimpleNamespace(time=time.time, monotonic=time.monotonic)


class _Recorder:
    """Writes events; a fault in it warns once and never fails the run."""

    def __init__(self, told: Handshake, writer: str) -> None:
        self._journal = Journal(journal.path(Path(told.folder), told.prefix, writer))
        self._warned = False
        self._write(lambda: {"kind": "open", "version": journal.VERSION, "pid": self._journal.pid})

    def _write(self, make: Callable[[], dict[str, Any]]) -> None:
        try:
            self._journal.write(make())
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

    def pytest_internalerror(self, excrepr: object) -> None:
        self._write(lambda: {"kind": "internal_error", "text": bounded(str(excrepr))})

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_unconfigure(self) -> Iterator[None]:
        """Let the process end at once: others wait for it, and nobody hears it any more.

        What is frozen is not searched for garbage, which pytest does up to five times from here
        on, and Python once more; with many modules that takes a third of a second.
        """
        gc.freeze()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                self._journal.close()


class WorkerRecorder(_Recorder):
    """Records the tests that one xdist worker runs."""

    def __init__(self, config: pytest.Config, told: Handshake, worker: str) -> None:
        super().__init__(told, worker)
        self._config = config
        self._told = told
        self._nodeids: dict[str, str] = {}
        self._worker = worker
        self._stacks: IO[bytes] | None = None
        self._warnings = 0
        self._asks_for_more = False
        self._reported = False

    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(self) -> None:  # after pytest's own faulthandler plugin
        folder = Path(self._told.folder)
        self._stacks = stacks.enable(journal.stacks_path(folder, self._told.prefix, self._worker))

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:  # before xdist adds "@group" to the ids of --dist loadgroup
            item.stash[_NODEID] = item.nodeid

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        hook = self._config.hook.pytest_valor_schedule_result
        self._asks_for_more = bool(hook.get_hookimpls())  # every conftest.py is there by now
        original = {item.nodeid: item.stash.get(_NODEID, item.nodeid) for item in session.items}
        self._nodeids = {new: old for new, old in original.items() if new != old}
        changed = collection_digest(set(original.values())) != self._told.digest
        if changed and self._told.only is None:
            self._write(lambda: {"kind": "collected", "ids": list(original.values())})

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._write(
            lambda: {
                "kind": "start",
                "id": self._nodeids.get(nodeid, nodeid),
                "at": _CLOCK.time(),
                "moment": _CLOCK.monotonic(),
            }
        )

    @pytest.hookimpl(tryfirst=True)  # before xdist sends it, which may fail
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        nodeid = self._nodeids.get(report.nodeid, report.nodeid)
        self._reported = True
        self._write(lambda: self._event(nodeid, report))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Tell of a test that the project's own protocol was done with and said nothing of."""
        self._reported = False
        done = yield
        if not self._reported:
            nodeid = item.stash.get(_NODEID, item.nodeid)
            self._write(lambda: {"kind": "silent", "id": nodeid})
        return done

    @pytest.hookimpl(wrapper=True)
    def pytest_report_to_serializable(self, report: object) -> Generator[None, Any, Any]:
        """Let xdist send every report: over one that it cannot send it ends the whole run."""
        serial = yield
        return serial if reports.is_plain(report) else reports.sendable(serial)

    def _event(self, nodeid: str, report: pytest.TestReport) -> dict[str, Any]:
        """Return one report as an event, with all of it where there is more than a pass."""
        event = report_event(nodeid, report)
        more = report.sections or report.user_properties
        if len(event) > _PLAIN_KEYS or more or reports.has_failed_subtests(self._config, report):
            event["serial"] = reports.serial_of(self._config, report, _MOST_TEXT)
        extra = self._extra(report) if self._asks_for_more else {}
        return {**event, "extra": extra} if extra else event

    def _extra(self, report: pytest.TestReport) -> dict[str, Any]:
        """Return what the project's hooks add to the record of a test; a fault of one warns."""
        hook = self._config.hook.pytest_valor_schedule_result
        try:
            found = hook(config=self._config, report=report)
            merged = {str(k): v for each in reversed(found) if each for k, v in each.items()}
            if len(json.dumps(merged, allow_nan=False)) <= _MOST_TEXT:
                return merged
            raise ValueError(f"more than {_MOST_TEXT} characters of JSON")
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


class ControllerRecorder(_Recorder):
    """Records what happens to the workers, and hands the handshake on to them."""

    def __init__(self, config: pytest.Config, told: Handshake) -> None:
        super().__init__(told, "controller")
        self._config = config
        self._told = told
        self._captured: dict[str, Captured] = {}

    def pytest_report_header(self) -> str:
        slots = ", ".join(map(str, self._told.slots))
        return f"valor-schedule: job {os.environ.get(JOB_ID_VARIABLE)}, worker slots {slots}"

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self._told.is_repetition:
            return
        job = {
            "job_id": os.environ.get(JOB_ID_VARIABLE),
            "exit_code": int(exitstatus),
            "test_count": session.testscollected,
            "failed": session.testsfailed,
            "slots": list(self._told.slots),
        }
        try:
            self._config.hook.pytest_valor_schedule_finish(config=self._config, job=job)
        except Exception as error:
            self._warn(f"pytest_valor_schedule_finish failed: {error!r}")

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_setupnodes(self, config: pytest.Config) -> None:
        os.chdir(config.invocation_params.dir)  # which a conftest.py may have left

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput["valor_schedule"] = self._told.to_json()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any) -> None:
        pid = workers.pid_of(node)
        if pid is not None:
            self._captured[str(node.gateway.id)] = Captured(pid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        if error:
            self._write(lambda: self._death_of(node, error))
        captured = self._captured.pop(str(node.gateway.id), None)
        if captured is not None:
            captured.close()

    def _death_of(self, node: Any, error: object) -> dict[str, Any]:
        worker = str(node.gateway.id)
        where = journal.stacks_path(Path(self._told.folder), self._told.prefix, worker)
        captured = self._captured.get(worker)
        return {
            "kind": "down",
            "worker": worker,
            "text": bounded(str(error)),
            "moment": _CLOCK.monotonic(),
            "code": workers.exit_code_of(node, patience=_DEATH_SECONDS),
            "stacks": bounded(stacks.read(where)),
            "sections": captured.sections() if captured else [],
        }

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when not in ("setup", "call", "teardown"):  # made by xdist for a dead worker
            self._write(
                lambda: {
                    "kind": "crash",
                    "id": report.nodeid,
                    "text": bounded(report.longreprtext),
                    "moment": _CLOCK.monotonic(),
                }
            )

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            text = bounded(report.longreprtext)
            self._write(lambda: {"kind": "collection_error", "id": report.nodeid, "text": text})


def report_event(nodeid: str, report: pytest.TestReport) -> dict[str, Any]:
    """Return one report as a journal event; a pass is kept short."""
    event: dict[str, Any] = {
        "kind": "report",
        "id": nodeid,
        "phase": report.when,
        "outcome": report.outcome,
        "duration": round(report.duration, 6),
    }
    if hasattr(report, "wasxfail"):
        event["xfail"] = True
    if context := getattr(report, "context", None):  # pytest's own subtests, and pytest-subtests
        event["subtest"] = _subtest_text(context)
    if report.outcome != "passed" or "xfail" in event:
        event |= _details(report)
    return event


def _subtest_text(context: Any) -> str:
    message, values = getattr(context, "msg", None), dict(getattr(context, "kwargs", None) or {})
    parts = [f"[{message}]"] if message else []
    if values:
        parts.append("(" + ", ".join(f"{name}={value}" for name, value in values.items()) + ")")
    return " ".join(parts) or "(<subtest>)"


def _details(report: pytest.TestReport) -> dict[str, Any]:
    message, location = _message_and_location(report)
    details: dict[str, Any] = {"message": bounded(message), "location": location}
    if report.outcome == "failed":
        details["longrepr"] = bounded(reports.text_of(report))
    if report.sections:
        details["sections"] = [[name, bounded(text)] for name, text in report.sections]
    return details


def _message_and_location(report: pytest.TestReport) -> tuple[str, str]:
    path, line, _ = report.location
    place = f"{path}:{line + 1}" if line is not None else path
    if wasxfail := getattr(report, "wasxfail", ""):
        return str(wasxfail).removeprefix("reason: "), place
    longrepr = report.longrepr
    if isinstance(longrepr, tuple):
        skipped_at = _own_place(report, longrepr[0], longrepr[1])
        return str(longrepr[2]).removeprefix("Skipped: "), skipped_at or place
    crash = getattr(longrepr, "reprcrash", None)
    if crash is not None:
        return str(crash.message), _own_place(report, crash.path, crash.lineno) or place
    return (report.longreprtext.strip().splitlines() or [""])[-1], place


def _own_place(report: pytest.TestReport, path: str, line: int) -> str | None:
    """Return a line of the test's own file as `path:line`, and None for another file."""
    own = Path(report.location[0])
    return f"{own}:{line}" if Path(path).parts[-len(own.parts) :] == own.parts else None


def bounded(text: str) -> str:
    """Return a text of at most about 64 KiB: the head and the tail, and how much was cut out."""
    if len(text) <= _MOST_TEXT:
        return text
    half = _MOST_TEXT // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters cut out ...]\n{text[-half:]}"
