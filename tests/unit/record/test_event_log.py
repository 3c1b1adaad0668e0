"""Journals: what is written whole is read, whatever else happened to the file."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_valor_schedule.record import event_log
from pytest_valor_schedule.record.event_log import EventLog, EventLogReader
from tests.support.properties import steady

FIRST, SECOND = {"kind": "first", "text": "é\n"}, {"kind": "second", "text": "x" * 100}


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode() + b"\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a journal is, or will be."""
    return event_log.path(tmp_path, "1.1", "gw0")


def test_what_is_written_is_read_in_order(path: Path) -> None:
    """Events come back as they were, and only the user can read the file."""
    written = EventLog(path)
    written.write(FIRST)
    written.write(SECOND)
    written.close()
    assert list(EventLogReader(path).read()) == [FIRST, SECOND]
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_no_json_is_written_as_its_repr(path: Path) -> None:
    """An event with a foreign object in it is not lost."""
    written = EventLog(path)
    written.write({"kind": "odd", "value": {1, 2}})
    written.close()
    assert list(EventLogReader(path).read()) == [{"kind": "odd", "value": "{1, 2}"}]


def test_two_writers_of_one_file_lose_nothing(path: Path) -> None:
    """A second process that opens a journal appends to it."""
    one, other = EventLog(path), EventLog(path)
    one.write(FIRST)
    other.write(SECOND)
    one.write(FIRST)
    one.close()
    other.close()
    assert list(EventLogReader(path).read()) == [FIRST, SECOND, FIRST]


@contextmanager
def _disk_full_after(size: int) -> Iterator[None]:
    """Have the kernel cut off every write of this process behind so many bytes of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_a_full_disk_did_not_take_is_written_later(path: Path) -> None:
    """Lines for which there was no room are reported, kept, and follow once there is room."""
    written = EventLog(path)
    written.write(FIRST)
    with _disk_full_after(path.stat().st_size + 10):
        for _ in range(2):  # cut short, and then not written at all
            with pytest.raises(OSError, match=r"could be written|File too large"):
                written.write(SECOND)
    written.write(FIRST)
    written.write(SECOND)
    written.close()
    assert list(EventLogReader(path).read()) == [FIRST, SECOND, SECOND, FIRST, SECOND]


def test_what_can_never_be_written_is_not_waited_for(path: Path) -> None:
    """Who settles waits for room alone, and not where the file may not grow any more."""
    written = EventLog(path)
    with _disk_full_after(10):
        with pytest.raises(OSError, match="could be written"):
            written.write(FIRST)
        with pytest.raises(OSError, match="File too large"):
            written.settle()
    written.settle()
    assert list(EventLogReader(path).read()) == [FIRST]
    written.close()


FORKING = """
import os, sys
from pathlib import Path
from pytest_valor_schedule.record.event_log import EventLog

written = EventLog(Path(sys.argv[1]))
written.write({"kind": "parent"})
child = os.fork()
written.write({"kind": "child" if not child else "parent again"})
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_forked_child_does_not_write(path: Path) -> None:
    """A test that forks and comes back into pytest does not record its results twice."""
    subprocess.run([sys.executable, "-c", FORKING, str(path)], check=True, timeout=60)
    kinds = [event["kind"] for event in EventLogReader(path).read()]
    assert kinds == ["parent", "parent again"]


def test_a_reader_may_come_before_the_file(path: Path) -> None:
    """A journal that is not there yet is empty, and is read as soon as it is."""
    reader = EventLogReader(path)
    assert list(reader.read()) == []
    path.write_bytes(_line(FIRST))
    assert list(reader.read()) == [FIRST]


def test_only_what_is_new_is_read(path: Path) -> None:
    """A second look yields what the journal gained since the first."""
    reader = EventLogReader(path)
    path.write_bytes(_line(FIRST))
    assert list(reader.read()) == [FIRST]
    assert list(reader.read()) == []
    with path.open("ab") as file:
        file.write(_line(SECOND))
    assert list(reader.read()) == [SECOND]


def test_a_line_is_read_when_it_is_complete(path: Path) -> None:
    """Half a line waits for its other half."""
    reader, line = EventLogReader(path), _line(FIRST)
    path.write_bytes(line[:9])
    assert list(reader.read()) == []
    path.write_bytes(line)
    assert list(reader.read()) == [FIRST]


