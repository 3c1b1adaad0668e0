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
    Response,
    errors_as_answers,
    open_queue,
    require_ended,
)
from pytest_valor_schedule.client.responses import PriorityName, ScheduleResponse
from pytest_valor_schedule.client.session import SessionRequest
from pytest_valor_schedule.client.submit import SessionClaim, submit
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.config.settings import command_line_fields
from pytest_valor_schedule.errors import InvalidRequestError
from pytest_valor_schedule.model import run_options, shell
from pytest_valor_schedule.model.collection import Collection
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.run_options import RunOptions, check_confirm_failures
from pytest_valor_schedule.model.run_request import (
    RunRequest,
    current_umask,
    job_environment,
    parse_request,
)
from pytest_valor_schedule.queue import job_records
from pytest_valor_schedule.record import compare

_COLLECTING_MINUTES = 10.0
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
    with open_queue() as store:
        job = store.find(job_id)
        bad = _bad_tests(require_ended(job), job_records.record_of(store, job)) if failed else None
    request = RunRequest(
        specification=job.specification,
        launcher=job.launcher,
        arguments=job.arguments,
        cwd=job.cwd,
        environment=_environment_of(job),
        umask=current_umask(),
        rerun_of=job.job_id,
    )
    options = RunOptions(
        priority=job.priority,
        max_workers=job.max_workers,
        timeout_minutes=job.timeout_minutes,
        notification_chat_id=_chat_of(job),
    )
    fields = dataclasses.asdict(options)
    collection = collect(request, options.timeout_minutes * 60, fields)
    return put_into_queue(request, fields, _as_before(collection, job, bad))


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
    collection = collect(request, collecting_seconds(options), options)
    return put_into_queue(request, options, confirming(collection, confirm_failures))


def collecting_seconds(options: Mapping[str, Any]) -> float:
    """Return how long a collection may take; see `put_into_queue`."""
    return float(options.get("timeout_minutes", _COLLECTING_MINUTES)) * 60


def put_into_queue(
    request: RunRequest,
    options: Mapping[str, Any],
    collection: Collection,
    claim: SessionClaim | None = None,
) -> ScheduleResponse:
    """Put a run that was collected into the queue.

    Args:
        request: What shall run, and where.
        options: The fields of `RunOptions` that are set; the settings of the project say the rest.
        collection: Its tests.
        claim: Who has collected them and waits for the turn of the job, if anybody does.
    """
    checked = RunOptions.parse(**{**collection.request, **options})
    wishes = run_options.apply_changes(checked, collection.changes)
    return submit(Home.find(os.environ), request, wishes, collection, claim)


def confirming(collection: Collection, tries: int | None) -> Collection:
    """Return a collection whose failures are confirmed as often, where that is said."""
    if tries is None:
        return collection
    return dataclasses.replace(collection, confirm_failures=tries)


def _checked_tries(tries: int | None, source: str) -> int | None:
    return None if tries is None else check_confirm_failures(tries, source)


def _as_before(collection: Collection, job: Job, nodeids: set[str] | None) -> Collection:
    """Return a collection as a job had it, with only some of its tests if they are named."""
    collection = dataclasses.replace(
        collection,
        confirm_failures=job.confirm_failures,
        flaky_passes=bool(job.flaky_passes),
        random_seed=None if collection.random_seed is None else job.random_seed,
    )
    if nodeids is None:
        return collection
    present = tuple(nodeid for nodeid in collection.nodeids if nodeid in nodeids)
    if not present:
        raise InvalidRequestError(
            f"None of the tests that failed in job {job.job_id} is there any more."
        )
    return dataclasses.replace(collection, nodeids=present, chosen_by_cache=True)


def _bad_tests(job: Job, record: Response) -> set[str]:
    bad = (*compare.BAD, "not_run")
    nodeids = {each["nodeid"] for each in record["results"] if each["outcome"] in bad}
    if not nodeids:
        raise InvalidRequestError(f"Nothing failed in job {job.job_id}; leave --failed out.")
    return nodeids


def _environment_of(job: Job) -> dict[str, str]:
    """Return the current environment with what the specification sets before its command."""
    text, environment = job.specification, job_environment()
    # What a terminal's pytest was given begins with its name, and may not be fit for a split.
    pairs = dict(shell.assignments([] if text.startswith("pytest") else shell.split(text)))
    hidden = {name for name, value in pairs.items() if value == shell.HIDDEN}
    if absent := sorted(hidden - environment.keys()):
        raise InvalidRequestError(
            f"Job {job.job_id} was scheduled with {absent[0]}=..., whose value is not kept, "
            "because it may be secret; set that variable and try again."
        )
    return {**environment, **{n: value for n, value in pairs.items() if n not in hidden}}


def _chat_of(job: Job) -> str | None:
    """Return whom to tell; an address whose secret part was not kept is of no use."""
    chat = job.notification_chat_id
    return None if chat is None or "://" in chat else chat
