"""Each command of `valor-schedule`, its help, and what it is like in a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from pytest_valor_schedule import get_job_status, list_jobs
from pytest_valor_schedule.cli import output, parser
from pytest_valor_schedule.cli.commands import COMMANDS
from pytest_valor_schedule.client import query
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import service
from tests.support.scheduled import (
    GATED,
    open_gate,
    results_of,
    run_pytest,
    run_tool,
    schedule,
    scheduled_id,
)
from tests.support.waiting import DEADLINE_SECONDS, wait_until

pytestmark = pytest.mark.usefixtures("warm_collection")

MIXED = "def test_good(): pass\ndef test_bad(): assert 1 == 2\n"
SEVERAL = """
import pytest, unittest
@pytest.mark.parametrize("number", range(3))
def test_n(number): assert number == 0
class TestCase(unittest.TestCase):
    def test_a(self): self.fail()
    def test_b(self): self.fail()
    def test_c(self): pass
"""
FIXED = "def test_good(): assert 0\ndef test_bad(): pass\ndef test_new(): pass\n"


def _run_here(text: str) -> str:
    """Run a suite and return the job's id."""
    Path("test_it.py").write_text(text)
    job_id = schedule()
    results_of(job_id)
    return job_id


@pytest.mark.home_in_use
def test_run_hands_over_and_waits(project: Path) -> None:
    """Options before pytest's arguments are ours, the exit code is the run's."""
    Path("test_it.py").write_text(MIXED)
    done = run_tool("run", "--priority=high", "--max-workers", "1", "--wait", "-k", "good", "-v")
    assert done.returncode == 0, done.stdout + done.stderr
    job = list_jobs()["jobs"][0]
    assert (job["priority"], job["max_workers"], job["test_count"]) == ("high", 1, 1)
    assert job["specification"] == "pytest -k good -v"
    assert run_tool("run", "--wait").returncode == 1


