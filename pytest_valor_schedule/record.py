"""A job's public record: one JSON file, replaced atomically."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from pytest_valor_schedule.errors import StoreError


def write(path: Path, record: dict[str, Any]) -> None:
    """Replace the record at path; a reader sees the old one or the new one, whole.

    Raises:
        StoreError: if the disk refuses; the old record is still there.
    """
    try:
        _replace(path, json.dumps(record, indent=1).encode())
    except OSError as error:
        raise StoreError(
            f"The record {path} cannot be written ({error.strerror}); make room on the disk."
        ) from error


def _replace(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def read(path: Path) -> dict[str, Any] | None:
    """Return the record at path, or None if there is none that can be read."""
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None
