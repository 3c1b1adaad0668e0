"""Warm interpreters of several virtual environments are kept, renewed and ended."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import iniconfig
import pytest

from pytest_valor_schedule.process import fork_server, startup
from pytest_valor_schedule.process.fork_client import ForkedProcess
from pytest_valor_schedule.process.memory import children
from pytest_valor_schedule.process.warm_interpreter import WarmInterpreter
from pytest_valor_schedule.process.warm_pool import WarmInterpreters
from tests.support.environments import Environment, make_environment
from tests.support.waiting import DEADLINE_SECONDS, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks it")

_SET_CHILD_SUBREAPER = 36
TELL = """
import json, os, pathlib, sys, time
while not pathlib.Path(sys.argv[2]).exists():
    time.sleep(0.01)
about = {"prefix": sys.prefix, "parent": os.getppid(), "leads": os.getsid(0) == os.getpid(),
         "environment": dict(os.environ)}
pathlib.Path(sys.argv[1]).write_text(json.dumps(about))
sys.exit(7)
"""


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """A virtual environment that has all that this one has."""
    return make_environment(tmp_path / "environment")


@pytest.fixture
def pool() -> Iterator[WarmInterpreters]:
    """A pool of two, which ends with the test."""
    pool = WarmInterpreters(most=2)
    yield pool
    pids = pool.pids()
    pool.close()
    assert not any(map(_is_alive, pids))


@pytest.fixture(autouse=True)
def variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables of what is forked; on its path is a module that tells what it is."""
    monkeypatch.chdir(tmp_path)
    Path("path").mkdir()
    Path("path/tell.py").write_text(TELL)
    return {"PYTHONPATH": str(tmp_path / "path")}


@pytest.fixture
def subreaper() -> Iterator[None]:
    """Orphans come to this process."""
    startup.become_subreaper()
    yield
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _second(pool: WarmInterpreters, python: str, variables: dict[str, str]) -> WarmInterpreter:
    """Return the warm interpreter that the second process of its kind comes from."""
    assert pool.get(python, variables) is None
    warm = pool.get(python, variables)
    assert warm is not None
    return warm


def _run(warm: WarmInterpreter, gate: str = "/") -> ForkedProcess:
    return warm.run("tell", ["about", gate])


def _about(fork: ForkedProcess) -> dict[str, Any]:
    assert fork.wait(DEADLINE_SECONDS) == 7
    about: dict[str, Any] = json.loads(Path("about").read_text())
    return about


def test_environments_in_turns_are_both_warm(
    pool: WarmInterpreters, environment: Environment, variables: dict[str, str]
) -> None:
    """From the second process on, each is forked from that of its own environment."""
    pythons = {sys.executable: sys.prefix, environment.python: str(environment.folder)}
    kept = {python: _second(pool, python, variables) for python in pythons}
    for _ in range(2):
        for python, prefix in pythons.items():
            assert pool.get(python, variables) is kept[python]
            about = _about(_run(kept[python]))
            assert (about["prefix"], about["parent"]) == (prefix, kept[python].pid)
    assert set(pool.pids()) == {warm.pid for warm in kept.values()}
    assert (
        Path(f"/proc/{kept[environment.python].pid}/comm").read_text().strip()
        == fork_server.SERVER_NAME
    )


def test_what_is_forked_is_as_if_it_were_started(
    pool: WarmInterpreters, environment: Environment, variables: dict[str, str]
) -> None:
    """It leads a session, and has the environment that was asked for and no more."""
    variables |= {"TZ": "Asia/Tokyo", "ANOTHER": "1"}
    about = _about(_run(_second(pool, environment.python, variables)))
    assert about["leads"]
    found = about["environment"].items()
    assert variables.items() <= found
    assert {name for name, _ in found - variables.items()} <= {"VALOR_SCHEDULE_FORKS", "LC_CTYPE"}


def test_another_environment_of_variables_has_another(
    pool: WarmInterpreters, variables: dict[str, str]
) -> None:
    """What an interpreter reads when it starts is told apart."""
    first = _second(pool, sys.executable, variables)
    second = _second(pool, sys.executable, variables | {"PYTHONHASHSEED": "1"})
    assert first.pid != second.pid
    assert pool.get(sys.executable, variables) is first


def _add_package(environment: Environment) -> None:
    environment.packages.joinpath("added").mkdir()


def _edit_pth_file(environment: Environment) -> None:
    with environment.pth_file.open("a") as file:
        file.write("/somewhere/else\n")


def _upgrade_in_place(environment: Environment) -> None:
    environment.packages.joinpath("iniconfig/__init__.py").touch()


def _upgrade_with_its_old_time(environment: Environment) -> None:
    path = environment.packages / "iniconfig/__init__.py"
    other = shutil.copy2(path, path.with_suffix(".new"))
    Path(other).rename(path)


def _make_anew(environment: Environment) -> None:
    environment.folder.joinpath("pyvenv.cfg").touch()


