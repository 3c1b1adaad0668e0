"""Specify the hooks that a conftest.py or another plugin may implement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest


@pytest.hookspec
def pytest_valor_schedule_submit(
    config: pytest.Config, request: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """Change a run before it is handed over, or refuse it; called where the tests are collected.

    Args:
        config: pytest's.
        request: How the run shall be executed: `priority` ("low", "normal" or "high"),
            `max_workers`, `timeout_minutes`, `notification_chat_id` (or None), and `test_count`.

    Returns:
        None to leave it as it is, or a mapping with those of the first four keys that shall be
        different; or with the key `veto`: a sentence that says why the run is not scheduled.
        Where several plugins change the same, the one that pytest calls last has its way.
    """


@pytest.hookspec
def pytest_valor_schedule_result(
    config: pytest.Config, report: pytest.TestReport
) -> Mapping[str, Any] | None:
    """Add to the record of a test; called in the worker that ran it, for each of its phases.

    Args:
        config: That of the worker.
        report: Of the phase `report.when`.

    Returns:
        None, or a mapping of names to what JSON can hold: it stands under `extra` in the result
        of the test. A later phase's entry replaces an earlier one's of the same name.
    """


@pytest.hookspec
def pytest_valor_schedule_finish(config: pytest.Config, job: Mapping[str, Any]) -> None:
    """Do something at the end of a job's session; called in its controller.

    It is called again where tests that a first round did not come to are run in a second one, but
    not where failures are only confirmed.

    Args:
        config: That of the controller.
        job: `job_id`, `exit_code` (pytest's, as it stands), `test_count` (of tests that were
            collected), `failed` (the number of failures and errors), `slots` (the numbers of the
            job's worker slots).
    """
