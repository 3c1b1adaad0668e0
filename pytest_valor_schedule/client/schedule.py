"""Schedule a run: of a command, of a job once more, or of `valor-schedule run`."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pytest_valor_schedule.client import session
from pytest_valor_schedule.client.collect import collect
from pytest_valor_schedule.client.endpoint import (
    errors_as_answers,
)
from pytest_valor_schedule.client.responses import PriorityName, ScheduleResponse
from pytest_valor_schedule.client.session import SessionRequest
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.config.settings import command_line_fields
from pytest_valor_schedule.model import run_options
from pytest_valor_schedule.model.run_options import RunOptions, check_confirm_failures
from pytest_valor_schedule.model.run_request import (
    RunRequest,
    parse_request,
)

_FOR_PEOPLE = ("workers", "estimated_from", "estimate", "place")


@errors_as_answers
def schedule_tests(
    test_specification: str,
    notification_chat_id: str | None = None,
    max_workers: int = 2,
    timeout_minutes: float = 10,
    priority: PriorityName = "normal",
    *,
    cwd: str | os.PathLike[str] | None = None,
    confirm_failures: int | None = None,
) -> ScheduleResponse:
    """Collect the tests of a command and put them into the queue.

    Args:
        test_specification: A command as a person would type it, such as "pytest tests/ -v" or
            "uv run pytest -k fast", or bare pytest arguments. It is never given to a shell.
        notification_chat_id: Who wants to be told of the end.
        max_workers: The most pytest-xdist workers that the job may have, 1 or more.
        timeout_minutes: Minutes after its start at which the job is ended; fractions are allowed.
        priority: "low", "normal" or "high".
        cwd: The working directory; the current one if None.
        confirm_failures: How often what failed is run again at the end, alone; None for what the
            project says.

    Returns:
        `job_id`, `status` ("scheduled"), `tests_to_run` (node ids), `test_count`,
        `estimated_duration` (text for people: "1m 30s", for tests without history a range such as
        "10s to 2m", or "not known yet"), `timeout_minutes`, and `warnings` if there are any; or
        `error`, and with it `exit_code` and `output` where pytest could not collect.
    """
    options = RunOptions.parse(priority, max_workers, timeout_minutes, notification_chat_id)
    request = parse_request(test_specification, cwd)
    confirming = _checked_tries(confirm_failures, "confirm_failures")
    answer = _schedule(request, dataclasses.asdict(options), confirming)
    return cast(ScheduleResponse, {k: v for k, v in answer.items() if k not in _FOR_PEOPLE})


@errors_as_answers
def schedule_arguments(arguments: Sequence[str], options: Mapping[str, Any]) -> ScheduleResponse:
    """Schedule `pytest ARGUMENTS` in the current folder.

    Args:
        arguments: pytest's.
        options: `priority`, `max_workers`, `timeout_minutes`, `notify` and `confirm_failures` as
            texts of the command line, or None: then the environment, the project's ini file,
            config.toml or the default says it.

    Returns:
        What `rerun_job` returns.
    """
    request = parse_request(shlex.join(["pytest", *arguments]), None)
    fields = command_line_fields(options)
    tries = run_options.number(options.get("confirm_failures"))
    return _schedule(request, fields, _checked_tries(tries, "--confirm-failures"))


@errors_as_answers
def rerun_job(job_id: str, *, failed: bool = False) -> ScheduleResponse:
    """Schedule a job once more, as it was asked for, in the environment of this process.

    Args:
        job_id: A job's id, the last part of it, or an unambiguous prefix.
        failed: Run only the tests that were bad or that the run did not come to.

    Returns:
        What `schedule_tests` returns, and `workers`, `estimated_from`, `estimate` and `place`, as
        text.
    """
    from pytest_valor_schedule.client import rerun  # here, because most runs are new ones

    return rerun.rerun(job_id, failed=failed)


def _schedule(
    request: RunRequest, options: Mapping[str, Any], confirm_failures: int | None
) -> ScheduleResponse:
    """Collect a run, and put it into the queue: in a session, or else by a pytest of our own.

    Args:
        request: What shall run, and where.
        options: The fields of `RunOptions` that are set; the settings of the project say the rest.
        confirm_failures: How often what failed is run again, if that is said.
    """
    wish = SessionRequest(request=request, options=options, confirm_failures=confirm_failures)
    answer = session.ask(Home.find(os.environ), wish)
    if answer is not None:
        return cast(ScheduleResponse, answer)
    from pytest_valor_schedule.client.submit import confirming, put_into_queue

    collection = collect(request, session.collecting_seconds(options), options)
    return put_into_queue(request, options, confirming(collection, confirm_failures))


def _checked_tries(tries: int | None, source: str) -> int | None:
    return None if tries is None else check_confirm_failures(tries, source)
