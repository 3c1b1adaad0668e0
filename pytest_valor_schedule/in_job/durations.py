"""What the history knows of a job's tests, on its way from the runner to the controller."""

from __future__ import annotations

import json
from pathlib import Path

from pytest_valor_schedule._util import files
from pytest_valor_schedule._util.log import warning
from pytest_valor_schedule.model.work_units import PastRun


def write(path: Path, known: dict[str, PastRun]) -> None:
    """Write what is known of a job's tests for its controller."""
    with open(path, "w", encoding="utf-8", opener=files.opener) as file:
        json.dump(known, file)


def known_of(path: str | None) -> dict[str, PastRun]:
    """Return what `write` wrote; nothing, with a word about it, if that cannot be read."""
    try:
        found = {} if path is None else json.loads(Path(path).read_text())
        return {nodeid: PastRun(float(value[0]), bool(value[1])) for nodeid, value in found.items()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        warning(f"What is known of the tests cannot be read, so they go as collected: {error!r}")
        return {}
