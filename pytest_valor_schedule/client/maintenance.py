"""Keeping the home in order: the functions behind `valor-schedule doctor` and `prune`."""

from __future__ import annotations

import dataclasses
import os
import time
from typing import TYPE_CHECKING

from pytest_valor_schedule._util import clock
from pytest_valor_schedule.client.error_response import Response, errors_as_answers
from pytest_valor_schedule.config import settings
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.config.settings import Setting
from pytest_valor_schedule.daemon import notification
from pytest_valor_schedule.errors import ScheduleError
from pytest_valor_schedule.model.retention import Retention
from pytest_valor_schedule.model.run_options import check_amount
from pytest_valor_schedule.queue import slots
from pytest_valor_schedule.queue.slots import Holder
from pytest_valor_schedule.queue.store import JobStore

if TYPE_CHECKING:
    from pytest_valor_schedule.client.doctor import Finding


@errors_as_answers
def examine_home(*, repair: bool = False) -> Response:
    """Look for what is wrong with the home.

    Args:
        repair: Mend what can be mended.

    Returns:
        `home`, `versions`, and `findings`: for each `text`, `repairable`, and `repaired`, and
        where its repair failed `error`; or `error`.
    """
    from pytest_valor_schedule.client import (
        doctor,  # here, because a look at the slots needs none of it
    )

    home = Home.find(os.environ)
    findings = [_treated(finding, repair) for finding in doctor.examine(home)]
    return {"home": str(home.root), "versions": doctor.versions(), "findings": findings}


def _treated(finding: Finding, repair: bool) -> Response:
    answer: Response = {"text": finding.text, "repairable": finding.repair is not None}
    answer["repaired"] = False
    if repair and finding.repair is not None:
        try:
            finding.repair()
            answer["repaired"] = True
        except (ScheduleError, OSError) as error:
            answer["error"] = str(error)
    return answer


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
    found = slots.holders(home, total)
    return {"slots": [_slot(number, found.get(number)) for number in range(total)]}


def _slot(number: int, who: Holder | None) -> Response:
    answer: Response = {"slot": number, "held": who is not None, "job_id": None}
    if who is not None:
        answer["job_id"] = who.job_id or None
    if who is not None and who.pid:
        told = {"pid": who.pid, "command": who.command, "folder": who.folder}
        answer |= {**told, "since": clock.to_text(who.since)}
    return answer


@errors_as_answers
def list_settings() -> Response:
    """Return what holds where neither the command line nor a project's ini file says anything.

    Returns:
        `file` (that of the machine-wide settings), `settings`: of each by its name `value` and
        `source`, `unknown`: what the file has that is no setting, and `problems`: a sentence for
        each that cannot be used; or `error`.
    """
    from pytest_valor_schedule.client import settings_check

    home = Home.find(os.environ)
    machine = home.settings()
    found = {
        name: settings.look_up(name, None, os.environ, None, machine)
        for name, definition in settings.SETTINGS.items()
        if definition.listed
    }
    if found["slots"].value is None:
        found["slots"] = Setting(slots.usable_cpus(), "the CPUs of this machine")
    notify = found["notify"]
    shown = notification.shortened(notify.value and str(notify.value))
    found["notify"] = dataclasses.replace(notify, value=shown)
    return {
        "file": str(home.config),
        "settings": {name: dataclasses.asdict(each) for name, each in found.items()},
        "unknown": settings_check.strangers(machine),
        "problems": list(settings_check.problems(home, os.environ)),
    }


@errors_as_answers
def prune_jobs(keep_days: float | None = None, *, dry_run: bool = False) -> Response:
    """Throw away logs, journals and records of jobs that ended long ago.

    Args:
        keep_days: What ended longer ago goes; None for what config.toml says. What was learned
            of tests is no log and no record: how long it stays, config.toml alone says.
        dry_run: Only say what would go.

    Returns:
        `logs` and `records` (job ids), `others` (file names), `durations` (of how many tests),
        `bytes`, `dry_run`; or `error`.
    """
    from pytest_valor_schedule.queue import pruning

    home = Home.find(os.environ)
    retention = Retention.of(home.settings())
    if keep_days is not None:
        days = check_amount(keep_days, "keep_days", "a number of days of 0 or more, or None")
        retention = dataclasses.replace(retention, keep_logs_days=days, keep_records_days=days)
    with JobStore(home) as store:
        pruned = pruning.prune(store, retention, time.time(), dry_run=dry_run)
    return {**dataclasses.asdict(pruned), "dry_run": dry_run}