@pytest.mark.parametrize(
    "change",
    [_add_package, _edit_pth_file, _upgrade_in_place, _upgrade_with_its_old_time, _make_anew],
)
def test_after_an_upgrade_it_is_another(
    change: Callable[[Environment], None],
    pool: WarmInterpreters,
    environment: Environment,
    variables: dict[str, str],
) -> None:
    """A stale one ends, and what is forked next comes from what is installed now."""
    shutil.copytree(Path(iniconfig.__file__).parent, environment.packages / "iniconfig")
    old = _second(pool, environment.python, variables)
    change(environment)
    new = pool.get(environment.python, variables)
    assert new is not None
    assert new.pid != old.pid
    assert not _is_alive(old.pid)
    assert _about(_run(new))["parent"] == new.pid
    assert pool.get(environment.python, variables) is new


def test_a_fork_outlives_one_that_dies(
    pool: WarmInterpreters, variables: dict[str, str], subreaper: None
) -> None:
    """How it ends is still told, by whom it has come to as an orphan."""
    warm = _second(pool, sys.executable, variables)
    fork = _run(warm, gate="gate")
    os.kill(warm.pid, signal.SIGKILL)
    wait_until(lambda: fork.pid in children("self"), "it has come to us")
    assert fork.poll() is None
    Path("gate").touch()
    assert _about(fork)["parent"] in (os.getpid(), warm.pid)
    assert not _is_alive(fork.pid)


@pytest.mark.parametrize("quiet", [False, True])
def test_one_that_has_died_is_replaced(
    quiet: bool, pool: WarmInterpreters, variables: dict[str, str]
) -> None:
    """When the next process is to be forked, or before."""
    old = _second(pool, sys.executable, variables)
    os.kill(old.pid, signal.SIGKILL)
    os.waitid(os.P_PID, old.pid, os.WEXITED | os.WNOWAIT)
    if quiet:
        pool.get_ready()
        assert len({*pool.pids()} - {old.pid}) == 1
    new = pool.get(sys.executable, variables)
    assert new is not None
    assert _about(_run(new))["parent"] == new.pid != old.pid


def test_one_that_hangs_is_not_asked_again(
    pool: WarmInterpreters, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caller starts a process the ordinary way, the next has another one to fork from."""
    old = _second(pool, sys.executable, variables)
    os.kill(old.pid, signal.SIGSTOP)
    monkeypatch.setattr("pytest_valor_schedule.process.fork_client._FORK_SECONDS", 0.1)
    with pytest.raises(OSError, match="forked no process"):
        _run(old)
    monkeypatch.undo()
    new = pool.get(sys.executable, variables)
    assert new is not None
    assert new.pid != old.pid
    assert not _is_alive(old.pid)


def test_a_quiet_moment_is_used(pool: WarmInterpreters, variables: dict[str, str]) -> None:
    """One is started in each for what was used last, and nothing where all is ready."""
    for number in "12":
        pool.get(sys.executable, variables | {"TZ": number})
    for count in (1, 2, 2):
        pool.get_ready()
        assert len(pool.pids()) == count
    warm = pool.get(sys.executable, variables | {"TZ": "1"})
    assert warm is not None
    assert warm.pid in pool.pids()


def test_no_more_than_so_many_are_kept(pool: WarmInterpreters, variables: dict[str, str]) -> None:
    """The one that was not used for the longest time ends."""
    kinds = [variables | {"TZ": number} for number in "123"]
    first, second = (_second(pool, sys.executable, kind) for kind in kinds[:2])
    assert pool.get(sys.executable, kinds[0]) is first
    third = _second(pool, sys.executable, kinds[2])
    assert set(pool.pids()) == {first.pid, third.pid}
    assert not _is_alive(second.pid)


def test_one_that_is_not_kept_lives_as_long_as_its_forks(
    pool: WarmInterpreters, variables: dict[str, str]
) -> None:
    """Only it can tell how they end, and it is still among those that nobody may kill."""
    old = _second(pool, sys.executable, variables)
    fork = _run(old, gate="gate")
    for number in "12":
        pool.get(sys.executable, variables | {"TZ": number})
    assert old.pid in pool.pids()
    Path("gate").touch()
    assert _about(fork)["parent"] == old.pid
    pool.get_ready()
    assert old.pid not in pool.pids()
    assert not _is_alive(old.pid)


def test_an_environment_of_another_version_is_left_alone(
    pool: WarmInterpreters, environment: Environment, variables: dict[str, str]
) -> None:
    """A server that does not know what we say ends; it is not tried again for each process."""
    server = environment.packages / "pytest_valor_schedule" / "process" / "fork_server.py"
    server.parent.mkdir(parents=True)
    server.with_name("fork_server.py").write_text("import sys; sys.exit(sys.argv[1] != '--serve')")
    server.parents[1].joinpath("__init__.py").touch()
    assert [pool.get(environment.python, variables) for _ in range(2)] == [None, None]
    pids = pool.pids()
    assert pool.get(environment.python, variables) is None
    assert pool.pids() == pids


def test_an_environment_without_this_package_is_left_alone(
    pool: WarmInterpreters, environment: Environment, variables: dict[str, str]
) -> None:
    """It ends without a word, and so does one that is not there."""
    environment.pth_file.unlink()
    for python in (environment.python, str(environment.folder / "bin/absent")):
        assert [pool.get(python, variables) for _ in range(3)] == [None] * 3


def test_this_version_ends_where_it_is_asked_in_other_words() -> None:
    """A dispatcher of another version is told nothing that it could misunderstand."""
    for word in ("--serve", "--serve-99"):
        command = [sys.executable, fork_server.__file__, word, "0"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
        assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
