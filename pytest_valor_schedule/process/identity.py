"""Tell which process a number means: it can be that of another one later."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Self


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """A process, told apart from a later one that got the same number."""

    pid: int
    started: str
    boot: str

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """Return the identity of a live process, or None."""
        started = _start_of(pid)
        return None if started is None else cls(pid, started, _boot_id())

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the identity that `to_text` wrote."""
        return cls(**json.loads(text))

    @classmethod
    def alive_in(cls, text: str | None) -> Self | None:
        """Return the live process that a text names; None if it has ended, or names none."""
        with contextlib.suppress(ValueError, TypeError):
            identity = cls.from_text(text or "")
            return identity if identity.alive else None
        return None

    def to_text(self) -> str:
        """Return the identity as text."""
        return json.dumps(dataclasses.asdict(self))

    @property
    def alive(self) -> bool:
        """Whether the very process still runs."""
        return type(self).of(self.pid) == self


def _start_of(pid: int) -> str | None:
    """Return when a process started, in a unit that stays the same; None if it is gone."""
    if not Path("/proc/self/stat").exists():
        ps = ["/bin/ps", "-o", "lstart=", "-p", str(pid)]  # macOS
        return subprocess.run(ps, capture_output=True, text=True).stdout.strip() or None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
