"""pytest's reports and warnings as journal events, and back."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

_CONTEXT = "_subtest.context"  # where a report of pytest's subtests has their values
_SHOWN = "_valor_schedule.shown"  # of a failure such as a doctest's, which is sent as text
_TUPLE = "_valor_schedule.tuple"  # the only name in what stands for a tuple
_MOST_NESTED = 50  # containers within one another; a report has about ten
_MOST_JSON = 256 * 1024  # characters of one report; beyond it its traceback is plain text, and
# where that does not help either, a replay shows what the record has


def serial_of(config: pytest.Config, report: Any, most_text: int) -> dict[str, Any] | None:
    """Return all of a report, as pytest makes it fit for sending; None if nobody knows how.

    Args:
        config: pytest's, whose plugins may have report types of their own.
        report: A `TestReport` or one of its kind.
        most_text: Characters that are kept of each captured section.
    """
    try:
        serial = _serial_of(config, report, most_text)
        fits = serial is None or len(json.dumps(serial, default=repr)) <= _MOST_JSON
    except Exception:  # of a plugin, or of what a test has put into its report
        return None
    return serial if fits else None


def _serial_of(config: pytest.Config, report: Any, most_text: int) -> dict[str, Any] | None:
    serial = config.hook.pytest_report_to_serializable(config=config, report=report)
    if serial is None:
        return None
    serial = dict(serial)
    if serial.get("outcome") == "passed" and (count := _failed_subtests(config, report)):
        # As pytest's terminal reporter does it, and the record counts it.
        noun = "subtest" if count == 1 else "subtests"
        serial |= {"outcome": "failed", "longrepr": f"contains {count} failed {noun}"}
    else:
        serial = dict(with_mark(serial, report))
    serial["sections"] = [(name, text[-most_text:]) for name, text in serial.get("sections", ())]
    if len(json.dumps(serial, default=repr)) > _MOST_JSON:
        serial["longrepr"] = text_of(report)[-most_text:]
    return {name: _with_tuples_named(value) for name, value in serial.items()}


def _with_tuples_named(value: Any) -> Any:
    """Return a value in which JSON keeps apart what is a tuple and what a list."""
    if isinstance(value, tuple):
        return {_TUPLE: [_with_tuples_named(each) for each in value]}
    if isinstance(value, list):
        return [_with_tuples_named(each) for each in value]
    if isinstance(value, dict):
        return {name: _with_tuples_named(each) for name, each in value.items()}
    return value


def _with_tuples(value: Any) -> Any:
    """Return the value of which `_with_tuples_named` made this one."""
    if isinstance(value, list):
        return [_with_tuples(each) for each in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_TUPLE}:
        return tuple(_with_tuples(each) for each in value[_TUPLE])
    return {name: _with_tuples(each) for name, each in value.items()}


def text_of(report: Any) -> str:
    """Return the traceback of a report as it is printed.

    `longreprtext` is the same without the indentation of its first line.
    """
    try:
        from _pytest._io import TerminalWriter

        text = io.StringIO()
        report.toterminal(TerminalWriter(text))
        return text.getvalue().strip("\n").rstrip()
    except (ImportError, AttributeError, TypeError):  # of another pytest
        return str(report.longreprtext)


def with_mark(serial: Any, report: Any) -> Any:
    """Return a serialised report, marked where its failure is no traceback and is sent as text."""
    is_text = isinstance(serial, dict) and isinstance(serial.get("longrepr"), str)
    if is_text and not isinstance(report.longrepr, str):  # such as that of a doctest
        return {**serial, "longrepr": text_of(report), _SHOWN: True}
    return serial


def without_mark(report: Any, data: Mapping[str, Any]) -> None:
    """Have a report that was sent as it was: the values of a subtest, a failure as it is printed.

    Args:
        report: As pytest made it of the data.
        data: What was sent.
    """
    _restore_subtest(report, data)
    if vars(report).pop(_SHOWN, False):
        report.longrepr = _Shown(str(report.longrepr))


_USUAL = frozenset(vars(pytest.TestReport("", ("", 0, ""), {}, "passed", None, "call")))
"""The attributes of a report that no plugin has added to."""


def is_plain(report: object) -> bool:
    """Whether a report is a pass of which there is no more to say; those are the most."""
    return (
        getattr(report, "outcome", None) == "passed"
        and not getattr(report, "sections", True)
        and not getattr(report, "user_properties", True)
        and vars(report).keys() <= _USUAL
    )


def rest_of(report: pytest.TestReport) -> dict[str, Any]:
    """Return what else of a plain report a replay needs; the later phases have it of the first."""
    rest: dict[str, Any] = {"start": round(report.start, 6)} if hasattr(report, "start") else {}
    if report.when == "setup":
        rest |= {"place": report.location, "keywords": list(report.keywords)}
    return rest


def sendable(value: object, depth: int = _MOST_NESTED) -> object:
    """Return a value of which all is of the types that execnet sends; the rest becomes text.

    Args:
        value: Anything, also what contains itself.
        depth: How deep it may be nested; what lies deeper becomes text.
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


