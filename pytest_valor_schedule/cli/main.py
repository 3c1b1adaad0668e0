# PYTHON_ARGCOMPLETE_OK
"""Run the command line `valor-schedule`."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from pytest_valor_schedule.cli import parser
from pytest_valor_schedule.cli.commands import COMMANDS
from pytest_valor_schedule.cli.output import complain
from pytest_valor_schedule.errors import ScheduleError, system_error_text

TYPE_CHECKING: bool = False  # without typing: see cli/__init__
if TYPE_CHECKING:
    from typing import Any

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # as pytest shows what the terminal cannot
            stream.reconfigure(errors="backslashreplace")
    words, handed_on = parser.split_own(sys.argv[1:] if arguments is None else arguments)
    is_completing = "_ARGCOMPLETE" in os.environ
    built = parser.build(_job_ids, only="" if is_completing else "".join(words[:1]))
    if is_completing:
        _complete(built)
    options = built.parse_args(words)
    options.handed_on = handed_on
    try:
        code = COMMANDS[options.command](options)
        if sys.stdout is not None:
            sys.stdout.flush()
    except ScheduleError as error:
        complain(str(error))
        return 1
    except OSError as error:
        _explain(error)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code


def _explain(error: OSError) -> None:
    """Say what the system refused: a file, which it names, or else the output.

    Whatever else there is, the functions for programs have answered.
    """
    if error.filename is not None:
        complain(system_error_text(error))
        return
    if not isinstance(error, BrokenPipeError):  # as of `valor-schedule list | head -1`
        complain(f"The output could not be written ({error.strerror}).")
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complete(built: argparse.ArgumentParser) -> None:
    """Answer a shell that asks for completions, if argcomplete is installed."""
    try:
        import argcomplete
    except ImportError:
        return
    argcomplete.autocomplete(built)


def _job_ids(prefix: str, **_: Any) -> list[str]:
    """Return what may complete a JOB: ids, or their last parts."""
    from pytest_valor_schedule.client import job_answers

    ids = [job["job_id"] for job in job_answers.job_list(None, 50).get("jobs", ())]
    return [name for job_id in ids for name in (job_id, job_id[-6:]) if name.startswith(prefix)]
