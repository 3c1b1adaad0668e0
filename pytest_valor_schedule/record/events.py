"""One report as an event, of which the record of the job is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule.compat import pytest_internals

MOST_TEXT = 64 * 1024
"""Characters that are kept of one section or traceback."""


def report_event(nodeid: str, report: pytest.TestReport) -> dict[str, Any]:
    """Return one report as an event; a pass is kept short."""
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
    details: dict[str, Any] = {"message": truncate(message), "location": location}
    if report.outcome == "failed":
        details["longrepr"] = truncate(pytest_internals.report_text(report))
    if report.sections:
        details["sections"] = [[name, truncate(text)] for name, text in report.sections]
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


def truncate(text: str) -> str:
    """Return a text of at most about 64 KiB: the head and the tail, and how much was cut out."""
    if len(text) <= MOST_TEXT:
        return text
    half = MOST_TEXT // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters cut out ...]\n{text[-half:]}"
