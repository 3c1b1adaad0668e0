"""Write down, in the folder of a job, what its runner knows and no pytest does."""

from __future__ import annotations

from contextlib import closing, suppress
from typing import Any

from pytest_valor_schedule._util import log
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.round import Round, RoundKind
from pytest_valor_schedule.record import event_log
from pytest_valor_schedule.record.event_log import EventLog


class JobNotes:
    """The event log and the output of a job, as far as its runner adds to them."""

    def __init__(self, home: Home, job: Job) -> None:
        self._folder = home.job_folder(job.job_id)
        self._output = home.output(job.job_id)
        self._prefix = Round(job.attempt, RoundKind.NOTES).prefix

    def write(self, event: dict[str, Any]) -> None:
        """Add an event.

        Raises:
            OSError: if there is no room for it.
        """
        with closing(EventLog(event_log.path(self._folder, self._prefix, "runner"))) as notes:
            notes.write(event)

    def announce(self, text: str) -> None:
        """Print between the outputs of two rounds why another one comes."""
        with suppress(OSError):
            log.append(self._output, f"\n{text}\n".encode())
