"""Who waits for a job sees the job itself, as if it ran there."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pyte
import pytest

from pytest_valor_schedule import list_jobs, pause_queue, resume_queue, schedule_tests
from pytest_valor_schedule.config.home import Home
from tests.support.scheduled import (
    GATED,
    QUICK,
    open_gate,
    results_of,
    run_pytest,
    run_tool,
    schedule,
)
from tests.support.waiting import DEADLINE_SECONDS, wait_until

COST = """
import csv
import pytest
rows = []
@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    report.cost = len(item.name)
    return report
def pytest_runtest_logreport(report):
    rows.append((report.nodeid, report.when, report.cost))
def pytest_sessionfinish(session, exitstatus):
    if not hasattr(session.config, "workerinput"):
        with open("ends", "a") as file:
            print(int(exitstatus), file=file)
        with open("rows.csv", "w") as file:
            csv.writer(file).writerows(sorted(rows))
def pytest_terminal_summary(terminalreporter):
    passed = terminalreporter.stats.get("passed", [])
    terminalreporter.section("costs")
    terminalreporter.write_line(f"{sum(report.cost for report in passed)} for what passed")
"""
TWO_FILES = {
    "test_a.py": "def test_a(): pass\ndef test_fails(): assert 0\n",
    "test_b.py": "def test_b(): pass\ndef test_fails_too(): assert [1] == [2]\n",
}


class Screen:
    """A command in a terminal of its own, and what that shows."""

    def __init__(self, command: list[str], columns: int) -> None:
        self._ours, theirs = os.openpty()
        self._screen = pyte.HistoryScreen(columns, 24, history=1000)
        self.resize(columns)
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": ""}
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={name: value for name, value in environment.items() if value},
        )
        os.close(theirs)
        os.set_blocking(self._ours, False)
        self._stream = pyte.ByteStream(self._screen)
        self.printed = 0  # bytes

    def resize(self, columns: int) -> None:
        """Make the window wider or narrower."""
        self._screen.resize(24, columns)
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def lines(self) -> list[str]:
        """Return all lines that the terminal shows, and those that have scrolled away."""
        try:
            while piece := os.read(self._ours, 65536):
                self.printed += len(piece)
                self._stream.feed(piece)
        except OSError:  # nothing new, or nobody has it open any more
            pass
        columns = range(self._screen.columns)
        gone = ["".join(line[x].data for x in columns) for line in self._screen.history.top]
        return [line.rstrip() for line in (*gone, *self._screen.display)]

    def colours(self) -> set[str]:
        """Return the colours of what is on the screen."""
        return {cell.fg for line in self._screen.buffer.values() for cell in line.values()}

    def end(self) -> int:
        """Wait for the end of the command and return its exit code."""

        def code() -> list[int]:
            self.lines()
            return [] if self.process.poll() is None else [self.process.returncode]

        return wait_until(code, "the command ends")[0]

    def close(self) -> None:
        """Close the terminal."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(DEADLINE_SECONDS)
        os.close(self._ours)


@pytest.fixture
def at_terminal(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Screen]]:
    """Starts a pytest in a terminal that is so many columns wide."""
    monkeypatch.delenv("PY_COLORS")
    monkeypatch.delenv(
        "CI", raising=False
    )  # with it pytest shows diffs, and colours them here alone
    opened: list[Screen] = []

    def start(*arguments: str, columns: int) -> Screen:
        opened.append(Screen([sys.executable, "-m", "pytest", *QUICK, *arguments], columns))
        return opened[-1]

    yield start
    for screen in opened:
        screen.close()


def _write(files: dict[str, str]) -> None:
    for name, text in files.items():
        Path(name).write_text(text)


def _costs() -> tuple[list[str], str]:
    return Path("rows.csv").read_text().splitlines(), Path("ends").read_text()


@pytest.mark.home_in_use
def test_a_conftest_sees_the_run_itself(project: Path) -> None:
    """Attributes of reports, files and sections at the end: once, and as in a direct run."""
    _write({**TWO_FILES, "conftest.py": COST})
    direct, expected = run_pytest(), _costs()
    Path("ends").unlink()
    waited = run_pytest("--schedule-wait")
    assert waited.returncode == direct.returncode == 1
    assert _costs() == expected
    assert "INTERNALERROR" not in waited.stdout
    for section in ("costs", "FAILURES", "short test summary info"):
        assert waited.stdout.count(f" {section} ") == 1


@pytest.mark.usefixtures("no_dispatcher")
def test_who_only_collects_ends_no_session(project: Path) -> None:
    """No hook at the end of a session is called before the job has run any test."""
    _write({**TWO_FILES, "conftest.py": COST})
    assert run_pytest("--schedule").returncode == 0
    assert schedule_tests("pytest")["test_count"] == 4
    assert not Path("ends").exists()


