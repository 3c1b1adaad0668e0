"""Write and read a job's public record: one JSON file, replaced atomically."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pytest_valor_schedule._util import files
from pytest_valor_schedule.errors import RecordError, StoreError, lacks_room, unwritable_text

TYPE_CHECKING: bool = False  # without typing: see cli/__init__
if TYPE_CHECKING:
    from typing import Any


def write(
    path: Path, record: dict[str, Any], results: Iterable[dict[str, Any]] | None = None
) -> None:
    """Replace the record at path; a reader sees the old one or the new one, whole.

    Args:
        path: Of the file.
        record: All of it but for its results.
        results: Those of a job that has ended. Each is written as it comes, on a line of its
            own, because all of them as one text would take much memory.

    Raises:
        StoreError: if the disk is full; the old record is still there.
        RecordError: if the disk refuses for another reason.
    """
    with prepare(path, record, results) as put_in_place:
        put_in_place()


@contextlib.contextmanager
def prepare(
    path: Path, record: dict[str, Any], results: Iterable[dict[str, Any]] | None = None
) -> Iterator[Callable[[], None]]:
    """Write a record beside its place, which is what takes long, and give what puts it there.

    Raises:
        StoreError: as `write`, and so does what is given.
    """
    import tempfile  # here, because who reads needs none

    with _errors_of(path):
        handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    temporary = Path(name)

    def put_in_place() -> None:
        with _errors_of(path):
            temporary.replace(path)

    try:
        with _errors_of(path), os.fdopen(handle, "w", encoding="ascii") as file:
            file.writelines(_parts(record, results))
            file.flush()
            os.fsync(file.fileno())
        yield put_in_place
    finally:
        with contextlib.suppress(OSError):  # it has its place, as a rule
            temporary.unlink()


@contextlib.contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = StoreError if lacks_room(error) else RecordError
        raise kind(unwritable_text(f"record {path}", error)) from error


def _parts(record: dict[str, Any], results: Iterable[dict[str, Any]] | None) -> Iterator[str]:
    long = {"tests_to_run": record.get("tests_to_run"), "results": results}
    head = {name: value for name, value in record.items() if name not in long}
    yield json.dumps(head, indent=1).removesuffix("\n}")
    for name, entries in long.items():
        if entries is not None:
            yield f',\n "{name}": ['
            for number, entry in enumerate(entries):
                yield f"{',' if number else ''}\n  {json.dumps(entry)}"
            yield "\n ]"
    yield "\n}"


def is_whole(document: dict[str, Any]) -> bool:
    """Return whether the record of an ended job has results that a reader can rely on."""
    results = document.get("results")
    return (
        isinstance(results, list)
        and all(map(_is_result, results))
        and _has_whole_head(document, len(results))
    )


def _has_whole_head(document: dict[str, Any], count: int) -> bool:
    """Return whether all but the results, of which there are so many, is as it should be."""
    summary, errors = document.get("summary"), document.get("collection_errors", [])
    return (
        isinstance(errors, list)
        and all(_has_texts(error, ("nodeid",), ()) for error in errors)
        and isinstance(summary, dict)
        and summary.get("total") == count
    )


def _is_result(entry: object) -> bool:
    return _has_texts(entry, ("nodeid", "outcome"), _RESULT_TEXTS)


_RESULT_TEXTS = ("worker", "phase", "message", "longrepr", "location", "started_at")


def _has_texts(entry: object, needed: tuple[str, ...], others: tuple[str, ...]) -> bool:
    return (
        isinstance(entry, dict)
        and all(isinstance(entry.get(name), str) for name in needed)
        and all(isinstance(entry.get(name), str | None) for name in others)
    )


def set_aside(path: Path) -> None:
    """Keep a record that cannot be read under another name."""
    with contextlib.suppress(FileNotFoundError):
        path.replace(path.with_name(f"{path.name}.damaged"))


def read(path: Path) -> dict[str, Any] | None:
    """Return the record at path, or None if there is none that can be read."""
    try:
        record = json.loads(files.read(path))
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def read_some(path: Path, keep: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    """Return the record of an ended job with the results to keep, without having all in memory.

    Returns:
        The record, without `tests_to_run`; None if it is not whole, or not as `write` writes it.
    """
    try:
        with open(path, "rb", opener=files.opener) as file:
            head, count = _head(file), 0
            results: list[dict[str, Any]] = []
            for result in _entries(file):
                if not _is_result(result):
                    return None
                count += 1
                if keep(result):
                    results.append(result)
            is_complete = file.read() == b"}"
    except (OSError, ValueError, RecursionError):
        return None
    return {**head, "results": results} if is_complete and _has_whole_head(head, count) else None


def _head(lines: Iterator[bytes]) -> dict[str, Any]:
    """Read as far as the results."""
    head_lines = list[bytes]()
    for line in lines:
        if line == b' "tests_to_run": [\n':
            for _ in _entries(lines):
                pass
        elif line == b' "results": [\n':
            break
        else:
            head_lines.append(line)
    head = json.loads(b"".join(head_lines).rstrip(b",\n") + b"}")
    return head if isinstance(head, dict) else {}


def _entries(lines: Iterator[bytes]) -> Iterator[Any]:
    """Yield what a list has, and read its end."""
    for line in lines:
        if line.startswith(b" ]"):
            return
        yield json.loads(line.rstrip(b",\n"))
