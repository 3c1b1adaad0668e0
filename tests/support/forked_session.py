"""Runs a session on workers that are forked from it, without a queue.

It is a plugin, for a pytest that is started by `run`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_valor_schedule.in_job import fork_hazards, session_workers
from pytest_valor_schedule.model.round import Round, RoundKind
from pytest_valor_schedule.model.run_config import RunConfig, collection_digest

_FIELDS = "FORKED_SESSION"
_ROOT = Path(__file__).parents[2]
_COMMON = ("-p", "no:cacheprovider", "-p", "no:rerunfailures")
FOLDER, HAZARDS = "job", "hazards.json"


def run(
    *arguments: str, workers: int = 2, shows_workers: bool = True, program: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run pytest in the working directory, on workers that are forked."""
    Path(FOLDER).mkdir(exist_ok=True)
    fields = {
        "folder": str(Path(FOLDER).absolute()),
        "workers": workers,
        "slots": list(range(10, 10 + workers)),
        "shows_workers": shows_workers,
    }
    more = {_FIELDS: json.dumps(fields)}
    words = ["-p", "tests.support.forked_session", *_COMMON, *arguments]
    return _run([program] if program else ["-m", "pytest"], words, more)


def run_by_hand(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `pytest` as a person does."""
    return _run(["-m", "pytest"], [*_COMMON, *arguments], {})


def _run(
    program: list[str], arguments: list[str], more: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), **more}
    return subprocess.run(
        [sys.executable, *program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def hazards() -> list[str]:
    """Return why the last run was not forked; nothing if it was."""
    path = Path(FOLDER, HAZARDS)
    return list(json.loads(path.read_text())) if path.exists() else []


_reports: list[pytest.CollectReport] = []


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Keep what could not be collected, and what was skipped."""
    if not report.passed:
        _reports.append(report)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> object:
    """Run the tests on workers, or write down why that cannot be."""
    if _FIELDS not in os.environ:  # a worker that was started
        return None
    run_config = RunConfig(
        prefix=Round(1, RoundKind.FIRST).prefix,
        digest=collection_digest(item.nodeid for item in session.items),
        order="collected",
        **json.loads(os.environ.pop(_FIELDS)),
    )
    reasons = fork_hazards.hazards(session, plugins=[sys.modules[__name__]])
    if reasons:
        Path(run_config.folder, HAZARDS).write_text(json.dumps(reasons))
        raise session.Interrupted("It cannot be forked.")
    return session_workers.run_on_workers(session, run_config, dict(os.environ), _reports)
