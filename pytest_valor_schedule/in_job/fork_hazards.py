"""Tell why workers cannot be forks of a session that has collected.

Whatever a fork would share with others, or lack, and a started worker would have for itself, is a
hazard: then workers are started, which is slower and always right. That is so, too, where it is
only not known to be no hazard.
"""

from __future__ import annotations

import sys
import tempfile
import weakref
from collections.abc import Collection, Iterable
from typing import Any

import pytest

from pytest_valor_schedule.compat import (
    plugin_state,
    pytest_forks,
    xdist_session,
)
from pytest_valor_schedule.in_job import collection_source
from pytest_valor_schedule.in_job.collection_source import Finding, Kind
from pytest_valor_schedule.process import shared_state

_SAID = {
    Kind.IDENTITY: "may ask in which worker it runs",
    Kind.UNIQUE: "makes what each worker is to have for itself",
}
_FINDINGS = pytest.StashKey[list[Finding]]()


def hazards(
    session: pytest.Session, ours: Collection[int] = (), plugins: Iterable[object] = ()
) -> list[str]:
    """Return sentences about what forbids it to fork workers from this process; none if nothing.

    Args:
        session: It has collected, and has run no test.
        ours: Descriptors of sockets and files that do not count.
        plugins: Plugin objects that do not count, beside those of this package.
    """
    if sys.platform != "linux":
        return ["Workers are forked on Linux only."]
    config = session.config
    return [
        *_of_pytest(config),
        *_of_plugins(config, plugins),
        *_of_project(config),
        *_of_process(config, ours),
    ]


def _of_pytest(config: pytest.Config) -> Iterable[str]:
    """Say what of pytest and pytest-xdist does not allow it."""
    if (part := xdist_session.missing_part()) is not None:
        yield f"This version of pytest-xdist or execnet is not known: {part}."
    elif xdist_session.has_other_nodes(config):
        yield "The workers are to be others, by --tx, --px, --rsyncdir or --dist."
    if any(config.getoption(name, False) for name in ("usepdb", "trace")):
        yield "A debugger was asked for."
    if not pytest_forks.can_renew_capture(config):
        yield "This version of pytest captures output in a way that is not known."
    if pytest_forks.has_basetemp(config):
        yield "The folder for temporary files is in use already."


def _of_plugins(config: pytest.Config, plugins: Iterable[object]) -> Iterable[str]:
    if plugin_state.measures(config):
        yield "pytest-cov measures the coverage."
    allowed = set(map(id, plugins))
    others = [each for each in plugin_state.unknown(config) if id(each) not in allowed]
    for name in plugin_state.incompatible(others):
        yield f"A plugin may begin or end something in each worker: {name}."
    for finding in collection_source.findings(plugin_state.installed_files(others)):
        if finding.kind is Kind.IDENTITY:
            yield f"A plugin may ask in which worker it runs: {finding}."


def _of_project(config: pytest.Config) -> Iterable[str]:
    """Say what of the files that were imported for the collection does not allow it."""
    found = collection_source.findings(collection_source.project_files())
    config.stash[_FINDINGS] = found
    for finding in found:
        if finding.kind in _SAID:
            yield f"The collection {_SAID[finding.kind]}: {finding}."


def is_found(config: pytest.Config, kind: Kind) -> bool:
    """Return whether `hazards` has found something in the files of the project."""
    return any(finding.kind is kind for finding in config.stash.get(_FINDINGS, ()))


def _of_process(config: pytest.Config, ours: Collection[int]) -> Iterable[str]:
    """Say what this process has that others would share or lack."""
    handles = {*ours, *pytest_forks.capture_handles(config)}
    single = (shared_state.children(), shared_state.mappings(), shared_state.traced())
    yield from (sentence for sentence in single if sentence is not None)
    yield from shared_state.descriptors(handles, pytest_forks.log_files(config))
    if (folder := _temporary_folder()) is not None:
        yield f"A temporary folder was made for this process: {folder}."
    torch: Any = getattr(sys.modules.get("torch"), "cuda", None)
    if torch is not None and torch.is_initialized():
        yield "CUDA has been initialised."
    if (threads := shared_state.threads()) is not None:
        yield threads


def _temporary_folder() -> str | None:
    """Return a folder that the first process to end would delete, from the modules of a project."""
    registry: Any = getattr(weakref.finalize, "_registry", {})
    for finalizer in list(registry):
        peek = finalizer.peek()
        if peek is not None and isinstance(peek[0], tempfile.TemporaryDirectory):
            return str(peek[0].name)
    return None
