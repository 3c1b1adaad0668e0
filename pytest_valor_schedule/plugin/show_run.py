"""Show whoever waits for a job what it prints, as it prints it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from pytest_valor_schedule._util.log import Tail
from pytest_valor_schedule.client import control
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import service
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.job_terms import JobStatus, Outcome
from pytest_valor_schedule.process import processes, pseudo_terminal
from pytest_valor_schedule.process.identity import Identity
from pytest_valor_schedule.queue import forecast, job_records
from pytest_valor_schedule.queue.store import JobStore
from pytest_valor_schedule.text import render
from pytest_valor_schedule.text.screen import Screen, terminal_size

_POLL_SECONDS = 0.05
_LOOK_SECONDS = 1.0
_SAY_SECONDS = 30.0  # between two lines about the same place, where no line can be rewritten
_SECOND_INTERRUPT_SECONDS = 2.0
_DETACHED_CODE = 2  # pytest's own for an interrupted run


class RunView:
    """Show a job to whoever waits for it, until it has ended.

    Args:
        home: Where the job is.
        receipt: What the submitter is told of it.
        quiet: Whether to say no more than must be said; why nothing happens must.
        tail: Of its log, if it has been shown for a while.
    """

    def __init__(
        self,
        home: Home,
        receipt: Mapping[str, Any],
        *,
        quiet: bool,
        tail: Tail | None = None,
    ) -> None:
        self._home = home
        self._receipt = receipt
        self._quiet = quiet
        self._job_id = receipt["job_id"]
        self._size = terminal_size()
        self._screen = Screen(sys.stdout, self._size and self._size[0])
        self._was_announced = tail is not None
        self._tail = tail or Tail(home.output(self._job_id))
        self._look_at = self._say_at = 0.0
        self._runner: Identity | None = None

    def run(self) -> int:
        """Return the exit code of the job when it has ended; an interrupt only ends the waiting."""
        try:
            if not self._was_announced:
                self._announce()
            record = self._wait()
        except KeyboardInterrupt:
            return self.detach()
        self._say_end(record)
        return render.exit_code(record)

    def _announce(self) -> None:
        first, *warnings = render.receipt_lines(dict(self._receipt), quiet=True)
        lines = [] if self._quiet or self._screen.is_terminal else [first]
        for line in (*lines, *warnings):
            self._screen.print(line)

    def _wait(self) -> Mapping[str, Any]:
        with JobStore(self._home) as store:
            while not (job := store.get(self._job_id)).status.is_final:
                self._look(store, job)
                self._pause(store, job)
            self._screen.show(self._tail.read())
            return job_records.record_of(store, job)

    def _pause(self, store: JobStore, job: Job) -> None:
        """Wait a little, or until the job's runner ends."""
        if self._runner is None and job.status is JobStatus.RUNNING:
            self._runner = Identity.alive_in(store.claim(job.job_id))
        if self._runner is None or not processes.await_end_of(self._runner, _POLL_SECONDS):
            time.sleep(_POLL_SECONDS)

    def _look(self, store: JobStore, job: Job) -> None:
        if job.status is JobStatus.RUNNING:
            self._screen.show(self._tail.read())
            self._tell_size()
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        service.look_after(store)
        if job.status is JobStatus.SCHEDULED:
            self._say_place(store, job, now)

    def _tell_size(self) -> None:
        """Let a change of the window's width reach the job."""
        size = terminal_size()
        if size is not None and size != self._size:
            self._size = size
            pseudo_terminal.write_window(self._home.job_folder(self._job_id), size)

    def _say_place(self, store: JobStore, job: Job, now: float) -> None:
        """Say where the job stands in the queue, in one line that changes."""
        place = forecast.queue_position(store, job, time.time())
        if place.reason is None:
            return
        if (size := terminal_size()) is not None:
            self._screen.resize(size[0])
            self._screen.rewrite(render.waiting_line(self._job_id, place, time.time()))
        elif now >= self._say_at:
            self._say_at = now + _SAY_SECONDS
            self._screen.print(render.place_line(place, time.time()))

    def _say_end(self, record: Mapping[str, Any]) -> None:
        """Say what pytest's last line does not: of the whole run, and how to come back to it."""
        if not render.output_is_final(record):
            for line in (*render.status_lines(record), render.log_line(record)):
                self._screen.print(line)
        elif self._screen.is_terminal and not self._quiet:
            self._screen.print(render.end_line(record))

    def detach(self) -> int:
        """Say that the job goes on, and wait a moment for whoever wants it cancelled."""
        try:
            self._screen.print(
                f"\nCtrl-C: {render.detached_line(self._job_id)} Ctrl-C within "
                f"{_SECOND_INTERRUPT_SECONDS:g} s cancels it."
            )
            time.sleep(_SECOND_INTERRUPT_SECONDS)
        except KeyboardInterrupt:
            self._screen.print("")  # the terminal has put ^C where the next line would begin
            answer = control.cancel_job(self._job_id)
            # An error says that it has ended, or has yet to end.
            self._screen.print(answer.get("error") or f"Job {self._job_id} is cancelled.")
            if "error" not in answer:
                return render.exit_code({"outcome": Outcome.CANCELLED})
        return _DETACHED_CODE
