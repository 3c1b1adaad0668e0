"""Locate the folder of one user's queue and the files in it, and make them private."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pytest_valor_schedule._util import log
from pytest_valor_schedule.errors import InvalidRequestError, StoreError

TYPE_CHECKING: bool = False  # without typing: see cli/__init__
if TYPE_CHECKING:
    from typing import Any

_LEAST_FREE_BYTES = 256 * 1024


class _Place:
    """A path that has the same place in every home."""

    def __init__(self, below: str) -> None:
        self._below = below

    def __get__(self, home: Home, _: type[Home]) -> Path:
        return home.root / self._below


class Home:
    """The folder that holds everything of one user's queue."""

    results = _Place("test_results")
    """The folder of the records."""
    schedule = _Place("test_schedule")
    """The folder of the queue."""
    jobs = _Place("test_schedule/jobs")
    """The folder of the folders of jobs."""
    environments = _Place("test_schedule/environments")
    """The folder of the environments of jobs that have not ended."""
    slots = _Place("test_schedule/slots")
    """The folder of the locks of worker slots."""
    database = _Place("test_schedule/queue.db")
    """The SQLite file that decides."""
    dispatcher_lock = _Place("test_schedule/dispatcher.lock")
    """The lock that the one dispatcher holds."""
    starting_lock = _Place("test_schedule/starting.lock")
    """The lock that a dispatcher has from its start until it has the other, or gives up."""
    dispatcher_log = _Place("test_schedule/dispatcher.log")
    """What the dispatcher and the runners say."""
    wakeup_pipe = _Place("test_schedule/bell")
    """The named pipe that wakes the dispatcher."""
    session_socket = _Place("test_schedule/sessions")
    """The socket at which the dispatcher is asked for sessions."""
    pause_marker = _Place("test_schedule/paused")
    """The file that is there while no job is to be started."""
    config = _Place("test_schedule/config.toml")
    """The machine-wide settings."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def find(cls, environment: Mapping[str, str]) -> Home:
        """Return the home that VALOR_HOME names, or ~/.valor; an empty text names none.

        Raises:
            InvalidRequestError: if it is a relative path, which is another one in every folder.
        """
        variable = "VALOR_HOME" if environment.get("VALOR_HOME") else "HOME"
        path = environment.get(variable) or "~"
        try:
            folder = Path(path).expanduser()
        except RuntimeError:
            raise InvalidRequestError(
                "The home folder of this user is not known; set VALOR_HOME to a folder for the "
                "queue and its results."
            ) from None
        if not folder.is_absolute():
            raise InvalidRequestError(
                f"{variable} is {path!r}, a relative path, so that every folder would have a "
                "queue of its own; set VALOR_HOME to an absolute path."
            )
        return cls(folder if variable == "VALOR_HOME" else folder / ".valor")

    def turn_pipe(self, job_id: str) -> Path:
        """Return the named pipe that tells the session of a job to look whether it may run."""
        return self.job_folder(job_id) / "turn"

    def record(self, job_id: str) -> Path:
        """Return the path of a job's public record."""
        return self.results / f"{job_id}.json"

    def job_folder(self, job_id: str) -> Path:
        """Return the folder of a job's event logs and output."""
        return self.jobs / job_id

    def output(self, job_id: str) -> Path:
        """Return the path of the file with what a job's pytest printed."""
        return self.job_folder(job_id) / log.OUTPUT

    def cancel_marker(self, job_id: str) -> Path:
        """Return the path of the empty file that ends a job where the queue has no room for it."""
        return self.job_folder(job_id) / "cancelled"

    def free_bytes(self) -> int:
        """Return how much this user may still write to the disk of the home."""
        disk = os.statvfs(self.root)
        return disk.f_bavail * disk.f_frsize

    def is_full(self) -> bool:
        """Return whether the disk has no room for the event logs of a job."""
        try:
            return self.free_bytes() < _LEAST_FREE_BYTES
        except OSError:
            return False

    def make(self) -> None:
        """Create the folders that are missing, private to their user.

        Raises:
            StoreError: if they cannot be created, or are not this user's alone to write to.
        """
        folders = (self.results, self.schedule, self.jobs, self.environments, self.slots)
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            _refuse_if_led_by_others(self.root)
            for folder in folders:
                _refuse_if_link(folder)
                folder.mkdir(mode=0o700, exist_ok=True)
            for folder in (self.root, *folders):
                _refuse_if_shared(folder)
            _refuse_if_link(self.database)
        except OSError as error:
            raise StoreError(
                f"The folder {self.root} cannot be used ({error.strerror}); "
                "set VALOR_HOME to a folder that you can write to."
            ) from error

    def make_job_folder(self, job_id: str, *, exist_ok: bool = True) -> None:
        """Create the folder of a job.

        Raises:
            StoreError: if there is something else in its place.
            OSError: if it cannot be created, or is there and must not be.
        """
        folder = self.job_folder(job_id)
        _refuse_if_link(folder)
        folder.mkdir(mode=0o700, exist_ok=exist_ok)

    def settings(self) -> dict[str, Any]:
        """Return what config.toml says, and nothing if there is none.

        Raises:
            InvalidRequestError: if the file cannot be read as TOML.
        """
        import tomllib

        try:
            return tomllib.loads(self.config.read_text("utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise StoreError(
                f"{self.config} cannot be read ({error.strerror}); check whose the folder is, or "
                "set VALOR_HOME."
            ) from error
        except ValueError as error:
            raise InvalidRequestError(
                f"{self.config} cannot be read ({error}); correct it or delete it."
            ) from error


def _refuse_if_link(path: Path) -> None:
    """Raise StoreError for what would lead out of the home."""
    if path.is_symlink():
        raise StoreError(
            f"{path} is a symbolic link, which is not followed; put the folder or file itself "
            "there, or set VALOR_HOME to where it is."
        )


def _refuse_if_led_by_others(root: Path) -> None:
    """Raise StoreError for a link to the home that somebody else could lead elsewhere."""
    if root.is_symlink() and root.lstat().st_uid not in (os.geteuid(), 0):
        raise StoreError(
            f"{root} is a symbolic link of another user; set VALOR_HOME to the folder itself."
        )


def _refuse_if_shared(folder: Path) -> None:
    """Raise StoreError for a folder into which somebody else could put jobs for us to run."""
    status = folder.stat()
    if status.st_uid != os.geteuid():
        raise StoreError(
            f"The folder {folder} belongs to another user; set VALOR_HOME to one of your own."
        )
    if status.st_mode & 0o022:
        raise StoreError(f"The folder {folder} can be written by others; run: chmod go-w {folder}")
