"""The command line `valor-schedule`: argparse over the API."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from pytest_valor_schedule import api, rendering, steering, upkeep
from pytest_valor_schedule.errors import ScheduleError
from pytest_valor_schedule.job import JobStatus, Priority
from pytest_valor_schedule.version import __version__

Answer = dict[str, Any]

_EPILOG = """\
A JOB is a job id such as 20261122-203015-4f9a2c, its last part (4f9a2c), or the beginning of
either, as long as it fits one job only. Without a JOB the newest one that was scheduled from
this folder is meant. Jobs are scheduled by `pytest --schedule`.

exit codes: 0 done, 1 an error that the message tells, 2 a wrong command line; `wait` returns
pytest's exit code for the run, 124 if its time limit ended it, 130 if it was cancelled, and 75
if its own --timeout is over before the run is.
"""


_READING = ("status", "wait", "results", "logs")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        code = command(options)
        if sys.stdout is not None:
            sys.stdout.flush()
    except ScheduleError as error:
        _complain(str(error))
        return 1
    except OSError as error:  # such as `valor-schedule list | head -1`, or a full disk
        if not isinstance(error, BrokenPipeError):
            _complain(f"The output could not be written ({error.strerror}).")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _complain(text: str) -> None:
    if sys.stderr is not None:
        print(f"error: {rendering.plain(text)}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="valor-schedule",
        description="Look at and steer the test runs in this machine's background queue.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    listing = _add(commands, "list", _list, "show the newest jobs")
    listing.add_argument("--status", choices=list(map(str, JobStatus)), help="only these")
    listing.add_argument("--limit", type=int, default=10, metavar="N", help="at most N jobs (10)")
    _add_for_job(commands, "status", _status, "show how a job stands")
    waiting = _add_for_job(commands, "wait", _wait, "wait until a job has ended")
    waiting.add_argument("--timeout", type=float, metavar="S", help="wait S seconds at most")
    _add_for_job(commands, "results", _results, "show what became of a job's tests")
    _add_for_job(commands, "logs", _logs, "show what a job's pytest printed")
    _add_for_job(commands, "cancel", _cancel, "take a job out of the queue, or end it")
    _add_for_job(commands, "hold", _hold, "keep a waiting job from starting")
    _add_for_job(commands, "release", _release, "let a held job start")
    changing = _add_for_job(commands, "priority", _priority, "change the priority of a waiting job")
    changing.add_argument("priority", choices=list(map(str, Priority)))
    _add(commands, "pause", _pause, "let no further job start")
    _add(commands, "resume", _resume, "let jobs start again")
    _add(commands, "slots", _slots, "show who has which worker slot")
    pruning = _add(commands, "prune", _prune, "throw away what old jobs left on the disk")
    pruning.add_argument("--keep-days", type=float, metavar="N", help="keep N days of it")
    pruning.add_argument("--dry-run", action="store_true", help="only say what would go")
    doctor = _add(commands, "doctor", _doctor, "look for what is wrong with the queue's home")
    doctor.add_argument("--repair", action="store_true", help="mend what can be mended")
    return parser


def _add(
    commands: Any, name: str, command: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(command=command)
    return parser


def _add_for_job(
    commands: Any, name: str, command: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    parser = _add(commands, name, command, text)
    optional = "?" if name in _READING else None  # to change a job by mistake costs too much
    parser.add_argument(
        "job", metavar="JOB", nargs=optional, help="a job id, its last part, or a prefix"
    )
    return parser


def _job(options: argparse.Namespace) -> str:
    """Return the id that was given, or that of the newest job scheduled from this folder."""
    return options.job if options.job is not None else api.newest_job_here()


def _show(
    options: argparse.Namespace, answer: Answer, lines: Callable[[Answer], Sequence[str]]
) -> int:
    """Print an answer as JSON or as text; return 1 for an error."""
    if options.json:
        print(json.dumps(answer, indent=1))
    elif "error" in answer:
        _complain(answer["error"])
    else:
        for line in lines(answer):
            print(line)
    return 1 if "error" in answer else 0


def _list(options: argparse.Namespace) -> int:
    answer = api.list_jobs(options.status, options.limit)
    return _show(options, answer, lambda a: rendering.list_lines(a["jobs"], a["total"]))


def _status(options: argparse.Namespace) -> int:
    answer = api.get_job_status(_job(options))
    return _show(options, answer, rendering.status_lines)


def _wait(options: argparse.Namespace) -> int:
    answer = api.wait_for_job(_job(options), options.timeout)
    shown = _show(options, answer, rendering.status_lines)
    if shown or answer.get("outcome"):
        return shown or rendering.exit_code(answer)
    return 75  # EX_TEMPFAIL: the time is over, the job is not


def _results(options: argparse.Namespace) -> int:
    return _show(options, api.get_job_results(_job(options)), rendering.results_lines)


def _logs(options: argparse.Namespace) -> int:
    return _show(options, api.read_output(_job(options)), lambda a: a["output"].splitlines())


def _cancel(options: argparse.Namespace) -> int:
    answer = api.cancel_job(options.job)
    return _show(options, answer, lambda a: [f"{a['job_id']} {a['status']}"])


def _hold(options: argparse.Namespace) -> int:
    return _show(options, steering.hold_job(options.job), lambda a: [f"{a['job_id']} held"])


def _release(options: argparse.Namespace) -> int:
    return _show(options, steering.release_job(options.job), lambda a: [f"{a['job_id']} released"])


def _priority(options: argparse.Namespace) -> int:
    answer = steering.set_priority(options.job, options.priority)
    return _show(options, answer, lambda a: [f"{a['job_id']} {a['priority']}"])


def _pause(options: argparse.Namespace) -> int:
    line = "paused: no further job starts until `valor-schedule resume`; what runs goes on"
    return _show(options, steering.pause_queue(), lambda _: [line])


def _resume(options: argparse.Namespace) -> int:
    return _show(options, steering.resume_queue(), lambda _: ["jobs start again"])


def _slots(options: argparse.Namespace) -> int:
    return _show(options, upkeep.list_slots(), rendering.slot_lines)


def _prune(options: argparse.Namespace) -> int:
    answer = upkeep.prune_jobs(options.keep_days, dry_run=options.dry_run)
    return _show(options, answer, lambda a: [rendering.prune_line(a)])


def _doctor(options: argparse.Namespace) -> int:
    answer = upkeep.examine_home(repair=options.repair)
    wrong = _show(options, answer, rendering.doctor_lines)
    return wrong or int(not all(each["repaired"] for each in answer["findings"]))
