"""Draw a job over time: a page for a browser, or a trace for Perfetto. Pure."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_valor_schedule._util import clock
from pytest_valor_schedule.model.job_terms import BAD
from pytest_valor_schedule.text import render
from pytest_valor_schedule.text.render import Response
from pytest_valor_schedule.text.result_list import slowest

_SLOWEST = 10
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --passed: #2e9d5b; --failed: #d6403a;
  --skipped: #c9a227; --waiting: #8886; --text: canvastext; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem;
  padding: 0 1rem; color: var(--text); background: canvas; }
h1 { font-size: 1.3rem; margin: 0 0 .2rem; } h2 { font-size: 1.05rem; margin: 1.8rem 0 .5rem; }
p { margin: .2rem 0; } code, td, .name { font-family: ui-monospace, monospace; font-size: .87em; }
.rows { border: 1px solid var(--line); border-radius: 6px; overflow: hidden; }
.row { display: flex; border-top: 1px solid var(--line); } .row:first-child { border-top: 0; }
.name { flex: 0 0 5.5rem; padding: .45rem .6rem; } .track { position: relative; flex: 1;
  min-height: 2rem; }
.track i { position: absolute; top: 4px; bottom: 4px; min-width: 2px; border-radius: 2px;
  background: var(--passed); }
.track i:nth-child(even) { filter: brightness(.82); }
.track i:hover { outline: 2px solid var(--text); z-index: 1; }
.track .failed, .track .error, .track .crashed { background: var(--failed); }
.track .skipped, .track .xfailed, .track .xpassed { background: var(--skipped); }
.track .waiting { background: repeating-linear-gradient(45deg, var(--waiting) 0 4px,
  transparent 4px 8px); }
.scale { display: flex; justify-content: space-between; margin-left: 5.5rem; opacity: .7;
  font-size: .8rem; }
.key span { margin-right: 1.2rem; } .key i { display: inline-block; width: .8rem; height: .8rem;
  border-radius: 2px; margin-right: .35rem; vertical-align: -1px; }
table { border-collapse: collapse; width: 100%; } td { padding: .2rem .6rem .2rem 0;
  border-top: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
td:first-child { white-space: nowrap; width: 6rem; }
pre { overflow: auto; padding: .7rem; font-size: .82rem;
  border: 1px solid var(--line); border-radius: 6px; }
"""
_KEY = (("passed", "passed"), ("failed", "failed, error, crashed"), ("skipped", "skipped, xfail"))


