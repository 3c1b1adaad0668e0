"""Select in a worker of a job the tests that its runner names."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest


def read(path: str) -> frozenset[str]:
    """Return the node ids that a runner has written to a file."""
    return frozenset(json.loads(Path(path).read_text()))


class Selection:
    """Deselects all other tests."""

    def __init__(self, path: str) -> None:
        self._nodeids = read(path)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> Generator[None, None, None]:
        """Select by the ids that tests have before xdist adds "@group" to some, after all else.

        What another plugin leaves out by what it remembers is put back where it was: --stepwise
        takes all that comes before a failure as passed.
        """
        # By identity: what an item is equal to hangs on its id, which xdist may change.
        selection = {id(item): item for item in items if item.nodeid in self._nodeids}
        yield
        others = [item for item in items if id(item) not in selection]
        in_order = [item for item in items if id(item) in selection]
        items[:] = in_order if len(in_order) == len(selection) else selection.values()
        if others:
            config.hook.pytest_deselected(items=others)
