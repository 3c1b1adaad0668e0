"""Take requests for sessions at a socket in the home, and hand them on to a runner each."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import NamedTuple

from pytest_valor_schedule._util.log import warning
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.process import messages

_PATIENCE_SECONDS = 1.0  # with somebody who has called and says nothing


class SessionCall(NamedTuple):
    """Somebody who asks for a session.

    Attributes:
        interpreter: The Python that shall run it.
        environment: That of the run.
        connection: The descriptor at which its runner answers.
        content: That of a file with all that is asked for.
    """

    interpreter: str
    environment: dict[str, str]
    connection: int
    content: int


class SessionListener:
    """The socket at which sessions are asked for; where there can be none, nobody can ask."""

    def __init__(self, home: Home) -> None:
        self._path = home.session_socket
        self._server: socket.socket | None = None
        try:
            self._server = messages.listen(self._path)
        except (OSError, AttributeError) as error:
            warning(f"dispatcher: no sessions: {error}")

    @property
    def handles(self) -> list[int]:
        """The descriptor that is ready when somebody has called, if there is one."""
        return [] if self._server is None else [self._server.fileno()]

    def calls(self) -> list[SessionCall]:
        """Return who has called since the last time; whoever gets the calls closes them."""
        if self._server is None:
            return []
        calls = list[SessionCall]()
        self._server.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, _ = self._server.accept()
                with connection:
                    if (call := _read(connection)) is not None:
                        calls.append(call)
        return calls

    def close(self) -> None:
        """Let nobody call any more."""
        if self._server is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            self._server.close()


def _read(connection: socket.socket) -> SessionCall | None:
    """Return what is asked for on a connection; None if it is nothing, or not this user's."""
    connection.settimeout(_PATIENCE_SECONDS)
    try:
        if not messages.is_own(connection):
            return None
        content = messages.receive_file(connection)
        wish = messages.read_file(content)
        connection.settimeout(None)
        environment = {str(name): str(text) for name, text in wish["environment"].items()}
        return SessionCall(
            str(wish["interpreter"]), environment, os.dup(connection.fileno()), content
        )
    except (OSError, ValueError, LookupError, AttributeError) as error:
        warning(f"dispatcher: a request for a session could not be read: {error!r}")
        return None