def page(record: Response) -> str:
    """Return an HTML page that shows a job's workers over time; it needs no network.

    Args:
        record: The whole record of an ended job.
    """
    job_id = _text(record["job_id"])
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{job_id}</title>
<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>
<h1>{_text(render.job_line(record))}</h1>
<p><code>{_text(record.get("specification"))}</code> in <code>{_text(record.get("cwd"))}</code></p>
<h2>Workers</h2>
{_rows(record)}
<h2>Slowest tests</h2>
<table>{"".join(map(_slow_row, slowest(record["results"], _SLOWEST)))}</table>
{_failures(record)}
</body></html>
"""


def _seconds(result: Response) -> float:
    return float(result.get("duration_seconds") or 0.0)


def _text(value: object) -> str:
    return html.escape(render.plain(str(value if value is not None else "")))


def _started(result: Response) -> float | None:
    return clock.from_text(result.get("started_at"))


def _span(record: Response) -> tuple[float, float]:
    """Return the moments that the picture begins and ends at."""
    created, started, completed = (
        clock.from_text(record.get(name)) for name in ("created_at", "started_at", "completed_at")
    )
    begin, end = created or 0.0, completed or created or 0.0
    spans = [(at, at + _seconds(r)) for r in record["results"] if (at := _started(r)) is not None]
    begin = min([begin, started or begin, *(at for at, _ in spans)])  # the clock may be set back
    return begin, max([end, begin + 0.001, *(at for _, at in spans)])


def _workers(results: Iterable[Response]) -> dict[str, list[Response]]:
    rows: dict[str, list[Response]] = {}
    for result in results:
        if result.get("worker") and _started(result) is not None:
            rows.setdefault(str(result["worker"]), []).append(result)
    return dict(sorted(rows.items(), key=lambda row: (len(row[0]), row[0])))


def _rows(record: Response) -> str:
    begin, end = _span(record)
    started = clock.from_text(record.get("started_at"))
    waited = "" if started is None else _bar("waiting", begin, started, begin, end, "in the queue")
    rows = [_row("queue", waited)]
    for worker, results in _workers(record["results"]).items():
        rows.append(_row(worker, "".join(_test_bar(each, begin, end) for each in results)))
    marks = [_mark((end - begin) * part / 4, end - begin) for part in range(5)]
    scale = "".join(f"<span>{mark}</span>" for mark in marks)
    key = "".join(
        f'<span><i style="background:var(--{name})"></i>{text}</span>' for name, text in _KEY
    )
    return (
        f'<div class="rows">{"".join(rows)}</div><div class="scale">{scale}</div>'
        f'<p class="key">{key}</p>'
    )


def _mark(seconds: float, whole: float) -> str:
    """Return a place on the scale, with decimals where the whole is short."""
    return f"{seconds:.1f} s" if whole < 60 else clock.duration_text(seconds)


def _row(name: str, bars: str) -> str:
    track = f'<div class="track">{bars}</div>'
    return f'<div class="row"><div class="name">{_text(name)}</div>{track}</div>'


def _test_bar(result: Response, begin: float, end: float) -> str:
    at = _started(result) or begin
    title = f"{result['nodeid']}\n{result['outcome']}, {_seconds(result):.3f} s"
    return _bar(str(result["outcome"]), at, at + _seconds(result), begin, end, title)


def _bar(kind: str, start: float, stop: float, begin: float, end: float, title: str) -> str:
    whole = end - begin
    offset = 100 * min(1.0, max(0.0, (start - begin) / whole))
    width = min(100 - offset, 100 * max(0.0, stop - start) / whole)
    place = f"left:{offset:.3f}%;width:{width:.3f}%"
    return f'<i class="{_text(kind)}" style="{place}" title="{_text(title)}"></i>'


def _slow_row(result: Response) -> str:
    return f"<tr><td>{_seconds(result):.2f} s</td><td>{_text(result['nodeid'])}</td></tr>"


def _failures(record: Response) -> str:
    bad = [result for result in record["results"] if result["outcome"] in BAD]
    if not bad:
        return ""
    parts = [
        f"<details><summary><code>{_text(each['nodeid'])}</code> {_text(each['outcome'])}"
        f"</summary><pre>{_text(each.get('longrepr') or each.get('message'))}</pre></details>"
        for each in bad
    ]
    return f"<h2>Failures</h2>{''.join(parts)}"


def trace(record: Response) -> dict[str, Any]:
    """Return a job in Chrome's trace event format, which Perfetto and chrome://tracing read.

    Returns:
        `traceEvents`: one complete event ("X") for each test, on the line of its worker, and one
        for the time in the queue; times in microseconds since the job was scheduled.
    """
    begin, _ = _span(record)
    started = clock.from_text(record.get("started_at"))
    events = [_thread_name(0, "queue")]
    if started is not None:
        events.append(_event("in the queue", "queue", 0, 0.0, started - begin, {}))
    for line, (worker, results) in enumerate(_workers(record["results"]).items(), 1):
        events.append(_thread_name(line, worker))
        events += [_test_event(each, line, begin) for each in results]
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _test_event(result: Response, line: int, begin: float) -> dict[str, Any]:
    at, outcome = (_started(result) or begin) - begin, result["outcome"]
    details = {"outcome": outcome}
    return _event(str(result["nodeid"]), str(outcome), line, at, _seconds(result), details)


def _event(
    name: str, kind: str, line: int, start: float, seconds: float, args: Mapping[str, Any]
) -> dict[str, Any]:
    times = {"ts": round(start * 1e6), "dur": round(max(0.0, seconds) * 1e6)}
    return {"name": name, "cat": kind, "ph": "X", "pid": 1, "tid": line, **times, "args": args}


def _thread_name(line: int, name: str) -> dict[str, Any]:
    return {"name": "thread_name", "ph": "M", "pid": 1, "tid": line, "args": {"name": name}}
