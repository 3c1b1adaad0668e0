"""Build the command and the environment of one pytest invocation of a job."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence

from pytest_valor_schedule import env
from pytest_valor_schedule._util import files
from pytest_valor_schedule._util.log import warning
from pytest_valor_schedule.config.project import project_of
from pytest_valor_schedule.daemon import notification
from pytest_valor_schedule.errors import ScheduleError
from pytest_valor_schedule.model import run_config
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.round import Round, RoundKind
from pytest_valor_schedule.model.run_config import RunConfig
from pytest_valor_schedule.model.work_units import PastRun
from pytest_valor_schedule.queue import environments, slots
from pytest_valor_schedule.queue.demand import Work
from pytest_valor_schedule.queue.history import History
from pytest_valor_schedule.queue.slots import SlotLease
from pytest_valor_schedule.queue.store import JobStore


class InvocationBuilder:
    """Builds the invocations of one job's rounds, of which each runs all its tests or some."""

    def __init__(
        self, store: JobStore, job: Job, tests: Sequence[str], job_slots: SlotLease
    ) -> None:
        self._store = store
        self._job = job
        self._tests = tests
        self._slots = job_slots
        self._folder = store.home.job_folder(job.job_id)

    def command(self, kind: RoundKind) -> tuple[str, ...]:
        """Return the command of a round, which does not replace the coverage of the first."""
        if not self._job.measures_coverage or kind is RoundKind.FIRST:
            return self._job.command
        reruns_failures = kind is RoundKind.RERUN_FAILURES
        return self._job.command_with("--no-cov" if reruns_failures else "--cov-append")

    def environment(self, run_config: RunConfig) -> dict[str, str]:
        """Return all of the environment of the pytest of a round.

        Raises:
            StoreError: if the environment of the job is lost.
        """
        return {
            **self._submitted_environment,
            env.RUN_CONFIG_VARIABLE: run_config.to_text(),
            env.JOB_ID_VARIABLE: self._job.job_id,
        }

    def run_config(
        self, round_: Round, only: Sequence[str] | None, death_pipe: int | None, workers: int
    ) -> RunConfig:
        """Return what the pytest of a round is told.

        Args:
            round_: The round, which has files of its own.
            only: The tests to run, or None for all that it collects.
            death_pipe: A descriptor; see `RunConfig`.
            workers: How many it may have.

        Raises:
            OSError: if there is no room to tell it which tests to run.
        """
        return RunConfig(
            folder=str(self._folder),
            prefix=round_.prefix,
            workers=workers,
            digest=run_config.collection_digest(self._tests),
            death_pipe=death_pipe,
            slots=list(self._slots.numbers),
            threads=slots.threads_for_each(slots.total_or_cpus(self._store.home)),
            only=None if only is None else self._write(round_, "only", only),
            order=self._job.order or "",
            durations=self._write_durations(round_),
            shows_workers=bool(self._job.shows_workers),
            deselected=0 if only else self._job.deselected or 0,
            collection_lines=[] if only else list(self._job.collection_lines or ()),
            starting_seconds=_starting_seconds(self._job),
        )

    def work(self, only: Sequence[str] | None) -> Work:
        """Return what the tests of a round are expected to take."""
        job = self._job
        otherwise = job.estimated_seconds * job.worker_demand / max(1, job.test_count)
        seconds = {nodeid: test.seconds for nodeid, test in self._durations.items()}
        return Work.of(self._tests if only is None else only, seconds, otherwise)

    @functools.cached_property
    def _submitted_environment(self) -> Mapping[str, str]:
        """The environment that the job was scheduled with, but for what no test need see."""
        environment = environments.read(self._store.home, self._job.job_id)
        return notification.without_secrets(environment)

    @functools.cached_property
    def _durations(self) -> Mapping[str, PastRun]:
        """What the history has of the tests; without it they run all the same."""
        try:
            history = History(self._store.database)
            return history.durations(project_of(self._job.rootdir), self._tests)
        except (ScheduleError, OSError) as error:
            self._warn_of_durations(error)
            return {}

    def _write_durations(self, round_: Round) -> str | None:
        try:
            return self._write(round_, "known", self._durations)
        except OSError as error:
            self._warn_of_durations(error)
            return None

    def _write(self, round_: Round, name: str, value: object) -> str:
        """Write a file for the pytest of a round, and return its path."""
        path = self._folder / f"{round_.prefix}.{name}.json"
        with open(path, "w", encoding="utf-8", opener=files.opener) as file:
            json.dump(value, file)
        return str(path)

    def _warn_of_durations(self, error: Exception) -> None:
        warning(f"{self._job.job_id}: The durations of the tests are not used: {error}")


def _starting_seconds(job: Job) -> float:
    """Return how long a worker may start: what then still does not is taken to hang.

    As long as nothing may happen in the run, and so that the others have half of its time.
    """
    half = job.timeout_minutes * 60 / 2
    return min(job.stall_seconds or half, half)
