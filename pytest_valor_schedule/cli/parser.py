"""Define the commands of the command line, their options and help. Pure."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from pytest_valor_schedule.errors import InvalidRequestError
from pytest_valor_schedule.model.job_terms import JobStatus, Priority
from pytest_valor_schedule.version import __version__

_EPILOG = """\
A JOB is a job id such as 20261122-203015-4f9a2c, its last part (4f9a2c), or the beginning of
either, as long as it fits one job only. Where JOB may be left out, the newest one that was
scheduled from this folder is meant.

examples:
  valor-schedule run --priority high tests/ -v      schedule `pytest tests/ -v`
  valor-schedule wait --timeout 25                  wait 25 s at most, for a shell that ends soon
  valor-schedule results                            the failures, a line each
  valor-schedule diff                               what has changed since the run before
  valor-schedule watch                              the queue as it moves
  valor-schedule help                               the topics of the manual

exit codes: 0 done, 1 an error that the message tells, 2 a wrong command line; `run` and `rerun`
return pytest's where it could not collect; `wait`, `follow`, `replay` and `run --wait` return
pytest's exit code for the run, 124 if its time limit ended it, and 130 if it was cancelled; `wait`
returns 75 if its own --timeout is over before the run is; `diff` returns 1 if a test fails newly or
was not run, `doctor` if something is left to mend.
"""
_RUN_EPILOG = """\
examples:
  valor-schedule run                                pytest, in this folder
  valor-schedule run --max-workers 4 tests -k fast  pytest tests -k fast, on 4 workers
  valor-schedule run -- --lf                        what follows -- is pytest's
"""
OWN_OPTIONS = {
    "run": ("--priority", "--max-workers", "--timeout-minutes", "--notify", "--confirm-failures")
}
"""The options with a value that come before pytest's own."""

Completer = Callable[..., Sequence[str]]


