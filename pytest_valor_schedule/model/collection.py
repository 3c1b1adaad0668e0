"""Hold what a pytest has collected for the queue."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_valor_schedule._util.document import own_fields


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """Hold the tests of a run, and what their project says of it.

    Attributes:
        nodeids: In the order of collection, each once.
        rootdir: pytest's root directory.
        interpreter: The Python that collected.
        refusal: Why this run cannot be scheduled, or None.
        chosen_by_cache: Whether --lf or its like chose them by what had failed before.
        test_timeout_seconds: The project's limit for one test.
        stall_seconds: The project's limit for a time without any event.
        log_mb: The project's limit for the log, in MiB.
        order: Which tests go first.
        most_workers: How many workers it may have at most, whatever was asked for; None for all.
        confirm_failures: How often what failed is run again.
        flaky_passes: Whether a test that then passes does not make the job fail.
        fork_workers: Whether its pytest and its workers may be forked.
        random_seed: What pytest-randomly shuffled them by, or None.
        junit_path: Where the run is to be reported as JUnit XML, or None.
        measures_coverage: Whether pytest-cov is at work.
        shows_workers: Whether the user asked for workers, and is to see them.
        deselected: How many tests were deselected.
        collection_lines: What plugins said of the collection.
        terminal_size: Columns and lines of the terminal at which somebody waits, or None.
        request: The fields of `RunOptions`, as far as the one who asked and the settings say.
        changes: Which of them the hooks of the project want to be different.
    """

    nodeids: tuple[str, ...]
    rootdir: str
    interpreter: str
    refusal: str | None = None
    chosen_by_cache: bool = False
    test_timeout_seconds: float | None = None
    stall_seconds: float | None = None
    log_mb: float | None = None
    order: str | None = None
    most_workers: int | None = None
    confirm_failures: int | None = None
    flaky_passes: bool = False
    fork_workers: bool = True
    random_seed: int | None = None
    junit_path: str | None = None
    measures_coverage: bool = False
    shows_workers: bool = False
    deselected: int = 0
    collection_lines: tuple[str, ...] = ()
    terminal_size: tuple[int, int] | None = None
    request: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the collection for the process that asked for it."""
        path.write_text(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Collection | None:
        """Return the collection that was written to path, or None if there is none."""
        try:
            fields = own_fields(cls, json.loads(path.read_text()))  # it may be a newer version's
        except (OSError, TypeError, ValueError):
            return None
        lists = {name: tuple(fields[name]) for name in ("nodeids", "collection_lines")}
        return cls(**{**fields, **lists})
