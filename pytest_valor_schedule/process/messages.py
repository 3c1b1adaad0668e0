"""Send messages with descriptors over Unix sockets: JSON, in a file without a name (Linux)."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

_MOST_HANDLES = 250  # of one message, by the kernel
_CREDENTIALS = struct.Struct("3i")  # pid, uid and gid of <sys/socket.h>


class Message(NamedTuple):
    """What came over a socket, and the descriptors that came with it."""

    content: dict[str, Any]
    handles: Sequence[int]


@contextlib.contextmanager
def in_file(content: Mapping[str, object]) -> Iterator[int]:
    """Give the descriptor of a file without a name that has a content, ready to be read."""
    file = os.memfd_create("message")
    try:
        with open(file, "wb", closefd=False) as stream:
            stream.write(json.dumps(content).encode(errors="surrogateescape"))
        os.lseek(file, 0, os.SEEK_SET)
        yield file
    finally:
        os.close(file)


def read_file(handle: int) -> dict[str, Any]:
    """Return the content of a file that `in_file` has made, and leave it ready to be read again.

    Raises:
        OSError, ValueError: if it has no such content.
    """
    os.lseek(handle, 0, os.SEEK_SET)
    with open(handle, encoding="utf-8", errors="surrogateescape", closefd=False) as stream:
        content = json.load(stream)
    os.lseek(handle, 0, os.SEEK_SET)
    if not isinstance(content, dict):
        raise ValueError("A message that is no object.")
    return content


def send(to: socket.socket, content: Mapping[str, object], handles: Sequence[int] = ()) -> None:
    """Send a message.

    Raises:
        OSError: if nobody is there any more to get it.
    """
    with in_file(content) as file:
        socket.send_fds(to, [b"m"], [file, *handles])


def receive(source: socket.socket) -> Message | None:
    """Return the next message; None at the end.

    Raises:
        OSError: if none comes within the time limit of the socket, or it cannot be read.
        ValueError: if what comes is no message.
    """
    handles = _receive(source)
    if not handles:
        return None
    try:
        return Message(read_file(handles[0]), handles[1:])
    finally:
        os.close(handles[0])


def receive_file(source: socket.socket) -> int:
    """Return the file of the next message, for whoever hands it on.

    Raises:
        OSError: if none comes within the time limit of the socket, or ever.
    """
    handles = _receive(source)
    if not handles:
        raise ConnectionResetError("The connection was closed.")
    for handle in handles[1:]:
        os.close(handle)
    return handles[0]


def _receive(source: socket.socket) -> Sequence[int]:
    return socket.recv_fds(source, 1, _MOST_HANDLES)[1]


def listen(path: Path) -> socket.socket:
    """Return a socket at a path, for this user alone; what was there before is removed.

    Raises:
        OSError: if there can be none.
    """
    server = socket.socket(socket.AF_UNIX)
    try:
        with _short(path) as name:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            server.bind(name)
        path.chmod(0o600)
        server.listen()
    except OSError:
        server.close()
        raise
    return server


def connect(path: Path) -> socket.socket:
    """Return a connection to whoever listens at a path.

    Raises:
        OSError: if nobody does.
    """
    client = socket.socket(socket.AF_UNIX)
    try:
        with _short(path) as name:
            client.connect(name)
    except OSError:
        client.close()
        raise
    return client


def is_own(connection: socket.socket) -> bool:
    """Return whether the process at the other end is this user's, as the kernel knows it."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(raw)[1] == os.getuid())


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give a name of a path that is short enough for a socket, however long the path is."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
