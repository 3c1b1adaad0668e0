"""The manual: how it is printed, and that it says what the code says."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule import hookspecs
from pytest_valor_schedule.cli import manual, parser
from pytest_valor_schedule.cli.commands import COMMANDS
from pytest_valor_schedule.config import settings
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.model import retention
from pytest_valor_schedule.model.job import JobStatus, Outcome
from pytest_valor_schedule.model.result import TestOutcome
from tests.support import pages
from tests.support.pages import MANUAL, PACKAGE, PAGES, README, ROOT
from tests.support.scheduled import record_of, run_pytest, run_tool

TOPICS = [path.stem for path in MANUAL]
GROUPS = r"^- \w+: ((?:`\w+`(?:, )?)+)$"


def _text(topic: str) -> str:
    return (PACKAGE / "docs" / f"{topic}.md").read_text("utf-8")


def _section(topic: str, title: str) -> str:
    """Return a section of a page, without its title."""
    return _text(topic).split(f"## {title}\n")[1].split("\n## ")[0]


def _rows(text: str) -> dict[str, str]:
    """Return the first two cells of each row of the tables of a text, the first without marks."""
    rows = re.findall(r"^\| `([^`]+)`[^|]* \| ([^|]*?) ?\|", text, re.MULTILINE)
    return {name: value.strip("`") for name, value in rows}


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
    lines = _text(topic).splitlines()
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
    headings = re.findall(r"^### `valor-schedule (\w+)", _text("commands"), re.MULTILINE)
    assert headings == re.findall(r"\w+", " ".join(groups))
    shown = run_tool("--help").stdout
    assert [name for name in COMMANDS if not re.search(rf"^    {name}\b", shown, re.M)] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_manual_has_every_option_of_a_command(command: str) -> None:
    """The section of a command names its arguments and options, and no others."""
    section = _text("commands").split(f"### `valor-schedule {command}")[1].split("\n##")[0]
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


def test_options_of_the_manual_are_those_of_pytest() -> None:
    """Each option of ours that `pytest --help` shows is in the table, with its default."""
    shown = run_pytest("--help").stdout
    group = shown.split("one test queue for the machine:")[1].split("\n\n")[0]
    options = re.findall(r"^  (--[\w-]+)", group, re.MULTILINE)
    rows = {
        name.split()[0]: value for name, value in _rows(_section("settings", "Options")).items()
    }
    assert list(rows) == options
    names = [option.removeprefix("--").replace("-", "_") for option in options]
    assert list(rows.values()) == [_shown(settings.DEFAULTS[name]) for name in names]
    ours = set(re.findall(r"^  valor_schedule_(\w+)", shown, re.MULTILINE))
    assert ours - {*names} == _rows(_section("settings", "Settings of a project")).keys()


def test_settings_of_the_manual_are_those_of_the_code() -> None:
    """Each setting is in one of the tables, with its default."""
    options = _rows(_section("settings", "Options"))
    tables = _section("settings", "Settings of a project") + _section(
        "settings", "Settings of the machine"
    )
    rows = _rows(tables)
    by_option = {name.split()[0].removeprefix("--").replace("-", "_") for name in options}
    assert by_option | rows.keys() == (
        settings.DEFAULTS.keys() | vars(_kept()).keys() | {"idle_seconds", "telegram_token"}
    )
    known = {**settings.DEFAULTS, **vars(_kept()), "slots": "usable CPUs"}
    wrong = {name: value for name, value in rows.items() if name in known} | {}
    assert wrong == {name: _shown(known[name]) for name in wrong}
    assert float(rows["idle_seconds"]) == settings._IDLE_SECONDS


def _kept() -> argparse.Namespace:
    kept = retention.Retention()
    return argparse.Namespace(**{name: getattr(kept, name) for name in kept.__dataclass_fields__})


def _shown(value: Any) -> str:
    """Return a default as a table has it."""
    words = {"None": "none", "True": "true", "False": "off"}
    return words.get(str(value), f"{value:g}" if isinstance(value, float) else str(value))


def test_defaults_of_config_toml_are_those_of_the_code() -> None:
    """The block that says how long what is kept."""
    [block] = pages.blocks("toml", page="pytest_valor_schedule/docs/record.md")
    shown = dict(re.findall(r"^(\w+) = (\S+)", block.text, re.MULTILINE))
    assert shown == {name: f"{value:g}" for name, value in vars(_kept()).items()}


def test_hooks_of_the_manual_are_those_of_the_code() -> None:
    """Each has its section, with its arguments."""
    shown = re.findall(r"^### `(\w+)\((.*)\)`$", _text("hooks"), re.MULTILINE)
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
    cells = re.findall(r"^\| (`[^|]+) \|", _section("record", title), re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(cells))) == sorted(kind)


def test_fields_of_the_manual_are_in_a_record(ended: str, home: Home) -> None:
    """What it says of a job, its summary and its results is there."""
    record = record_of(home, ended)
    job, summary, result = re.split(r"\n`summary` has|\nA result has", _section("record", "Fields"))
    seldom = {"schema_version", "explanation", "flaky", "skipped_modules"}
    assert set(re.findall(r"`(\w+)`", job)) - seldom <= record.keys()
    assert set(re.findall(r"`(\w+)`", summary)) - seldom == record["summary"].keys()
    [bad] = [each for each in record["results"] if each["outcome"] == "failed"]
    always, _, failed = result.split("\n\n")[0].partition("did not pass")
    assert set(re.findall(r"`(\w+)`", always)) <= bad.keys()
    assert set(re.findall(r"`(\w+)`", failed)) - {"sections"} <= bad.keys()


def test_the_changelog_and_readme_name_no_machine() -> None:
    """No page has a path of the machine on which it was written."""
    for path in (*PAGES.values(), ROOT / "CHANGELOG.md"):
        assert not re.search(r"/(work|tmp|root)/", path.read_text("utf-8")), Path(path).name
