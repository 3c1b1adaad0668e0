"""Compare a scheduled run with a plain one: `python -m tests.tools.parity PATH [pytest arguments]`.

Runs pytest in PATH with this interpreter, once plainly and once through the queue, and prints
every test whose outcomes differ. The exit code is 0 if there is none. VALOR_HOME is a temporary
folder unless it is set.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support import plain_outcomes as recorder
from tests.support.scheduled import run_pytest, run_tool

SUPPORT = Path(recorder.__file__).parent


def plain_outcomes(project: Path, arguments: Sequence[str]) -> dict[str, str]:
    """Return node id to outcome as a plain pytest run in project counts them."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "outcomes.json")
        path = os.pathsep.join([str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PLAIN_OUTCOMES": str(target), "PYTHONPATH": path}
        command = ["-m", "pytest", "-p", "no:cacheprovider", "-p", "plain_outcomes", *arguments]
        _run(command, project, environment)
        outcomes: dict[str, str] = json.loads(target.read_text())
        return outcomes


def scheduled_results(project: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """Return what `valor-schedule results --json` says of the same run through the queue."""
    scheduled = ("-p", "no:cacheprovider", "--schedule", "-q", *arguments)
    done = run_pytest(*scheduled, "--timeout-minutes", "30", folder=project)
    line = next((line for line in done.stdout.splitlines() if line.startswith("scheduled ")), "")
    if not line:
        raise SystemExit(f"Nothing was scheduled:\n{done.stdout}{done.stderr}")
    job_id = line.split()[1].rstrip(":")
    run_tool("wait", job_id)
    results: dict[str, Any] = json.loads(run_tool("results", job_id, "--json").stdout)
    return results


def _run(arguments: Sequence[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
    )
    return done.stdout + done.stderr


def differences(plain: dict[str, str], results: dict[str, Any]) -> list[str]:
    """Return a line for each test whose outcomes differ, and for a summary that does not fit."""
    scheduled = {result["nodeid"]: result["outcome"] for result in results["results"]}
    lines = [
        f"{nodeid}: plain {plain.get(nodeid)}, scheduled {scheduled.get(nodeid)}"
        for nodeid in sorted({*plain, *scheduled})
        if plain.get(nodeid) != scheduled.get(nodeid)
    ]
    counts = Counter("errors" if each == "error" else each for each in plain.values())
    counts["total"] = len(plain)
    for name, number in results["summary"].items():
        if name != "duration_seconds" and number != counts[name]:
            lines.append(f"summary: {name} is {number}, plain pytest has {counts[name]}")
    return lines


def main() -> int:
    """Compare, print, and return the exit code."""
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    project, arguments = Path(sys.argv[1]), sys.argv[2:]
    with tempfile.TemporaryDirectory() as home:
        os.environ.setdefault("VALOR_HOME", home)
        plain = plain_outcomes(project, arguments)
        results = scheduled_results(project, arguments)
    different = differences(plain, results)
    for line in different:
        print(line)
    counts = {name: count for name, count in results["summary"].items() if count}
    print(f"{project.name}: {len(plain)} tests plain, {len(different)} differences; {counts}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
