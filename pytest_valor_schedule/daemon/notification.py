"""Start the process that sends the message about the end of a job.

Whoever ends a job must not wait for a chat server, and a fault of one is no fault of the job.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from pytest_valor_schedule.errors import ScheduleError
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.process import processes
from pytest_valor_schedule.process.fork_check import variables_at_start
from pytest_valor_schedule.queue import environments
from pytest_valor_schedule.queue.store import JobStore

ADDRESS_VARIABLE = "VALOR_SCHEDULE_NOTIFY"
"""Has the whole address, with what is secret in it; records and rows have it shortened."""
TOKEN_VARIABLE = "VALOR_SCHEDULE_TELEGRAM_TOKEN"  # noqa: S105  # its name, not the token
NOTIFIER_VARIABLE = "VALOR_SCHEDULE_NOTIFIER"
"""Marks the process that tells somebody: it is to outlive the cleaning up after other jobs."""


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what only the notifier needs, and no test need see."""
    secrets = (ADDRESS_VARIABLE, TOKEN_VARIABLE)
    return {name: text for name, text in environment.items() if name not in secrets}


def environment(store: JobStore, job: Job) -> dict[str, str]:
    """Return what the notifier needs of the environment of a job that has not ended.

    Address and token, and whatever says how the network is reached; but our own interpreter is to
    tell, not that of the job.
    """
    if job.notification_chat_id is None:
        return {}
    try:
        variables = environments.read(store.home, job.job_id)
    except ScheduleError:
        return {}
    at_start = variables_at_start(variables)
    return {name: text for name, text in variables.items() if name not in at_start}


def shortened(address: str | None) -> str | None:
    """Return an address without what may be secret in it."""
    if address is None or "://" not in address:
        return address
    return f"{address.partition('://')[0]}://***"


def start(store: JobStore, job: Job, variables: Mapping[str, str]) -> None:
    """Have somebody told of a job that has ended, if somebody wants that.

    It gets the variables that `environment` returned before the end.

    Raises:
        OSError: if nobody can be told.
    """
    if job.notification_chat_id is None:
        return
    home = store.home
    processes.start_detached(
        "daemon.notifier",
        [str(home.root), job.job_id],
        home.root,
        home.dispatcher_log,
        {
            **variables,
            **processes.background_environment(home, os.environ),
            NOTIFIER_VARIABLE: job.job_id,
        },
    )
