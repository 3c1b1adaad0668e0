"""Compare the manual with the code, and print it."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import pytest_valor_schedule
from pytest_valor_schedule import hookspecs
from pytest_valor_schedule.cli import manual, parser
from pytest_valor_schedule.cli.commands import COMMANDS
from pytest_valor_schedule.client import administer
from pytest_valor_schedule.config import settings
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.model.job_terms import JobStatus, Outcome
from pytest_valor_schedule.model.result import TestOutcome
from pytest_valor_schedule.model.retention import Retention
from tests.support import pages
from tests.support.pages import MANUAL, PACKAGE, PAGES, README, ROOT
from tests.support.scheduled import run_tool

TOPICS = [path.stem for path in MANUAL]
GROUPS = r"^- \w+: ((?:`\w+`(?:, )?)+)$"


def test_help_lists_the_topics() -> None:
    """One line each, in a terminal of 80 columns, and what else there is help on."""
    done = run_tool("help")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert [line.split()[0] for line in lines[1:-1]] == TOPICS
    assert all(line.endswith(".") and len(line) <= 80 for line in lines[1:])


@pytest.mark.parametrize("topic", TOPICS)
def test_help_prints_a_page(topic: str) -> None:
    """As plain text: no link, no comment; and what a command of that name takes, above it."""
    done = run_tool("help", topic)
    assert done.returncode == 0
    assert manual.page(topic) in done.stdout
    assert "](" not in done.stdout
    assert "<!--" not in done.stdout
    assert (f"usage: valor-schedule {topic}" in done.stdout) == (topic in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_a_command(command: str) -> None:
    """It prints what `--help` prints."""
    assert run_tool("help", command).stdout.startswith(run_tool(command, "--help").stdout)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("slotz", "There is no help on 'slotz'; did you mean 'slots'?"),
        ("Hook", "There is no help on 'Hook'; did you mean 'hooks'?"),
        ("cancle", "There is no help on 'cancle'; did you mean 'cancel'?"),
        ("../api", "There is no help on '../api'; did you mean 'api'?"),
        ("qqq", "There is no help on 'qqq'; `valor-schedule help` lists the topics."),
    ],
)
def test_an_unknown_topic_is_one_sentence(name: str, sentence: str) -> None:
    """It names the nearest topic or command, if one is near."""
    done = run_tool("help", name)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"error: {sentence}\n")


@pytest.mark.parametrize("topic", TOPICS)
def test_a_page_fits_into_a_terminal(topic: str) -> None:
    """No line is longer than 80 columns, and its first sentence fits into the list of topics."""
    lines = pages.topic(topic).splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert re.fullmatch(r"# .+\n\n\S.{,59}\.\n", "\n".join(lines[:4]))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Each link of a page is to a file or folder that is there; so is each script it names."""
    text = PAGES[page].read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert (PAGES[page].parent / target).exists(), target
    for named in re.findall(r"`python (\S+\.py)|`(examples/\w+)", text):
        assert (ROOT / "".join(named)).exists(), named


def test_the_readme_leads_to_every_page_and_package() -> None:
    """Whoever begins there finds all of the manual, and a room for each package."""
    linked = set(re.findall(r"\]\(pytest_valor_schedule/([^)]+)\)", README.read_text("utf-8")))
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert linked == {"docs/watch.svg", *(f"docs/{name}.md" for name in TOPICS), *folders}


def test_help_readme_and_manual_name_every_command() -> None:
    """None is hidden, and none is named that is none."""
    groups = re.findall(GROUPS, README.read_text("utf-8"), re.MULTILINE)
    assert sorted(re.findall(r"\w+", " ".join(groups))) == sorted(COMMANDS)
    headings = re.findall(r"^### `valor-schedule (\w+)", pages.topic("commands"), re.MULTILINE)
    assert headings == re.findall(r"\w+", " ".join(groups))
    shown = run_tool("--help").stdout
    assert [name for name in COMMANDS if not re.search(rf"^    {name}\b", shown, re.M)] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_manual_has_every_option_of_a_command(command: str) -> None:
    """The section of a command names its arguments and options, and no others."""
    section = pages.topic("commands").split(f"### `valor-schedule {command}")[1].split("\n##")[0]
    named = set(re.findall(r"(?<!\w)--\w[\w-]*", section))
    actions = _actions(command)
    known = {name for each in actions for name in each.option_strings}
    assert named <= known | ({"--junit-xml"} if command == "replay" else set())
    for each in actions:
        words = each.option_strings or [str(each.metavar or each.dest)]
        assert any(word in section for word in words), words


