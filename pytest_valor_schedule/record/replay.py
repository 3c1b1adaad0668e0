"""Replay a job's reports through pytest's own hooks.

A test is shown when all its phases are there, as one that ran here would be. What no event log
tells of, because its worker died or the logs were thrown away, comes from the job's record.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule.record import event_log
from pytest_valor_schedule.record.attempt import Event
from pytest_valor_schedule.record.reports import location_of, restore, restore_tuples


class Replay:
    """Shows the tests of one job, each once, in the session of another pytest."""

    def __init__(self, session: pytest.Session, folder: Path) -> None:
        self._session = session
        self._config = session.config
        self._folder = folder
        self._pending: dict[tuple[str, str], list[Event]] = {}
        self._shown: set[str] = set()
        self._tests: set[str] = set()  # of the record

    def _add(self, writer: str, event: Event) -> None:
        kind, nodeid = event["kind"], str(event.get("id"))
        if kind == "start":
            self._pending.setdefault((writer, nodeid), [])  # or another try of the same
        elif kind == "report":
            pending = self._pending.setdefault((writer, nodeid), [])
            pending.append(event)
            if event.get("phase") == "teardown" and not _to_rerun(pending):
                self._show(nodeid, self._pending.pop((writer, nodeid)))
        elif kind == "warning":
            self._show_warning(event, nodeid)
        elif kind == "collection_error":
            self._show_collection_error(nodeid, str(event.get("text")))

    def _show(self, nodeid: str, events: Sequence[Event]) -> None:
        if nodeid in self._shown or nodeid not in self._tests:
            return
        self._shown.add(nodeid)
        hook = self._config.hook
        reports = [_report_of(self._config, event, events[0]) for event in events]
        location = reports[0].location
        hook.pytest_runtest_logstart(nodeid=nodeid, location=location)
        for report in reports:
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=nodeid, location=location)
        if self._session.shouldfail:
            raise self._session.Failed(self._session.shouldfail)

    def _show_warning(self, event: Event, nodeid: str) -> None:
        location = event.get("location")
        self._config.hook.pytest_warning_recorded.call_historic(
            kwargs={
                "warning_message": _warning_of(event),
                "when": "runtest",
                "nodeid": nodeid,
                "location": tuple(location) if location else None,
            }
        )

    def _show_collection_error(self, nodeid: str, text: str) -> None:
        if nodeid not in self._shown:
            self._shown.add(nodeid)
            report = pytest.CollectReport(nodeid, "failed", text, [])
            self._config.hook.pytest_collectreport(report=report)

    def show(self, record: Event) -> None:
        """Show what the event logs tell, and then what only the record of the ended job does.

        Raises:
            pytest.Session.Failed: when -x or --maxfail says that it is enough.
        """
        self._tests = {result["nodeid"] for result in record.get("results", ())}
        for reader in event_log.readers(self._folder):
            if not reader.round.reruns_failures:  # whatever that says, the test has its result
                for event in reader.read():
                    self._add(reader.writer, event)
        for error in record.get("collection_errors", ()):
            self._show_collection_error(error["nodeid"], error["longrepr"])
        for result in record.get("results", ()):
            if result["outcome"] != "not_run":
                self._show(result["nodeid"], list(_events_of(result)))
        self._sort([result["nodeid"] for result in record.get("results", ())])

    def _sort(self, nodeids: Iterable[str]) -> None:
        """Have the summary of the terminal in the order of collection, as a direct run has it."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        place = {nodeid: number for number, nodeid in enumerate(nodeids)}
        for entries in getattr(reporter, "stats", {}).values():
            entries.sort(key=lambda entry: place.get(getattr(entry, "nodeid", None) or "", -1))


def _to_rerun(events: Iterable[Event]) -> bool:
    """Return whether the last attempt at a test is followed by another."""
    to_rerun = False
    for event in events:
        is_same_attempt = event.get("phase") != "setup"
        to_rerun = event.get("outcome") == "rerun" or (to_rerun and is_same_attempt)
    return to_rerun


