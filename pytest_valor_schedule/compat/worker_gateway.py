"""Speak with xdist's controller in a fork of a session, as execnet does in a worker it starts.

Checked with execnet 2.1 and pytest-xdist 3.6 to 3.8. What comes over the pipes is not changed: the
line that starts execnet is read and answered, and what is sent to be executed is executed, but for
the module by which xdist would start a session. That one this process has already.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
from os import _exit  # as it was, because that of the module is replaced
from typing import Any

from execnet import gateway_base
from execnet.gateway_base import (
    MAIN_THREAD_ONLY_DEADLOCK_TEXT,
    MainThreadOnlyExecModel,
    Popen2IO,
    loads_internal,
)

_SESSION_SECONDS, _INTERRUPT_SECONDS = 5.0, 10.0  # as execnet waits for who is told to end


class WorkerGateway(gateway_base.WorkerGateway):
    """The worker's end of the pipes.

    Args:
        stdin: What is to be the input of the process that execnet starts.
        stdout: What is to be its output.
        session_file: The file of the module that starts a session.
    """

    def __init__(self, stdin: int, stdout: int, session_file: str) -> None:
        infile, outfile = os.fdopen(stdin, "rb"), os.fdopen(stdout, "wb")
        pipes: Any = Popen2IO(outfile, infile, MainThreadOnlyExecModel())
        super().__init__(pipes, "worker", 2)
        self._executetask_complete = None
        self._session_file = session_file
        self._tasks: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self._session_channel: Any = None
        self._is_over = threading.Event()
        infile.readline()  # nothing follows it before it is answered
        self._io.write(b"1")

    def session_channel(self) -> Any:
        """Execute what comes before the session, and return the channel of that.

        Raises:
            EOFError: if the controller has ended.
        """
        self._initreceive()
        while True:
            channel, task = self._tasks.get()
            if channel is None:
                raise EOFError
            if task[1] == self._session_file:
                self._session_channel = channel
                return channel
            self.executetask((channel, task))

    def _local_schedulexec(self, channel: Any, sourcetask: bytes) -> None:
        if self._session_channel is not None:
            channel.close(MAIN_THREAD_ONLY_DEADLOCK_TEXT)
        else:
            self._tasks.put((channel, loads_internal(sourcetask)))

    def _terminate_execution(self) -> None:
        """End the session when the controller says so, or has ended; the wait is execnet's."""
        self._tasks.put((None, None))
        if not self._is_over.wait(_SESSION_SECONDS):
            os.kill(os.getpid(), signal.SIGINT)
            if not self._is_over.wait(_INTERRUPT_SECONDS):
                _exit(1)

    def finish(self, error: BaseException | None) -> None:
        """Tell that the session has ended, and wait until no worker is needed any more."""
        with contextlib.suppress(OSError):
            self._session_channel.close(None if error is None else self._geterrortext(error))
        self._is_over.set()
        with contextlib.suppress(KeyboardInterrupt):
            self.join()
