"""What a runner tells the pytest that it starts, and that pytest its workers.

It travels in an environment variable that the job's pytest takes out of its environment, so that
a pytest started by a test is not mistaken for the job itself.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Literal

from pytest_valor_schedule._util.document import known_fields
from pytest_valor_schedule.env import COLLECT_VARIABLE as COLLECT_VARIABLE
from pytest_valor_schedule.env import DIRECT_VARIABLE as DIRECT_VARIABLE
from pytest_valor_schedule.env import JOB_ID_VARIABLE as JOB_ID_VARIABLE
from pytest_valor_schedule.env import SLOT_VARIABLE as SLOT_VARIABLE
from pytest_valor_schedule.env import VARIABLE as VARIABLE
from pytest_valor_schedule.model.round import Round, RoundKind


@dataclasses.dataclass(frozen=True, slots=True)
class RunConfig:
    """How a job's pytest shall run and where it records.

    Attributes:
        folder: Where the journals go.
        prefix: `Round.prefix`, with which the names of the journals begin.
        workers: How many xdist workers the job has.
        digest: `collection_digest` of the tests that the queue knows of.
        lifeline: A descriptor that reaches its end when the runner dies, or None.
        only: A file with the node ids to run, as JSON; None for all.
        slots: The numbers of the worker slots that the job has.
        threads: How many threads the libraries in one worker may use.
        order: Which tests go first; see `work_units.Order`.
        starting_seconds: How long the workers that have started wait for the others; None for ever.
        known: A file with what the history knows of the tests; None for nothing.
        shows_workers: Whether the user asked for workers, and so sees them.
        deselected: How many tests were deselected when the job was scheduled.
        collection_lines: What plugins said of the collection then.
    """

    folder: str
    prefix: str
    workers: int
    digest: str
    lifeline: int | None = None
    only: str | None = None
    slots: list[int] = dataclasses.field(default_factory=list)
    threads: int = 1
    order: str = ""
    known: str | None = None
    shows_workers: bool = True
    deselected: int = 0
    collection_lines: list[str] = dataclasses.field(default_factory=list)
    starting_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> RunConfig:
        """Return what `to_json` gave."""
        return cls(**known_fields(cls, fields))

    @property
    def is_job(self) -> Literal[True]:
        """That this pytest is a job."""
        return True

    @property
    def is_further(self) -> bool:
        """Whether another round of the job has been before."""
        return Round.of(self.prefix).kind is not RoundKind.FIRST

    @property
    def is_repetition(self) -> bool:
        """Whether it only runs again what has a result already."""
        return Round.of(self.prefix).kind is RoundKind.RERUN_FAILURES

    def to_text(self) -> str:
        """Return the handshake as the value of `VARIABLE`."""
        return json.dumps(self.to_json())


@dataclasses.dataclass(frozen=True, slots=True)
class CollectOrder:
    """What a pytest is told that only collects.

    Attributes:
        target: The file for what it finds.
        lifeline: A descriptor that reaches its end when whoever asked dies.
        request: What of `Request` is given; the rest is looked up.
    """

    target: str
    lifeline: int | None
    request: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def is_job(self) -> Literal[False]:
        """That this pytest is no job."""
        return False

    def to_text(self) -> str:
        """Return the order as the value of `COLLECT_VARIABLE`."""
        return json.dumps(dataclasses.asdict(self))


def take(environment: MutableMapping[str, str]) -> RunConfig | CollectOrder | None:
    """Take what this pytest was told out of its environment; None if it was told nothing."""
    text = environment.pop(VARIABLE, None)
    if text is not None:
        return RunConfig.from_json(json.loads(text))
    text = environment.pop(COLLECT_VARIABLE, None)
    return None if text is None else CollectOrder(**known_fields(CollectOrder, json.loads(text)))


def collection_digest(nodeids: Iterable[str]) -> str:
    """Return a text that is equal for equal sets of node ids."""
    import hashlib  # here, because every pytest comes by this module

    return hashlib.sha256("\0".join(sorted(nodeids)).encode(errors="surrogatepass")).hexdigest()
