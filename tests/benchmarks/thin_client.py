"""What it costs to ask: a command about jobs that have ended, beside an empty Python.

`python tests/benchmarks/thin_client.py [ROUNDS] [JOBS]`: medians of elapsed and of CPU
milliseconds, measured in turns, with the ratios to `python -c pass`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from measuring import home, job, numbers

_TOOL = Path(sys.executable).with_name("valor-schedule")


def main() -> None:
    """Print a line for each command."""
    rounds, jobs = numbers(sys.argv[1:], 30, 8)
    with home() as folder:
        (folder / "test_it.py").write_text("def test_it():\n    pass\n")
        ids = [str(job(folder, 1)["job_id"]) for _ in range(jobs)]
        ways = {"python -c pass": [sys.executable, "-c", "pass"]}
        for words in (["list"], *([name, ids[0]] for name in ("status", "results", "cancel"))):
            ways[f"valor-schedule {words[0]}"] = [str(_TOOL), *words]
        _print(_measured(ways, rounds))


def _measured(ways: dict[str, list[str]], rounds: int) -> dict[str, tuple[float, float]]:
    """Return the median milliseconds of each way, elapsed and of the CPU; without a first round."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, command in ways.items():
            found[name].append(_milliseconds(command))
    medians = {}
    for name, pairs in found.items():
        elapsed, spent = zip(*pairs[1:], strict=True)
        medians[name] = (statistics.median(elapsed), statistics.median(spent))
    return medians


def _milliseconds(command: Sequence[str]) -> tuple[float, float]:
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    elapsed = time.perf_counter() - begin
    process.returncode = 0
    return elapsed * 1000, (usage.ru_utime + usage.ru_stime) * 1000


def _print(medians: dict[str, tuple[float, float]]) -> None:
    print(f"{'':24}{'elapsed':>9}{'ratio':>7}{'CPU':>10}{'ratio':>7}")
    least = medians["python -c pass"]
    for name, (elapsed, spent) in medians.items():
        first = f"{elapsed:6.1f} ms{elapsed / least[0]:7.2f}"
        print(f"{name:24}{first}{spent:7.1f} ms{spent / least[1]:7.2f}")


if __name__ == "__main__":
    main()
