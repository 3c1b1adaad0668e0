"""Render the results of a job as lines, few and short enough for a coding agent. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pytest_valor_schedule.model.job_terms import BAD, short_id
from pytest_valor_schedule.text import render
from pytest_valor_schedule.text.render import Response

TYPE_CHECKING: bool = False  # without typing: see cli/__init__
if TYPE_CHECKING:
    from typing import Any

_MOST_LINES = 60
_MOST_WIDTH = 300
_MOST_IN_DIFF = 10  # of each kind


def select(results: Sequence[Response], failed: bool, slowest_count: int | None) -> list[Response]:
    """Return the results that were asked for."""
    if failed:
        results = [result for result in results if needs_a_look(result)]
    return list(results) if slowest_count is None else slowest(results, slowest_count)


def slowest(results: Iterable[Response], count: int) -> list[Response]:
    """Return the results that took the longest, the longest first."""
    ran = [result for result in results if result.get("duration_seconds")]
    return sorted(ran, key=lambda each: float(each["duration_seconds"]), reverse=True)[:count]


def needs_a_look(result: Response) -> bool:
    """Return whether a test is bad, did not end, or did so only when it was run again."""
    cut_off = result.get("unfinished") or result.get("crashes")
    return bool(cut_off) or result["outcome"] in BAD


def lines(answer: Response, streaks: Response, options: Mapping[str, Any]) -> list[str]:
    """Return the results of an ended job as text.

    Args:
        answer: As `get_job_results` returns it.
        streaks: As `count_failures_in_a_row` returns it, or an error.
        options: `failed`, `all` and `slowest`, as they were given.
    """
    results = answer["results"]
    if options.get("slowest") is not None:
        return [_slow_line(each) for each in slowest(results, options["slowest"])]
    if options.get("failed"):
        return [line for each in select(results, True, None) for line in _in_full(each)]
    if options.get("all"):
        bad_first = sorted(results, key=lambda result: result["outcome"] not in BAD)
        return [*render.status_lines(answer), *map(_line, bad_first)]
    return _brief(answer, streaks)


def _brief(answer: Response, streaks: Response) -> list[str]:
    """Return a line for each bad test, and where to find the rest; at most 60 in all."""
    head = render.status_lines(answer)
    head += [
        render.one_line(f"COLLECTION ERROR {error['nodeid']}")
        for error in answer.get("collection_errors", ())
    ]
    bad = [result for result in answer["results"] if needs_a_look(result)]
    room = _MOST_LINES - min(len(head), _MOST_LINES // 2) - 2
    shown = [_line(each, _since(each, streaks)) for each in bad[:room]]
    return [*head[: _MOST_LINES // 2], *shown, *_hints(answer, len(bad), len(bad) - len(shown))]


def _hints(answer: Response, bad: int, hidden: int) -> list[str]:
    if not bad:
        return []
    command = f"{render.command_name()} results {short_id(answer['job_id'])}"
    more = [f"and {hidden} more: {command} --all"] if hidden else []
    return [*more, f"in full: {command} --failed"]


def _since(result: Response, streaks: Response) -> str:
    """Return for how long a test has been bad, where there were runs before."""
    runs, streak = streaks.get("runs", 1), streaks.get("streaks", {}).get(result["nodeid"], 1)
    if runs < 2:
        return ""
    return "new" if streak == 1 else f"{render.ordinal(streak)} run in a row"


def _line(result: Response, since: str = "") -> str:
    """Return outcome, node id, place and message of a result in one line."""
    parts = [f"{result['outcome'].upper()} {result['nodeid']}"]
    parts += [result["location"]] if result.get("location") else []
    parts += [_first_line(result)] if _first_line(result) else []
    parts += [f"before: {_first_line(crash)}" for crash in (result.get("crashes") or ())[-1:]]
    text = render.one_line("  ".join(parts))
    text = text if len(text) <= _MOST_WIDTH else f"{text[: _MOST_WIDTH - 3]}..."
    marks = [*(["flaky"] if result.get("flaky") else []), *([since] if since else [])]
    marks += [render.quantity(result["reruns"], "rerun")] if result.get("crashes") else []
    return f"{text}  [{', '.join(marks)}]" if marks else text


def _first_line(result: Response) -> str:
    return next(iter((result.get("message") or "").strip().splitlines()), "")


def _in_full(result: Response) -> Iterable[str]:
    """Yield all that is known of a bad test, as pytest would print it."""
    yield _line(result)
    yield from _details(result)
    for crash in result.get("crashes") or ():
        yield f"----- before: {render.one_line(_first_line(crash))} -----"
        yield from _details(crash)
    yield ""


def _details(result: Response) -> Iterable[str]:
    yield from render.plain(result.get("longrepr") or result.get("message") or "").splitlines()
    for name, text in result.get("sections") or ():
        yield f"----- {render.one_line(name)} -----"
        yield from render.plain(text).splitlines()


def _slow_line(result: Response) -> str:
    seconds = float(result.get("duration_seconds") or 0.0)
    return render.one_line(f"{seconds:8.2f} s  {result.get('worker', '-')}  {result['nodeid']}")


def diff_lines(answer: Response) -> list[str]:
    """Return what `compare_jobs` found, as text."""
    lines = [f"{answer['job_id']} compared with {answer['earlier_job_id']}:"]
    for name, word in (
        ("newly_failing", "FAILED"),
        ("fixed", "FIXED"),
        ("still_failing", "STILL FAILING"),
        ("new", "NEW"),
        ("gone", "GONE"),
        ("not_run", "NOT RUN"),
    ):
        lines += _some([f"{word} {nodeid}" for nodeid in answer[name]])
    lines += _some(
        f"SLOWER {name}: {times['before']:.2f} s before, {times['now']:.2f} s now"
        for name, times in answer["slower"].items()
    )
    return [render.one_line(line) for line in lines] + ([] if lines[1:] else ["no difference"])


def _some(entries: Iterable[str]) -> list[str]:
    every = list(entries)
    hidden = len(every) - _MOST_IN_DIFF
    more = [f"... and {hidden} more (all of them: --json)"] if hidden > 0 else []
    return every[:_MOST_IN_DIFF] + more