@pytest.mark.parametrize(
    "noise",
    [
        *(b"", b"\0\0\0", b"\xff\xfe", b'{"kind":"tor', b"[]", b"5", b"null", b'"kind"', b"{}"),
        *(b'{"kind":5}', b'{"kind":null}', b"[" * 100_000, b"9" * 5000, b"\r", b"{'kind': 'x'}"),
    ],
    ids=lambda noise: repr(noise[:15]),
)
def test_a_damaged_line_is_passed_over(path: Path, noise: bytes) -> None:
    """Noise costs nothing but its own line."""
    path.write_bytes(_line(FIRST) + noise + b"\n" + _line(SECOND) + noise)
    assert list(EventLogReader(path).read()) == [FIRST, SECOND]


_FIELDS = st.text(max_size=3).map("_".__add__)  # none that an event has
_EVENTS = st.dictionaries(_FIELDS, st.integers() | st.text(max_size=5), max_size=3).map(
    lambda fields: _line({**fields, "kind": "event"})
)
_NOISE = st.binary().map(lambda noise: noise + b"\n")


@steady
@given(st.lists(_EVENTS | _NOISE), st.binary(max_size=3), st.integers(1, 200))
def test_noise_never_loses_a_complete_line(
    path: Path, lines: list[bytes], torn: bytes, step: int
) -> None:
    """Each valid line is read once and in order, however the file grows and what else is in it."""
    content = b"".join([*lines, torn])
    path.write_bytes(b"")
    reader, read = EventLogReader(path), []
    with path.open("ab", buffering=0) as file:
        for position in range(0, len(content), step):
            file.write(content[position : position + step])
            read += list(reader.read())
    valid = [json.loads(line) for line in lines if line.endswith(b'"kind": "event"}\n')]
    assert read == valid


def test_all_journals_of_a_job_are_found(tmp_path: Path) -> None:
    """Each process of each round has its own file, which names its writer."""
    written = [("1.1", "controller"), ("1.1", "gw0"), ("1.2", "gw10"), ("1.2", "runner")]
    for prefix, writer in written:
        event_log.path(tmp_path, prefix, writer).write_bytes(_line(FIRST))
        event_log.stacks_path(tmp_path, prefix, writer).write_text("no journal")
    (tmp_path / "output.log").write_text("no journal")
    readers = event_log.readers(tmp_path)
    assert [reader.writer for reader in readers] == ["-".join(each) for each in written]
    assert all(list(reader.read()) == [FIRST] for reader in readers)
    of_one_round = [reader.writer for reader in event_log.readers(tmp_path, "1.2")]
    assert of_one_round == ["1.2-gw10", "1.2-runner"]


def test_what_is_no_journal_is_not_read(tmp_path: Path) -> None:
    """A test can make files of any name there; also a pipe, whose reader would wait for ever."""
    others = ("1.1-gw0-more", "1.1-", "-", "gw0", "1.1-gw", "1.1-me", "x-gw0", "1.1-gw\u0663")
    for name in others:
        (tmp_path / f"{name}.jsonl").write_bytes(_line(FIRST))
    (tmp_path / "1.1-gw1.jsonl").mkdir()
    os.mkfifo(tmp_path / "1.1-gw2.jsonl")
    (tmp_path / "1.1-gw3.jsonl").symlink_to(tmp_path / "gw0.jsonl")
    event_log.path(tmp_path, "1.1", "gw4").write_bytes(_line(SECOND))
    read = {reader.writer: list(reader.read()) for reader in event_log.readers(tmp_path)}
    assert read == {"1.1-gw1": [], "1.1-gw2": [], "1.1-gw3": [], "1.1-gw4": [SECOND]}


def test_a_job_without_a_folder_has_no_journals(tmp_path: Path) -> None:
    """A job that never started has nothing to read."""
    assert event_log.readers(tmp_path / "nowhere") == []


def test_a_linked_journal_is_neither_read_nor_written(path: Path, tmp_path: Path) -> None:
    """Neither side follows it."""
    outside = tmp_path / "outside"
    outside.write_text('{"kind": "x"}\n')
    path.symlink_to(outside)
    assert list(EventLogReader(path).read()) == []
    with pytest.raises(OSError, match="symbolic"):
        EventLog(path)
