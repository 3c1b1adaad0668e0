"""A pytest that is forked from a dispatcher is like one that was started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import iniconfig
import pytest

from pytest_valor_schedule import get_job_status, schedule_tests
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.env import JOB_ID_VARIABLE
from pytest_valor_schedule.process.identity import Identity
from pytest_valor_schedule.queue.store import JobStore
from tests.support.interpreter import IS_FORKED
from tests.support.scheduled import GATED, open_gate, outcomes_of, results_of, schedule
from tests.support.waiting import processes_marked, wait_until

pytestmark = [
    pytest.mark.home_in_use,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks it"),
]

TELL = f"""{IS_FORKED}
def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        Path("how").write_text("forked" if is_forked() else "started")
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


def test_each_environment_has_its_own(project: Path, tmp_path: Path) -> None:
    """A dispatcher runs jobs of two environments beside each other, each in that of the job."""
    Path("test_it.py").write_text(
        "import os, pathlib, sys\n"
        f"def test_it(): pathlib.Path(os.environ[{JOB_ID_VARIABLE!r}]).write_text(sys.prefix)\n"
    )
    other = tmp_path / "other"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", other], check=True)
    [packages] = other.glob("lib/python*/site-packages")
    ours = Path(pytest.__file__).parent.parent
    packages.joinpath("ours.pth").write_text(f"import site; site.addsitedir({str(ours)!r})\n")
    for _ in range(2):  # the second time from what is warm
        jobs = {
            schedule_tests(f"{prefix}/bin/python -m pytest")["job_id"]: str(prefix)
            for prefix in (sys.prefix, other)
        }
        for job_id, prefix in jobs.items():
            assert set(outcomes_of(job_id).values()) == {"passed"}
            assert Path(job_id).read_text() == prefix


def test_what_is_left_of_it_is_found_by_its_mark(project: Path, home: Home) -> None:
    """Processes that cannot see that runner and dispatcher are dead are ended by the next call."""
    Path("test_gated.py").write_text(GATED)
    open_gate()
    outcomes_of(schedule())
    Path("gate").unlink()
    job_id = schedule()
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
