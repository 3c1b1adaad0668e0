"""What is skipped, or not collected, as a whole counts as plain pytest counts it."""

from __future__ import annotations

from pathlib import Path

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
