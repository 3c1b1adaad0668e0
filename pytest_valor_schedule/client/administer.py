"""List slots and settings, and throw away what is old."""

from __future__ import annotations

import dataclasses
import os
import time

from pytest_valor_schedule._util import clock
from pytest_valor_schedule.client import settings_check
from pytest_valor_schedule.client.endpoint import Response, errors_as_answers
from pytest_valor_schedule.config import settings
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.config.settings import Setting
from pytest_valor_schedule.daemon import notification
from pytest_valor_schedule.model.retention import Retention
from pytest_valor_schedule.model.run_options import check_amount
from pytest_valor_schedule.queue import pruning, slots
from pytest_valor_schedule.queue.slots import Holder
from pytest_valor_schedule.queue.store import JobStore


@errors_as_answers
def list_slots() -> Response:
    """Return who has which worker slot.

    Returns:
        `slots`: for each `slot` (its number), `held`, and who has it: `job_id`; for a run that
        was started by hand None, and `pid`, `command`, `folder` and `since` (ISO 8601); or `error`.
    """
    home = Home.find(os.environ)
    home.make()
    total = slots.total(home)
    holders = slots.holders(home, total)
    return {"slots": [_slot(number, holders.get(number)) for number in range(total)]}


def _slot(number: int, holder: Holder | None) -> Response:
    if holder is None:
        return {"slot": number, "held": False, "job_id": None}
    answer = {"slot": number, "held": True, "job_id": holder.job_id or None}
    if not holder.pid:
        return answer
    process = {"pid": holder.pid, "command": holder.command, "folder": holder.folder}
    return {**answer, **process, "since": clock.to_text(holder.since)}


@errors_as_answers
def list_settings() -> Response:
    """Return what holds where neither the command line nor a project's ini file says anything.

    Returns:
        `file` (that of the machine-wide settings), `settings`: of each by its name `value` and
        `source`, `unknown`: what the file has that is no setting, and `problems`: a sentence for
        each that cannot be used; or `error`.
    """
    home = Home.find(os.environ)
    machine = home.settings()
    values = {
        name: settings.look_up(name, None, os.environ, None, machine)
        for name, definition in settings.SETTINGS.items()
        if definition.listed
    }
    if values["slots"].value is None:
        values["slots"] = Setting(slots.usable_cpus(), "the CPUs of this machine")
    notify = values["notify"]
    shown = notification.shortened(notify.value and str(notify.value))
    values["notify"] = dataclasses.replace(notify, value=shown)
    return {
        "file": str(home.config),
        "settings": {name: dataclasses.asdict(each) for name, each in values.items()},
        "unknown": settings_check.unknown_names(machine),
        "problems": list(settings_check.problems(home, os.environ)),
    }


@errors_as_answers
def prune_jobs(keep_days: float | None = None, *, dry_run: bool = False) -> Response:
    """Throw away logs, event logs and records of jobs that ended long ago.

    Args:
        keep_days: What ended longer ago goes; None for what config.toml says. What was learned
            of tests is no log and no record: how long it stays, config.toml alone says.
        dry_run: Only say what would go.

    Returns:
        `logs` and `records` (job ids), `others` (file names), `durations` (of how many tests),
        `bytes`, `dry_run`; or `error`.
    """
    home = Home.find(os.environ)
    retention = Retention.of(home.settings())
    if keep_days is not None:
        days = check_amount(keep_days, "keep_days", "a number of days of 0 or more, or None")
        retention = dataclasses.replace(retention, keep_logs_days=days, keep_records_days=days)
    with JobStore(home) as store:
        pruned = pruning.prune(store, retention, time.time(), dry_run=dry_run)
    return {**dataclasses.asdict(pruned), "dry_run": dry_run}
