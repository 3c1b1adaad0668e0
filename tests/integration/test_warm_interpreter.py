"""A pytest that is forked from a dispatcher is like one that was started."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import iniconfig
import pytest

from pytest_valor_schedule import get_job_status, schedule_tests
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.env import JOB_ID_VARIABLE
from pytest_valor_schedule.process import fork_server
from pytest_valor_schedule.process.identity import Identity
from pytest_valor_schedule.queue.store import JobStore
from tests.support.environments import make_environment
from tests.support.interpreter import IS_FORKED
from tests.support.scheduled import (
    GATED,
    is_running,
    open_gate,
    outcomes_of,
    results_of,
    schedule,
)
from tests.support.waiting import processes_marked, serving, wait_until

pytestmark = [
    pytest.mark.home_in_use,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks it"),
]

TELL = f"""{IS_FORKED}
def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        Path("how").write_text("forked" if is_forked() else "started")
"""

TELL_OF_JOB = f"""{IS_FORKED}
import json, sys
def pytest_unconfigure(config):
    job_id = os.environ.get({JOB_ID_VARIABLE!r})
    if job_id and not hasattr(config, "workerinput"):
        stat = Path(f"/proc/{{os.getppid()}}/stat").read_text().rpartition(")")[2]
        about = {{"prefix": sys.prefix, "forked": is_forked(), "warm": int(stat.split()[1])}}
        Path(job_id).write_text(json.dumps(about))
"""


def _scheduled_anew() -> str:
    """Schedule a run whose tests a pytest collects that was started, not forked."""
    job_id: str = schedule_tests("python -m pytest -p no:cacheprovider --color=no")["job_id"]
    return job_id


def test_a_project_may_have_modules_of_names_that_we_use(project: Path) -> None:
    """What a runner has imported hides none of the project's, and can be imported as ever."""
    Path("sub").mkdir()
    for name in ("ctypes", "resource", "secrets"):
        Path("sub", f"{name}.py").write_text("MINE = True")
    Path("sub/test_it.py").write_text(
        "import ctypes, filelock, resource, secrets, sqlite3, tomllib\n"
        "def test_it():\n"
        "    assert ctypes.MINE and resource.MINE and secrets.MINE\n"
        "    assert sqlite3.connect(':memory:').execute('select 7').fetchone() == (7,)\n"
        "    assert tomllib.loads('a = 7') == {'a': 7}\n"
        "    assert filelock.FileLock\n"
    )
    Path("sub/conftest.py").write_text("import ctypes\nassert ctypes.MINE")
    for _ in range(2):
        assert results_of(schedule("-p", "no:rerunfailures"))["outcome"] == "passed"


def test_a_folder_of_the_path_may_come_later(
    project: Path, empty_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not there when the dispatcher began is found, and may come before what we need."""
    folder = project / "made"
    monkeypatch.setenv("VALOR_SCHEDULE_IDLE_SECONDS", "3")  # the same one has all three jobs
    monkeypatch.setenv("PYTHONPATH", str(folder))
    Path("conftest.py").write_text(TELL)
    Path("test_it.py").write_text("def test_it(): pass")
    outcomes_of(_scheduled_anew())
    folder.mkdir()
    folder.joinpath("made_later.py").touch()
    Path("test_it.py").write_text("import made_later\ndef test_it(): pass")
    assert outcomes_of(_scheduled_anew()) == {"test_it.py::test_it": "passed"}
    assert Path("how").read_text() == "forked"
    shutil.copytree(Path(iniconfig.__file__).parent, folder / "iniconfig")
    Path("test_it.py").write_text(
        "import iniconfig\ndef test_that(): assert 'made' in iniconfig.__file__\n"
    )
    assert outcomes_of(_scheduled_anew()) == {"test_it.py::test_that": "passed"}


def test_each_environment_has_its_own(project: Path, home: Home, tmp_path: Path) -> None:
    """Jobs of two environments that come in turns are both forked, and outlive a dead runner."""
    Path("conftest.py").write_text(TELL_OF_JOB)
    Path("test_it.py").write_text("def test_it(): pass")
    pythons = {
        sys.executable: sys.prefix,
        make_environment(tmp_path / "other").python: str(tmp_path / "other"),
    }
    for is_second in (False, True):
        jobs = {schedule_tests(f"{python} -m pytest")["job_id"]: python for python in pythons}
        for job_id, python in jobs.items():
            assert set(outcomes_of(job_id).values()) == {"passed"}
            about = json.loads(Path(job_id).read_text())
            assert about["prefix"] == pythons[python]
            assert about["forked"] or not is_second
    warm = {json.loads(Path(job_id).read_text())["warm"] for job_id in jobs}
    assert len(warm) == 2
    _kill_a_runner(home)
    assert warm <= {*serving(home.root, fork_server.SERVER_NAME)}


def _kill_a_runner(home: Home) -> None:
    """Kill one at work, and wait until what it left is ended."""
    Path("test_it.py").write_text(GATED)
    job_id = schedule_tests("python -m pytest")["job_id"]
    wait_until(lambda: is_running(job_id), "it runs")
    with JobStore(home) as store:
        os.kill(Identity.from_text(store.claim(job_id) or "").pid, signal.SIGKILL)
    assert outcomes_of(job_id) == {"test_it.py::test_gated": "not_run"}


def test_what_is_left_of_it_is_found_by_its_mark(project: Path, home: Home) -> None:
    """Processes that cannot see that runner and dispatcher are dead are ended by the next call."""
    Path("test_gated.py").write_text(GATED)
    open_gate()
    outcomes_of(schedule())
    Path("gate").unlink()
    job_id = schedule("-o", "valor_schedule_inline=never")
    wait_until(lambda: get_job_status(job_id).get("progress", {}).get("running"), "the test runs")
    mark = f"{JOB_ID_VARIABLE}={job_id}"
    with JobStore(home) as store:
        runner = Identity.from_text(store.claim(job_id) or "").pid
    left = processes_marked(mark)
    assert len(left) == 3  # the pytest, its server, its worker
    for pid in left:
        os.kill(pid, signal.SIGSTOP)
    warm = _parent(runner)
    for pid in (_parent(warm), warm, runner):
        os.kill(pid, signal.SIGKILL)
    assert outcomes_of(job_id) == {"test_gated.py::test_gated": "not_run"}
    assert processes_marked(mark) == []


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_one_that_would_differ_is_started(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another environment for the start of an interpreter, or the wish that nothing is forked."""
    Path("conftest.py").write_text(TELL)
    Path("test_it.py").write_text("def test_it(): pass")
    outcomes_of(schedule())
    for name, is_fork in (("ANOTHER", True), ("PYTHONDEVMODE", False)):
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            outcomes_of(schedule())
        assert Path("how").read_text() == ("forked" if is_fork else "started"), name
    Path("pytest.ini").write_text("[pytest]\nvalor_schedule_fork_workers = false")
    outcomes_of(schedule())
    assert Path("how").read_text() == "started"


def test_a_project_of_what_pytest_needs_gets_its_own(project: Path) -> None:
    """A package in the working directory comes before one that the dispatcher has imported."""
    shutil.copytree(Path(iniconfig.__file__).parent, "iniconfig")
    Path("test_it.py").write_text(
        "import iniconfig, os\ndef test_it(): assert iniconfig.__file__.startswith(os.getcwd())\n"
    )
    for _ in range(2):
        assert results_of(_scheduled_anew())["outcome"] == "passed"
