"""Each block of the README, the manual and the examples does what it says."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

import pytest_valor_schedule
from pytest_valor_schedule import list_jobs
from pytest_valor_schedule.cli import parser
from pytest_valor_schedule.client import maintenance
from pytest_valor_schedule.config.home import Home
from tests.support import pages
from tests.support.pages import README, ROOT, Block
from tests.support.scheduled import results_of, run_pytest, scheduled_id
from tests.support.waiting import wait_until

LANGUAGES = {"console", "sh", "python", "toml", "ini", "text"}


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where a page's commands are typed: in a copy of its example, or else of examples/shop."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    page = Path(request.getfixturevalue("page"))
    return tmp_path / (page.parent if page.parts[0] == "examples" else "examples/shop")


def test_every_block_is_of_a_kind_that_is_run() -> None:
    """None is added that nobody looks at."""
    assert {block.language for block in pages.blocks()} == LANGUAGES


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


def test_ci_takes_both_commands_from_the_readme() -> None:
    """`.ci/run` looks for the marks that are there."""
    marks = re.findall(r"^run_readme \w+ \"([^\"]+)\"", (ROOT / ".ci/run").read_text(), re.M)
    assert sorted(marks) == sorted(block.mark for block in pages.blocks("sh") if block.mark)


PROGRAMS = [block for block in pages.blocks("python") if "import get_job_results" in block.text]
SIGNATURES = [block for block in pages.blocks("python") if block.text.startswith("def ")]
SIGNATURES = [block for block in SIGNATURES if block.page.endswith("api.md")]
PUBLIC = {name: getattr(pytest_valor_schedule, name) for name in pytest_valor_schedule.__all__}
FUNCTIONS = {name: each for name, each in PUBLIC.items() if inspect.isfunction(each)}
CONFTESTS = sorted(
    {each.page for each in pages.blocks("python") if each not in (*PROGRAMS, *SIGNATURES)}
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


def test_signatures_are_those_of_the_functions() -> None:
    """The manual has every function, each with its parameters and their defaults."""
    shown = {}
    for block in SIGNATURES:
        for node in ast.parse(block.text).body:
            assert isinstance(node, ast.FunctionDef)
            shown[node.name] = ast.unparse(node.args)
    assert shown == {name: _parameters(each) for name, each in FUNCTIONS.items()}


def test_types_of_the_manual_are_those_of_the_answers() -> None:
    """Every public type is in the list, beside the functions whose answers have it."""
    text = (pages.PACKAGE / "docs" / "api.md").read_text("utf-8")
    rows = dict(re.findall(r"^- `([A-Z]\w+)`: (.*)$", text, re.MULTILINE))
    assert rows.keys() == PUBLIC.keys() - FUNCTIONS.keys() - {"__version__"}
    answers = {name: str(each.__annotations__["return"]) for name, each in FUNCTIONS.items()}
    for kind, row in rows.items():
        if kind.endswith("Response") and kind != "ErrorResponse":
            found = {name for name, answer in answers.items() if kind in answer}
            assert set(re.findall(r"`(\w+)`", row)) == found


def _parameters(function: object) -> str:
    """Return the parameters of a function as its definition has them, but without types."""
    assert callable(function)
    found = inspect.signature(function)
    parameters = [
        each.replace(annotation=inspect.Parameter.empty) for each in found.parameters.values()
    ]
    text = str(found.replace(parameters=parameters, return_annotation=inspect.Signature.empty))
    return text.removeprefix("(").removesuffix(")")


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


@pytest.mark.parametrize("page", pages.pages_with("toml"))
def test_config_toml_of_the_manual_can_be_used(page: str, home: Home) -> None:
    """Each of its keys is a setting, and has a value that one can have."""
    home.make()
    home.config.write_text("".join(block.text for block in pages.blocks("toml", page=page)))
    assert maintenance.list_settings()["problems"] == []


@pytest.mark.parametrize("block", pages.blocks("ini"), ids=lambda block: block.page)
@pytest.mark.usefixtures("no_dispatcher")
def test_an_ini_file_of_the_manual_can_be_used(block: Block, project: Path) -> None:
    """A strict pytest takes it, and it schedules, as its page says."""
    Path("pytest.ini").write_text(block.text)
    Path("test_it.py").write_text("def test_it(): pass\n")
    scheduled_id(run_pytest("--strict-config"))
    assert list_jobs()["jobs"][0]["priority"] == "low"
    assert list_jobs()["jobs"][0]["test_timeout_seconds"] == 60


def test_the_processes_of_the_manual_are_those_of_the_package() -> None:
    """Each that the picture names begins in a module of that name."""
    [block] = pages.blocks("text")
    names = re.findall(r"^(watcher|dispatcher|runner)\b", block.text, re.MULTILINE)
    assert len(names) == 3
    for name in names:
        assert list(pages.PACKAGE.rglob(f"{name}.py")), name


def _examples() -> list[str]:
    """Return each `valor-schedule ...` that the help or a page shows, but for usage lines."""
    texts = [parser._EPILOG, parser._RUN_EPILOG]
    texts += [block.text for block in pages.blocks("sh", "console") if not block.mark]
    texts += [path.read_text("utf-8") for path in ROOT.glob("examples/*/crontab")]
    found = re.findall(
        r"(?:^\s*(?:\$ )?|/bin/)valor-schedule ((?:(?!  |\||#|;|&&).)+)",
        "\n".join(texts),
        re.MULTILINE,
    )
    return sorted({each.strip() for each in found})


@pytest.mark.parametrize("example", _examples())
def test_each_documented_example_is_a_command(example: str) -> None:
    """What is shown can be typed as it stands."""
    words, _ = parser.split_own(shlex.split(example))
    assert parser.build().parse_args(words).command == words[0]


def test_the_readme_is_short() -> None:
    """It is read to its end; the rest is in the manual."""
    assert len(README.read_text("utf-8").splitlines()) <= 130
