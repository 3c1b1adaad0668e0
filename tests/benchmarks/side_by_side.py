"""Six copies of a suite at once: each by hand with `pytest -n auto`, or all of them scheduled.

`python tests/benchmarks/side_by_side.py [ROUNDS] [COPIES]`: the suite computes and waits for
nothing. Prints, as medians of interleaved rounds, the time until the last has ended, the time
until the first has, and the most memory that all processes had together; and the ratios.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path

from pytest_valor_schedule import list_jobs
from pytest_valor_schedule.process import kill, memory, startup

SUITE = """
import pytest

@pytest.mark.parametrize("number", range(40))
def test_one(number):
    block = bytearray(b"x" * 20_000_000)
    assert sum(range(1_000_000)) == 499_999_500_000
"""
_POLL_SECONDS = 0.02
_ENDED = ("completed", "cancelled")


@dataclass(frozen=True)
class Measured:
    """One round of one way."""

    last: float
    first: float
    peak: float


def _start(folder: Path, number: int, *options: str) -> subprocess.Popen[bytes]:
    project = folder / str(number)
    project.mkdir(exist_ok=True)
    (project / "test_it.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    return subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL)


def _measure(ended: Callable[[], int], count: int) -> Measured:
    """Follow runs that were just started to the end of the last one."""
    begin, first, peak = time.monotonic(), 0.0, 0
    while (done := ended()) < count:
        peak = max(peak, memory.used_by_children(os.getpid()))
        first = first or (done and time.monotonic() - begin)
        time.sleep(_POLL_SECONDS)
    last = time.monotonic() - begin
    return Measured(last, first or last, peak / 2**20)


def by_hand(folder: Path, count: int) -> Measured:
    """Start all at once, each with as many workers as the machine has CPUs."""
    runs = [_start(folder, number, "-n", "auto") for number in range(count)]
    return _measure(lambda: sum(run.poll() is not None for run in runs), count)


def scheduled(folder: Path, count: int) -> Measured:
    """Schedule all at once, each with as many workers as the machine has CPUs at most."""
    cpus = str(os.cpu_count())
    before = list_jobs()["total"]
    runs = [_start(folder, n, "--schedule", "--max-workers", cpus) for n in range(count)]
    return _measure(lambda: _has_ended(runs, before), count)


def _has_ended(runs: list[subprocess.Popen[bytes]], before: int) -> int:
    """Return how many of the jobs that these runs have scheduled have ended."""
    for run in runs:
        run.poll()
    return int(sum(list_jobs(status)["total"] for status in _ENDED)) - before


def main() -> None:
    """Measure both ways in turns and print the table."""
    startup.become_subreaper()  # so that dispatcher and jobs are counted as descendants
    rounds, copies = (int(text) for text in (sys.argv[1:] + ["3", "6"][len(sys.argv) - 1 :]))
    found: dict[str, list[Measured]] = {"by hand": [], "scheduled": []}
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"VALOR_HOME": f"{folder}/home", "VALOR_SCHEDULE_IDLE_SECONDS": "30"}
        for _ in range(rounds):
            for way in (by_hand, scheduled):
                found[way.__name__.replace("_", " ")].append(way(Path(folder), copies))
        kill.end_children()
    medians = {
        name: [statistics.median(values) for values in zip(*map(astuple, each), strict=True)]
        for name, each in found.items()
    }
    print(f"{copies} copies at once, {os.cpu_count()} CPUs, medians of {rounds} rounds")
    print(f"{'':12}{'last ended':>14}{'first ended':>14}{'peak memory':>14}")
    for name, (last, first, peak) in medians.items():
        print(f"{name:12}{last:12.1f} s{first:12.1f} s{peak:11.0f} MB")
    ratios = [b / a for a, b in zip(*medians.values(), strict=True)]
    print(f"{'ratio':12}" + "".join(f"{ratio:13.2f}x" for ratio in ratios))


if __name__ == "__main__":
    main()
