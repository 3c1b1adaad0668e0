"""Read private parts of pytest: how it prints a failure, its subtests, where it reports a crash.

Checked with pytest 8.3 to 9.2. Where a part is not as it was there, something less is returned.
"""

from __future__ import annotations

import contextlib
import copy
import io
import time
from collections.abc import Mapping
from typing import Any


def report_text(report: Any) -> str:
    """Return the traceback of a report as it is printed.

    `longreprtext` is the same without the indentation of its first line.
    """
    try:
        from _pytest._io import TerminalWriter

        text = io.StringIO()
        report.toterminal(TerminalWriter(text))
        return text.getvalue().strip("\n").rstrip()
    except (ImportError, AttributeError, TypeError):
        return str(report.longreprtext)


def failed_subtests(config: Any, report: Any) -> int:
    """Return how many subtests of a test failed that make it fail; only pytest 9 has any."""
    if report.when != "call" or hasattr(report, "context"):
        return 0
    try:
        from _pytest.subtests import failed_subtests_key

        return int(config.stash[failed_subtests_key].get(getattr(report, "id", report.nodeid), 0))
    except (ImportError, KeyError, AttributeError):
        return 0


def restore_subtest(report: Any, data: Mapping[str, Any]) -> None:
    """Give a subtest its values back, which pytest 9 shows with quotes once it has sent them."""
    sent = data.get("_subtest.context")
    if isinstance(sent, dict) and getattr(report, "context", None) is not None:
        with contextlib.suppress(AttributeError):
            object.__setattr__(report.context, "kwargs", sent.get("kwargs") or {})


def crash_output(config: Any) -> int | None:
    """Return the descriptor to which pytest has the stacks of a crash written; None if unknown."""
    with contextlib.suppress(AttributeError, ImportError, KeyError):
        from _pytest.faulthandler import fault_handler_stderr_fd_key

        return int(config.stash[fault_handler_stderr_fd_key])
    return None


def leave_out_time(config: Any, since: tuple[float, float]) -> None:
    """Have the time from then until now count for no duration of a session that pytest reports.

    Args:
        config: pytest's.
        since: By `time.time` and `time.perf_counter`.
    """
    seconds = time.time() - since[0], time.perf_counter() - since[1]
    for plugin in config.pluginmanager.get_plugins():
        if type(plugin).__module__.startswith("_pytest"):
            for name in ("_session_start", "_sessionstarttime", "suite_start", "suite_start_time"):
                _delay(plugin, name, seconds)


def _delay(plugin: object, name: str, seconds: tuple[float, float]) -> None:
    start: Any = getattr(plugin, name, None)
    if isinstance(start, float):
        setattr(plugin, name, start + seconds[0])
    elif hasattr(start, "perf_count"):  # an `Instant` of pytest 8.4 and newer
        later = copy.copy(start)
        object.__setattr__(later, "time", start.time + seconds[0])
        object.__setattr__(later, "perf_count", start.perf_count + seconds[1])
        setattr(plugin, name, later)
