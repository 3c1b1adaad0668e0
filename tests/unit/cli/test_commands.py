"""Run commands that need no job."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule.cli import main
from pytest_valor_schedule.cli.commands import COMMANDS
from tests.support.scheduled import (
    run_tool,
)

pytestmark = pytest.mark.usefixtures("home")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It begins with how the command is used, and says what it does in a sentence."""
    with pytest.raises(SystemExit) as ended:
        main.main([command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: valor-schedule {command}")
    assert re.search(r"^[A-Z].*\.$", shown, re.MULTILINE)


def test_settings_are_shown_with_their_source(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Config tells value and source, what is no setting, and no token."""
    home.make()
    home.config.write_text('priority = "low"\nwrong = 1\ntelegram_token = "s3cret"\n')
    monkeypatch.setenv("VALOR_SCHEDULE_MAX_WORKERS", "7")
    monkeypatch.setenv("VALOR_SCHEDULE_NOTIFY", "slack://A/s3cret/C")
    shown = run_tool("config").stdout + run_tool("config", "--json").stdout
    assert re.search(r"^priority +low +priority in config.toml$", shown, re.MULTILINE)
    assert re.search(r"^max_workers +7 +the environment variable", shown, re.MULTILINE)
    assert "'wrong', which is no setting" in shown
    assert "s3cret" not in shown


@pytest.mark.parametrize("command", ["status", "wait", "results", "logs"])
def test_no_job_here(project: Path, command: str) -> None:
    """Without a job that was scheduled from this folder, one sentence says so."""
    done = run_tool(command)
    assert done.returncode == 1
    assert "No job was scheduled from" in done.stderr


@pytest.mark.parametrize("command", ["status", "wait", "results", "logs", "cancel"])
def test_unknown_job(project: Path, command: str) -> None:
    """An id that fits no job is an error in one sentence."""
    done = run_tool(command, "../x")
    assert done.returncode == 1
    assert done.stderr.startswith("error: There is no job '../x'")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["bogus"],
        ["cancel"],
        ["list", "--limit", "x"],
        ["list", "--status", "x"],
        ["wait", "--timeout", "x"],
    ],
)
def test_wrong_command_line(arguments: list[str]) -> None:
    """A wrong command line shows the usage and returns 2."""
    done = run_tool(*arguments)
    assert done.returncode == 2
    assert "usage: valor-schedule" in done.stderr


@pytest.mark.parametrize("text", ["x", "-1", "1.5", ""])
def test_a_number_that_is_none_is_told_in_words(text: str) -> None:
    """What is wrong with a number is said without the name of a function of ours."""
    done = run_tool("list", f"--limit={text}")
    assert done.returncode == 2
    assert f"--limit: {text!r} is not a whole number of 0 or more" in done.stderr


def test_list_says_when_there_is_nothing() -> None:
    """An empty queue is said in words."""
    assert run_tool("list").stdout == "no jobs\n"
