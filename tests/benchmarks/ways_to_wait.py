"""The ways to run the tests of a project and to wait for them, ours and others'."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import threading
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pytest_valor_schedule import list_jobs
from pytest_valor_schedule.text import render

LIMIT_SECONDS = 60.0
"""After which a command that is not done is ended; the suites that we measure need 10."""
TIMED_OUT = -9

_LEFT_OUT = ("CI", "BUILD_NUMBER", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH")
_LEFT_OUT_PREFIXES = ("PYTEST_", "VALOR_")
_OF_THE_QUEUE = ("VALOR_HOME", "VALOR_SCHEDULE_IDLE_SECONDS", "VALOR_SCHEDULE_SLOTS")
_VARIABLE = "WAITING_BENCHMARK"
_TYPED = "typed"
_PROGRAM = """
import json, os, sys
os.environ.update(json.loads(sys.argv[1]))
from pytest_valor_schedule import schedule_tests, wait_for_job
for line in sys.stdin:
    answer = schedule_tests("pytest", cwd=line.rstrip("\\n"))
    if "job_id" in answer:
        answer = wait_for_job(answer["job_id"])
    names = "error", "outcome", "exit_code", "explanation"
    print(json.dumps({name: answer[name] for name in names if name in answer}), flush=True)
"""


@dataclass(frozen=True)
class Place:
    """A project, the interpreter that runs its tests, and what its commands need.

    Attributes:
        name: For people.
        project: The folder from which it is run.
        python: The interpreter of a virtual environment with the package.
        fast: The command pytest-fast, if there is one.
        scratch: An own folder, for a socket and what is printed.
        program: The program that is up and uses the API.
    """

    name: str
    project: Path
    python: Path
    fast: Path | None
    scratch: Path
    program: Program

    def command(self, name: str) -> str:
        """Return the path of a command of the virtual environment."""
        return str(self.python.parent / name)

    def printed(self) -> str:
        """Return the end of what the last command has printed."""
        return (self.scratch / "printed").read_text(errors="replace")[-2000:]

    @property
    def fast_variables(self) -> dict[str, str]:
        """What pytest-fast needs: a lasting server, the project's marks, no error of its own.

        It replaces the `-m` of a project by its own, and is imported before pytest can rewrite its
        assertions, for which pytest warns; for many suites a warning is an error.
        """
        return {
            "PYTEST_FAST_ADDRESS": str(self.scratch / "fast.sock"),
            "PYTEST_FAST_TTL": "3600",
            "PYTEST_FAST_MARK": _marks_of(self.project),
            "PYTEST_ADDOPTS": "-W ignore::pytest.PytestAssertRewriteWarning",
        }


class Program:
    """A program that is up, has imported the package, and runs one project after the other."""

    def __init__(self, python: Path, errors: Path) -> None:
        self.mark = f"{_VARIABLE}={python}"
        command = [str(python), "-c", _PROGRAM, json.dumps(_queue_variables())]
        with errors.open("wb") as file:
            self._process = subprocess.Popen(
                command,
                env={**environment(python), _VARIABLE: str(python)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            )

    def run(self, project: Path) -> int:
        """Have it schedule the project's tests and wait for them; return the exit code."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{project}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        return render.exit_code(json.loads(line or '{"error": "The program has ended."}'))


@dataclass(frozen=True)
class Way:
    """One way.

    Attributes:
        name: As it is typed.
        run: Runs it once and returns the exit code that tells of the tests.
        marks: Returns the marks of the processes that it uses, see `process_trees`.
        beside: The way that it is compared with.
        is_ours: Whether it uses the queue.
        job_goes_on: Whether its job has only begun when it returns.
    """

    name: str
    run: Callable[[Place], int]
    marks: Callable[[Place], list[str]] = lambda _: [f"{_VARIABLE}={_TYPED}"]
    beside: str = "plain"
    is_ours: bool = False
    job_goes_on: bool = False


def environment(python: Path) -> dict[str, str]:
    """Return the environment of a terminal in which a virtual environment is active."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _LEFT_OUT and not name.startswith(_LEFT_OUT_PREFIXES)
    }
    return {**kept, "PATH": f"{python.parent}{os.pathsep}{kept.get('PATH', os.defpath)}"}


def code_of_newest_job() -> int:
    """Return the exit code for who would have waited for the newest job."""
    [job] = list_jobs(limit=1)["jobs"]
    return render.exit_code(dict(job))


def _typed(command: str, *arguments: str) -> Callable[[Place], int]:
    return lambda place: _run(place, [place.command(command), *arguments], {_VARIABLE: _TYPED})


def _queued(command: str, *arguments: str) -> Callable[[Place], int]:
    return lambda place: _run(place, [place.command(command), *arguments], _queue_variables())


def _fast(place: Place) -> int:
    return _run(place, [str(place.fast), "--workers", "2"], place.fast_variables)


def _run(place: Place, words: list[str], variables: Mapping[str, str]) -> int:
    """Run a command in the project to its end and return its exit code."""
    with (place.scratch / "printed").open("wb") as output:
        process = subprocess.Popen(
            words,
            cwd=place.project,
            env={**environment(place.python), **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        with _killed_after(process, LIMIT_SECONDS):
            return process.wait()  # without a timeout, with which it would look now and then


@contextmanager
def _killed_after(process: subprocess.Popen[bytes], seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _queue_variables() -> dict[str, str]:
    return {name: os.environ[name] for name in _OF_THE_QUEUE}


def _queue_marks(_: Place) -> list[str]:
    return [f"VALOR_HOME={os.environ['VALOR_HOME']}"]


def _marks_of(project: Path) -> str:
    """Return the argument of `-m` in a pyproject.toml's `addopts`."""
    file = project / "pyproject.toml"
    tables = tomllib.loads(file.read_text()) if file.exists() else {}
    options = tables.get("tool", {}).get("pytest", {}).get("ini_options", {}).get("addopts", "")
    words = shlex.split(options) if isinstance(options, str) else options
    return words[words.index("-m") + 1] if "-m" in words else ""


WAYS = {
    "plain": Way("pytest", _typed("pytest")),
    "n2": Way("pytest -n 2", _typed("pytest", "-n", "2")),
    "fast": Way(
        "pytest-fast --workers 2",
        _fast,
        lambda place: [f"PYTEST_FAST_ADDRESS={place.fast_variables['PYTEST_FAST_ADDRESS']}"],
    ),
    "wait": Way(
        "pytest --schedule-wait", _queued("pytest", "--schedule-wait"), _queue_marks, is_ours=True
    ),
    "run": Way(
        "valor-schedule run --wait",
        _queued("valor-schedule", "run", "--wait"),
        _queue_marks,
        is_ours=True,
    ),
    "api": Way(
        "schedule_tests, wait_for_job",
        lambda place: place.program.run(place.project),
        lambda place: [*_queue_marks(place), place.program.mark],
        is_ours=True,
    ),
    "collect": Way("pytest --collect-only -q", _typed("pytest", "--collect-only", "-q")),
    "schedule": Way(
        "pytest --schedule",
        _queued("pytest", "--schedule"),
        _queue_marks,
        beside="collect",
        is_ours=True,
        job_goes_on=True,
    ),
}

PEERS = ("plain", "collect")
"""The ways that others are compared with."""
