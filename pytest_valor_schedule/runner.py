"""One job from its start to its record."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_valor_schedule import completion, handshake, journal, processes
from pytest_valor_schedule.completion import Ending
from pytest_valor_schedule.errors import ScheduleError
from pytest_valor_schedule.handshake import Handshake
from pytest_valor_schedule.job import Job, JobStatus, Outcome
from pytest_valor_schedule.processes import Identity
from pytest_valor_schedule.settings import Home
from pytest_valor_schedule.store import JobStore

_POLL_SECONDS = 0.05
_PROGRESS_SECONDS = 1.0
_GRACE_SECONDS = 3.0  # between SIGINT and SIGKILL


class Progress:
    """How far a job is, counted from what its journals gain."""

    def __init__(self, folder: Path, total: int) -> None:
        self._folder = folder
        self._total = total
        self._readers: dict[Path, journal.JournalReader] = {}
        self._finished: set[str] = set()
        self._bad: set[str] = set()

    def look(self) -> dict[str, Any]:
        """Read what is new and return `finished`, `failed` and `total`, all counts of tests."""
        for reader in journal.journals(self._folder):
            for event in self._readers.setdefault(reader.path, reader).read():
                if event["kind"] == "report":
                    self._count(event)
        return {
            "finished": len(self._finished),
            "failed": len(self._bad),
            "total": max(self._total, len(self._finished)),
        }

    def _count(self, report: Mapping[str, Any]) -> None:
        nodeid = str(report.get("id"))
        if report.get("outcome") == "failed":
            self._bad.add(nodeid)
        if report.get("phase") == "teardown":
            self._finished.add(nodeid)


class Runner:
    """Owns one job's processes, clock and record."""

    def __init__(self, store: JobStore, job: Job) -> None:
        self._store = store
        self._job = job
        self._folder = store.home.job_folder(job.job_id)
        self._tests = store.tests(job.job_id)
        self._deadline = time.monotonic() + job.timeout_minutes * 60
        self._progress = Progress(self._folder, job.test_count)
        self._told: dict[str, Any] = {}
        self._tell_at = 0.0

    def run(self) -> None:
        """Run the job and end it, whatever happens."""
        self._store.publish(self._job, self._tests)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        try:
            process = processes.start_job(
                self._job.command,
                self._job.cwd,
                self._environment(),
                self._store.home.output(self._job.job_id),
            )
        except OSError as error:
            ending = self._not_started(error)
        else:
            ending = self._follow(process)
        completion.complete(self._store, self._job, ending)

    def _environment(self) -> dict[str, str]:
        kept = self._store.environment(self._job.job_id)
        told = Handshake(
            folder=str(self._folder),
            attempt=self._job.attempt,
            workers=self._job.workers or 1,
            digest=handshake.collection_digest(self._tests),
        )
        own = {
            handshake.VARIABLE: told.to_text(),
            handshake.JOB_ID_VARIABLE: self._job.job_id,
        }
        return {**kept, **own}

    def _not_started(self, error: OSError) -> Ending:
        text = f"{self._job.command[0]} could not be started in {self._job.cwd} ({error.strerror})."
        return Ending(completed_at=time.time(), outcome=Outcome.ERROR, explanation=text)

    def _follow(self, process: subprocess.Popen[bytes]) -> Ending:
        """Wait for the end of the job's pytest, or bring it about."""
        stop, stopped_at = None, None
        try:
            while stop is None and process.poll() is None:
                self._tell_progress()
                stop = self._reason_to_stop()
                time.sleep(_POLL_SECONDS)
            if stop is not None:
                stopped_at = time.monotonic()
                self._interrupt(process)
        finally:
            processes.end_tree(process)
        return Ending(
            completed_at=time.time(),
            outcome=stop,
            explanation=self._explanation(stop),
            exit_code=process.returncode,
            stopped_at=stopped_at,
        )

    def _reason_to_stop(self) -> Outcome | None:
        if self._store.cancel_requested(self._job.job_id):
            return Outcome.CANCELLED
        if time.monotonic() >= self._deadline:
            return Outcome.TIMED_OUT
        return None

    def _explanation(self, stop: Outcome | None) -> str | None:
        if stop is Outcome.TIMED_OUT:
            return f"The time limit of {self._job.timeout_minutes:g} minutes ended the run."
        return "Cancelled on request while it ran." if stop is Outcome.CANCELLED else None

    @staticmethod
    def _interrupt(process: subprocess.Popen[bytes]) -> None:
        """Let pytest end by itself for a moment, so that fixtures are torn down."""
        processes.interrupt(process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_GRACE_SECONDS)

    def _tell_progress(self) -> None:
        if time.monotonic() < self._tell_at:
            return
        self._tell_at = time.monotonic() + _PROGRESS_SECONDS
        progress = self._progress.look()
        if progress != self._told:
            self._told = progress
            self._store.set_progress(self._job.job_id, progress)


def claim(store: JobStore, job_id: str, attempt: int) -> Job | None:
    """Make this process the one that runs a job; None if the job is no longer to be run by it."""
    identity = Identity.of(os.getpid())
    before = store.get(job_id)
    return store.change(
        job_id,
        JobStatus.SCHEDULED,
        if_attempt=attempt,
        claim=identity.to_text() if identity else None,
        status=JobStatus.RUNNING,
        started_at=time.time(),
        workers=before.workers_wanted,
    )


def main() -> None:
    """Run the attempt at the job in the home that the command line names."""
    root, job_id, attempt = sys.argv[1:]
    processes.become_subreaper()
    with JobStore(Home(Path(root))) as store:
        job = claim(store, job_id, int(attempt))
        if job is not None:
            try:
                Runner(store, job).run()
            except ScheduleError as error:
                print(f"{job_id}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