@pytest.mark.home_in_use
def test_the_looks_are_those_of_plain_pytest(at_terminal: Callable[..., Screen]) -> None:
    """Same lines and colours, but for the dots, whose files come in turns, and times."""
    _write(TWO_FILES)
    shown = []
    for options in ((), ("--schedule-wait",)):
        screen = at_terminal("-rA", *options, columns=80)
        assert screen.end() == 1
        shown.append((screen.lines(), screen.colours()))
    (direct, colours), (waited, its_colours) = shown
    assert its_colours == colours > {"red", "green"}
    lines = [re.sub(r" in \d.*|=+", "", line) for line in waited]
    for line in (re.sub(r" in \d.*|=+", "", each) for each in direct):
        assert line in lines or line.startswith(("test_", "plugins:"))


@pytest.mark.usefixtures("one_slot")
def test_a_place_in_the_queue_is_one_line(at_terminal: Callable[..., Screen], home: Home) -> None:
    """It is rewritten in place, never wraps, and is gone when the job prints."""
    _write({"test_gated.py": GATED, "test_b.py": "def test_b(): pass\n"})
    first = schedule("test_gated.py")
    wait_until(lambda: list_jobs("running")["total"] == 1, "the slot is taken")
    screen = at_terminal("--schedule-wait", "test_b.py", columns=40)
    wait_until(lambda: any("1st in the queue" in line for line in screen.lines()), "it waits")
    said = [_last(_changed(screen)) for _ in range(2)]
    assert all("1st in the queue" in line and len(line) < 40 for line in said)
    assert all(line.endswith("...") or "has not run before" in line for line in said)
    screen.resize(28)
    _changed(screen)  # which may have been on its way
    assert len([line for line in _changed(screen) if "in the queue" in line]) == 1
    screen.resize(140)
    open_gate()
    assert screen.end() == 0
    lines = screen.lines()
    assert not any("in the queue" in line for line in lines)
    assert len([line for line in lines if re.fullmatch(r".*\. +\[100%\]", line)]) == 1
    results_of(first)


@pytest.mark.usefixtures("empty_home")
def test_a_paused_queue_is_told_to_whom_is_quiet(at_terminal: Callable[..., Screen]) -> None:
    """Under -q too somebody must know what to do about it; nothing else is said of the queue."""
    _write({"test_b.py": "def test_b(): pass\n"})
    pause_queue()
    screen = at_terminal("-q", "--schedule-wait", columns=140)
    wait_until(lambda: any("valor-schedule resume" in line for line in screen.lines()), "it waits")
    resume_queue()
    assert screen.end() == 0
    assert not any("scheduled" in line for line in screen.lines())


def _last(lines: list[str]) -> str:
    """Return the last line of a screen on which there is anything."""
    return [line for line in lines if line][-1]


def _changed(screen: Screen) -> list[str]:
    """Return the lines of a screen after more has been printed."""
    before = screen.printed

    def lines() -> list[str]:
        found = screen.lines()
        return found if screen.printed > before else []

    return wait_until(lines, "more is printed")


SAYS = """
import sys
def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        print("one\\ntwo", file=sys.stderr)
"""


@pytest.mark.home_in_use
@pytest.mark.parametrize(("more", "code"), [("", 0), ("        raise ValueError('no')\n", 3)])
def test_nothing_is_printed_beside_the_note(
    at_terminal: Callable[..., Screen], more: str, code: int
) -> None:
    """Nor twice, here and by the job; where there is to be no job, it is shown nevertheless."""
    _write({"test_b.py": "def test_b(): pass\n", "conftest.py": SAYS + more})
    screen = at_terminal("--schedule-wait", columns=80)
    assert screen.end() == code
    lines = screen.lines()
    assert [line for line in lines if line in ("one", "two")] == ["one", "two"]
    assert any("ValueError: no" in line for line in lines) is bool(more)
    assert not any("collecting the tests" in line for line in lines)


@pytest.mark.home_in_use
def test_a_wider_window_reaches_the_job(at_terminal: Callable[..., Screen]) -> None:
    """What is printed after it was resized is as wide as it is now."""
    _write({"test_gated.py": GATED})
    screen = at_terminal("--schedule-wait", columns=60)
    wait_until(lambda: "collected 1 item" in "\n".join(screen.lines()), "the job has begun")
    [job] = list_jobs("running")["jobs"]
    screen.resize(50)
    window = Path(os.environ["VALOR_HOME"], "test_schedule", "jobs", job["job_id"], "window")
    wait_until(lambda: window.exists() and window.read_text() == "50 24\n", "it is told")
    wait_until(lambda: _size_of_terminal(job["job_id"]) == (50, 24), "the job has it")
    open_gate()
    assert screen.end() == 0
    assert any(
        re.fullmatch(r"=+ 1 passed in .* =+", line) and len(line) == 50 for line in screen.lines()
    )


