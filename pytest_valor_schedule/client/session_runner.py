"""Run a session for whoever asks the dispatcher for one, put its job into the queue, and run it.

It is a runner that is there before its job: it has a pytest collect, acknowledges the job, and
waits until the dispatcher gives it its turn. Where that is not possible it ends without an answer,
and the one who asked goes on without a session.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import shutil
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_valor_schedule.client import submit
from pytest_valor_schedule.client.collect import OUTPUT_KEPT, check_collection, too_slow
from pytest_valor_schedule.client.endpoint import Response, error_answer
from pytest_valor_schedule.client.session import SessionRequest, collecting_seconds
from pytest_valor_schedule.client.submit import SessionClaim
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import runner, service
from pytest_valor_schedule.daemon.session import Session, open_session
from pytest_valor_schedule.errors import CollectionError, ScheduleError
from pytest_valor_schedule.model.collection import Collection
from pytest_valor_schedule.model.job_terms import JobStatus
from pytest_valor_schedule.process import messages, startup
from pytest_valor_schedule.process.death_pipe import has_ended
from pytest_valor_schedule.process.warm import PreforkedPytest
from pytest_valor_schedule.queue.claim import own_claim
from pytest_valor_schedule.queue.store import JobStore
from pytest_valor_schedule.queue.wakeup import Wakeup
from pytest_valor_schedule.text import render

_READING_SECONDS = 5.0
_LOOK_SECONDS = 2.0  # at a waiting job, should nobody have told of a change
_MOST_UNSERVED_LOOKS = 2


def main() -> None:
    """Run the session that is asked for on a connection.

    The arguments are the folder of the home, "session", and two descriptors: the connection, and
    the file with the request.
    """
    root, _, connection, content = sys.argv[1:]
    runner.be_runner()
    startup.set_name(runner.SESSION_NAME)
    home, preforked = Home(Path(root)), PreforkedPytest.of(os.environ)
    with socket.socket(fileno=int(connection)) as client:
        os.set_inheritable(client.fileno(), False)
        wish = SessionRequest.from_json(messages.read_file(int(content)))
        os.close(int(content))
        parked = None if preforked is None else _schedule(home, client, wish, preforked)
        if parked is not None:
            _run_at_turn(home, *parked)
            _tell_end(home, parked[0], client)


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
    until = time.monotonic() + collecting_seconds(wish.options)
    collection = session.await_collection(until, lambda: not has_ended(client.fileno()))
    session.pump.settle()
    if collection is None and session.process.poll() is None and has_ended(client.fileno()):
        _give_up(home, job_id, session)
        return None
    _tell(client, {"printed": _size(home.output(job_id))})
    try:
        answer, waits = _put_into_queue(wish, job_id, session, collection)
        _tell(client, {"answer": answer})
    except ScheduleError as error:
        _tell(client, {"answer": error_answer(error)})
        select.select([client], [], [], _READING_SECONDS)  # until it has read what was printed
        shutil.rmtree(home.job_folder(job_id))
        return None
    return (job_id, session, wakeup) if waits else None


def _tell(client: socket.socket, content: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):  # nobody listens, but there is a job
        messages.send(client, content)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


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
            raise too_slow(collecting_seconds(wish.options), session.end())
        check_collection(collection, code, session.end().strip()[-OUTPUT_KEPT:])
        raise CollectionError("pytest ended before its tests were collected.", code)
    waits = collection.fork_workers and not collection.shows_workers
    try:
        if not waits:
            session.replace_by_another()
        collection = dataclasses.replace(collection, terminal_size=wish.terminal_size)
        adjusted = submit.confirming(collection, wish.confirm_failures)
        claim = SessionClaim(job_id, own_claim() if waits else None)
        answer = submit.put_into_queue(wish.request, wish.options, adjusted, claim)
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
        unserved_looks = 0
        while (job := store.get(job_id)).status is JobStatus.SCHEDULED and not job.attempt:
            wakeup.wait(_LOOK_SECONDS)
            service.look_after(store)
            unserved_looks = 0 if service.is_running(home) else unserved_looks + 1
            if unserved_looks >= _MOST_UNSERVED_LOOKS:  # as when the queue is paused for long
                break
    if job.status is JobStatus.SCHEDULED and job.attempt == 1:
        runner.serve(home, job_id, job.attempt, session)
    else:
        session.end()


def _tell_end(home: Home, job_id: str, client: socket.socket) -> None:
    """Tell whoever still listens how the job ended."""
    with JobStore(home) as store:
        job = store.get(job_id)
    if job.status.is_final:
        record = job.to_json()
        is_final = render.output_is_final(record)
        _tell(client, {"ended": render.exit_code(record), "is_final": is_final})
