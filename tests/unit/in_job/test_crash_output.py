"""What a worker had printed when it died."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from pytest_valor_schedule.in_job.crash_output import printed_since_start
from pytest_valor_schedule.record.event_log import EventLog

HEADER = "===== test session starts =====\nplugins: xdist-3.8\ncollected 2 items\n\n"
SHOWING_WORKERS = "created: 2/2 workers\n2 workers [4 items]\n\n"


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("..F", None),
        (HEADER + "..", None),
        (SHOWING_WORKERS + "..", None),
        (HEADER + ".from C", ".from C"),
        ("from C\n", "from C"),
    ],
)
def test_only_what_was_printed_while_tests_ran_is_shown(
    printed: str, shown: str | None, tmp_path: Path
) -> None:
    """The header of a run may reach the log later than its first test begins."""
    path, output = tmp_path / "1.1-gw0.jsonl", tmp_path / "output.log"
    output.write_text("before it\n" + printed)
    with closing(EventLog(path)) as log:
        log.write({"kind": "start", "id": "test_it.py::test_it", "log": len("before it\n")})
    sections = printed_since_start(path, output)
    assert sections == ([] if shown is None else [["Printed by the run meanwhile", shown]])
