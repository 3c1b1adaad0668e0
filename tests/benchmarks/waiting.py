"""What it costs to wait for a run: from the command, typed, to its exit, beside plain pytest.

`python tests/benchmarks/waiting.py [PATH...] [--rounds N] [--ways WAY...]`: each PATH is the folder
of a project whose tests this interpreter can run; without one, two small projects are made. For
each way: the median time; the CPU seconds, in the mean, of all processes that serve it, a job that
goes on included; and the most memory that these have at once (proportional sizes, so that shared
memory counts once), in runs of their own. All ways take turns in one run. The dispatcher is up.
pytest-fast is measured where it is installed, or with `--pytest-fast COMMAND` from elsewhere: its
plugin delays every pytest beside it. Linux only.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import process_trees
from measuring import home
from ways_to_wait import PEERS, TIMED_OUT, WAYS, Place, Program, Way, code_of_newest_job

from pytest_valor_schedule import list_jobs

_ONE_TEST = "def test_it():\n    pass\n"
_PANDAS = """
import numpy
import pandas

def test_it():
    assert pandas.Series(numpy.arange(3)).sum() == 3
"""
_NEEDS_PANDAS = "numpy+pandas, one test"
_WARM_UP_ROUNDS = 2
_MEMORY_ROUNDS = 3
_HEAD = (
    f"{'':30}{'ms':>8}{'ratio':>7}  {'beside':26}{'CPU s':>7}{'/plain':>8}{'MB':>8}{'/plain':>8}"
)


class WrongEndError(Exception):
    """A way did not end as plain pytest does; the text says how."""


@dataclass
class Found:
    """What was measured of one way in one place."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)

    def numbers(self) -> tuple[float, float, float]:
        """Return milliseconds, CPU seconds and megabytes.

        The kernel tells of CPU in steps of 10 ms, over which a mean averages and a median does not.
        """
        peak = statistics.median(self.bytes)
        return statistics.median(self.seconds) * 1000, statistics.mean(self.cpu), peak / 2**20


class Comparison:
    """Measures ways in turns, in one project and in one or more virtual environments."""

    def __init__(self, places: Sequence[Place], ways: Mapping[str, Way]) -> None:
        self._ways = ways
        self._codes = dict[str, int]()
        self.places = places
        self.found = {(place.name, key): Found() for key in ways for place in places}
        self.refused = dict[tuple[str, str], str]()

    def measure(self, rounds: int) -> None:
        """Measure so many rounds, after some that warm up, and then the memory."""
        for _ in range(_WARM_UP_ROUNDS):
            self._each(self._once)
        for _ in range(rounds):
            self._each(self._timed)
        for _ in range(min(rounds, _MEMORY_ROUNDS)):
            self._each(self._watched)

    def _each(self, action: Callable[[Place, str], object]) -> None:
        """Let each way have its turn in each place; one that ends as plain does not drops out."""
        for key, place in itertools.product(self._ways, self.places):
            if (place.name, key) not in self.refused:
                try:
                    action(place, key)
                except WrongEndError as error:
                    self.refused[place.name, key] = str(error)

    def _timed(self, place: Place, key: str) -> None:
        seconds, cpu = self._once(place, key)
        self.found[place.name, key].seconds.append(seconds)
        self.found[place.name, key].cpu.append(cpu)

    def _watched(self, place: Place, key: str) -> None:
        with process_trees.sampled_memory(self._ways[key].marks(place)) as sizes:
            self._once(place, key)
        self.found[place.name, key].bytes.append(max(sizes))

    def _once(self, place: Place, key: str) -> tuple[float, float]:
        """Run it and return how long it took and the CPU seconds until all of it had ended."""
        way = self._ways[key]
        marks = way.marks(place)
        before = process_trees.cpu_seconds(marks)
        begin = time.perf_counter()
        code = way.run(place)
        seconds = time.perf_counter() - begin
        process_trees.settle(marks, _has_no_job if way.is_ours else lambda: True)
        used = process_trees.cpu_seconds(marks) - before
        self._check(place, key, code_of_newest_job() if way.job_goes_on and code == 0 else code)
        return seconds, used

    def _check(self, place: Place, key: str, code: int) -> None:
        """Raise an error unless the exit code is that of plain pytest."""
        if key in PEERS:
            if code > (key == "plain") or code != self._codes.setdefault(
                f"{place.name}: {key}", code
            ):
                raise SystemExit(f"{_end(place, key, code)}, so nothing can be compared with it.")
        elif code != (expected := self._codes[f"{place.name}: plain"]):
            raise WrongEndError(f"{_end(place, key, code)}, and plain pytest with {expected}.")


