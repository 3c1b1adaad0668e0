"""Show a forked process with the command and the environment of a started one (Linux).

`ps` and our search for what a job has left see them in /proc, and programs that change their title
(setproctitle, PostgreSQL's way) find them in memory: the words of the command, one after the other,
and behind them the environment. All of that is made here as `exec` would have made it.

It is loaded by the fork server, and imports nothing of this package.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

_SET_MM, _SET_MM_MAP = 35, 14  # <linux/prctl.h>, free for all since Linux 3.18
_STATE = 3  # the first field of /proc/PID/stat behind the name, see proc(5)
_CODE, _STACK, _DATA, _START = (26, 27), 28, (45, 46, 47), 48
_UNCHANGED = 0xFFFFFFFF


def can_show() -> bool:
    """Return whether this process can be shown as another one: the kernel may be a sandbox."""
    try:
        return _set_places(_fields()[_START - _STATE : _START - _STATE + 4])
    except (OSError, ValueError, AttributeError, IndexError):
        return False


def show_as(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Show this process as one that was started with a command and an environment.

    Where the kernel does not allow it, nothing changes.
    """
    words = [_encoded(word) for word in command]
    variables = [_encoded(f"{name}={value}") for name, value in environment.items()]
    place = _lasting_copy(b"".join((*words, *variables)))
    end = place + sum(map(len, words))
    with contextlib.suppress(OSError, ValueError, AttributeError, IndexError):
        if _set_places([place, end, end, end + sum(map(len, variables))]):
            _set_environment(end, variables)
            _set_command(command)


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogateescape") + b"\0"


def _lasting_copy(content: bytes) -> int:
    """Return the address of a copy that is never freed."""
    allocate = ctypes.CDLL(None).malloc
    allocate.restype, allocate.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    place: int = allocate(max(len(content), 1))
    ctypes.memmove(place, content, len(content))
    return place


def _fields() -> list[int]:
    fields = Path("/proc/self/stat").read_text(errors="replace").rpartition(")")[2].split()
    return [0, *map(int, fields[1:])]


def _set_places(places: Sequence[int]) -> bool:
    """Tell the kernel where command and environment begin and end; all else stays."""
    libc, fields = ctypes.CDLL(None), _fields()
    libc.sbrk.restype, libc.sbrk.argtypes = ctypes.c_void_p, [ctypes.c_ssize_t]
    code, data = ([fields[each - _STATE] for each in kind] for kind in (_CODE, _DATA))
    others = (*code, *data, libc.sbrk(0), fields[_STACK - _STATE])
    memory_map = struct.pack("=11QQII", *others, *places, 0, 0, _UNCHANGED)
    libc.prctl.argtypes = [ctypes.c_int, *4 * [ctypes.c_ulong]]
    buffer = ctypes.create_string_buffer(memory_map)
    at = ctypes.addressof(buffer)
    return bool(libc.prctl(_SET_MM, _SET_MM_MAP, at, len(memory_map), 0) == 0)


def _set_environment(place: int, variables: Iterable[bytes]) -> None:
    """Have the C library's environment be the one at a place."""
    places = []
    for variable in variables:
        places.append(place)
        place += len(variable)
    pointers = _lasting_copy(struct.pack(f"{len(places) + 1}P", *places, 0))
    ctypes.c_void_p.in_dll(ctypes.CDLL(None), "environ").value = pointers


def _set_command(command: Sequence[str]) -> None:
    """Have `Py_GetArgcArgv` return a command, which Python keeps as a count and a pointer.

    There is no function for it. What is changed is the one place in the interpreter's own memory
    that has both; where there is none, nothing is.
    """
    where = place_of_command()
    if where is not None:
        words = [_lasting_copy(bytes(ctypes.create_unicode_buffer(word))) for word in command]
        new = struct.pack("nP", len(words), _lasting_copy(struct.pack(f"{len(words)}P", *words)))
        ctypes.memmove(where, new, len(new))


@functools.cache
def place_of_command() -> int | None:
    """Return where this interpreter keeps its command; it is the same in all of its forks."""
    count, words = ctypes.c_int(), ctypes.c_void_p()
    ctypes.pythonapi.Py_GetArgcArgv(ctypes.byref(count), ctypes.byref(words))
    content = struct.pack("nP", count.value, words.value or 0)
    start, stop = _own_memory()
    memory = ctypes.string_at(start, stop - start)
    return start + memory.find(content) if memory.count(content) == 1 else None


def _own_memory() -> tuple[int, int]:
    """Return from where to where the interpreter has its variables."""
    inside = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime"))
    blocks: list[tuple[int, int]] = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, rights = line.split()[:2]
        start, stop = (int(each, 16) for each in place.split("-"))
        if rights.startswith("rw"):
            joins = bool(blocks) and blocks[-1][1] == start
            blocks.append((blocks.pop()[0] if joins else start, stop))
    return next((block for block in blocks if block[0] <= inside < block[1]), (0, 0))
