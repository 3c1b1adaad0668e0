"""Render what `valor-schedule watch` shows, as lines of a given width. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from pytest_valor_schedule._util import clock
from pytest_valor_schedule.model.job_terms import short_id
from pytest_valor_schedule.text import render
from pytest_valor_schedule.text.render import Response

_BAR = 20
_LEAST_WIDTH = 20
_MOST_WAITING = 20
_ACTIVE = ("running", "scheduled")


def frame(jobs: Sequence[Response], slots: Sequence[Response], now: float, width: int) -> list[str]:
    """Return the whole picture.

    Args:
        jobs: As `list_jobs` returns them, the newest first.
        slots: As `list_slots` returns them.
        now: Seconds since the epoch.
        width: Columns of the terminal.
    """
    running = [job for job in reversed(jobs) if job["status"] == "running"]
    waiting = [job for job in jobs if job["status"] == "scheduled"]
    waiting.sort(key=lambda job: job.get("queue_position") or 0)
    past = [job for job in jobs if job["status"] not in _ACTIVE]
    lines = [_slots_line(slots), ""]
    for job in running:
        lines += _running(job, now, width)
    lines += [_waiting(job, now) for job in waiting[:_MOST_WAITING]]
    if len(waiting) > _MOST_WAITING:
        lines.append(f"and {len(waiting) - _MOST_WAITING} more that wait")
    if not running and not waiting:
        lines.append("nothing runs, nothing waits")
    lines += ["", *(render.job_line(job) for job in past)] if past else []
    return [clip(render.one_line(line), max(width, _LEAST_WIDTH)) for line in lines]


def _slots_line(slots: Sequence[Response]) -> str:
    marks = "".join("#" if slot["held"] else "." for slot in slots)
    free = sum(not slot["held"] for slot in slots)
    return f"slots [{marks}] {free} of {len(slots)} free"


def _running(job: Response, now: float, width: int) -> Iterable[str]:
    progress = job.get("progress") or {}
    finished, failed = progress.get("finished", 0), progress.get("failed", 0)
    total = progress.get("total") or job["test_count"]
    bad = f" {failed} failed" if failed else ""
    bar = _bar(finished, total, min(_BAR, max(4, width // 4)))
    eta = _remaining_text(job, now)
    yield f"{short_id(job['job_id'])} {bar} {finished}/{total}{bad}{eta}  {job['specification']}"
    for test in progress.get("running") or ():
        began = clock.from_text(test.get("started_at"))
        spent = None if began is None else clock.elapsed(began, now, _limit(job))
        since = "" if spent is None else f" {clock.duration_text(spent)}"
        yield f"       {test['worker']}{since}  {test['nodeid']}"


def _bar(finished: int, total: int, width: int) -> str:
    full = width * finished // max(1, total)
    return f"[{'=' * full}{' ' * (width - full)}]"


def _remaining_text(job: Response, now: float) -> str:
    """Return how long a job is expected to go on, which those behind it are told to wait."""
    ends = clock.from_text(job.get("estimated_end"))
    if ends is None:
        return ""
    return f", {clock.duration_text(ends - now)} left"


def _limit(job: Response) -> float:
    """Return the seconds that a job may run, which bound what clocks say that it has."""
    return float(job["timeout_minutes"]) * 60


def _waiting(job: Response, now: float) -> str:
    place = render.ordinal(job.get("queue_position") or 0)
    starts = clock.from_text(job.get("estimated_start"))
    when = f", starts in {clock.duration_text(max(0.0, starts - now))}" if starts else ""
    why = f": {job['reason']}" if job.get("reason") else ""
    tests = render.quantity(job["test_count"], "test")
    return f"{short_id(job['job_id'])} {place}, {job['priority']}, {tests}{when}{why}"


def clip(text: str, width: int) -> str:
    """Return a line cut to so many columns, with a mark where it was cut."""
    used = 0
    for place, char in enumerate(text):
        used += _columns(char)
        if used > width:
            return _within(text[:place], width - 1) + "~"
    return text


def _within(text: str, width: int) -> str:
    while sum(map(_columns, text)) > width:
        text = text[:-1]
    return text


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
