"""Run a session for whoever asks the dispatcher for one, put its job into the queue, and run it.

It is a runner that is there before its job: it has a pytest collect, acknowledges the job, and
waits until the dispatcher gives it its turn. Where that is not possible it ends without an answer,
and the one who asked goes on without a session.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import time
from pathlib import Path

from pytest_valor_schedule.client import schedule, submit
from pytest_valor_schedule.client.collect import OUTPUT_KEPT, check_collection, too_slow
from pytest_valor_schedule.client.endpoint import Response, error_answer
from pytest_valor_schedule.client.session import SessionRequest
from pytest_valor_schedule.client.submit import SessionClaim
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import runner
from pytest_valor_schedule.daemon.session import Session, open_session
from pytest_valor_schedule.errors import CollectionError, ScheduleError
from pytest_valor_schedule.model.collection import Collection
from pytest_valor_schedule.model.job import JobStatus
from pytest_valor_schedule.process import messages
from pytest_valor_schedule.process.death_pipe import has_ended
from pytest_valor_schedule.process.warm import PreforkedPytest
from pytest_valor_schedule.queue.claim import own_claim
from pytest_valor_schedule.queue.store import JobStore
from pytest_valor_schedule.queue.wakeup import Wakeup

_LOOK_SECONDS = 5.0  # at a waiting job, should nobody have told of a change


def main() -> None:
    """Run the session that is asked for on a connection.

    The arguments are the folder of the home, "session", and two descriptors: the connection, and
    the file with the request.
    """
    root, _, connection, content = sys.argv[1:]
    runner.be_runner()
    home, preforked = Home(Path(root)), PreforkedPytest.of(os.environ)
    with socket.socket(fileno=int(connection)) as client:
        wish = SessionRequest.from_json(messages.read_file(int(content)))
        os.close(int(content))
        parked = None if preforked is None else _schedule(home, client, wish, preforked)
    if parked is not None:
        _run_at_turn(home, *parked)


def _schedule(
    home: Home, client: socket.socket, wish: SessionRequest, preforked: PreforkedPytest
) -> tuple[str, Session, Wakeup] | None:
    """Collect, and answer; return the id of the job, and its session that waits for its turn."""
    job_id = _new_folder(home)
    size = wish.terminal_size
    session = open_session(home, job_id, wish.request, wish.options, preforked, size)
    if session is None:
        shutil.rmtree(home.job_folder(job_id))
        return None
    messages.send(client, {"begun": job_id})
    wakeup = Wakeup(home.turn_pipe(job_id))  # before anybody can want to wake
    until = time.monotonic() + schedule.collecting_seconds(wish.options)
    collection = session.await_collection(until, lambda: not has_ended(client.fileno()))
    if collection is None and session.process.poll() is None and has_ended(client.fileno()):
        _give_up(home, job_id, session)
        return None
    try:
        answer, waits = _put_into_queue(wish, job_id, session, collection)
    except ScheduleError as error:
        shutil.rmtree(home.job_folder(job_id))
        answer, waits = error_answer(error), False
    with contextlib.suppress(OSError):  # nobody listens, but the job is in the queue
        messages.send(client, answer)
    return (job_id, session, wakeup) if waits else None


def _new_folder(home: Home) -> str:
    """Return a new id, and make the folder of its job."""
    home.make()
    while True:
        job_id = submit.new_id(time.time())
        with contextlib.suppress(FileExistsError):
            home.make_job_folder(job_id, exist_ok=False)
            return job_id


def _put_into_queue(
    wish: SessionRequest, job_id: str, session: Session, collection: Collection | None
) -> tuple[Response, bool]:
    """Return what the one who asked is told, and whether the session waits for its turn.

    Raises:
        ScheduleError: if there is nothing that can be scheduled; the session has ended.
    """
    if collection is None or not session.waits:
        code = session.exit_code()
        if code is None:
            raise too_slow(schedule.collecting_seconds(wish.options), session.end())
        check_collection(collection, code, session.end().strip()[-OUTPUT_KEPT:])
        raise CollectionError("pytest ended before its tests were collected.", code)
    waits = collection.fork_workers and not collection.shows_workers
    try:
        if not waits:
            session.end()
        adjusted = schedule.confirming(collection, wish.confirm_failures)
        claim = SessionClaim(job_id, own_claim() if waits else None)
        answer = schedule.put_into_queue(wish.request, wish.options, adjusted, claim)
    except BaseException:
        if waits:
            session.end()
        raise
    return dict(answer), waits


def _give_up(home: Home, job_id: str, session: Session) -> None:
    """End a session for which nobody waits any more, before there is a job."""
    session.end()
    shutil.rmtree(home.job_folder(job_id), ignore_errors=True)


def _run_at_turn(home: Home, job_id: str, session: Session, wakeup: Wakeup) -> None:
    """Wait until the dispatcher starts the job, and run it; or until it is no longer to be run."""
    with contextlib.closing(wakeup), JobStore(home) as store:
        while (job := store.get(job_id)).status is JobStatus.SCHEDULED and not job.attempt:
            wakeup.wait(_LOOK_SECONDS)
    if job.status is JobStatus.SCHEDULED and job.attempt == 1:
        runner.serve(home, job_id, job.attempt, session)
    else:
        session.end()