def _actions(command: str) -> list[argparse.Action]:
    """Return the arguments that a command of the command line has of its own."""
    [commands] = [
        each for each in parser.build()._actions if isinstance(each, argparse._SubParsersAction)
    ]
    found: list[argparse.Action] = commands.choices[command]._actions
    common = ("--help", "--json")
    return [each for each in found if not {*each.option_strings} & {*common}]


def test_settings_of_the_manual_are_those_of_the_code() -> None:
    """Each setting is in one of the tables, with its default."""
    options = pages.rows(pages.section("settings", "Options"))
    tables = pages.section("settings", "Settings of a project") + pages.section(
        "settings", "Settings of the machine"
    )
    rows = pages.rows(tables)
    by_option = {name.split()[0].removeprefix("--").replace("-", "_") for name in options}
    assert by_option | rows.keys() == settings.SETTINGS.keys()
    defaults = {name: each.default for name, each in settings.SETTINGS.items()}
    defaults["slots"] = "usable CPUs"
    told = {name: value for name, value in rows.items() if name != "telegram_token"}
    assert told == {name: pages.default(defaults[name]) for name in told}


def test_defaults_of_config_toml_are_those_of_the_code() -> None:
    """The block that says how long what is kept."""
    [block] = pages.blocks("toml", page="pytest_valor_schedule/docs/record.md")
    shown = dict(re.findall(r"^(\w+) = (\S+)", block.text, re.MULTILINE))
    assert shown == {name: f"{value:g}" for name, value in dataclasses.asdict(Retention()).items()}


def test_hooks_of_the_manual_are_those_of_the_code() -> None:
    """Each has its section, with its arguments."""
    shown = re.findall(r"^### `(\w+)\((.*)\)`$", pages.topic("hooks"), re.MULTILINE)
    hooks = [name for name in vars(hookspecs) if name.startswith("pytest_valor_schedule_")]
    assert [name for name, _ in shown] == hooks
    for name, arguments in shown:
        code = getattr(hookspecs, name).__code__
        assert arguments.split(", ") == list(code.co_varnames[: code.co_argcount])


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("Status of a job", JobStatus),
        ("Outcome of a job", Outcome),
        ("Outcome of a test", TestOutcome),
    ],
)
def test_words_of_the_manual_are_those_of_the_code(title: str, kind: Any) -> None:
    """Each status and outcome is in its table."""
    cells = re.findall(r"^\| (`[^|]+) \|", pages.section("record", title), re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(cells))) == sorted(kind)


def test_the_changelog_and_readme_name_no_machine() -> None:
    """No page has a path of the machine on which it was written."""
    for path in (*PAGES.values(), ROOT / "CHANGELOG.md"):
        assert not re.search(r"/(work|tmp|root)/", path.read_text("utf-8")), Path(path).name


LANGUAGES = {"console", "sh", "python", "toml", "ini", "text"}


def test_every_block_is_of_a_kind_that_is_run() -> None:
    """None is added that nobody looks at."""
    assert {block.language for block in pages.blocks()} == LANGUAGES


def test_ci_takes_both_commands_from_the_readme() -> None:
    """`.ci/run` looks for the marks that are there."""
    marks = re.findall(r"^ *run_readme \w+ \"([^\"]+)\"", (ROOT / ".ci/run").read_text(), re.M)
    assert sorted(marks) == sorted(block.mark for block in pages.blocks("sh") if block.mark)


PUBLIC = {name: getattr(pytest_valor_schedule, name) for name in pytest_valor_schedule.__all__}
FUNCTIONS = {name: each for name, each in PUBLIC.items() if inspect.isfunction(each)}


def test_signatures_are_those_of_the_functions() -> None:
    """The manual has every function, each with its parameters and their defaults."""
    shown = {}
    for block in pages.signatures():
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


@pytest.mark.parametrize("page", pages.pages_with("toml"))
def test_config_toml_of_the_manual_can_be_used(page: str, home: Home) -> None:
    """Each of its keys is a setting, and has a value that one can have."""
    home.make()
    home.config.write_text("".join(block.text for block in pages.blocks("toml", page=page)))
    assert administer.list_settings()["problems"] == []


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
