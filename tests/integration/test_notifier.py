"""Whoever asked is told that a job has ended, and nobody is told a secret."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule import cancel_job, schedule_tests
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import notifier
from pytest_valor_schedule.daemon.notification import (
    ADDRESS_VARIABLE,
    NOTIFIER_VARIABLE,
    TOKEN_VARIABLE,
)
from pytest_valor_schedule.process import processes
from pytest_valor_schedule.queue.store import JobStore
from pytest_valor_schedule.record import record_file
from tests.support.scheduled import results_of, run_pytest, scheduled_id
from tests.support.waiting import DEADLINE_SECONDS, processes_marked, wait_until

pytestmark = pytest.mark.usefixtures("warm_collection")

MIXED = "def test_good(): pass\ndef test_bad(): assert 1 == 2, 'because'\n"
SECRET = "s3cretword"


class _Server:
    """A web server that keeps what it gets and answers with a code."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.code = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((self.path, json.loads(text)))
                self.send_response(outer.code)
                self.end_headers()
                self.wfile.write(b'{"ok": true}')

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever)
        self._thread.start()

    def stop(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture(scope="module", autouse=True)
def telegram() -> Any:
    """Apprise, imported before pytester notes which modules it is to leave as they were."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("apprise.plugins.custom_json")
        return pytest.importorskip("apprise.plugins.telegram").NotifyTelegram


@pytest.fixture
def server() -> Iterator[_Server]:
    server = _Server()
    yield server
    server.stop()


def _told(home: Home, job_id: str) -> dict[str, Any]:
    """Wait for what a job's record says of its message."""
    told = wait_until(
        lambda: (record_file.read(home.record(job_id)) or {}).get("notification"),
        "somebody was told",
    )
    return dict(told or {})


@pytest.mark.home_in_use
def test_the_end_is_told(project: Path, home: Home, server: _Server) -> None:
    """Outcome, counts, first failures and what is new arrive; no secret is left anywhere."""
    Path("test_it.py").write_text("def test_good(): pass\ndef test_bad(): pass\n")
    results_of(scheduled_id(run_pytest("--schedule")))
    Path("test_it.py").write_text(MIXED)
    address = f"json://me:{SECRET}@127.0.0.1:{server.port}/"
    job_id = scheduled_id(run_pytest("--schedule", "--notify", address))
    results_of(job_id)
    assert _told(home, job_id)["sent"] is True
    [(_, got)] = server.got
    assert got["type"] == "failure"
    assert got["title"].startswith("failed: 1 failed, 1 passed in ")
    assert "newly failing: test_it.py::test_bad" in got["message"]
    assert "test_it.py::test_bad: AssertionError: because" in got["message"]
    assert job_id in got["message"]
    kept = home.record(job_id).read_text() + home.dispatcher_log.read_text() + str(server.got)
    assert SECRET not in kept
    assert len(results_of(job_id)["results"]) == 2


def test_a_job_that_never_ran_is_told_too(
    project: Path, home: Home, server: _Server, no_dispatcher: None
) -> None:
    """Whoever cancels a waiting job has the message sent."""
    Path("test_it.py").write_text(MIXED)
    address = f"json://127.0.0.1:{server.port}"
    job_id = schedule_tests("pytest", address)["job_id"]
    cancel_job(job_id)
    assert _told(home, job_id)["sent"] is True
    assert server.got[0][1]["title"].startswith("cancelled: 2 not run")


def test_telegram_gets_what_its_protocol_asks_for(
    ended: str, home: Home, server: _Server, telegram: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chat id means Telegram's sendMessage, with the token of the environment."""
    monkeypatch.setattr(telegram, "notify_url", f"http://127.0.0.1:{server.port}/bot")
    token = "123456789:abcdefghijklmnopqrstuvwxyzABCDEF012"
    with JobStore(home) as store:
        environment = {TOKEN_VARIABLE: token, "VALOR_SCHEDULE_NOTIFY": "-1001234"}
        told = notifier.tell(store, store.get(ended), environment)
    assert told["sent"] is True
    [(path, got)] = server.got
    assert path == f"/bot{token}/sendMessage"
    assert str(got["chat_id"]) == "-1001234"
    assert "1 failed, 2 passed" in got["text"]


def test_a_server_that_refuses_is_asked_four_times(ended: str, home: Home, server: _Server) -> None:
    """It is tried again with longer and longer pauses; then the reason is told, not the secret."""
    server.code, pauses = 500, list[float]()
    address = f"json://me:{SECRET}@127.0.0.1:{server.port}"
    with JobStore(home) as store:
        told = notifier.tell(
            store, store.get(ended), {"VALOR_SCHEDULE_NOTIFY": address}, pauses.append
        )
    assert (told["sent"], told["attempts"], len(server.got)) == (False, 4, 4)
    assert pauses == sorted(pauses)
    assert "500" in told["reason"]
    assert "WARNING" not in told["reason"]
    assert SECRET not in told["reason"]


@pytest.mark.parametrize(
    ("chat", "reason"),
    [
        ("12345", "no Telegram bot token"),
        ("some words", "neither a Telegram chat id"),
        ("nosuchservice://x", "Apprise cannot use the address nosuchservice://"),
    ],
)
def test_an_address_that_cannot_work_is_warned_of(
    project: Path, no_dispatcher: None, chat: str, reason: str
) -> None:
    """The job is scheduled all the same, and the warning says what to do."""
    Path("test_it.py").write_text(MIXED)
    answer = schedule_tests("pytest", chat)
    assert answer["status"] == "scheduled"
    assert reason in answer["warnings"][0]


def test_an_address_that_cannot_work_is_not_tried(ended: str, home: Home) -> None:
    """The record says why at once."""
    with JobStore(home) as store:
        told = notifier.tell(
            store, store.get(ended), {"VALOR_SCHEDULE_NOTIFY": "nosuchservice://x"}
        )
    assert (told["sent"], told["attempts"]) == (False, 0)
    assert "Apprise cannot use the address" in told["reason"]


def test_an_interrupt_keeps_nobody_from_being_told(ended: str, home: Home) -> None:
    """A process that waits for a chat server has no terminal, and SIGINT does nothing to it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"json://127.0.0.1:{server.getsockname()[1]}/"
        marks = {ADDRESS_VARIABLE: address, NOTIFIER_VARIABLE: ended}
        arguments, log = [str(home.root), ended], home.dispatcher_log
        processes.start_detached(
            "daemon.notifier", arguments, home.root, log, {**os.environ, **marks}
        )
        server.settimeout(DEADLINE_SECONDS)
        connection, _ = server.accept()
        with connection:
            connection.recv(1)
            (pid,) = processes_marked(f"{NOTIFIER_VARIABLE}={ended}")
            os.kill(pid, signal.SIGINT)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            assert _told(home, ended)["sent"]
    assert "Traceback" not in log.read_text()
