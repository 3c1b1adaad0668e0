"""What a runner tells the pytest that it starts, and that pytest its workers.

It travels in an environment variable that the job's pytest takes out of its environment, so that
a pytest started by a test is not mistaken for the job itself.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, MutableMapping
from typing import Any

VARIABLE = "VALOR_SCHEDULE_HANDSHAKE"
JOB_ID_VARIABLE = "VALOR_SCHEDULE_JOB_ID"
"""Stays in the environment of everything that a job starts."""
COLLECT_VARIABLE = "VALOR_SCHEDULE_COLLECT"
"""Names the file into which a pytest that only collects for us writes what it found."""


@dataclasses.dataclass(frozen=True, slots=True)
class Handshake:
    """How a job's pytest shall run and where it records.

    Attributes:
        folder: Where the journals go.
        attempt: Which attempt at the job this is.
        workers: How many xdist workers the job has.
        digest: `collection_digest` of the tests that the queue knows of.
    """

    folder: str
    attempt: int
    workers: int
    digest: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return dataclasses.asdict(self)

    def to_text(self) -> str:
        """Return the handshake as the value of `VARIABLE`."""
        return json.dumps(self.to_json())


def take(environment: MutableMapping[str, str]) -> Handshake | None:
    """Take the handshake out of an environment; None if there is none."""
    text = environment.pop(VARIABLE, None)
    return None if text is None else Handshake(**json.loads(text))


def collection_digest(nodeids: Iterable[str]) -> str:
    """Return a text that is equal for equal sets of node ids."""
    return hashlib.sha256("\0".join(sorted(nodeids)).encode(errors="surrogatepass")).hexdigest()
