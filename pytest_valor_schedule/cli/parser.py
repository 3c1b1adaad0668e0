"""Define the commands of the command line, their options and help. Pure."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Mapping, Sequence

from pytest_valor_schedule.errors import InvalidRequestError
from pytest_valor_schedule.model.job_terms import JobStatus, Priority
from pytest_valor_schedule.version import __version__

TYPE_CHECKING: bool = False  # without typing: see cli/__init__
if TYPE_CHECKING:
    from typing import Any

    _Argument = tuple[tuple[str, ...], Mapping[str, Any]]
    _Command = tuple[str, tuple[_Argument, ...], Mapping[str, Any]]

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
_WIDTH = 78


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


def build(job_ids: Completer | None = None, only: str = "") -> argparse.ArgumentParser:
    """Return the parser; the name of the command that was given is `command`.

    Args:
        job_ids: What completes a JOB, as argcomplete calls it.
        only: The command that was given, for which the others need not be there.
    """
    parser = argparse.ArgumentParser(
        prog="valor-schedule",
        description="Look at and steer the test runs in this machine's background queue.",
        epilog=_EPILOG,
        formatter_class=_formatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(
        prog=parser.prog, title="commands", required=True, metavar="COMMAND", dest="command"
    )
    for name in [only] if only in _COMMANDS else _COMMANDS:
        _add(commands, name, _COMMANDS[name], job_ids)
    return parser


def print_help(command: str) -> None:
    """Print what `valor-schedule COMMAND --help` prints."""
    with contextlib.suppress(SystemExit):
        build(only=command).parse_args([command, "--help"])


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Return what formats help; argparse asks for one at each argument that is added.

    Each would import shutil to ask how wide the terminal is, which is more than the rest takes.
    """
    return argparse.RawDescriptionHelpFormatter(prog, width=_WIDTH)


def _add(commands: Any, name: str, command: _Command, job_ids: Completer | None) -> None:
    """Add a command to the parser."""
    text, arguments, more = command
    options = {"description": f"{text[0].upper()}{text[1:]}.", **more}
    parser = commands.add_parser(name, help=text, formatter_class=_formatter, **options)
    for names, how in arguments:
        action = parser.add_argument(*names, **how)
        if how.get("help") == _JOB_HELP:
            action.completer = job_ids  # the name that argcomplete looks for


def _argument(*names: str, **options: Any) -> _Argument:
    """Return what `add_argument` gets."""
    return names, options


def _switch(name: str, text: str) -> _Argument:
    return _argument(name, action="store_true", help=text)


def _command(text: str, *arguments: _Argument, json: bool = True, **options: Any) -> _Command:
    """Return what a command does, its arguments, and what `add_parser` gets besides."""
    return text, (*([_JSON] if json else []), *arguments), options


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


_PRIORITIES, _STATUSES = list(map(str, Priority)), list(map(str, JobStatus))
_JSON = _switch("--json", "print one JSON document")
_JOB_HELP = "a job id, its last part, or a prefix"
_JOB = _argument("job", metavar="JOB", help=_JOB_HELP)
# It may be left out where nothing can be spoilt.
_ANY_JOB = _argument("job", metavar="JOB", nargs="?", help=_JOB_HELP)

_COMMANDS: Mapping[str, _Command] = {
    "run": _command(
        "schedule a pytest in this folder",
        _argument("--priority", choices=_PRIORITIES, help="how urgent it is"),
        _argument("--max-workers", metavar="N", help="the most pytest-xdist workers"),
        _argument("--timeout-minutes", metavar="N", help="minutes after which it is ended"),
        _argument("--notify", metavar="CHAT", help="whom to tell about the end"),
        _argument("--confirm-failures", metavar="N", help="run what failed again, N times"),
        _switch("--wait", "wait for the end, and show the results"),
        usage="valor-schedule run [OPTIONS] [--] [PYTEST ARGUMENTS]",
        epilog=_RUN_EPILOG,
    ),
    "rerun": _command(
        "schedule a job once more",
        _ANY_JOB,
        _switch("--failed", "only the tests that failed or were not run"),
        description="Schedule a job once more, in the environment of this shell.",
    ),
    "list": _command(
        "show the newest jobs",
        _argument("--status", choices=_STATUSES, help="only these"),
        _argument("--limit", type=_number, default=10, metavar="N", help="at most N jobs (10)"),
    ),
    "status": _command("show how a job stands", _ANY_JOB),
    "watch": _command(
        "show the queue, the slots and what runs, as it changes",
        _switch("--once", "show it once and end"),
    ),
    "wait": _command(
        "wait until a job has ended",
        _ANY_JOB,
        _argument("--timeout", type=float, metavar="S", help="wait S seconds at most"),
    ),
    "follow": _command("show what a job's pytest prints, until its end", _ANY_JOB),
    "logs": _command("show what a job's pytest printed", _ANY_JOB),
    "slots": _command("show who has which worker slot"),
    "results": _command(
        "show what became of a job's tests",
        _ANY_JOB,
        _switch("--failed", "the failures, in full"),
        _switch("--all", "a line for each test"),
        _argument("--slowest", type=_number, metavar="N", help="the N slowest tests"),
        _argument("--junit", metavar="FILE", help="write them to FILE as JUnit XML"),
    ),
    "diff": _command(
        "show what changed between two runs",
        _ANY_JOB,
        _argument("earlier", metavar="EARLIER", nargs="?", help=_JOB_HELP),
    ),
    "replay": _command(
        "show a job as pytest would have shown it",
        _JOB,
        json=False,
        usage="valor-schedule replay JOB [PYTEST OPTIONS]",
        epilog="Tracebacks are in the style of the run.\n\n"
        "example: valor-schedule replay 4f9a2c -v -rA --junit-xml=report.xml",
    ),
    "timeline": _command(
        "draw a job's workers over time",
        _ANY_JOB,
        _argument("-o", "--output", metavar="FILE", help="write a page for a browser"),
        _argument("--perfetto", metavar="FILE", help="write a trace for ui.perfetto.dev"),
    ),
    "cancel": _command("take a job out of the queue, or end it", _JOB),
    "hold": _command("keep a waiting job from starting", _JOB),
    "release": _command("let a held job start", _JOB),
    "priority": _command(
        "change the priority of a waiting job",
        _JOB,
        _argument("priority", choices=_PRIORITIES),
    ),
    "pause": _command("let no further job start"),
    "resume": _command("let jobs start again"),
    "config": _command("show every setting, its value, and where it is set on this machine"),
    "prune": _command(
        "throw away what old jobs left on the disk",
        _argument("--keep-days", type=float, metavar="N", help="keep N days of logs and records"),
        _switch("--dry-run", "only say what would go"),
    ),
    "doctor": _command(
        "look for what is wrong with the queue's home",
        _switch("--repair", "mend what can be mended"),
    ),
    "help": _command(
        "show the manual",
        _argument(
            "topic",
            metavar="TOPIC",
            nargs="?",
            help="a topic or a command; without it, all topics",
        ),
        json=False,
        usage="valor-schedule help [TOPIC|COMMAND]",
    ),
}
"""By name, in the order in which the help lists them."""
