"""What a runner tells the pytest of each round: its tests, and what is known of them."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence

from pytest_valor_schedule._util import files
from pytest_valor_schedule._util.log import warning
from pytest_valor_schedule.config.project import project_of
from pytest_valor_schedule.daemon import notification
from pytest_valor_schedule.errors import ScheduleError
from pytest_valor_schedule.in_job import durations
from pytest_valor_schedule.model import run_config
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.run_config import CONFIRMING, FIRST, RunConfig
from pytest_valor_schedule.queue import environments, slots
from pytest_valor_schedule.queue.history import History
from pytest_valor_schedule.queue.pace import Work
from pytest_valor_schedule.queue.slots import SlotLease
from pytest_valor_schedule.queue.store import JobStore

_SECRET = (notification.ADDRESS_VARIABLE, notification.TOKEN_VARIABLE)


class Invocation:
    """Briefs the rounds of one job.

    Args:
        store: The queue that it is in.
        job: As it was claimed.
        held: Its slots.
    """

    def __init__(self, store: JobStore, job: Job, held: SlotLease) -> None:
        self._store = store
        self._job = job
        self._held = held
        self._folder = store.home.job_folder(job.job_id)
        self.tests = store.tests(job.job_id)
        self._seconds: dict[str, float] = {}

    def first(self) -> Sequence[str] | None:
        """Return the tests to run where the job itself might choose others by its cache."""
        return self.tests if self._job.chosen_by_cache else None

    def command(self, name: str) -> tuple[str, ...]:
        """Return the command of a round, which does not replace the coverage of the first."""
        if not self._job.measures_coverage or name == FIRST:
            return self._job.command
        return self._job.command_with("--no-cov" if CONFIRMING in name else "--cov-append")

    def environment(
        self, prefix: str, only: Sequence[str] | None, lifeline: int, workers: int
    ) -> dict[str, str]:
        """Return all of the environment of the pytest of a round.

        Args:
            prefix: How the names of the round's files begin.
            only: The tests to run, or None for all that it collects.
            lifeline: A descriptor; see `RunConfig`.
            workers: How many it may have.

        Raises:
            OSError: if there is no room to tell it which tests to run.
            StoreError: if the environment of the job is lost.
        """
        told = RunConfig(
            folder=str(self._folder),
            prefix=prefix,
            workers=workers,
            digest=run_config.collection_digest(self.tests),
            lifeline=lifeline,
            slots=list(self._held.numbers),
            threads=slots.threads_for_each(slots.total_or_cpus(self._store.home)),
            only=None if only is None else self._chosen(prefix, only),
            order=self._job.order or "",
            known=self._known(prefix),
            shows_workers=bool(self._job.shows_workers),
            deselected=0 if only else self._job.deselected or 0,
            collection_lines=[] if only else list(self._job.collection_lines or ()),
            starting_seconds=_starting_seconds(self._job),
        )
        own = {
            run_config.VARIABLE: told.to_text(),
            run_config.JOB_ID_VARIABLE: self._job.job_id,
        }
        # No test need see the secret ones.
        theirs = {name: text for name, text in self._given.items() if name not in _SECRET}
        return {**theirs, **own}

    def work(self, only: Sequence[str] | None) -> Work:
        """Return what the tests of a round are expected to take, by what was known at its start."""
        job = self._job
        otherwise = job.estimated_seconds * job.workers_wanted / max(1, job.test_count)
        return Work.of(self.tests if only is None else only, self._seconds, otherwise)

    @functools.cached_property
    def _given(self) -> Mapping[str, str]:
        """Return the environment that the job was ordered with."""
        return environments.read(self._store.home, self._job.job_id)

    def _chosen(self, prefix: str, only: Sequence[str]) -> str:
        path = self._folder / f"{prefix}.only.json"
        with open(path, "w", encoding="utf-8", opener=files.opener) as file:
            json.dump(list(only), file)
        return str(path)

    def _known(self, prefix: str) -> str | None:
        """Write what is known of the tests and return where; without it they run all the same."""
        path = self._folder / f"{prefix}.known.json"
        try:
            found = History(self._store.database).durations(
                project_of(self._job.rootdir), self.tests
            )
            self._seconds = {nodeid: test.seconds for nodeid, test in found.items()}
            durations.write(path, found)
        except (ScheduleError, OSError) as error:
            warning(f"{self._job.job_id}: What is known of the tests was not found: {error}")
            return None
        return str(path)


def _starting_seconds(job: Job) -> float:
    """Return how long a worker may start: what then still does not is taken to hang.

    As long as nothing may happen in the run, and so that the others have half of its time.
    """
    half = job.timeout_minutes * 60 / 2
    return min(job.stall_seconds or half, half)
