"""Have pytest collect the tests of a run, in a process of its own."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_valor_schedule.env import COLLECT_VARIABLE
from pytest_valor_schedule.errors import CollectionError
from pytest_valor_schedule.model.collection import Collection
from pytest_valor_schedule.model.job import NEEDED_PLUGINS
from pytest_valor_schedule.model.run_config import CollectConfig
from pytest_valor_schedule.model.run_request import RunRequest
from pytest_valor_schedule.process import kill, processes
from pytest_valor_schedule.process.death_pipe import open_death_pipe
from pytest_valor_schedule.process.processes import Start
from pytest_valor_schedule.record.output import error_line

OUTPUT_KEPT = 4000  # characters
_PACKAGES = {
    "pytest": "pytest",
    "xdist": "pytest-xdist",
    "pytest_valor_schedule": "pytest-valor-schedule",
}
"""By module, what a job needs."""


def collect(request: RunRequest, timeout_seconds: float, options: Mapping[str, Any]) -> Collection:
    """Have the job's own interpreter collect, through our plugin.

    Args:
        request: What shall run, and where.
        timeout_seconds: How long it may take.
        options: What of `RunOptions` is set, for the hooks of the project; the rest is looked up.

    Raises:
        CollectionError: if there is nothing that can be scheduled.
    """
    with tempfile.TemporaryDirectory(prefix="valor-schedule-") as folder:
        target, output = Path(folder, "collection.json"), Path(folder, "output.txt")
        exit_code = _run(request, target, output, timeout_seconds, dict(options))
        collection, text = Collection.read(target), _end_of(output)
        if collection is None and exit_code not in (2, 5):
            _refuse_incomplete_interpreter(request)
    return check_collection(collection, exit_code, text.strip())


def _run(
    request: RunRequest,
    target: Path,
    output: Path,
    timeout_seconds: float,
    options: dict[str, Any],
) -> int:
    """Return the exit code of a pytest that collects; it ends when this process does."""
    with open_death_pipe() as handle:
        order = CollectConfig(str(target), handle, options)
        start = Start(
            command=[*request.launcher, *NEEDED_PLUGINS, *request.arguments],
            cwd=request.cwd,
            output=output,
            environment={**request.environment, COLLECT_VARIABLE: order.to_text()},
            inherited=[handle],
        )
        try:
            process = processes.start(start)
        except OSError as error:
            raise CollectionError(
                f"{request.launcher[0]} could not be started in {request.cwd} ({error.strerror}); "
                "check the command and the folder.",
                exit_code=None,
            ) from error
        try:
            return process.wait(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            raise too_slow(timeout_seconds, _end_of(output)) from None
        finally:
            kill.end_group(process)


def _end_of(output: Path) -> str:
    return output.read_text(errors="replace")[-OUTPUT_KEPT:]


def too_slow(seconds: float, output: str = "") -> CollectionError:
    """Return the error of a collection that took longer than it may."""
    return CollectionError(
        f"Collecting the tests took longer than the time limit ({seconds / 60:g} minutes); raise "
        "timeout_minutes or find out what hangs.",
        exit_code=None,
        output=output,
    )


def check_collection(collection: Collection | None, exit_code: int, output: str) -> Collection:
    """Return a collection that can be scheduled.

    Args:
        collection: What was written down; None if nothing was.
        exit_code: That of the pytest that collected.
        output: What it printed.

    Raises:
        CollectionError: if there is nothing that can be scheduled.
    """
    if collection is not None and collection.refusal:
        raise CollectionError(collection.refusal, exit_code)
    if collection is not None and collection.nodeids:
        return collection
    if exit_code == 5:
        text = "No tests were collected; check the paths and the -k or -m expression."
    elif exit_code == 0:
        text = "This command runs no test; leave out what only shows something."
    else:
        text = f"pytest could not collect the tests ({error_line(output)}); correct that first."
    raise CollectionError(text, exit_code, output)


def _refuse_incomplete_interpreter(request: RunRequest) -> None:
    """Raise if the interpreter lacks a package that a job needs, saying which and where."""
    python = _python_of(request.launcher)
    if python is None:
        return
    for module, package in _PACKAGES.items():
        probe, env = [*python, "-c", f"import {module}"], dict(request.environment)
        try:
            result = subprocess.run(
                probe, cwd=request.cwd, env=env, capture_output=True, timeout=60
            )
        except (OSError, subprocess.TimeoutExpired):
            return
        if result.returncode:
            where = " ".join(python)
            raise CollectionError(
                f"{where} has no {package}; install it there: {where} -m pip install {package}",
                exit_code=None,
                output=result.stderr.decode(errors="replace")[-OUTPUT_KEPT:],
            )


def _python_of(launcher: Sequence[str]) -> list[str] | None:
    """Return a command that starts the Python behind a launcher, where it can be told."""
    if "-m" in launcher:
        return list(launcher[: list(launcher).index("-m")])
    if "run" in launcher[:2]:
        return [*launcher[:-1], "python"]
    beside = Path(launcher[-1]).with_name("python")
    return [str(beside)] if beside.exists() else None
