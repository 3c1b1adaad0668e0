"""A job's public record: one JSON file, replaced atomically."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pytest_valor_schedule import files
from pytest_valor_schedule.errors import StoreError


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
        StoreError: if the disk refuses; the old record is still there.
    """
    with prepared(path, record, results) as put_in_place:
        put_in_place()


@contextlib.contextmanager
def prepared(
    path: Path, record: dict[str, Any], results: Iterable[dict[str, Any]] | None = None
) -> Iterator[Callable[[], None]]:
    """Write a record beside its place, which is what takes long, and give what puts it there.

    Raises:
        StoreError: as `write`, and so does what is given.
    """
    with _refusal_told(path):
        temporary = _written(path.parent, _parts(record, results))

    def put_in_place() -> None:
        with _refusal_told(path):
            temporary.replace(path)

    try:
        yield put_in_place
    finally:
        _discard(temporary)


@contextlib.contextmanager
def _refusal_told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"The record {path} cannot be written ({error.strerror}); make room on the disk."
        ) from error


def _parts(record: dict[str, Any], results: Iterable[dict[str, Any]] | None) -> Iterator[str]:
    head = json.dumps(record, indent=1)
    if results is None:
        yield head
        return
    yield head.removesuffix("\n}") + ',\n "results": ['
    for number, result in enumerate(results):
        yield f"{',' if number else ''}\n  {json.dumps(result)}"
    yield "\n ]\n}"


def _written(folder: Path, parts: Iterable[str]) -> Path:
    """Write a file that has a name for the time being, all the way to the disk."""
    handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        _discard(Path(name))
        raise
    return Path(name)


def _discard(temporary: Path) -> None:
    with contextlib.suppress(OSError):  # it has its place, as a rule
        temporary.unlink()


def is_whole(document: dict[str, Any]) -> bool:
    """Return whether the record of an ended job has results that a reader can rely on."""
    results, summary = document.get("results"), document.get("summary")
    errors = document.get("collection_errors", [])
    return (
        isinstance(results, list)
        and all(_has_texts(result, ("nodeid", "outcome"), _RESULT_TEXTS) for result in results)
        and isinstance(errors, list)
        and all(_has_texts(error, ("nodeid",), ()) for error in errors)
        and isinstance(summary, dict)
        and summary.get("total") == len(results)
    )


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