def _events_of(result: Event) -> Iterator[dict[str, Any]]:
    """Yield the reports of one result of a record, as far as it tells them."""
    nodeid, outcome = result["nodeid"], result["outcome"]
    base = {"kind": "report", "id": nodeid}
    if outcome == "crashed":
        yield {**base, **_bad(result, "???"), "phase": "???"}
        return
    phase = result.get("phase") or "call"
    decisive = {**base, "phase": phase, "duration": result.get("duration_seconds") or 0.0}
    plain = {**base, "outcome": "passed", "duration": 0.0}
    for each in ("setup", "call", "teardown"):
        if each == phase:
            yield {**decisive, **_decisive(result)}
        elif not (each == "call" and phase == "setup"):
            yield {**plain, "phase": each}


def _decisive(result: Event) -> Event:
    outcome, message = result["outcome"], result.get("message") or ""
    if outcome in ("failed", "error"):
        return _bad(result, str(result.get("phase")))
    if outcome == "skipped":
        path, line = _place(result)
        return {"outcome": "skipped", "longrepr": (path, line, f"Skipped: {message}")}
    if outcome in ("xfailed", "xpassed"):
        shown = "skipped" if outcome == "xfailed" else "passed"
        return {"outcome": shown, "xfail": True, "message": message}
    return {"outcome": "passed"}


def _bad(result: Event, phase: str) -> dict[str, Any]:
    """Return a failure of which only the text is left, as pytest would send it."""
    path, line = _place(result)
    message, nodeid = result.get("message") or "", result["nodeid"]
    lines = [f"{result.get('longrepr') or message}\n"]
    entry = {"type": "ReprEntryNative", "data": {"lines": lines}}
    serial = {
        "$report_type": "TestReport",
        "nodeid": nodeid,
        "location": location_of(nodeid),
        "keywords": {},
        "outcome": "failed",
        "longrepr": {
            "reprcrash": {"path": path, "lineno": line, "message": message},
            "reprtraceback": {"reprentries": [entry], "extraline": None, "style": "native"},
            "sections": [],
            "chain": None,
        },
        "when": phase,
        "user_properties": [],
        "sections": result.get("sections") or [],
        "duration": result.get("duration_seconds") or 0.0,
    }
    return {"outcome": "failed", "serial": serial}


def _place(result: Event) -> tuple[str, int]:
    """Return the path and line of a result."""
    path, _, line = str(result.get("location") or "").rpartition(":")
    if not line.isdigit():
        path, line = str(result["nodeid"]).partition("::")[0], "1"
    return path, int(line)


def _report_of(config: pytest.Config, event: Event, first: Event) -> pytest.TestReport:
    """Return the report that an event tells of; the first is that of the test's first phase."""
    nodeid = str(event.get("id"))
    if serial := event.get("serial"):
        with contextlib.suppress(Exception):  # of another pytest, or of a plugin that is not here
            data = restore_tuples({**serial, "nodeid": nodeid})
            report: pytest.TestReport | None = config.hook.pytest_report_from_serializable(
                config=config, data=data
            )
            if report is not None:
                restore(report, data)
                return report
    return _plain(nodeid, event, restore_tuples(first.get("serial") or first))


def _plain(nodeid: str, event: Event, first: Event) -> pytest.TestReport:
    place = first.get("place") or first.get("location")
    report = pytest.TestReport(
        nodeid=nodeid,
        location=tuple(place) if isinstance(place, list | tuple) else location_of(nodeid),
        keywords=dict.fromkeys(first.get("keywords") or (), 1),
        outcome=event.get("outcome", "passed"),
        longrepr=event.get("longrepr") or event.get("message"),
        when=event.get("phase", "call"),
        sections=[(str(name), str(text)) for name, text in event.get("sections", ())],
        duration=float(event.get("duration") or 0.0),
    )
    start = event.get("start")
    if isinstance(start, int | float) and hasattr(report, "start"):
        report.start, report.stop = start, start + report.duration
    if event.get("xfail"):
        report.wasxfail = str(event.get("message") or "")  # as pytest's own skipping plugin does
    return report


def _warning_of(event: Event) -> warnings.WarningMessage:
    """Return the warning that `warning_event` wrote down."""
    return warnings.WarningMessage(
        message=str(event.get("text")),
        category=_category(str(event.get("category"))),
        filename=str(event.get("filename")),
        lineno=int(event.get("line") or 0),
    )


def _category(name: str) -> type[Warning]:
    """Return a class of warnings by its name; one of that name where it is not imported here."""
    module, _, short = name.rpartition(".")
    category = getattr(sys.modules.get(module), short, None)
    if isinstance(category, type) and issubclass(category, Warning):
        return category
    return type(short or "Warning", (UserWarning,), {})