def _failed_subtests(config: pytest.Config, report: Any) -> int:
    """Return how many subtests of a test failed that make it fail; only pytest 9 has any."""
    if report.when != "call" or hasattr(report, "context"):
        return 0
    try:
        from _pytest.subtests import failed_subtests_key

        return int(config.stash[failed_subtests_key].get(getattr(report, "id", report.nodeid), 0))
    except (ImportError, KeyError, AttributeError):
        return 0


def has_failed_subtests(config: pytest.Config, report: Any) -> bool:
    """Whether a test passed but for its subtests."""
    return bool(report.passed and _failed_subtests(config, report))


def report_of(
    config: pytest.Config, event: Mapping[str, Any], first: Mapping[str, Any]
) -> pytest.TestReport:
    """Return the report that a journal event tells of.

    Args:
        config: That of the pytest which is to show it.
        event: One of the kind "report".
        first: That of the first phase of the same test.
    """
    nodeid = str(event.get("id"))
    if serial := event.get("serial"):
        with contextlib.suppress(Exception):  # of another pytest, or of a plugin that is not here
            report = _from_serial(config, {**serial, "nodeid": nodeid})
            if report is not None:
                return report
    return _plain(nodeid, event, _with_tuples(first.get("serial") or first))


def _from_serial(config: pytest.Config, data: dict[str, Any]) -> pytest.TestReport | None:
    data = _with_tuples(data)
    report: pytest.TestReport | None = config.hook.pytest_report_from_serializable(
        config=config, data=data
    )
    if report is not None:
        without_mark(report, data)
    return report


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


def _restore_subtest(report: Any, data: Mapping[str, Any]) -> None:
    """Give a subtest its values back, which pytest 9 shows with quotes once it has sent them."""
    sent = data.get(_CONTEXT)
    if isinstance(sent, dict) and getattr(report, "context", None) is not None:
        with contextlib.suppress(AttributeError):
            object.__setattr__(report.context, "kwargs", sent.get("kwargs") or {})


def _plain(nodeid: str, event: Mapping[str, Any], first: Mapping[str, Any]) -> pytest.TestReport:
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


def location_of(nodeid: str) -> tuple[str, int | None, str]:
    """Return where a test is as far as its id tells: path, no line, and name."""
    path, _, name = nodeid.partition("::")
    return path, None, name.replace("::", ".")


def with_crash(longrepr: str, message: str, path: str, line: int) -> dict[str, Any]:
    """Return a traceback of plain text and its last message as pytest serialises one."""
    entry = {"type": "ReprEntryNative", "data": {"lines": [f"{longrepr}\n"]}}
    return {
        "reprcrash": {"path": path, "lineno": line, "message": message},
        "reprtraceback": {"reprentries": [entry], "extraline": None, "style": "native"},
        "sections": [],
        "chain": None,
    }


def warning_event(
    message: warnings.WarningMessage, nodeid: str, location: tuple[str, int, str] | None
) -> dict[str, Any]:
    """Return a warning as a journal event."""
    return {
        "kind": "warning",
        "id": nodeid,
        "text": str(message.message)[:2000],
        "category": f"{message.category.__module__}.{message.category.__qualname__}",
        "filename": message.filename,
        "line": message.lineno,
        "location": location,
    }


def warning_of(event: Mapping[str, Any]) -> warnings.WarningMessage:
    """Return the warning that `warning_event` wrote down."""
    category = _category(str(event.get("category")))
    return warnings.WarningMessage(
        message=str(event.get("text")),
        category=category,
        filename=str(event.get("filename")),
        lineno=int(event.get("line") or 0),
    )


def _category(name: str) -> type[Warning]:
    """Return a class of warnings by its name; one of that name where it is not imported here."""
    module, _, short = name.rpartition(".")
    found = getattr(sys.modules.get(module), short, None)
    if isinstance(found, type) and issubclass(found, Warning):
        return found
    return type(short or "Warning", (UserWarning,), {})
