"""All benchmarks in one table.

`python tests/benchmarks/run.py [--json FILE] PATH...`: each PATH is an unpacked source distribution
whose suite this interpreter can run (jinja2, click and pluggy are what we use). Everything is
measured in turns with its peer in the same run; a goal is a ratio that ours should not exceed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
from collections.abc import Callable, Iterable
from pathlib import Path

import distribution
import handover
import many_jobs
import recording
import starting
import suites
from measuring import HEAD, Row, home

from pytest_valor_schedule.config.home import Home


def _hand_over(project: Path) -> Row:
    """Return what `pytest --schedule` costs in the terminal while a dispatcher runs."""
    with home(VALOR_SCHEDULE_IDLE_SECONDS="3"):
        found = handover.measure(project, 7, Home.find(os.environ))
    name = f"pytest --schedule of {project.name}"
    return Row(name, "pytest --collect-only -q", found["live"], found["collect"], "s", 1.15)


def main() -> None:
    """Measure, print as it comes, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("projects", nargs="*", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    machine = f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {platform.machine()}"
    print(f"{machine}\n{HEAD}")
    parts: tuple[Callable[[], Iterable[Row]], ...] = (
        lambda: starting.measure(11),
        lambda: many_jobs.measure(100_000),
        lambda: suites.measure(options.projects, 7) if options.projects else (),
        lambda: map(_hand_over, options.projects),
        lambda: distribution.measure(3),
        lambda: recording.measure(20_000, 3),
    )
    rows: list[Row] = []
    for part in parts:
        for row in part():
            print(row.text(), flush=True)
            rows.append(row)
    if options.json:
        found = [{**dataclasses.asdict(row), "ratio": row.ratio} for row in rows]
        options.json.write_text(json.dumps({"machine": machine, "rows": found}, indent=1))


if __name__ == "__main__":
    main()
