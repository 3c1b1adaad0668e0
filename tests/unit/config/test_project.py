"""Which project a folder belongs to."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pytest_valor_schedule.config.project import project_of

ADDRESS = "https://example.com/shop.git"


def _git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.com"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a remote whose address has a password."""
    folder = tmp_path / "shop"
    folder.mkdir()
    _git(folder, "init", "-q")
    _git(folder, "remote", "add", "upstream", "https://example.com/other.git")
    _git(folder, "remote", "add", "origin", "https://me:secret@example.com/shop.git")
    _git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    return folder


def test_clones_and_worktrees_are_one_project(repository: Path, tmp_path: Path) -> None:
    """By their remote, without the password, and by the folder inside of the repository."""
    assert project_of(str(repository)) == f"{ADDRESS}#."
    (repository / "backend").mkdir()
    assert project_of(str(repository / "backend")) == f"{ADDRESS}#backend"
    _git(repository, "worktree", "add", "-q", str(tmp_path / "tree"))
    assert project_of(str(tmp_path / "tree")) == f"{ADDRESS}#."


def test_without_a_remote_it_is_the_folder(tmp_path: Path) -> None:
    """Also in a repository of its own, a broken one, and a folder that is gone."""
    assert project_of(str(tmp_path)) == str(tmp_path)
    assert project_of(str(tmp_path / "gone")) == str(tmp_path / "gone")
    _git(tmp_path, "init", "-q")
    assert project_of(str(tmp_path)) == str(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / ".git").write_text("gitdir: /nowhere")
    assert project_of(str(tmp_path / "sub")) == str(tmp_path / "sub")
