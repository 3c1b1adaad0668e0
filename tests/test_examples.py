"""The examples and the commands of the README do what they say."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from scheduled import outcomes_of, record_of, results_of, run_pytest, run_tool, scheduled_id

from pytest_valor_schedule.client import maintenance
from pytest_valor_schedule.config.home import Home

ROOT = Path(__file__).parent.parent


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
def test_program_schedules_by_api(examples: Path) -> None:
    """examples/schedule_by_api.py runs, waits, and returns 0."""
    program = [sys.executable, str(examples / "schedule_by_api.py")]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("8 tests, expected duration: ")
    assert "passed {'total': 8, 'passed': 8" in done.stdout


@pytest.mark.home_in_use
def test_python_block_of_the_readme_runs(examples: Path) -> None:
    """The README's example of the API is a program that works."""
    block = _readme_block("schedule_tests")
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=examples / "shop", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["failed"] == 0


@pytest.mark.home_in_use
def test_slot_block_of_the_readme_works(project: Path) -> None:
    """The README's fixtures have a number in a job, and one to fall back on elsewhere."""
    Path("conftest.py").write_text("import pytest\n" + _readme_block("schedule_slot"))
    Path("test_it.py").write_text(
        "def test_it(redis_url, port):\n"
        "    assert (redis_url, port) == ('redis://localhost:6379/0', 20_000)\n"
    )
    assert set(outcomes_of(scheduled_id(run_pytest("--schedule"))).values()) == {"passed"}
    assert "1 passed" in run_pytest().stdout


@pytest.mark.home_in_use
def test_hook_block_of_the_readme_works(project: Path) -> None:
    """The README's hook is one that pytest takes, and lets a small run through."""
    Path("conftest.py").write_text(_readme_block("pytest_valor_schedule_submit"))
    Path("test_it.py").write_text("def test_it(): pass\n")
    job_id = scheduled_id(run_pytest("--schedule", "--priority", "high"))
    assert set(outcomes_of(job_id).values()) == {"passed"}


@pytest.mark.home_in_use
def test_recipes_of_the_readme_can_be_typed(project: Path) -> None:
    """What the recipes schedule is scheduled; test_commands.py parses what looks at it."""
    folder = Path("tests", "checkout")
    folder.mkdir(parents=True)
    (folder / "test_it.py").write_text("def test_it(): assert 0\n")
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    [typed] = [line for line in lines if line.startswith("pytest ")]
    results_of(scheduled_id(run_pytest(*shlex.split(typed)[1:])))
    [first, wait, look, again] = [line for line in lines if line.startswith("valor-schedule ")]
    scheduled_id(run_tool(*shlex.split(first)[1:]))
    assert run_tool(*shlex.split(wait)[1:]).returncode == 1
    assert "test_it" in run_tool(*shlex.split(look)[1:]).stdout
    results_of(scheduled_id(run_tool(*shlex.split(again)[1:])))


def test_settings_of_the_readme_are_settings(home: Home) -> None:
    """Each key of the README's config.toml is known, and has a value that can be used."""
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    home.make()
    home.config.write_text("".join(blocks))
    assert len(blocks) == 2
    assert maintenance.list_settings()["unknown"] == []


def _readme_block(word: str) -> str:
    """Return the one Python example of the README that has a word in it."""
    text = (ROOT / "README.md").read_text()
    [block] = [b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if word in b]
    return str(block)
