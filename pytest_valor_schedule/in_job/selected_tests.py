"""Inside a worker of a job: run only the tests that the runner names."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest


class Selection:
    """Deselects all other tests."""

    def __init__(self, only: Path) -> None:
        self._wanted = frozenset(json.loads(only.read_text()))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> Generator[None, None, None]:
        """Choose by the ids that tests have before xdist adds "@group" to some, after all else.

        What another plugin leaves out by what it remembers is put back where it was: --stepwise
        takes all that comes before a failure as passed.
        """
        # By identity: what an item is equal to hangs on its id, which xdist may change.
        chosen = {id(item): item for item in items if item.nodeid in self._wanted}
        yield
        others = [item for item in items if id(item) not in chosen]
        kept = [item for item in items if id(item) in chosen]
        items[:] = kept if len(kept) == len(chosen) else chosen.values()
        if others:
            config.hook.pytest_deselected(items=others)
