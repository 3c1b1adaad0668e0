"""Ask the dispatcher for a session: a pytest that collects, and runs the tests at its turn."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import sys
from collections.abc import Mapping
from typing import Any, Self

from pytest_valor_schedule import env
from pytest_valor_schedule._util.document import own_fields
from pytest_valor_schedule.config import settings
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.model.run_request import RunRequest
from pytest_valor_schedule.process import messages

_BEGIN_SECONDS = 5.0
_VERSION = 1
_COLLECTING_MINUTES = 10.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequest:
    """A run that a session shall collect and put into the queue.

    Attributes:
        request: What shall run, and where.
        options: The fields of `RunOptions` that are set; the settings of the project say the rest.
        confirm_failures: How often what failed is run again, if that is said.
        terminal_size: Columns and lines of the terminal at which somebody waits, or None.
    """

    request: RunRequest
    options: Mapping[str, Any]
    confirm_failures: int | None = None
    terminal_size: tuple[int, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it with what the dispatcher reads of it: `interpreter` and `environment`."""
        return {
            **dataclasses.asdict(self),
            "version": _VERSION,
            "interpreter": self.request.launcher[0],
            "environment": dict(self.request.environment),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return what `to_json` made a document of."""
        fields = own_fields(cls, dict(document))
        request = own_fields(RunRequest, fields["request"])
        words = {name: tuple(request[name]) for name in ("launcher", "arguments")}
        size = fields.get("terminal_size")
        fields["terminal_size"] = (int(size[0]), int(size[1])) if size else None
        return cls(**{**fields, "request": RunRequest(**{**request, **words})})


def collecting_seconds(options: Mapping[str, Any]) -> float:
    """Return how long a collection may take."""
    return float(options.get("timeout_minutes", _COLLECTING_MINUTES)) * 60


class SessionConnection:
    """A connection to the runner of a session that has begun.

    Args:
        connection: The socket.
        job_id: The id that its job will have.
    """

    def __init__(self, connection: socket.socket, job_id: str) -> None:
        self._connection = connection
        self.job_id = job_id

    def receive(self, seconds: float | None) -> dict[str, Any] | None:
        """Return the next thing that it tells, within so many seconds if they are given.

        Raises:
            TimeoutError: if it has told nothing by then.

        Returns:
            None if it will tell nothing any more.
        """
        self._connection.settimeout(seconds)
        try:
            message = messages.receive(self._connection)
        except ConnectionError:
            return None
        return None if message is None else message.content

    def close(self) -> None:
        """Let it know that nobody listens any more."""
        self._connection.close()


def begin(home: Home, wish: SessionRequest) -> SessionConnection | None:
    """Have a session begin to collect a run; None where none is to be had."""
    if not _can_have_one(home, wish.request):
        return None
    with contextlib.suppress(OSError, ValueError):
        connection = messages.connect(home.session_socket)
        try:
            connection.settimeout(_BEGIN_SECONDS)
            messages.send(connection, wish.to_json())
            if (message := messages.receive(connection)) is not None:
                return SessionConnection(connection, str(message.content["begun"]))
        except BaseException:
            connection.close()
            raise
        connection.close()
    return None


def ask(home: Home, wish: SessionRequest) -> dict[str, Any] | None:
    """Have a session collect a run, and put it into the queue.

    Returns:
        What whoever scheduled the run is told, or an `error`; None where no session is to be had.
    """
    connection = begin(home, wish)
    if connection is None:
        return None
    with contextlib.closing(connection):
        while (message := connection.receive(None)) is not None:
            if "answer" in message:
                return dict(message["answer"])
    return None


def _can_have_one(home: Home, request: RunRequest) -> bool:
    if sys.platform != "linux" or env.JOB_ID_VARIABLE in os.environ:
        return False
    if request.launcher[0] != sys.executable:
        return False
    machine = home.settings() if home.config.exists() else {}
    setting = settings.look_up("sessions", None, request.environment, None, machine)
    return bool(settings.check("sessions", setting))
