"""Write and read the event logs of a job: what happened in one process, a JSON line an event.

A test can write there too, so a reader drops a field that holds what none of its writers puts in.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from os import getpid, write  # as they were, because tests replace those of the modules
from pathlib import Path
from time import sleep
from typing import Any

from pytest_valor_schedule._util import files
from pytest_valor_schedule.model.round import Round

VERSION = 1
_MOST_PENDING_BYTES = 16 * 1024 * 1024
_NAME = re.compile(r"\d+\.\w+-(?:controller|runner|main|gw\d+)", re.ASCII)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_ROOM_POLL_SECONDS = 0.2
_MOST_SECONDS = 2.5e11  # since the epoch: in the year 9892; a date of a later one cannot be shown
_MOST_NUMBER = 2**31 - 1
_MOST_NESTED = 50
_to_text = json.JSONEncoder(separators=(",", ":"), default=repr).encode


class EventLog:
    """An append-only file of events that survives the death of its writer at any moment."""

    def __init__(self, path: Path) -> None:
        self._file = files.open_to_append(path)
        self.pid = getpid()
        self._torn = False
        self._pending: list[bytes] = []
        self._pending_bytes = 0

    def write(self, event: dict[str, Any]) -> None:
        """Append one event with a single write.

        What the disk does not take is kept, within bounds, and tried again with the next event.

        Raises:
            OSError: if the disk took less than the whole line; the next line starts afresh.
        """
        if getpid() != self.pid:
            return  # a test forked, and the child came back into pytest
        line = _to_text(event).encode() + b"\n"
        if self._pending_bytes <= _MOST_PENDING_BYTES:
            self._pending.append(line)
            self._pending_bytes += len(line)
        self._flush()

    def _flush(self) -> None:
        while self._pending:
            self._append(self._pending[0])
            self._pending_bytes -= len(self._pending.pop(0))

    def _append(self, line: bytes) -> None:
        line = b"\n" + line if self._torn else line
        count = write(self._file, line)
        self._torn = 0 < count < len(line) or (self._torn and not count)
        if count < len(line):
            raise OSError(errno.ENOSPC, f"Only {count} of {len(line)} bytes could be written.")

    def settle(self) -> None:
        """Write what the disk has not taken so far; where it is full, wait for room.

        Who keeps the clocks of the run ends the process, and so the wait.

        Raises:
            OSError: if the disk does not take it for another reason.
        """
        while getpid() == self.pid:
            try:
                self._flush()
                break
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
            sleep(_ROOM_POLL_SECONDS)

    def close(self) -> None:
        """Close the file."""
        try:
            if getpid() == self.pid:
                self._flush()
        finally:
            os.close(self._file)


class EventLogReader:
    """Reads what an event log has gained since the last look."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    @property
    def writer(self) -> str:
        """Who wrote it in which round: such as "1.1-controller" or "1.2-gw3"."""
        return self.path.stem

    @property
    def round(self) -> Round:
        """The round in which it was written."""
        return Round.of(self.writer.rpartition("-")[0])

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield the events of all further complete lines; damaged ones are passed over."""
        try:
            with open(self.path, "rb", opener=files.reading_opener) as file:
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        return
                    self._offset += len(line)
                    if (event := parse_line(line)) is not None:
                        yield event
        except OSError:  # it is not there yet, or is no file
            return


def parse_line(line: bytes) -> dict[str, Any] | None:
    """Return the event of a line, without what it cannot hold; None if it is damaged."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("kind"), str):
        return None
    return valid_fields(event)


def valid_fields(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event without the fields that hold what none of its writers puts there."""
    checks = _OF_WARNINGS if event["kind"] == "warning" else _CHECKS
    return {
        name: value
        for name, value in event.items()
        if value is None or name not in checks or checks[name](value)
    }


def path(folder: Path, prefix: str, writer: str) -> Path:
    """Return where a process has its event log.

    Args:
        folder: That of the job.
        prefix: Attempt and round, such as "1.2".
        writer: "controller", "runner" or the name of an xdist worker.
    """
    return folder / f"{prefix}-{writer}.jsonl"


def stacks_path(folder: Path, prefix: str, writer: str) -> Path:
    """Return where a worker's stacks go when it crashes or is asked for them."""
    return path(folder, prefix, writer).with_suffix(".stacks")


def readers(folder: Path, prefix: str = "*") -> list[EventLogReader]:
    """Return readers of all event logs of a job, or of those of one round.

    A file with a name that none of ours has is none of them.
    """
    files_in_order = sorted(folder.glob(f"{prefix}-*.jsonl"))
    return [EventLogReader(file) for file in files_in_order if _NAME.fullmatch(file.stem)]


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_seconds(value: object) -> bool:
    is_number = isinstance(value, float | int) and not isinstance(value, bool)
    return is_number and 0 <= value <= _MOST_SECONDS  # type: ignore[operator]  # nor is it NaN


def _is_number(value: object) -> bool:
    return type(value) is int and abs(value) <= _MOST_NUMBER


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_sections(value: object) -> bool:
    return isinstance(value, list) and all(_are_texts(pair) and len(pair) == 2 for pair in value)


def _is_json(value: object, depth: int = 0) -> bool:
    """Whether any reader of JSON can read a value: neither NaN nor nested without end."""
    if isinstance(value, dict | list):
        members = value.values() if isinstance(value, dict) else value
        return depth < _MOST_NESTED and all(_is_json(each, depth + 1) for each in members)
    return not isinstance(value, float) or math.isfinite(value)


def _is_place(value: object) -> bool:
    return (
        isinstance(value, list)
        and [type(each) for each in value] == [str, int, str]
        and _is_number(value[1])
    )


_TEXTS = (
    *("id", "phase", "outcome", "subtest", "message", "longrepr", "location", "text", "worker"),
    *("stacks", "claim", "category", "filename", "digest", "refused"),
)
_CHECKS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(_TEXTS, _is_text),
    **dict.fromkeys(("at", "start", "moment", "duration"), _is_seconds),
    **dict.fromkeys(("pid", "code", "line", "log"), _is_number),
    **dict.fromkeys(("ids", "keywords"), _are_texts),
    "sections": _are_sections,
    "extra": lambda value: isinstance(value, dict) and _is_json(value),
    "from_outside": lambda value: isinstance(value, bool),
    "serial": lambda value: isinstance(value, dict),  # whoever replays it is ready for anything
}
_OF_WARNINGS: dict[str, Callable[[Any], bool]] = {**_CHECKS, "location": _is_place}
