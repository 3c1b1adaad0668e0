"""What is skipped, or not collected, as a whole counts as plain pytest counts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule.in_job.collect_reports import CollectReports
from pytest_valor_schedule.record.aggregate import aggregate
from tests.support.scheduled import results_of, run_pytest, run_tool, scheduled_id

WHY = """
import pytest
def skip(): pytest.skip("not here", allow_module_level=True)
def fail(): raise pytest.Collector.CollectError("broken")
"""


def _write_modules() -> None:
    """Write two modules of each kind that ends at one place for one reason."""
    Path("pkg").mkdir()
    Path("pkg/__init__.py").touch()
    Path("pkg/why.py").write_text(WHY)
    for number in range(2):
        for name in ("skip", "fail"):
            text = f"from pkg.why import {name}\n{name}()\n"
            Path(f"pkg/test_{name}{number}.py").write_text(text)
        Path(f"pkg/test_import{number}.py").write_text(
            "import pytest\npytest.importorskip('no_such_module')\n"
        )
        Path(f"pkg/test_ok{number}.py").write_text(
            "import pytest\ndef test_ok(): pass\ndef test_skip(): pytest.skip()\n"
        )


def _last_line(output: str) -> str:
    """Return the counts that pytest's last line has."""
    lines = [line for line in output.splitlines() if " passed" in line and "===" in line]
    return lines[-1].strip("= ").partition(" in ")[0]


def test_modules_are_counted_as_plain_pytest_counts_them(project: Path) -> None:
    """By two workers, at the terminal, in the record and by `results`; `-n 2` counts fewer."""
    _write_modules()
    options = ("--continue-on-collection-errors", "-p", "no:cacheprovider")
    plain = _last_line(run_pytest(*options).stdout)
    assert plain == "2 passed, 6 skipped, 2 errors"
    done = run_pytest(*options, "--schedule-wait", "--max-workers", "2")
    assert _last_line(done.stdout) == plain
    job_id = scheduled_id(done)
    results = results_of(job_id)
    assert (results["summary"]["skipped"], results["summary"]["skipped_modules"]) == (2, 4)
    assert len(results["collection_errors"]) == 2
    assert "2 passed, 6 skipped in" in run_tool("results", job_id).stdout


@pytest.mark.parametrize("longrepr", [("why.py", 2, "not here"), "broken"])
def test_reports_are_the_same_of_one_module_only(longrepr: Any) -> None:
    """Of two workers one is passed on, of two modules both, each as it was."""
    plugin, seen = CollectReports(), list[Any]()
    for nodeid in ("test_a.py", "test_a.py", "test_b.py"):
        report = pytest.CollectReport(nodeid, "skipped", longrepr, [])
        taking = plugin.pytest_report_from_serializable()
        next(taking)
        with pytest.raises(StopIteration):
            taking.send(report)
        if report.longrepr not in seen:
            seen.append(report.longrepr)
            plugin.pytest_collectreport(report)
            assert report.longrepr == longrepr
    assert len(seen) == 2


def test_a_module_that_each_round_skips_counts_once() -> None:
    """Only what controllers have seen counts, whatever a test writes."""
    skips = [{"kind": "collection_skip", "id": name} for name in ("test_a.py", "test_b.py")]
    forged = [{"kind": "collection_skip", "id": "test_c.py"}]
    journals = [("1.1-controller", skips), ("1.1-gw0", forged), ("1.2-controller", skips)]
    assert aggregate(["a"], journals).skipped_modules == 2
