"""Real suites through the queue beside `pytest -n`, and how good the estimates are.

`python tests/benchmarks/suites.py PATH... [-r ROUNDS]`: each PATH is a project whose tests this
interpreter can run, such as an unpacked source distribution of jinja2, click or pluggy. Time from
the job's row in the queue to its end, from the second run on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from measuring import HEAD, Row, direct, home, in_turns, job, seconds_in_queue_and_run

WORKERS = 2
_CLOSE = 0.25


def measure(projects: list[Path], rounds: int) -> list[Row]:
    """Return a row for each project, and one for the estimates of all runs but the first."""
    rows, misses = [], list[float]()
    with home(VALOR_SCHEDULE_SLOTS=str(WORKERS)):
        for project in projects:

            def ours(project: Path = project) -> float:
                status = job(project, WORKERS)
                took = seconds_in_queue_and_run(status)
                misses.append(status["estimated_seconds"] / status["summary"]["duration_seconds"])
                return took

            def theirs(project: Path = project) -> float:
                return direct(project, "-n", str(WORKERS))

            begun = len(misses)
            found = in_turns(rounds, ours=ours, theirs=theirs)
            del misses[begun]  # nothing was known yet
            name = f"suite of {project.name}, -n {WORKERS}"
            rows.append(Row(name, "pytest -n", found["ours"], found["theirs"], "s", 0.98))
    far = sum(abs(each - 1) > _CLOSE for each in misses)
    name = f"estimates off by more than {_CLOSE:.0%}"
    rows.append(Row(name, f"all {len(misses)} runs", far, len(misses), "", 0.20))
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("projects", nargs="+", type=Path)
    parser.add_argument("-r", "--rounds", type=int, default=5)
    options = parser.parse_args()
    print(HEAD, *(row.text() for row in measure(options.projects, options.rounds)), sep="\n")


if __name__ == "__main__":
    main()