def split_own(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the words after `valor-schedule` into ours and those that are for a pytest.

    Only `run` and `replay` hand words on: `run` all from the first that is no option of ours,
    `replay` all that follow the job.
    """
    command = words[0] if words else ""
    if command not in ("run", "replay"):
        return list(words), []
    with_value, place = OWN_OPTIONS.get(command, ()), 1
    jobs = 1 if command == "replay" else 0
    while place < len(words) and words[place] != "--":
        word = words[place]
        if word in with_value:
            place += 2
        elif word in ("--json", "--wait", "-h", "--help") or word.partition("=")[0] in with_value:
            place += 1
        elif jobs and not word.startswith("-"):
            jobs, place = 0, place + 1
        else:
            break
    rest = list(words[place:])
    return list(words[:place]), rest[1:] if rest[:1] == ["--"] else rest


def refuse_late(words: Sequence[str]) -> None:
    """Raise InvalidRequestError for an option of `valor-schedule run` that pytest would get."""
    for word in words:
        if word == "--":
            return
        if word.partition("=")[0] in (*OWN_OPTIONS["run"], "--wait", "--json"):
            raise InvalidRequestError(
                f"{word} is an option of `valor-schedule run`; put it before pytest's arguments."
            )


def build(job_ids: Completer | None = None) -> argparse.ArgumentParser:
    """Return the parser; the name of the command that was given is `command`.

    Args:
        job_ids: What completes a JOB, as argcomplete calls it.
    """
    parser = argparse.ArgumentParser(
        prog="valor-schedule",
        description="Look at and steer the test runs in this machine's background queue.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(
        title="commands", required=True, metavar="COMMAND", dest="command"
    )
    add = _Adder(commands, job_ids)
    _scheduling(add)
    _looking(add)
    _looking_back(add)
    _controlling(add)
    _administering(add)
    _helping(add)
    return parser


def print_help(command: str) -> None:
    """Print what `valor-schedule COMMAND --help` prints."""
    with contextlib.suppress(SystemExit):
        build().parse_args([command, "--help"])


class _Adder:
    """Add commands."""

    def __init__(self, commands: Any, job_ids: Completer | None) -> None:
        self._commands = commands
        self._job_ids = job_ids

    def plain(
        self, name: str, text: str, *, json: bool = True, **more: Any
    ) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = self._commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **more,
        )
        if json:
            parser.add_argument("--json", action="store_true", help="print one JSON document")
        return parser

    def of_job(
        self, name: str, text: str, *, optional: bool = False, **more: Any
    ) -> argparse.ArgumentParser:
        """Add a command about one job, which may be left out where nothing can be spoilt."""
        parser = self.plain(name, text, **more)
        self.job(parser, "job", "JOB", optional=optional)
        return parser

    def job(
        self, parser: argparse.ArgumentParser, name: str, metavar: str, *, optional: bool
    ) -> None:
        text = "a job id, its last part, or a prefix"
        action: Any = parser.add_argument(
            name, metavar=metavar, nargs="?" if optional else None, help=text
        )
        if self._job_ids is not None:
            action.completer = self._job_ids  # the name that argcomplete looks for


def _scheduling(add: _Adder) -> None:
    run = add.plain(
        "run",
        "schedule a pytest in this folder",
        usage="valor-schedule run [OPTIONS] [--] [PYTEST ARGUMENTS]",
        epilog=_RUN_EPILOG,
    )
    run.add_argument("--priority", choices=list(map(str, Priority)), help="how urgent it is")
    run.add_argument("--max-workers", metavar="N", help="the most pytest-xdist workers")
    run.add_argument("--timeout-minutes", metavar="N", help="minutes after which it is ended")
    run.add_argument("--notify", metavar="CHAT", help="whom to tell about the end")
    run.add_argument("--confirm-failures", metavar="N", help="run what failed again, N times")
    run.add_argument("--wait", action="store_true", help="wait for the end, and show the results")
    rerun = add.of_job("rerun", "schedule a job once more", optional=True)
    rerun.add_argument(
        "--failed", action="store_true", help="only the tests that failed or were not run"
    )
    rerun.description = "Schedule a job once more, in the environment of this shell."


def _looking(add: _Adder) -> None:
    listing = add.plain("list", "show the newest jobs")
    listing.add_argument("--status", choices=list(map(str, JobStatus)), help="only these")
    listing.add_argument(
        "--limit", type=_number, default=10, metavar="N", help="at most N jobs (10)"
    )
    add.of_job("status", "show how a job stands", optional=True)
    watch = add.plain("watch", "show the queue, the slots and what runs, as it changes")
    watch.add_argument("--once", action="store_true", help="show it once and end")
    waiting = add.of_job("wait", "wait until a job has ended", optional=True)
    waiting.add_argument("--timeout", type=float, metavar="S", help="wait S seconds at most")
    add.of_job("follow", "show what a job's pytest prints, until its end", optional=True)
    add.of_job("logs", "show what a job's pytest printed", optional=True)
    add.plain("slots", "show who has which worker slot")


def _looking_back(add: _Adder) -> None:
    results = add.of_job("results", "show what became of a job's tests", optional=True)
    results.add_argument("--failed", action="store_true", help="the failures, in full")
    results.add_argument("--all", action="store_true", help="a line for each test")
    results.add_argument("--slowest", type=_number, metavar="N", help="the N slowest tests")
    results.add_argument("--junit", metavar="FILE", help="write them to FILE as JUnit XML")
    diff = add.of_job("diff", "show what changed between two runs", optional=True)
    add.job(diff, "earlier", "EARLIER", optional=True)
    add.of_job(
        "replay",
        "show a job as pytest would have shown it",
        json=False,
        usage="valor-schedule replay JOB [PYTEST OPTIONS]",
        epilog="Tracebacks are in the style of the run.\n\n"
        "example: valor-schedule replay 4f9a2c -v -rA --junit-xml=report.xml",
    )
    timeline = add.of_job("timeline", "draw a job's workers over time", optional=True)
    timeline.add_argument("-o", "--output", metavar="FILE", help="write a page for a browser")
    timeline.add_argument("--perfetto", metavar="FILE", help="write a trace for ui.perfetto.dev")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def _controlling(add: _Adder) -> None:
    add.of_job("cancel", "take a job out of the queue, or end it")
    add.of_job("hold", "keep a waiting job from starting")
    add.of_job("release", "let a held job start")
    changing = add.of_job("priority", "change the priority of a waiting job")
    changing.add_argument("priority", choices=list(map(str, Priority)))
    add.plain("pause", "let no further job start")
    add.plain("resume", "let jobs start again")


def _administering(add: _Adder) -> None:
    add.plain("config", "show every setting, its value, and where it is set on this machine")
    pruning = add.plain("prune", "throw away what old jobs left on the disk")
    pruning.add_argument(
        "--keep-days", type=float, metavar="N", help="keep N days of logs and records"
    )
    pruning.add_argument("--dry-run", action="store_true", help="only say what would go")
    doctor = add.plain("doctor", "look for what is wrong with the queue's home")
    doctor.add_argument("--repair", action="store_true", help="mend what can be mended")


def _helping(add: _Adder) -> None:
    manual = add.plain(
        "help", "show the manual", json=False, usage="valor-schedule help [TOPIC|COMMAND]"
    )
    manual.add_argument(
        "topic", metavar="TOPIC", nargs="?", help="a topic or a command; without it, all topics"
    )
