"""Tell what may be forked instead of started."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import pytest

from pytest_valor_schedule.env import JOB_ID_VARIABLE
from pytest_valor_schedule.process import fork_check
from pytest_valor_schedule.process.fork_check import variables_at_start
from pytest_valor_schedule.process.fork_client import with_fork_server


@pytest.mark.parametrize(
    "command",
    [("/py", "-m", "pytest", "-q"), ("/py", "/bin/pytest", "-q")],
)
def test_a_plain_start_can_fork(command: tuple[str, ...]) -> None:
    """`python -m pytest` and `python SCRIPT` get our module between."""
    python, *rest = command
    assert with_fork_server(command, python)[2:] == tuple(rest)
    assert with_fork_server(command, python)[1].endswith("fork_server.py")


@pytest.mark.parametrize(
    "command",
    [
        ("uv", "run", "pytest"),
        ("/other", "-m", "pytest"),
        ("/py", "-X", "dev", "-m", "pytest"),
        ("/py", "-m", "coverage", "run", "-m", "pytest"),
        ("/py",),
        (),
    ],
)
def test_another_start_stays_as_it_is(command: tuple[str, ...]) -> None:
    """A launcher, another interpreter or one with flags of its own is not replaced."""
    assert with_fork_server(command, "/py") == command


def test_what_is_looked_at_only_at_the_start() -> None:
    """The variables of the interpreter, its libraries and its locale are told from others."""
    looked_at = {"PYTHONPATH": "a", "LC_ALL": "C", "OPENSSL_CONF": "c"}
    assert variables_at_start({**looked_at, "HOME": "/", "PATH": "b"}) == looked_at


WORDS, MODULES = ("-m", "pytest"), frozenset({"iniconfig", "pluggy"})


@pytest.mark.parametrize(
    ("name", "value", "alike"),
    [
        ("ANOTHER", "1", True),
        ("PYTHONDEVMODE", "1", False),
        ("PYTHONPATH", "own", False),
        ("LC_ALL", "C", False),
        ("OPENSSL_CONF", "/own", False),
        ("EXECNET_DEBUG", "1", False),
    ],
)
def test_what_differs_is_seen(name: str, value: str, alike: bool, project: Path) -> None:
    """What an interpreter or a library reads at its start is compared."""
    environment = {**os.environ, JOB_ID_VARIABLE: "x", name: value}
    assert fork_check.is_like(WORDS, str(project), environment, MODULES) == alike


def test_what_runs_at_every_start_is_seen(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sitecustomize.py that came later would run in an interpreter that is started."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    environment = {**os.environ, JOB_ID_VARIABLE: "x"}
    assert fork_check.is_like(WORDS, str(project), environment, MODULES)
    tmp_path.joinpath("site").mkdir()
    tmp_path.joinpath("site", "sitecustomize.py").touch()
    assert not fork_check.is_like(WORDS, str(project), environment, MODULES)


def test_an_environment_inside_of_a_project_is_none_of_its_modules(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the project has by a name hides what is installed in its own virtual environment."""
    installed = types.ModuleType("iniconfig")
    installed.__file__ = str(project / ".venv/lib/iniconfig/__init__.py")
    monkeypatch.setitem(sys.modules, "iniconfig", installed)
    environment = {**os.environ, JOB_ID_VARIABLE: "x"}
    assert fork_check.is_like(WORDS, str(project), environment, MODULES)
    Path("iniconfig").mkdir()
    assert not fork_check.is_like(WORDS, str(project), environment, MODULES)
    installed.__file__ = str(project / "iniconfig/__init__.py")
    assert fork_check.is_like(WORDS, str(project), environment, MODULES)