def _size_of_terminal(job_id: str) -> tuple[int, int]:
    """Return the size of the terminal that a job's processes print to."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
            if f"VALOR_SCHEDULE_JOB_ID={job_id}".encode() in environment:
                with open(folder / "fd" / "2", "rb", opener=_without_control) as file:
                    return tuple(os.get_terminal_size(file.fileno()))  # type: ignore[return-value]
        except OSError:
            continue
    return (0, 0)


def _without_control(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOCTTY)


@pytest.mark.home_in_use
def test_what_was_printed_is_kept(at_terminal: Callable[..., Screen]) -> None:
    """`logs` and `replay` show it, without what steers a terminal where they write into a pipe."""
    _write(TWO_FILES)
    screen = at_terminal("--schedule-wait", columns=200)  # no path is so long
    assert screen.end() == 1
    shown = [line for line in screen.lines() if line][:-1]  # but for the way to come back
    [job] = list_jobs(limit=1)["jobs"]
    kept = run_tool("logs", job["job_id"])
    assert "\x1b" not in kept.stdout
    assert [line.rstrip() for line in kept.stdout.splitlines() if line] == shown
    replayed = run_tool("replay", job["job_id"])
    assert (replayed.stdout, replayed.returncode) == (kept.stdout, 1)
    log = Path(os.environ["VALOR_HOME"], "test_schedule", "jobs", job["job_id"], "output.log")
    assert "\x1b[31m" in log.read_text()


@pytest.mark.home_in_use
def test_a_second_round_is_announced(project: Path) -> None:
    """A line stands between the outputs of two rounds, and the last lines are of the whole."""
    Path("test_it.py").write_text(
        "import os, pathlib, signal\n"
        "def test_a(): pass\n"
        "def test_kills_the_run():\n"
        "    mark = pathlib.Path('mark')\n"
        "    if not mark.exists():\n"
        "        mark.touch()\n"
        f"        os.kill(os.getppid(), signal.{signal.SIGKILL.name})\n"
        "def test_z(): assert 0\n"
    )
    done = run_pytest("--schedule-wait", "--max-workers=1", "-o", "valor_schedule_fork_workers=0")
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    said = next(number for number, line in enumerate(lines) if "run once more" in line)
    assert any("test session starts" in line for line in lines[:said])
    assert any("test session starts" in line for line in lines[said:])
    assert re.search(r"failed: 1 failed, 2 passed in ", lines[-3])


def test_plugin_objects_keep_a_run_here(project: Path) -> None:
    """What cannot be sent to another process is not, and it is said."""
    Path("test_it.py").write_text("def test_it(): pass\n")
    Path("main.py").write_text(
        "import pytest\n"
        "class Plugin:\n"
        "    def pytest_sessionfinish(self): print('I have seen it')\n"
        "raise SystemExit(pytest.main(['--schedule-wait'], plugins=[Plugin(), 'xdist']))\n"
    )
    done = subprocess.run([sys.executable, "main.py"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "I have seen it" in done.stdout
    assert "1 passed" in done.stdout
    assert "is not handed over but runs here" in done.stderr
    assert list_jobs()["total"] == 0


DUMP = """
IGNORED = ("node", "duration", "start", "stop", "item_index", "testrun_uid", "worker_id")
def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Dump())
class Dump:
    def pytest_runtest_logreport(self, report):
        seen = {name: value for name, value in vars(report).items() if name not in IGNORED}
        seen["longrepr"] = str(seen["longrepr"])
        seen.pop("$report_type", None)  # says how it was sent
        with open(FILE, "a") as file:
            print(report.nodeid, report.when, sorted(map(repr, seen.items())), file=file)
"""


@pytest.mark.home_in_use
def test_a_replay_has_every_attribute(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every phase, passed ones too, all that a controller of `-n 2` gets."""
    cost = COST.partition("def pytest_runtest_logreport")[0]
    _write({**TWO_FILES, "conftest.py": cost})
    monkeypatch.setenv("PYTHONPATH", str(project))
    Path("dump.py").write_text(f"FILE = {str(project / 'direct')!r}\n{DUMP}")
    command = [sys.executable, "-m", "pytest", *QUICK, "-n", "2", "-p", "dump"]
    subprocess.run(command, stdout=subprocess.DEVNULL)  # whose workers have PYTHONPATH too
    job_id = schedule()
    results_of(job_id)
    Path("dump.py").write_text(f"FILE = {str(project / 'replayed')!r}\n{DUMP}")
    replayed = run_tool("replay", job_id, "-p", "dump")
    assert sorted(Path("replayed").read_text().splitlines()) == sorted(
        Path("direct").read_text().splitlines()
    )
    assert not re.search(r"in 0\.00s", replayed.stdout)
