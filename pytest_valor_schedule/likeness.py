"""Whether a fork of this process is like an interpreter that is started (Linux)."""

from __future__ import annotations

import importlib.machinery
import os
import site
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_valor_schedule import forkserver, title
from pytest_valor_schedule.handshake import JOB_ID_VARIABLE

_AT_SITE = {"sitecustomize", "usercustomize"}
_SUFFIXES = tuple(importlib.machinery.all_suffixes())


def is_like(words: Sequence[str], cwd: str, environment: Mapping[str, str]) -> bool:
    """Return whether a fork would be like a start.

    Args:
        words: What the interpreter would be started with: `-m pytest ...`, or a script.
        cwd: Its working directory.
        environment: All of its environment; the job's id is in it.
    """
    path = environment.get("PYTHONPATH")
    folders = path.split(os.pathsep) if path else []
    if not all(map(os.path.isabs, folders)):
        return False  # what it means depends on the working directory
    first = Path(cwd) if words[0] == "-m" else Path(words[0]).resolve().parent
    if not os.access(cwd, os.R_OK | os.X_OK):
        return False  # where it cannot be started either
    if any(map(_hides_any, (first, *map(Path, folders)))):
        return False
    mark = f"{JOB_ID_VARIABLE}={environment.get(JOB_ID_VARIABLE)}"
    return _at_start(environment) == _at_start(os.environ) and title.has_room(mark)


def _at_start(environment: Mapping[str, str]) -> tuple[object, ...]:
    """Return what an interpreter, and what we import in it, makes of its environment."""
    packages = Path(environment.get("HOME", "~")).expanduser() / ".local" / "lib"
    has_own = bool(site.ENABLE_USER_SITE) and packages.is_dir()
    return (
        forkserver.variables_at_start(environment),
        packages if has_own else None,
    )


def _hides_any(folder: Path) -> bool:
    """Whether a folder on its path has anything that it would import instead of ours.

    So it is in the projects of what pytest needs, such as Pygments.
    """
    try:
        names = {each.name.partition(".")[0] for each in os.scandir(folder) if _is_module(each)}
    except OSError:  # it is not there
        return False
    names &= {name.partition(".")[0] for name in sys.modules if name != "__main__"} | _AT_SITE
    return any(not _is_from(folder, name) for name in names)


def _is_module(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith(_SUFFIXES) or entry.is_dir()


def _is_from(folder: Path, name: str) -> bool:
    """Whether the module that we have by this name comes from the folder."""
    file = getattr(sys.modules.get(name), "__file__", None)
    # Not any below it: many a project has its virtual environment inside.
    return file is not None and Path(file).parent in (folder, folder / name)