@pytest.mark.usefixtures("no_dispatcher")
def test_run_heeds_the_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ini file, environment and options mean what they mean to `pytest --schedule`."""
    Path("test_it.py").write_text(MIXED)
    Path("pytest.ini").write_text(
        "[pytest]\nvalor_schedule_priority = low\nvalor_schedule_max_workers = 5\n"
        "valor_schedule_timeout_minutes = 7\n"
    )
    monkeypatch.setenv("VALOR_SCHEDULE_MAX_WORKERS", "4")
    assert run_tool("run", "--timeout-minutes", "3").returncode == 0
    job = list_jobs()["jobs"][0]
    assert (job["priority"], job["max_workers"], job["timeout_minutes"]) == ("low", 4, 3)


@pytest.mark.home_in_use
def test_two_runs_are_compared(project: Path) -> None:
    """Diff names what fails newly, what is fixed and what is new, and results mark it."""
    before = _run_here(MIXED)
    now = _run_here(FIXED)
    done = run_tool("diff")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{now} compared with {before}:",
        "FAILED test_it.py::test_good",
        "FIXED test_it.py::test_bad",
        "NEW test_it.py::test_new",
    ]
    assert run_tool("diff", before, now).returncode == 1
    assert json.loads(run_tool("diff", "--json").stdout)["newly_failing"] == [
        "test_it.py::test_good"
    ]
    assert "test_good  test_it.py:1  assert 0  [new]" in run_tool("results").stdout
    _run_here(FIXED)
    assert "[2nd run in a row]" in run_tool("results").stdout
    assert "STILL FAILING test_it.py::test_good" in run_tool("diff").stdout


@pytest.mark.home_in_use
def test_only_what_failed_is_run_again(project: Path) -> None:
    """Rerun --failed schedules the bad tests of a job and no other, and none stops it."""
    Path("test_more.py").write_text(SEVERAL)
    first = _run_here(MIXED)
    again = run_tool("rerun", "--failed")
    part = scheduled_id(again)
    assert f"what failed in {first[-6:]}: pytest" in run_tool("list").stdout
    results = results_of(part)["results"]
    names = ["test_it.py::test_bad", "test_more.py::test_n[1]", "test_more.py::test_n[2]"]
    names += [f"test_more.py::TestCase::test_{name}" for name in "ab"]
    assert {each["nodeid"]: each["outcome"] for each in results} == dict.fromkeys(names, "failed")
    assert json.loads(run_tool("diff", part, "--json").stdout)["gone"] == []
    Path("test_it.py").write_text(MIXED.replace("1 == 2", "1 == 1"))
    Path("test_more.py").write_text("")
    whole = scheduled_id(run_tool("rerun", first))
    assert [each["outcome"] for each in results_of(whole)["results"]] == ["passed", "passed"]
    assert f"Nothing failed in job {whole}" in run_tool("rerun", whole, "--failed").stderr


def test_results_in_every_form(ended: str, tmp_path: Path) -> None:
    """Brief, in full, all, the slowest, as JSON and as JUnit XML."""
    brief = run_tool("results", ended).stdout.splitlines()
    assert brief[1].startswith("FAILED test_it.py::test_one[1]")
    assert brief[2].startswith("in full: ")
    assert ">   def test_one(number): assert" in run_tool("results", ended, "--failed").stdout
    assert len(run_tool("results", ended, "--all").stdout.splitlines()) == 4
    assert len(run_tool("results", ended, "--slowest", "2").stdout.splitlines()) == 2
    document = json.loads(run_tool("results", ended, "--failed", "--json").stdout)
    assert document["schema_version"] == 1
    assert [each["outcome"] for each in document["results"]] == ["failed"]
    report = tmp_path / "report.xml"
    assert run_tool("results", ended, "--junit", str(report)).returncode == 0
    cases = list(ET.parse(report).iter("testcase"))
    assert [case.get("name") for case in cases] == ["test_one[0]", "test_one[1]", "test_one[2]"]
    assert [part.tag for part in cases[1]] == ["failure"]


@pytest.mark.home_in_use
def test_many_failures_are_few_lines(project: Path) -> None:
    """A coding agent gets at most 60 lines, and how to get the rest."""
    Path("test_it.py").write_text(
        "import pytest\n@pytest.mark.parametrize('n', range(90))\n"
        "def test_it(n): assert n == 'x' * 900\n"
    )
    job_id = scheduled_id(run_pytest("--schedule"))
    results_of(job_id)
    lines = run_tool("results").stdout.splitlines()
    assert len(lines) <= 60
    assert lines[-2].startswith("and 33 more: ")
    assert max(map(len, lines)) <= 400


def test_a_job_of_the_past_is_replayed(ended: str, tmp_path: Path) -> None:
    """Replay prints what pytest printed, writes its reports, and has the run's exit code."""
    report = tmp_path / "report.xml"
    done = run_tool("replay", ended, "-v", f"--junit-xml={report}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "test_it.py::test_one[1] FAILED" in done.stdout
    assert "1 failed, 2 passed in " in done.stdout
    assert "warning" not in done.stdout
    assert len(list(ET.parse(report).iter("testcase"))) == 3


def test_a_record_alone_is_enough_for_a_replay(ended: str, home: Any) -> None:
    """Where the journals were thrown away, the failures and counts are the same."""
    for path in home.job_folder(ended).glob("*.jsonl"):
        path.unlink()
    done = run_tool("replay", ended)
    assert "assert 1 != 1" in done.stdout
    assert re.search(r"^FAILED \S*test_it.py::test_one\[1\]", done.stdout, re.MULTILINE)
    assert "1 failed, 2 passed in " in done.stdout


@pytest.mark.home_in_use
def test_a_log_is_followed_to_its_end(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Follow prints while the job runs, and ends with its exit code."""
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")  # else pytest -s keeps its first lines for long
    Path("test_it.py").write_text(GATED)
    job_id = scheduled_id(run_pytest("--schedule", "-s"))
    command = [sys.executable, "-m", "pytest_valor_schedule", "follow", job_id]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert "test session starts" in process.stdout.readline()
    assert get_job_status(job_id)["status"] == "running"
    open_gate()
    shown = process.communicate(timeout=DEADLINE_SECONDS)[0]
    assert "1 passed in " in shown
    assert f"{job_id} passed: 1 passed in " in shown
    assert process.returncode == 0


def test_shells_can_complete(ended: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands and job ids are completed as argcomplete asks for it."""
    pytest.importorskip("argcomplete")
    for line, wanted in (("valor-schedule res", "results"), (f"x status {ended[:9]}", ended)):
        told = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line}
        command = [sys.executable, "-m", "pytest_valor_schedule"]
        with subprocess.Popen(
            ["sh", "-c", f"{shlex.join(command)} 8>&1 9>&2 1>/dev/null"],
            env={**os.environ, **told, "COMP_POINT": str(len(line)), "COMP_TYPE": "9"},
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert wanted in process.communicate()[0]


class _Terminal:
    """A program in a terminal of a size."""

    def __init__(self, columns: int, *arguments: str, term: str = "xterm") -> None:
        self._ours, theirs = pty.openpty()
        self.resize(columns)
        command = [sys.executable, "-m", "pytest_valor_schedule", *arguments]
        environment = {**os.environ, "TERM": term}
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
        )
        os.close(theirs)
        self.shown = ""

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", 20, columns, 0, 0))

    def read_until(self, text: str) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            self.shown += os.read(self._ours, 65536).decode()

    def end(self) -> int:
        """Press Ctrl-C and return the exit code."""
        self.process.send_signal(signal.SIGINT)
        try:
            while piece := os.read(self._ours, 65536):
                self.shown += piece.decode()
        except OSError:
            pass
        os.close(self._ours)
        return self.process.wait(DEADLINE_SECONDS)

    def pictures(self) -> list[list[str]]:
        """Return the lines of each picture that was drawn, without colours."""
        plain = re.sub(r"\x1b\[[0-9;]*[mK]", "", self.shown)
        return [part.split("\x1b[J")[0].splitlines() for part in plain.split("\x1b[H")[1:]]


@pytest.fixture
def long_job(project: Path) -> str:
    """A job that runs until the gate is opened, with a long name of its test."""
    Path("test_it.py").write_text(GATED.replace("test_gated", f"test_{'long_' * 30}"))
    job_id = scheduled_id(run_pytest("--schedule"))
    wait_until(lambda: get_job_status(job_id).get("progress", {}).get("running"), "the test runs")
    return job_id


@pytest.mark.home_in_use
@pytest.mark.parametrize("columns", [80, 40])
def test_watch_fits_into_the_terminal(long_job: str, columns: int) -> None:
    """It refreshes in place, no line is wider than the terminal, and Ctrl-C leaves it clean."""
    terminal = _Terminal(columns, "watch")
    terminal.read_until("gw0")
    terminal.resize(columns // 2)
    before = len(terminal.pictures())
    while len(terminal.pictures()) < before + 3:
        terminal.read_until("never") if terminal.process.poll() is not None else None
        terminal.shown += os.read(terminal._ours, 65536).decode()
    assert terminal.end() == 130
    widths = [max(map(len, picture)) for picture in terminal.pictures() if picture]
    assert max(widths[:before]) <= columns
    assert widths[-2] <= columns // 2
    assert long_job[-6:] in terminal.shown
    assert terminal.shown.endswith("\x1b[?25h\x1b[?1049l")


@pytest.mark.home_in_use
def test_watch_without_a_terminal_prints_lines(long_job: str) -> None:
    """Into a pipe, or where lines cannot be overwritten, it prints what changes, to the end."""
    command = [sys.executable, "-m", "pytest_valor_schedule", "watch"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == f"{long_job} running: 0 % of 1 tests finished\n"
    open_gate()
    assert f"{long_job} passed" in process.communicate(timeout=DEADLINE_SECONDS)[0]
    assert process.returncode == 0
    dumb = _Terminal(80, "watch", "--once", term="dumb")
    dumb.read_until("nothing runs")
    assert "\x1b" not in dumb.shown
    dumb.end()


def test_colours_only_where_they_are_wanted(ended: str) -> None:
    """A terminal gets them, unless NO_COLOR or TERM=dumb says otherwise; a pipe never."""
    terminal = _Terminal(80, "status", ended)
    terminal.read_until("1 failed")
    terminal.end()
    assert "\x1b[31mfailed\x1b[0m: 1 failed" in terminal.shown
    assert "\x1b" not in run_tool("status", ended).stdout
    stream = Path(os.devnull).open()  # noqa: SIM115
    assert not output.in_colour(stream, {"TERM": "xterm"})
    stream.close()


@pytest.mark.parametrize("command", ["list", "watch --once", "results"])
def test_an_output_that_cannot_be_written_is_an_error(ended: str, command: str) -> None:
    """It is said in one sentence, without a traceback."""
    tool = shlex.join([sys.executable, "-m", "pytest_valor_schedule"])
    name = f"{command} {ended}" if command == "results" else command
    done = subprocess.run(
        ["sh", "-c", f"{tool} {name} > /dev/full"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == "error: The output could not be written (No space left on device).\n"


def test_a_file_that_cannot_be_used_is_not_taken_for_the_output(
    ended: str, home: Home, project: Path
) -> None:
    """Who asks is told which file it is, from a command, a function and a pytest."""
    project.joinpath("test_it.py").write_text("def test_it(): pass")
    wait_until(lambda: not service.is_running(home), "the dispatcher has gone")
    home.dispatcher_log.unlink(missing_ok=True)
    home.dispatcher_log.mkdir()
    refused = run_pytest("--schedule")
    assert refused.returncode == 4
    texts = [refused.stderr, *(run_tool(each).stderr for each in ("list", "status", "watch"))]
    texts.append(list_jobs()["error"])
    for text in texts:
        assert f"{home.dispatcher_log} cannot be used (Is a directory)" in text
        assert "output" not in text
    home.dispatcher_log.rmdir()
    assert results_of(list_jobs()["jobs"][0]["job_id"])["outcome"] == "passed"


def test_the_record_is_whole(ended: str) -> None:
    """get_record returns what the file holds."""
    assert len(query.get_record(ended)["results"]) == 3
    assert "error" in query.get_record("zzzzzz")


def test_run_says_what_is_wrong(project: Path) -> None:
    """What pytest cannot collect is shown with pytest's exit code, and nothing is scheduled."""
    Path("test_it.py").write_text("import nothing_of_the_kind\n")
    done = run_tool("run")
    assert done.returncode == 2
    assert "nothing_of_the_kind" in done.stderr + done.stdout
    assert run_tool("run", "--max-workers", "many").returncode == 1
    late = run_tool("run", "-q", "--wait")
    assert late.stderr == (
        "error: --wait is an option of `valor-schedule run`; put it before pytest's arguments.\n"
    )
    assert list_jobs()["total"] == 0


def test_unknown_jobs_are_one_sentence(home: Any) -> None:
    """Every command about a job says so when there is none, and returns 1."""
    home.make()
    for command in COMMANDS:
        if "JOB" in parser.build().format_help() and command in _ABOUT_A_JOB:
            done = run_tool(command, "zzzzzz", *_ABOUT_A_JOB[command])
            assert (done.returncode, done.stdout) == (1, ""), command
            assert done.stderr.count("\n") == 1, command


_ABOUT_A_JOB: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("status", "wait", "results", "logs", "cancel", "hold", "release"), ()),
    **dict.fromkeys(("follow", "diff", "replay", "rerun", "timeline"), ()),
    "priority": ("high",),
}
