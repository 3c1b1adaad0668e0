"""Have a runner ready before there is anything to run: half of its start is what it imports."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.process import messages, processes
from pytest_valor_schedule.process.fork_client import ForkedProcess
from pytest_valor_schedule.process.warm_interpreter import WarmInterpreter

RUNNER = "runner"  # what never changes, for an interpreter with another version of us


class SpareRunner:
    """A runner that waits to be told what it is for, and ends where nobody can tell it.

    Args:
        forks: What forks it.
        home: That of the queue.
        environment: All of its environment.

    Raises:
        OSError: if it cannot be forked.
    """

    def __init__(self, forks: WarmInterpreter, home: Home, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self._control, theirs = socket.socketpair()
        with theirs:
            handle = theirs.fileno()
            words = ["spare", str(handle)]
            self.process = run_by(forks, home, environment, words, [handle])

    def run(self, words: Sequence[str], handles: Sequence[int]) -> ForkedProcess:
        """Have it run something, and return its process.

        Args:
            words: Behind the folder of the home, those of its command line.
            handles: Descriptors, whose numbers there are put behind the words.

        Raises:
            OSError: if it has ended.
        """
        with self._control:
            messages.send(self._control, {"words": [*words]}, handles)
        return self.process

    def close(self) -> None:
        """Let it end."""
        self._control.close()


def run_by(
    forks: WarmInterpreter,
    home: Home,
    environment: Mapping[str, str],
    words: Sequence[str],
    handles: Sequence[int] = (),
) -> ForkedProcess:
    """Return a runner that is forked for what its command line says.

    Raises:
        OSError: if it cannot be forked.
    """
    name = f"{processes.PACKAGE}.{RUNNER}"
    return forks.run(name, [str(home.root), *words], handles, environment)