def _end(place: Place, key: str, code: int) -> str:
    """Return how a way has ended, with the end of what it printed."""
    print(place.printed(), file=sys.stderr)
    how = "was ended because it took too long" if code == TIMED_OUT else f"ended with {code}"
    return f"{WAYS[key].name} in {place.name} {how}"


def _has_no_job() -> bool:
    return not any(list_jobs(status)["total"] for status in ("scheduled", "running"))


def table(comparison: Comparison, place: Place) -> Iterator[str]:
    """Yield the lines about a place."""
    yield f"\n{place.name}\n{_HEAD}"
    found = {key: each for (name, key), each in comparison.found.items() if name == place.name}
    _, plain_cpu, plain_size = found["plain"].numbers()
    for key, each in found.items():
        way, refusal = WAYS[key], comparison.refused.get((place.name, key))
        if refusal:
            yield f"{way.name:30} {refusal}"
            continue
        (time_, cpu, size), (base, _, _) = each.numbers(), found[way.beside].numbers()
        times = f"{time_:8.0f}{time_ / base:7.2f}  {WAYS[way.beside].name:26}"
        yield (
            f"{way.name:30}{times}{cpu:7.3f}{cpu / plain_cpu:8.2f}"
            f"{size:8.0f}{size / plain_size:8.2f}"
        )


def _projects(folder: Path) -> dict[str, Path]:
    """Make the small projects, each with an ini file of its own."""
    suites = {"one test": _ONE_TEST, _NEEDS_PANDAS: _PANDAS}
    projects = {name: folder / f"project{number}" for number, name in enumerate(suites)}
    for name, suite in suites.items():
        projects[name].mkdir()
        (projects[name] / "pytest.ini").write_text("[pytest]\n")
        (projects[name] / "test_it.py").write_text(suite)
    return projects


def _can_run(name: str, python: Path) -> bool:
    command = [str(python), "-c", "import numpy, pandas"]
    if name != _NEEDS_PANDAS or subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0:
        return True
    print(f"{name}: left out for {python}, which cannot import them.")
    return False


class Benchmark:
    """Measures one project after the other, with programs that stay up for all of them."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options, self._folder = options, folder
        pythons = [Path(sys.executable), *([options.second_venv] if options.second_venv else [])]
        self._programs = {
            python.absolute(): Program(python.absolute(), folder / f"program{number}")
            for number, python in enumerate(pythons)
        }

    def run(self) -> bool:
        """Measure and print; return whether each of our ways has ended as plain pytest did."""
        given = {path.resolve().name: path.resolve() for path in self._options.projects}
        right = True
        for name, project in (given or _projects(self._folder)).items():
            places = [
                self._place(name, project, python)
                for python in self._programs
                if _can_run(name, python)
            ]
            if places:
                right = self._compare(places) and right
        return right

    def _place(self, name: str, project: Path, python: Path) -> Place:
        scratch = Path(tempfile.mkdtemp(dir=self._folder))
        beside = shutil.which("pytest-fast", path=str(python.parent))
        fast = self._options.pytest_fast or (Path(beside) if beside else None)
        title = f"{name}, {python.parent.parent.name}"
        return Place(title, project, python, fast, scratch, self._programs[python])

    def _compare(self, places: Sequence[Place]) -> bool:
        comparison = Comparison(places, self._ways(places))
        comparison.measure(self._options.rounds)
        for place in places:
            print(*table(comparison, place), sep="\n", flush=True)
        return not any(WAYS[key].is_ours for _, key in comparison.refused)

    def _ways(self, places: Sequence[Place]) -> dict[str, Way]:
        """Return the ways that were asked for, with what they are compared with."""
        asked = set(self._options.ways)
        if "fast" in asked and not all(place.fast for place in places):
            print("pytest-fast is not measured, because it is not installed.")
            asked.remove("fast")
        asked |= {"plain", *(WAYS[key].beside for key in asked)}
        return {key: way for key, way in WAYS.items() if key in asked}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("projects", nargs="*", type=Path, metavar="PATH")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--second-venv", type=Path, metavar="PYTHON", help="used in turns")
    parser.add_argument("--pytest-fast", type=Path, metavar="COMMAND")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"Medians of {options.rounds} rounds, {os.cpu_count()} CPUs.")
    with home(VALOR_SCHEDULE_IDLE_SECONDS="3600", VALOR_SCHEDULE_SLOTS="2") as folder:
        if not Benchmark(options, folder).run():
            raise SystemExit("A way of ours did not end as plain pytest did.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
