"""Make events of pytest's reports and warnings, and make reports fit for execnet."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule.compat import pytest_internals

MOST_TEXT = 64 * 1024
"""Characters that are kept of one section or traceback."""
_SHOWN = "_valor_schedule.shown"  # of a failure such as a doctest's, which is sent as text
_TUPLE = "_valor_schedule.tuple"  # the only name in what stands for a tuple
_MOST_NESTED = 50  # containers within one another; a report has about ten
_MOST_JSON = 256 * 1024  # characters of one report; beyond it its traceback is plain text, and
# where that does not help either, a replay shows what the record has


def report_event(config: pytest.Config, nodeid: str, report: pytest.TestReport) -> dict[str, Any]:
    """Return one report as an event, with all of it where there is more than a pass."""
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
    if is_plain(report) and not pytest_internals.failed_subtests(config, report):
        return event | _rest(report)
    return {**event, "serial": _serial(config, report)}


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


def _serial(config: pytest.Config, report: Any) -> dict[str, Any] | None:
    """Return all of a report, as pytest or a plugin makes it fit for sending; None if none can."""
    try:
        serial = _serialise(config, report)
        fits = len(json.dumps(serial, default=repr)) <= _MOST_JSON
    except Exception:  # of a plugin, or of what a test has put into its report
        return None
    return serial if fits else None


def _serialise(config: pytest.Config, report: Any) -> dict[str, Any] | None:
    serial = config.hook.pytest_report_to_serializable(config=config, report=report)
    if serial is None:
        return None
    serial = dict(mark_text(dict(serial), report))
    count = pytest_internals.failed_subtests(config, report)
    if count and serial.get("outcome") == "passed":
        # As pytest's terminal reporter does it, and the record counts it.
        text = f"contains {count} failed subtest{'' if count == 1 else 's'}"
        serial |= {"outcome": "failed", "longrepr": text}
    serial["sections"] = [(name, text[-MOST_TEXT:]) for name, text in serial.get("sections", ())]
    if len(json.dumps(serial, default=repr)) > _MOST_JSON:
        serial["longrepr"] = pytest_internals.report_text(report)[-MOST_TEXT:]
    return {name: _name_tuples(value) for name, value in serial.items()}


def _name_tuples(value: Any) -> Any:
    """Return a value in which JSON keeps apart what is a tuple and what a list."""
    if isinstance(value, tuple):
        return {_TUPLE: [_name_tuples(each) for each in value]}
    if isinstance(value, list):
        return [_name_tuples(each) for each in value]
    if isinstance(value, dict):
        return {name: _name_tuples(each) for name, each in value.items()}
    return value


def restore_tuples(value: Any) -> Any:
    """Return the value of which `_name_tuples` made this one."""
    if isinstance(value, list):
        return [restore_tuples(each) for each in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_TUPLE}:
        return tuple(restore_tuples(each) for each in value[_TUPLE])
    return {name: restore_tuples(each) for name, each in value.items()}


def mark_text(serial: Any, report: Any) -> Any:
    """Return a serialised report, marked where its failure is no traceback and is sent as text."""
    is_text = isinstance(serial, dict) and isinstance(serial.get("longrepr"), str)
    if is_text and not isinstance(report.longrepr, str):  # such as that of a doctest
        return {**serial, "longrepr": pytest_internals.report_text(report), _SHOWN: True}
    return serial


def restore(report: Any, data: Mapping[str, Any]) -> None:
    """Have a report that was sent as it was: the values of a subtest, a failure as it is printed.

    The report is what pytest made of the data that was sent.
    """
    pytest_internals.restore_subtest(report, data)
    if vars(report).pop(_SHOWN, False):
        report.longrepr = _Shown(str(report.longrepr))


_USUAL = frozenset(vars(pytest.TestReport("", ("", 0, ""), {}, "passed", None, "call")))
"""The attributes of a report that no plugin has added to."""


def is_plain(report: object) -> bool:
    """Return whether a report is a pass of which there is no more to say; those are the most."""
    return (
        getattr(report, "outcome", None) == "passed"
        and not getattr(report, "sections", True)
        and not getattr(report, "user_properties", True)
        and vars(report).keys() <= _USUAL
    )


def _rest(report: pytest.TestReport) -> dict[str, Any]:
    """Return what else of a plain report a replay needs; the later phases have it of the first."""
    rest: dict[str, Any] = {"start": round(report.start, 6)} if hasattr(report, "start") else {}
    if report.when == "setup":
        rest |= {"place": report.location, "keywords": list(report.keywords)}
    return rest


def sendable(value: object, depth: int = _MOST_NESTED) -> object:
    """Return a value of which all is of the types that execnet sends; the rest becomes text.

    So does what is nested too deep, as in what contains itself.
    """
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _sendable_container(value, depth) if depth else "..."
    if isinstance(value, str):
        text = str(value)
        return text if text.isascii() else text.encode(errors="backslashreplace").decode()
    if value is None or type(value) in (bool, int, float, complex, bytes):
        return value
    if isinstance(value, int | float):  # numpy's floats, or members of an enumeration
        return (int if isinstance(value, int) else float)(value)
    try:
        return sendable(str(value))
    except Exception:  # whatever it is
        return f"<{type(value).__name__} that cannot be shown>"


def _sendable_container(value: Iterable[Any], depth: int) -> object:
    if isinstance(value, Mapping):
        return {sendable(k, depth - 1): sendable(v, depth - 1) for k, v in value.items()}
    members = [sendable(each, depth - 1) for each in value]
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            return kind(members)
    return members


class _Shown:
    """A failure that is no Python traceback, of which pytest's summary names no message."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text

    def toterminal(self, terminal: Any) -> None:
        """Print it; `reprcrash` is what it does not have."""
        for line in self._text.splitlines():
            terminal.line(line)


def warning_event(
    message: warnings.WarningMessage, nodeid: str, location: tuple[str, int, str] | None
) -> dict[str, Any]:
    """Return a warning as an event."""
    return {
        "kind": "warning",
        "id": nodeid,
        "text": str(message.message)[:2000],
        "category": f"{message.category.__module__}.{message.category.__qualname__}",
        "filename": message.filename,
        "line": message.lineno,
        "location": location,
    }


def location_of(nodeid: str) -> tuple[str, int | None, str]:
    """Return where a test is as far as its id tells: path, no line, and name."""
    path, _, name = nodeid.partition("::")
    return path, None, name.replace("::", ".")
