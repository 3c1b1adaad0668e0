"""Every test has a home of its own, and no process is left behind by any of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_valor_schedule import cancel_job, list_jobs
from pytest_valor_schedule._util import locks
from pytest_valor_schedule.client import collect
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import service
from pytest_valor_schedule.process import startup
from pytest_valor_schedule.queue import slots
from tests.support import warm
from tests.support.disks import umount
from tests.support.scheduled import collect_warm, results_of, run_pytest, scheduled_id
from tests.support.waiting import processes_marked, wait_until

pytest_plugins = ["pytester"]

MARK = "SUITE_THAT_STARTED_THIS"
OF_THE_OUTPUT = {"CI", "BUILD_NUMBER", "FORCE_COLOR", "NO_COLOR", "PY_COLORS", "PYTEST_THEME"}
"""The variables by which pytest shows more, less or in other colours."""

OWN_HOME = {"empty_home", "no_dispatcher", "ended", "small_disk"}
"""The fixtures that need a home in which nothing was before."""

WITHOUT_HYPOTHESIS = "-p no:hypothesispytest"
"""Its import takes longer than all the rest of a small pytest, three times for each job."""


@pytest.fixture(scope="session", autouse=True)
def no_process_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """No process that this test process started, however far removed, outlives the suite.

    What serves a home has nothing of the environment but the name of the home.
    """
    own_homes = f"VALOR_HOME={tmp_path_factory.getbasetemp()}{os.sep}"
    mark = uuid.uuid4().hex
    startup.heed_signals()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, mark)
        for name in OF_THE_OUTPUT:
            patch.delenv(name, raising=False)
        yield mark
        warm.stop()
        wait_until(lambda: not processes_marked(f"{MARK}={mark}"), "every process has ended")
        wait_until(lambda: not processes_marked(own_homes, whole=False), "no home is served")


@pytest.fixture(scope="session")
def home_in_use(tmp_path_factory: pytest.TempPathFactory, no_process_left: str) -> Iterator[Path]:
    """A home for many tests, whose dispatcher stays, as on a machine that is in use."""
    folder = tmp_path_factory.mktemp("in_use") / "home"
    yield folder
    # Which ends its dispatcher; again, because that may just have been at it.
    wait_until(lambda: _is_thrown_away(folder), "the home in use is gone")


@pytest.fixture(autouse=True)
def own_home(home: Home) -> None:
    """Give a home of its own to every test that does not say otherwise, as unit tests do."""


@pytest.fixture
def home(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    no_process_left: str,
) -> Iterator[Home]:
    """An empty VALOR_HOME; at the end its jobs are cancelled and its dispatcher has gone.

    With the mark home_in_use it is one that has had other jobs, and its dispatcher stays.
    """
    in_use = _is_in_use(request)
    for name in list(os.environ):
        if name.startswith("VALOR_SCHEDULE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv(MARK, no_process_left)
    folder = tmp_path_factory.mktemp("valor") / "home"
    if in_use:
        folder = request.getfixturevalue("home_in_use")
    monkeypatch.setenv("VALOR_HOME", str(folder))
    monkeypatch.setenv("VALOR_SCHEDULE_IDLE_SECONDS", "20" if in_use else "0.3")
    _set_slots(Home(folder), monkeypatch, 2, in_use=in_use)
    monkeypatch.setenv("PYTEST_ADDOPTS", WITHOUT_HYPOTHESIS)
    if request.node.get_closest_marker("sessions"):
        monkeypatch.setenv("VALOR_SCHEDULE_SESSIONS", "true")
    home = Home(folder)
    yield home
    if home.database.exists():
        monkeypatch.setenv("VALOR_HOME", str(folder))
        _end_jobs(home)
        if in_use:
            wait_until(lambda: not slots.holders(home, 2), "all runners have gone")
        else:
            wait_until(lambda: not service.is_running(home), "the dispatcher has gone")


@pytest.fixture
def warm_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """What functions and commands have collected is collected by a fork of a warm pytest.

    Those of tests/acceptance, of the environment and of warm interpreters start one.
    """
    monkeypatch.setattr(collect, "_run", collect_warm)


@pytest.fixture
def empty_home(home: Home) -> Home:
    """A home in which nothing was before, also in a module whose other tests share one."""
    return home


@pytest.fixture
def one_slot(home: Home, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine has one worker slot, so that one job runs at a time."""
    _set_slots(home, monkeypatch, 1, in_use=_is_in_use(request))


@pytest.fixture
def no_dispatcher(home: Home) -> Iterator[None]:
    """Nothing starts, because the lock of the dispatcher is held here; all jobs are cancelled."""
    home.make()
    handle = locks.take_exclusive(home.dispatcher_lock, 1.0, lambda: False)
    assert handle is not None
    yield
    for job in list_jobs("scheduled", limit=1000)["jobs"]:
        cancel_job(job["job_id"])
    os.close(handle)


@pytest.fixture(scope="session")
def ended_template(
    tmp_path_factory: pytest.TempPathFactory, no_process_left: str
) -> tuple[Path, str]:
    """A home with a job that has ended, to be copied, and the job's id."""
    project = tmp_path_factory.mktemp("ended")
    project.joinpath("test_it.py").write_text(ENDED_SUITE)
    home = Home(project / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VALOR_HOME", str(home.root))
        patch.setenv("VALOR_SCHEDULE_IDLE_SECONDS", "0.3")
        patch.setenv("PYTEST_ADDOPTS", WITHOUT_HYPOTHESIS)
        patch.setenv(MARK, no_process_left)
        job_id = scheduled_id(run_pytest("--schedule", "--max-workers", "1", folder=project))
        results_of(job_id)
        served_by = f"VALOR_HOME={home.root}"
        wait_until(lambda: not processes_marked(served_by), "dispatcher and runner have gone")
    return home.root, job_id


@pytest.fixture
def ended(ended_template: tuple[Path, str], home: Home) -> str:
    """The id of a job that has ended, in the home."""
    root, job_id = ended_template
    shutil.copytree(root, home.root, dirs_exist_ok=True)
    return job_id


@pytest.fixture
def small_disk(home: Home) -> Iterator[Path]:
    """A disk of 4 MB that holds the home."""
    home.root.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(home.root)]
    if subprocess.run(command).returncode:
        pytest.skip("nothing can be mounted here")
    yield home.root
    umount(home.root)


ENDED_SUITE = """
import pytest
@pytest.mark.parametrize("number", range(3))
def test_one(number): assert number != 1
"""


def _is_thrown_away(folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def _is_in_use(request: pytest.FixtureRequest) -> bool:
    marked = request.node.get_closest_marker("home_in_use") is not None
    return marked and not OWN_HOME & set(request.fixturenames)


def _set_slots(home: Home, patch: pytest.MonkeyPatch, number: int, *, in_use: bool) -> None:
    """Set it where also a dispatcher that is there already looks."""
    if in_use:
        home.make()
        # Most tests promise nothing about workers, of which each is one more pytest.
        home.config.write_text(f"slots = {number}\nmax_workers = 1\n")
    else:
        patch.setenv("VALOR_SCHEDULE_SLOTS", str(number))


def _end_jobs(home: Home) -> None:
    for status in ("scheduled", "running"):
        for job in list_jobs(status, limit=1000).get("jobs", ()):
            cancel_job(job["job_id"])
    home.config.unlink(missing_ok=True)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The empty folder of a project, which is the working directory."""
    monkeypatch.setenv("PY_COLORS", "0")
    monkeypatch.setenv("PYTEST_ADDOPTS", WITHOUT_HYPOTHESIS)  # pytester has deleted it
    return pytester.path
