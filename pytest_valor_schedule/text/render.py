"""Render answers as people read them.

Pure but for the look whether our command is on the PATH.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pytest_valor_schedule._util import clock
from pytest_valor_schedule.model.job_terms import Outcome, short_id

TYPE_CHECKING: bool = False  # without typing: see cli/__init__
if TYPE_CHECKING:
    from typing import Any

    from pytest_valor_schedule.queue.forecast import QueuePosition

Response = Mapping[str, "Any"]
"""An answer of the client, or a part of one."""

_COUNTED = ("failed", "errors", "crashed", "not_run", "passed", "skipped", "xfailed", "xpassed")
_FIXED_EXIT_CODES = {
    Outcome.PASSED: 0,
    Outcome.NO_TESTS: 5,
    Outcome.TIMED_OUT: 124,  # as timeout(1)
    Outcome.CANCELLED: 130,  # as a shell after Ctrl-C
}


def command_name() -> str:
    """Return how this terminal starts our command line."""
    import shutil  # here, because most answers name no command

    if shutil.which("valor-schedule"):
        return "valor-schedule"
    script = Path(sys.executable).with_name("valor-schedule")
    if script.exists():
        with contextlib.suppress(OSError):  # the working directory may be gone
            return min(str(script), os.path.relpath(script), key=len)
        return str(script)
    return f"{sys.executable} -m {__name__.partition('.')[0]}"


def plain(text: str) -> str:
    """Return a text with its control characters escaped, so that it cannot steer a terminal."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in text
    )


def one_line(text: str) -> str:
    """Return a text with everything escaped that is not printable, line breaks too."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def quantity(number: int, noun: str) -> str:
    """Return "1 test" or "2 tests"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def ordinal(number: int) -> str:
    """Return "1st", "2nd" and so on."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number}{ending or 'th'}"


def receipt_lines(answer: Response, *, quiet: bool = False) -> list[str]:
    """Return what somebody is told who scheduled a job; the first line alone if quiet."""
    command, short = command_name(), short_id(answer["job_id"])
    first = (
        f"scheduled {answer['job_id']}: {quantity(answer['test_count'], 'test')} on "
        f"{quantity(answer['workers'], 'worker')}, {answer['estimate']}"
    )
    warnings = [f"warning: {warning}" for warning in answer.get("warnings", ())]
    if quiet:
        return [first, *warnings]
    return [
        first,
        *warnings,
        answer["place"],
        f"results: {command} results {short}",
        f"wait:    {command} wait {short}",
        f"cancel:  {command} cancel {short}",
    ]


def config_lines(answer: Response) -> list[str]:
    """Return the settings as a table."""
    rows = [("SETTING", "VALUE", "FROM")]
    rows += [
        (name, "-" if each["value"] is None else str(each["value"]), each["source"])
        for name, each in answer["settings"].items()
    ]
    note = "The command line and a project's ini file come before these."
    return [one_line(line) for line in (*table(rows), *answer["problems"], note)]


def place_line(place: QueuePosition, now: float) -> str:
    """Return where a job stands in the queue, why it waits, and how long it is expected to."""
    where = f"{ordinal(place.position)} in the queue"
    if place.reason is None:
        return f"{where}, starts now"
    if place.starts_at is not None:
        where += f", expected to start in {clock.duration_text(max(0.0, place.starts_at - now))}"
    return f"{where}: {place.reason}"


def waiting_line(job_id: str, place: QueuePosition, now: float) -> str:
    """Return the same in one line of a terminal, which may be narrow: the forecast comes first."""
    where = f"{ordinal(place.position)} in the queue: {place.reason}"
    if place.starts_at is not None:
        where = f"starts in {clock.duration_text(max(0.0, place.starts_at - now))}, {where}"
    return f"{short_id(job_id)} {where}"


def detached_line(job_id: str) -> str:
    """Return what somebody is told who no longer waits for a job."""
    command, short = command_name(), short_id(job_id)
    return f"The job goes on. {command} wait {short} waits again, {command} cancel {short} ends it."


def log_line(job: Response) -> str:
    """Return how to see what a job's pytest printed."""
    return f"log: {command_name()} logs {short_id(job['job_id'])}"


def output_is_final(record: Response) -> bool:
    """Return whether what the pytest of an ended job printed last is true of the whole job."""
    by_tests = record.get("outcome") in (Outcome.PASSED, Outcome.FAILED)
    # What a run did not come to that -x or pytest.exit ended, pytest has told itself.
    is_plain = not record.get("explanation") or bool(record["summary"]["not_run"])
    return by_tests and is_plain and record.get("rounds") == 1


def end_line(job: Response) -> str:
    """Return one line for whoever has seen all of a job: how to come back to it."""
    return f"job {job['job_id']}: {command_name()} results {short_id(job['job_id'])}"


