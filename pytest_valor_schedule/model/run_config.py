"""Pass the configuration of a run from the runner to pytest, and from that to its workers.

It travels in an environment variable that the job's pytest takes out of its environment, so that
a pytest started by a test is not mistaken for the job itself.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, ClassVar, Literal, Self

from pytest_valor_schedule import env
from pytest_valor_schedule._util.document import own_fields
from pytest_valor_schedule.model.round import Round, RoundKind

_WIRE_NAMES = {"death_pipe": "lifeline", "durations": "known"}
"""Fields that were called otherwise in versions that may be at the other end."""
_FIELD_NAMES = {wire: name for name, wire in _WIRE_NAMES.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class _Config:
    """What either configuration is as JSON."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return _renamed(dataclasses.asdict(self), _WIRE_NAMES)

    def to_text(self) -> str:
        """Return the value of the environment variable."""
        return json.dumps(self.to_json())

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Return what `to_json` gave."""
        return cls(**own_fields(cls, _renamed(fields, _FIELD_NAMES)))


@dataclasses.dataclass(frozen=True, slots=True)
class RunConfig(_Config):
    """How a job's pytest shall run and where it records.

    Attributes:
        folder: Where the event logs go.
        prefix: `Round.prefix`, with which the names of the event logs begin.
        workers: How many xdist workers the job has.
        digest: `collection_digest` of the tests that the queue knows of.
        death_pipe: A descriptor that reaches its end when the runner dies, or None.
        only: A file with the node ids to run, as JSON; None for all.
        slots: The numbers of the worker slots that the job has.
        threads: How many threads the libraries in one worker may use.
        order: Which tests go first; see `work_units.TestOrder`.
        starting_seconds: How long the workers that have started wait for the others; None for ever.
        durations: A file with what the history has of the tests; None for nothing.
        shows_workers: Whether the user asked for workers, and so sees them.
        deselected: How many tests were deselected when the job was scheduled.
        collection_lines: What plugins printed of the collection then.
    """

    is_job: ClassVar[Literal[True]] = True
    folder: str
    prefix: str
    workers: int
    digest: str
    death_pipe: int | None = None
    only: str | None = None
    slots: list[int] = dataclasses.field(default_factory=list)
    threads: int = 1
    order: str = ""
    durations: str | None = None
    shows_workers: bool = True
    deselected: int = 0
    collection_lines: list[str] = dataclasses.field(default_factory=list)
    starting_seconds: float | None = None

    @property
    def is_further(self) -> bool:
        """Whether another round of the job has been before."""
        return Round.of(self.prefix).kind is not RoundKind.FIRST

    @property
    def is_repetition(self) -> bool:
        """Whether it only runs again what has a result already."""
        return Round.of(self.prefix).reruns_failures


@dataclasses.dataclass(frozen=True, slots=True)
class CollectConfig(_Config):
    """Tell a pytest that it only collects.

    Attributes:
        target: The file for the collection.
        death_pipe: A descriptor that reaches its end when the process that waits for it dies.
        request: The `RunOptions` that are given by other means; it looks up the rest.
        control: A socket on which it is told to run what it has collected; None if it is not to.
        threads: How many threads the libraries in it may use; None to leave that to them.
    """

    is_job: ClassVar[Literal[False]] = False
    target: str
    death_pipe: int | None
    request: dict[str, Any] = dataclasses.field(default_factory=dict)
    control: int | None = None
    threads: int | None = None


def take_config(environment: MutableMapping[str, str]) -> RunConfig | CollectConfig | None:
    """Take the configuration of this pytest out of its environment; None if there is none."""
    text = environment.pop(env.RUN_CONFIG_VARIABLE, None)
    if text is not None:
        return RunConfig.from_json(json.loads(text))
    text = environment.pop(env.COLLECT_VARIABLE, None)
    return None if text is None else CollectConfig.from_json(json.loads(text))


def _renamed(fields: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in fields.items()}


def collection_digest(nodeids: Iterable[str]) -> str:
    """Return a text that is equal for equal sets of node ids."""
    import hashlib  # here, because every pytest comes by this module

    return hashlib.sha256("\0".join(sorted(nodeids)).encode(errors="surrogatepass")).hexdigest()
