"""Give each worker the number of its slot, and its share of threads."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from pytest_valor_schedule.env import SLOT_VARIABLE, thread_variables


class WorkerEnv:
    """Puts workers into slots; one that replaces a dead worker gets that one's slot.

    Args:
        slots: The numbers of the job's slots.
        threads: How many threads the libraries in one worker may use; None to leave that to them.
    """

    def __init__(self, slots: Sequence[int], threads: int | None) -> None:
        self._slots = slots
        self._threads = threads

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_setupnodes(self, specs: list[Any]) -> None:
        """Add variables to what execnet sets before anything of the project is imported."""
        for spec, slot in zip(specs, self._slots, strict=False):
            if isinstance(getattr(spec, "env", None), dict):
                spec.env |= worker_environment(slot, self._threads, os.environ)


def worker_environment(
    slot: int, threads: int | None, environment: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables that a worker gets; what the user has set stays as it is."""
    return {SLOT_VARIABLE: str(slot), **thread_variables(threads, environment)}
