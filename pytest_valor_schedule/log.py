"""The file with what a job's pytest printed, kept within bounds while it grows."""

from __future__ import annotations

import os
from pathlib import Path

MOST_BYTES = 50 * 1024 * 1024


def bound_log(path: Path, most_bytes: int = MOST_BYTES) -> None:
    """Cut out the middle of a log that has grown too large: head and tail are kept.

    The writers append to it all the while; what they print in that instant may be lost.
    """
    try:
        size = path.stat().st_size
    except OSError:
        return
    if size <= most_bytes:
        return
    part = most_bytes // 4
    with path.open("r+b") as file:
        file.seek(size - part)
        tail = file.read(part)
        file.truncate(part)
    notice = f"\n[... {size - 2 * part} bytes of output cut out ...]\n".encode()
    handle = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(handle, notice + tail)
    finally:
        os.close(handle)
