"""Each block of the README, the manual and the examples does what it says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_valor_schedule import list_jobs
from pytest_valor_schedule.config import settings
from pytest_valor_schedule.config.home import Home
from tests.support import pages
from tests.support.pages import ROOT, Block
from tests.support.scheduled import record_of, results_of, run_pytest, scheduled_id
from tests.support.waiting import wait_until


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where a page's commands are typed: in a copy of its example, or else of examples/shop."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    page = Path(request.getfixturevalue("page"))
    return tmp_path / (page.parent if page.parts[0] == "examples" else "examples/shop")


@pytest.mark.parametrize("page", pages.pages_with("console"))
def test_what_a_page_shows_is_what_a_terminal_shows(page: str, folder: Path, home: Home) -> None:
    """Each command has the output below it, but for ids and times; `...` stands for lines."""
    if "config.toml" in (path.name for path in folder.iterdir()):
        home.make()
        shutil.copy(folder / "config.toml", home.config)
    for block in pages.blocks("console", page=page):
        for command, shown in pages.commands(block.text):
            done = pages.run_in_shell(command, folder)
            assert pages.is_like(done.stdout, shown), f"$ {command}\n{done.stdout}"


@pytest.mark.parametrize("page", pages.pages_with("sh"))
def test_what_a_page_tells_to_type_can_be_typed(page: str, folder: Path, home: Home) -> None:
    """The shell blocks of a page run one after the other, for a job that has ended or runs."""
    text = "\n".join(block.text for block in pages.blocks("sh", page=page) if not block.mark)
    if "JOB" in text or "replay" in text or "rerun" in text:
        (folder / "tests").mkdir()
        (folder / "tests" / "test_bad.py").write_text("def test_bad(): assert 0\n")
        job_id = scheduled_id(run_pytest("--schedule", folder=folder))
        results_of(job_id)
        text = text.replace("4f9a2c", job_id[-6:])
    for line in text.splitlines():
        done = pages.run_in_shell(line, folder, {"PIP_NO_INDEX": "1"})
        fails = re.search(r"\b(wait|replay)\b", line) is not None  # as the run does
        assert done.returncode == int(fails), f"$ {line}\n{done.stdout}"
    wait_until(lambda: not list_jobs("running")["total"], "what was scheduled has ended")


def test_both_commands_of_the_readme_work_in_one_shell(tmp_path: Path) -> None:
    """The second finds what it names after the first; CI runs them for good."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python3", "python", "pip", "pytest", "valor-schedule"):
        (programs / name).write_text(f'#!/bin/sh\necho "$PWD {name} $*" >> {tmp_path}/log\n')
        (programs / name).chmod(0o755)
    marked = {block.mark: block.text for block in pages.blocks("sh") if block.mark}
    assert marked.keys() == {"main job", "tests"}
    done = subprocess.run(
        ["bash", "-euc", f"PATH={programs}:$PATH\n{marked['main job']}{marked['tests']}pwd"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == str(tmp_path)
    ran = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    shop = str(tmp_path / "examples" / "shop")
    assert [line[1] for line in ran if line[0] == shop] == ["pytest", "valor-schedule"]
    assert {line[0] for line in ran} == {shop, str(tmp_path)}


PROGRAMS = [block for block in pages.blocks("python") if "import get_job_results" in block.text]
CONFTESTS = sorted(
    {each.page for each in pages.blocks("python") if each not in (*PROGRAMS, *pages.signatures())}
)


@pytest.mark.home_in_use
@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: block.page)
def test_a_program_runs(block: Block, tmp_path: Path) -> None:
    """It schedules, waits, and prints a summary without a failure."""
    folder = shutil.copytree(ROOT / "examples" / "shop", tmp_path / "shop")
    (folder / "program.py").write_text(block.text)
    done = pages.run_in_shell("python program.py", folder)
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout.splitlines()[-1].replace("'", '"'))["failed"] == 0


@pytest.mark.home_in_use
@pytest.mark.parametrize("page", CONFTESTS)
def test_a_conftest_of_the_manual_works(page: str, project: Path) -> None:
    """A job with the hooks and fixtures of a page passes, and so does a run by hand."""
    text = "".join(block.text for block in pages.blocks("python", page=page))
    Path("conftest.py").write_text(f"import pytest\n{text}")
    arguments = "redis_url, port" if "redis_url" in text else ""
    Path("test_it.py").write_text(f"def test_it({arguments}): print('a line', {arguments})\n")
    job_id = scheduled_id(run_pytest("--schedule", "--priority", "high"))
    results = results_of(job_id)
    assert results["summary"]["passed"] == 1
    if "pytest_valor_schedule_result" in text:
        assert results["results"][0]["extra"] == {"lines_printed": 1}
        assert Path("last-run.txt").read_text() == f"{job_id} failed: 0\n"
    assert "1 passed" in run_pytest().stdout


@pytest.mark.parametrize("block", pages.blocks("ini"), ids=lambda block: block.page)
@pytest.mark.usefixtures("no_dispatcher")
def test_an_ini_file_of_the_manual_can_be_used(block: Block, project: Path) -> None:
    """A strict pytest takes it, and it schedules, as its page says."""
    Path("pytest.ini").write_text(block.text)
    Path("test_it.py").write_text("def test_it(): pass\n")
    scheduled_id(run_pytest("--strict-config"))
    assert list_jobs()["jobs"][0]["priority"] == "low"
    assert list_jobs()["jobs"][0]["test_timeout_seconds"] == 60


def test_options_of_the_manual_are_those_of_pytest() -> None:
    """Each option of ours that `pytest --help` shows is in the table, with its default."""
    shown = run_pytest("--help").stdout
    group = shown.split("one test queue for the machine:")[1].split("\n\n")[0]
    options = re.findall(r"^  (--[\w-]+)", group, re.MULTILINE)
    rows = {
        name.split()[0]: value
        for name, value in pages.rows(pages.section("settings", "Options")).items()
    }
    assert list(rows) == options
    names = [option.removeprefix("--").replace("-", "_") for option in options]
    assert list(rows.values()) == [pages.default(settings.SETTINGS[name].default) for name in names]
    ours = set(re.findall(r"^  valor_schedule_(\w+)", shown, re.MULTILINE))
    assert ours - {*names} == pages.rows(pages.section("settings", "Settings of a project")).keys()


def test_fields_of_the_manual_are_in_a_record(ended: str, home: Home) -> None:
    """What it says of a job, its summary and its results is there."""
    record = record_of(home, ended)
    job, summary, result = re.split(
        r"\n`summary` has|\nA result has", pages.section("record", "Fields")
    )
    seldom = {"schema_version", "explanation", "flaky", "skipped_modules"}
    assert set(re.findall(r"`(\w+)`", job)) - seldom <= record.keys()
    assert set(re.findall(r"`(\w+)`", summary)) - seldom == record["summary"].keys()
    [bad] = [each for each in record["results"] if each["outcome"] == "failed"]
    always, _, failed = result.split("\n\n")[0].partition("did not pass")
    assert set(re.findall(r"`(\w+)`", always)) <= bad.keys()
    assert set(re.findall(r"`(\w+)`", failed)) - {"sections"} <= bad.keys()
