"""Schedule a job once more, or what failed in it."""

from __future__ import annotations

import dataclasses

from pytest_valor_schedule.client.collect import collect
from pytest_valor_schedule.client.endpoint import Response, open_queue, require_ended
from pytest_valor_schedule.client.responses import ScheduleResponse
from pytest_valor_schedule.client.submit import put_into_queue
from pytest_valor_schedule.errors import InvalidRequestError
from pytest_valor_schedule.model import shell
from pytest_valor_schedule.model.collection import Collection
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.run_options import RunOptions
from pytest_valor_schedule.model.run_request import RunRequest, current_umask, job_environment
from pytest_valor_schedule.queue import job_records
from pytest_valor_schedule.record import compare


def rerun(job_id: str, *, failed: bool) -> ScheduleResponse:
    """Schedule a job once more; see `schedule.rerun_job`."""
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
