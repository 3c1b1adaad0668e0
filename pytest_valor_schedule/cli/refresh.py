"""Refresh what a terminal shows: the queue as it changes, a log as it grows."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

from pytest_valor_schedule._util.log import Tail
from pytest_valor_schedule.cli.output import in_colour, is_terminal, paint
from pytest_valor_schedule.client import administer, live_jobs, query
from pytest_valor_schedule.client.endpoint import open_queue
from pytest_valor_schedule.client.responses import JobStatusResponse
from pytest_valor_schedule.daemon import service
from pytest_valor_schedule.errors import InvalidRequestError
from pytest_valor_schedule.text import queue_view, render

_REFRESH_SECONDS = 0.5
_FOLLOW_SECONDS = 0.1
_ENDED_SHOWN, _ENDED_LOOKED_AT = 3, 20
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # another screen, no cursor
_HOME, _TO_LINE_END, _TO_SCREEN_END = "\x1b[H", "\x1b[K", "\x1b[J"


def watch(*, once: bool) -> None:
    """Show the queue until an interrupt; without a terminal, say what changes until it is empty.

    Raises:
        InvalidRequestError: if the queue cannot be read.
    """
    if once:
        print("\n".join(_frame()))
    elif is_terminal(sys.stdout):
        _watch_in_place()
    else:
        _watch_in_lines()


def _frame() -> list[str]:
    slots = _checked(administer.list_slots())["slots"]
    width = shutil.get_terminal_size().columns
    active, past = _look(_ENDED_SHOWN)
    return queue_view.frame([*active, *past], slots, time.time(), width)


def _look(count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return all that runs or waits, and the last that have ended, the newest first."""
    answer = _checked(live_jobs.list_queue(count))
    past = sorted(answer["ended"], key=lambda job: str(job["completed_at"]), reverse=True)
    return answer["active"], past[:count]


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        raise InvalidRequestError(answer["error"])
    return answer


def _watch_in_place() -> None:
    is_coloured = in_colour(sys.stdout)
    with _other_screen(sys.stdout):
        while True:
            lines = _frame()[: shutil.get_terminal_size().lines - 1]
            lines = [paint(line) for line in lines] if is_coloured else lines
            text = "".join(f"{line}{_TO_LINE_END}\n" for line in lines)
            sys.stdout.write(f"{_HOME}{text}{_TO_SCREEN_END}")
            sys.stdout.flush()
            time.sleep(_REFRESH_SECONDS)


@contextlib.contextmanager
def _other_screen(stream: TextIO) -> Iterator[None]:
    stream.write(_ENTER)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the terminal has gone
            stream.write(_LEAVE)
            stream.flush()


def _watch_in_lines() -> None:
    """Print a line about each job when something about it has changed."""
    printed: dict[str, str] = {}
    while True:
        active, past = _look(_ENDED_LOOKED_AT)
        for job in (*reversed(past), *reversed(active)):
            line = _brief(job)
            if job["job_id"] not in printed and job not in active:
                continue  # it had ended before we looked
            if printed.get(job["job_id"]) != line:
                printed[job["job_id"]] = line
                print(line, flush=True)
        if not active:
            return
        time.sleep(_REFRESH_SECONDS)


def _brief(job: Mapping[str, Any]) -> str:
    """Return a line that does not change with every second."""
    if job["status"] == "running":
        finished = (job.get("progress") or {}).get("finished", 0)
        tenths = 10 * finished // max(1, job["test_count"])
        return f"{job['job_id']} running: {10 * tenths} % of {job['test_count']} tests finished"
    return render.job_line({name: value for name, value in job.items() if name != "reason"})


def follow(job_id: str, *, show: Callable[[bytes], object]) -> JobStatusResponse:
    """Show a job's log as it grows.

    Args:
        job_id: A job's id, the last part of it, or an unambiguous prefix.
        show: Gets each further piece of it, as it was printed.

    Returns:
        What `get_job_status` returns of the job when it has ended.

    Raises:
        ScheduleError: if there is no such job, or the queue cannot be used.
    """
    with open_queue() as store:
        job = store.find(job_id)
        log = Tail(store.home.output(job.job_id))
        while not (job := store.get(job.job_id)).status.is_final:
            show(log.read())
            service.refuse_if_unserved(store, job)
            time.sleep(_FOLLOW_SECONDS)
    show(log.read())
    return query.get_job_status(job.job_id)
