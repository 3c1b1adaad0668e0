"""Open the files of the home: private to their user, and never reached through a symbolic link."""

from __future__ import annotations

import os
from pathlib import Path

from pytest_valor_schedule.errors import InvalidRequestError

_MODE = 0o600


def opener(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file of the home, as the `opener` of `open`.

    Raises:
        OSError: also if the path is a symbolic link.
    """
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)


def reading_opener(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file that a test may have replaced: a pipe must not keep its reader waiting.

    Raises:
        OSError: also if the path is a symbolic link.
    """
    return opener(path, flags | os.O_NONBLOCK)


def open_to_append(path: Path) -> int:
    """Return a descriptor whose every write goes to the end of a file, which is made if needed."""
    return opener(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def read(path: Path) -> bytes:
    """Return the content of a file."""
    with open(path, "rb", opener=reading_opener) as file:
        return file.read()


def tail(path: Path, count: int) -> str:
    """Return the last bytes of a file as text, "" where there is none."""
    try:
        with open(path, "rb", opener=reading_opener) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - count))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def write_public(path: str, text: str) -> None:
    """Write a file that a user asked for, where and with the rights that they chose.

    Raises:
        InvalidRequestError: if it cannot be written.
    """
    try:
        Path(path).write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise InvalidRequestError(
            f"{path} cannot be written ({error.strerror}); name another file."
        ) from None


def existing_folder(cwd: str | os.PathLike[str] | None) -> Path:
    """Return an existing folder, the current one for None, or raise InvalidRequestError."""
    try:
        folder = Path.cwd() if cwd is None else Path(cwd).resolve()
        if folder.is_dir():
            return folder
    except FileNotFoundError:
        raise InvalidRequestError(
            "The current working directory is gone; change to one that exists, or give cwd."
        ) from None
    except (OSError, TypeError, ValueError):
        raise InvalidRequestError(f"cwd is {cwd!r}, but must be the path of a folder.") from None
    raise InvalidRequestError(f"The folder {folder} is not there; give cwd one that is.")
