"""Notice that what a collection rests on has changed since: its modules, data and folders."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

_INI_FILES = ("pytest.toml", "pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
_MOST_FILES = 20_000
_Stamp = tuple[int, int, int]


class FilesRead:
    """Remembers the files of a project that this process reads, and how they were.

    Until `keep` it hears of each file that is opened, by an audit hook, which cannot be taken out
    again but then does nothing.
    """

    def __init__(self) -> None:
        self._opened: dict[str, None] | None = {}
        self._stamps: dict[str, _Stamp | None] = {}
        self._entries: dict[str, frozenset[str]] = {}
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        opened = self._opened
        if opened is None or event != "open" or len(opened) >= _MOST_FILES:
            return
        path, mode = arguments[0], arguments[1]
        if isinstance(path, str) and (mode is None or "r" in str(mode)):
            opened[path] = None

    def keep(self, config: pytest.Config, items: Iterable[pytest.Item]) -> None:
        """Remember how the files of the project are now: all that was to be read has been."""
        opened, self._opened = self._opened or {}, None
        root = str(config.rootpath) + os.sep
        modules = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
        tests = {str(item.path) for item in items}
        paths = {os.path.abspath(path) for path in (*opened, *tests)}  # noqa: PTH100
        paths |= {path for path in modules if isinstance(path, str)}
        paths |= {root + name for name in _INI_FILES}
        self._stamps = {path: _stamp(path) for path in paths if _is_of_project(path, root)}
        folders = {os.path.dirname(path) for path in self._stamps if path.endswith(".py")}  # noqa: PTH120
        self._entries = {folder: _entries(folder) for folder in (*folders, root.rstrip(os.sep))}

    def change(self) -> str | None:
        """Return what has changed since `keep`, as the begin of a sentence; None if nothing."""
        for path, stamp in self._stamps.items():
            if _stamp(path) != stamp:
                return f"{Path(path).name} has changed"
        for folder, entries in self._entries.items():
            if differences := _entries(folder) ^ entries:
                return f"{min(differences)} has come or gone"
        return None


def _is_of_project(path: str, root: str) -> bool:
    others = {"site-packages", "__pycache__", ".git"}
    return path.startswith(root) and others.isdisjoint(path[len(root) :].split("/"))


def _stamp(path: str) -> _Stamp | None:
    try:
        status = os.stat(path)  # noqa: PTH116  # for each file of a large project
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _entries(folder: str) -> frozenset[str]:
    """Return the names in a folder that a collection may look at: modules, and other folders."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(each.name for each in entries if _is_collectable(each))
    except OSError:
        return frozenset()


def _is_collectable(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith((".", "__pycache__")):
        return False
    return entry.name.endswith((".py", ".txt", ".rst", ".ini", ".toml")) or entry.is_dir()
