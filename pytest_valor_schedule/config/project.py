"""Name the project of a folder, so that all its clones and worktrees share one history."""

from __future__ import annotations

import re
from pathlib import Path

_REMOTE = re.compile(
    r'^\[remote "origin"\]\s*\n(?:[ \t]+.*\n)*?[ \t]+url\s*=\s*(\S+)', re.MULTILINE
)
_USER_INFO = re.compile(r"(?<=://)[^/@]*@")  # may hold a password


def project_of(rootdir: str) -> str:
    """Return what names the project of a root directory.

    It is the address of the git remote "origin" with the place of the directory in the
    repository, and the directory itself where there is none.
    """
    return _name_of(rootdir).encode(errors="backslashreplace").decode()  # no lone surrogates


def _name_of(rootdir: str) -> str:
    root = Path(rootdir)
    for folder in (root, *root.parents):
        try:
            remote = _remote(folder / ".git")
        except (OSError, ValueError):
            return rootdir
        if remote is not None:
            return f"{remote}#{root.relative_to(folder)}"
    return rootdir


def _remote(git: Path) -> str | None:
    """Return the remote of a repository; None where there is no repository.

    Raises:
        OSError, ValueError: if it cannot be read, or has none.
    """
    if git.is_file():  # of a worktree or a submodule
        git = git.parent / git.read_text().removeprefix("gitdir:").strip()
    if not git.is_dir():
        return None
    common = git / "commondir"
    if common.is_file():
        git = git / common.read_text().strip()
    remote = _REMOTE.search((git / "config").read_text())
    if remote is None:
        raise ValueError(f"{git} has no remote.")
    return _USER_INFO.sub("", remote[1])
