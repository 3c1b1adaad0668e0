"""Inside the pytest of a submitter who waits: the job's reports as they arrive."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NoReturn

import pytest

from pytest_valor_schedule import api, completion, outlook, rendering, service
from pytest_valor_schedule.home import Home
from pytest_valor_schedule.job import Job, JobStatus, Outcome
from pytest_valor_schedule.replay import Replay
from pytest_valor_schedule.store import JobStore

_POLL_SECONDS = 0.05
_LOOK_SECONDS = 1.0
_SAY_SECONDS = 30.0  # between two lines about the same place, where no line can be rewritten
_SECOND_INTERRUPT_SECONDS = 2.0
_DETACHED_CODE = 2  # pytest's own for an interrupted run


class Awaiting:
    """Waits for a job and shows it.

    Args:
        session: That of the submitter's pytest.
        home: Where the job is.
        job_id: The job.
    """

    def __init__(self, session: pytest.Session, home: Home, job_id: str) -> None:
        self._session = session
        self._home = home
        self._job_id = job_id
        self._reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        self._replay = Replay(session, home.job_folder(job_id), session.items)
        self._enough: BaseException | None = None
        self._look_at = 0.0
        self._said: tuple[str, float] = ("", 0.0)

    def run(self) -> Mapping[str, Any]:
        """Return the record of the job when it has ended; an interrupt only ends the waiting.

        Raises:
            pytest.exit.Exception: after an interrupt.
        """
        if self._reporter is not None:
            self._reporter.showfspath = False  # tests of several files come in turns
        try:
            return self._wait()
        except KeyboardInterrupt:
            self._detach()

    def end(self) -> None:
        """End the session as -x and --maxfail end it, if they do."""
        if self._enough is not None:
            raise self._enough

    def _wait(self) -> Mapping[str, Any]:
        with JobStore(self._home) as store:
            while not (job := store.get(self._job_id)).status.ended:
                self._look(store, job)
                time.sleep(_POLL_SECONDS)
            record = completion.published(store, job)
            self._show(lambda: self._replay.finish(record))
            return record

    def _look(self, store: JobStore, job: Job) -> None:
        if job.status is JobStatus.RUNNING:
            self._clear_line()
            self._show(self._replay.look)
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        service.look_after(store)
        if job.status is JobStatus.SCHEDULED:
            place = outlook.place_of(store, job, time.time())
            if place.reason is not None:
                self._say(rendering.place_line(place, time.time()))

    def _show(self, action: Any) -> None:
        if self._enough is None:
            try:
                action()
            except pytest.Session.Failed as enough:  # the job was told the same, and ends
                self._enough = enough

    def _say(self, line: str) -> None:
        """Say where the job stands in the queue, in one line that changes."""
        reporter, (said, at) = self._reporter, self._said
        if reporter is None or reporter.verbosity < 0:
            return
        if reporter.isatty:
            reporter.rewrite(line, erase=True)
        elif not said or time.monotonic() - at >= _SAY_SECONDS:
            reporter.write_line(line)
        else:
            return
        self._said = line, time.monotonic()

    def _clear_line(self) -> None:
        if self._said[0] and self._reporter is not None and self._reporter.isatty:
            self._reporter.rewrite("", erase=True)
        self._said = "", 0.0

    def _detach(self) -> NoReturn:
        try:
            self._clear_line()
            self._print(
                f"Ctrl-C: {rendering.detached_line(self._job_id)} Ctrl-C within "
                f"{_SECOND_INTERRUPT_SECONDS:g} s cancels it."
            )
            time.sleep(_SECOND_INTERRUPT_SECONDS)
        except KeyboardInterrupt:
            answer = api.cancel_job(self._job_id)
            text = answer.get("error") or f"{self._job_id} cancelled"
            pytest.exit(text, returncode=rendering.exit_code({"outcome": Outcome.CANCELLED}))
        pytest.exit(f"{self._job_id} goes on", returncode=_DETACHED_CODE)

    def _print(self, line: str) -> None:
        if self._reporter is None:
            print(line)
        else:
            self._reporter.ensure_newline()
            self._reporter.write_line(line)
