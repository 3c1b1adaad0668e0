"""The examples are projects that work; `test_blocks.py` types what their pages show."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_valor_schedule.config.home import Home
from tests.support import pages
from tests.support.scheduled import (
    JOB_ID,
    outcomes_of,
    record_of,
    results_of,
    run_pytest,
    scheduled_id,
)

ROOT = pages.ROOT


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """A copy of the examples, which runs may litter."""
    return shutil.copytree(ROOT / "examples", tmp_path / "examples")


@pytest.mark.home_in_use
def test_shop_is_scheduled_by_pytest(examples: Path, home: Home) -> None:
    """`pytest --schedule` in examples/shop uses the project's defaults and passes."""
    job_id = scheduled_id(run_pytest("--schedule", folder=examples / "shop"))
    results = results_of(job_id)
    assert results["outcome"] == "passed"
    assert (results["summary"]["total"], results["summary"]["xfailed"]) == (9, 1)
    record = record_of(home, job_id)
    assert (record["max_workers"], record["timeout_minutes"]) == (4, 5)


@pytest.mark.home_in_use
def test_always_is_scheduled_by_ini_and_conftest(examples: Path, home: Home) -> None:
    """A plain `pytest` in examples/always is scheduled, with the priority that conftest.py sets."""
    first = scheduled_id(run_pytest(folder=examples / "always"))
    assert set(outcomes_of(first).values()) == {"passed"}
    assert record_of(home, first)["priority"] == "low"
    second = scheduled_id(run_pytest("--lf", folder=examples / "always"))
    assert record_of(home, second)["priority"] == "high"


@pytest.mark.home_in_use
def test_nightly_line_of_cron_can_be_run(examples: Path, home: Home) -> None:
    """In the shell and the bare environment of cron it runs the suite, with low priority."""
    [line] = (examples / "nightly" / "crontab").read_text().splitlines()
    command = re.sub(r"^0 3 \* \* \*  ", "", line)
    command = command.replace("/srv/shop", str(examples / "shop"))
    command = command.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(examples), "VALOR_HOME": str(home.root)}
    done = subprocess.run(["sh", "-c", command], env=bare, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    record = record_of(home, JOB_ID.findall(done.stdout)[-1])
    assert (record["priority"], record["timeout_minutes"]) == ("low", 120)
    assert record["notification_chat_id"] == "-1001234567890"


@pytest.mark.home_in_use
def test_databases_are_of_their_workers(
    examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each worker has a database by the number of its slot; a run by hand has one too."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    job_id = scheduled_id(run_pytest("--schedule", folder=examples / "databases"))
    assert set(outcomes_of(job_id).values()) == {"passed"}
    assert "2 passed" in run_pytest(folder=examples / "databases").stdout
    assert [path.name for path in tmp_path.glob("*.db")] == ["shop-0.db"]


def test_every_example_has_a_page_and_is_tested() -> None:
    """Each folder says what it is for; whoever adds one adds a test."""
    folders = {path.name for path in (ROOT / "examples").iterdir() if path.is_dir()}
    tests = Path(__file__).read_text()
    for name in folders - {"__pycache__"}:
        assert (ROOT / "examples" / name / "README.md").exists(), name
        assert f"examples/{name}/README.md" in pages.pages_with("console") or name in tests