def counts_text(summary: Response) -> str:
    """Return the counts that are not zero, the bad ones first."""
    skipped = summary.get("skipped", 0) + summary.get("skipped_modules", 0)  # as pytest counts
    counts = {**summary, "skipped": skipped}
    parts = [f"{counts[name]} {name.replace('_', ' ')}" for name in _COUNTED if counts.get(name)]
    if summary.get("flaky"):
        parts.append(f"{summary['flaky']} flaky")
    return ", ".join(parts) or "no tests"


def job_line(job: Response) -> str:
    """Return one line about a job, ended or not."""
    if summary := job.get("summary"):
        line = f"{job['job_id']} {job['outcome']}: {counts_text(summary)}"
        seconds = summary["duration_seconds"]
        return f"{line} in {clock.measured_text(seconds)}" if job.get("started_at") else line
    parts = [f"{job['job_id']} {job['status']}: {quantity(job['test_count'], 'test')}"]
    if progress := job.get("progress"):
        parts.append(f"{progress['finished']} finished, {progress['failed']} failed so far")
    if position := job.get("queue_position"):
        parts.append(f"{ordinal(position)} in the queue")
    return ", ".join([*parts, *([job["reason"]] if "reason" in job else [])])


def status_lines(job: Response) -> list[str]:
    """Return how a job stands, and why where its outcome alone does not tell."""
    lines = [job_line(job), *([job["explanation"]] if job.get("explanation") else [])]
    lines += [f"This is {_again(job)}."] if "rerun_of" in job else []
    return [one_line(line) for line in lines]


def _again(job: Response) -> str:
    what = "what failed in" if job.get("chosen_by_cache") else "a rerun of"
    return f"{what} {short_id(job['rerun_of'])}"


def exit_code(answer: Response) -> int:
    """Return the exit code for whoever waits for a job: pytest's, 124 or 130.

    Args:
        answer: That of `get_job_status` or `get_job_results` for an ended job, or an error.
    """
    if "error" in answer or not answer.get("outcome"):
        return 1
    outcome = Outcome(answer["outcome"])
    if outcome in _FIXED_EXIT_CODES:
        return _FIXED_EXIT_CODES[outcome]
    code = int(answer.get("exit_code") or 1)
    # 5 would say that there are no tests; a signal is no exit code; and 2 is xdist's for -x.
    stopped = answer.get("explanation") or "stopping after"
    for_x = code == 2 and outcome is Outcome.FAILED and "stopping after" in stopped
    return 1 if code < 0 or code == 5 or for_x else code


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def list_lines(jobs: Iterable[Response], total: int) -> list[str]:
    """Return the table of jobs."""
    header = ("JOB", "STATUS", "OUTCOME", "PRIORITY", "TESTS", "WHAT")
    rows = [header, *map(_row, jobs)]
    if len(rows) == 1:
        return ["no jobs" if not total else f"none shown of {quantity(total, 'job')}"]
    hidden = total - len(rows) + 1
    return [*table(rows), *([f"and {quantity(hidden, 'older job')}"] if hidden else [])]


def _row(job: Response) -> tuple[str, ...]:
    again = f"{_again(job)}: " if "rerun_of" in job else ""
    what = one_line(again + job["specification"])
    counts = counts_text(job["summary"]) if job.get("summary") else str(job["test_count"])
    outcome = job.get("outcome", "-")
    return (job["job_id"], job["status"], outcome, job["priority"], counts, what[:60])


def slot_lines(answer: Response) -> list[str]:
    """Return a line for each worker slot."""
    return [f"{row['slot']}  {_holder(row)}" for row in answer["slots"]]


def _holder(row: Response) -> str:
    if row["job_id"] or not row["held"]:
        return row["job_id"] or "free"
    if "command" not in row:
        return "in use"
    what = f"{row['command']} in {row['folder']}"
    return f"direct run since {row['since']}, process {row['pid']}: {what}"


def prune_line(answer: Response) -> str:
    """Return what was thrown away, or would be."""
    parts = [
        f"logs and event logs of {quantity(len(answer['logs']), 'job')}",
        quantity(len(answer["records"]), "record"),
        quantity(len(answer["others"]), "other file"),
        f"the durations of {quantity(answer['durations'], 'test')}",
    ]
    verb = "would remove" if answer["dry_run"] else "removed"
    return f"{verb} {', '.join(parts)}: {answer['bytes'] / 2**20:.1f} MB"


def doctor_lines(answer: Response) -> list[str]:
    """Return what is wrong with a home."""
    lines = [f"{answer['home']} with {answer['versions']}", *map(_finding, answer["findings"])]
    damage = [each for each in answer["findings"] if not each["repaired"]]
    if not answer["findings"]:
        lines.append("nothing is wrong")
    elif any(each["repairable"] for each in damage):
        lines.append(f"`{command_name()} doctor --repair` mends what is marked with *")
    return [one_line(line) for line in lines]


def _finding(finding: Response) -> str:
    mark = "mended" if finding["repaired"] else "*" if finding["repairable"] else "-"
    why = f" It could not be mended: {finding['error']}" if "error" in finding else ""
    return f"{mark} {finding['text']}{why}"
