"""Read private parts of pytest: how it prints a failure, its subtests, where it reports a crash.

Checked with pytest 8.3 to 9.2. Where a part is not as it was there, something less is returned.
"""

from __future__ import annotations

import contextlib
import io
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
