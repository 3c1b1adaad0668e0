"""A pytest that is forked from a dispatcher is like one that was started."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import iniconfig
import pytest
from scheduled import GATED, open_gate, outcomes_of, results_of, schedule
from waiting import processes_marked, wait_until

from pytest_valor_schedule import get_job_status, likeness, schedule_tests, template
from pytest_valor_schedule.handshake import JOB_ID_VARIABLE
from pytest_valor_schedule.home import Home
from pytest_valor_schedule.identity import Identity
from pytest_valor_schedule.store import JobStore

pytestmark = [
    pytest.mark.home_in_use,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks it"),
]

A_FEW = 6
LOOK = """
import gc, inspect, json, locale, os, signal, sys, tempfile, threading, warnings
from pathlib import Path

def pytest_sessionfinish(session):
    if hasattr(session.config, "workerinput"):
        return
    named = [each for each in os.environ if not each.startswith(("VALOR_SCHEDULE_", "PYTEST_"))]
    main = sys.modules["__main__"]
    Path(os.environ["LOOK"]).write_text(json.dumps({
        "name": Path("/proc/self/comm").read_text().strip(),
        "shown": Path("/proc/self/cmdline").read_text().strip("\\0").split("\\0")[-3:],
        "mark": os.environ["VALOR_SCHEDULE_JOB_ID"] in Path("/proc/self/environ").read_text(),
        "left": sys.getrecursionlimit() - len(inspect.stack()),
        "is": {
            "path": sys.path, "argv": sys.argv, "orig_argv": sys.orig_argv[-4:],
            "cwd": os.getcwd(), "flags": str(sys.flags), "umask": os.umask(0o22),
            "warnings": [str(each) for each in warnings.filters], "main": main.__name__,
            "locale": locale.setlocale(locale.LC_ALL),
            "interrupt": str(signal.getsignal(signal.SIGINT)),
            "pipe": str(signal.getsignal(signal.SIGPIPE)),
            "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
            "threads": sorted(each.name.split("-")[0] for each in threading.enumerate()),
            "leads": os.getsid(0) == os.getpid(), "temporary": tempfile.gettempdir(),
            "environment": {name: os.environ[name] for name in named},
            "modules": sorted(  # by an older filelock asyncio comes with all that it needs
                each for each in sys.modules
                if each.split(".")[0] not in ("asyncio", "concurrent", "contextvars", "encodings",
                                              "ssl", "_asyncio", "_contextvars", "_ssl")
            ),
            "plugins": sorted(name for name, _ in session.config.pluginmanager.list_name_plugin()
                              if not str(name).isdigit() and "conftest" not in name),
            "handles": [Path(os.readlink(f"/proc/self/fd/{n}")).name for n in range(3)],
            "open": len(os.listdir("/proc/self/fd")),
            "collects": gc.isenabled(),
        },
    }))
"""

TELL_NAME = """
from pathlib import Path
def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        Path("name").write_text(Path("/proc/self/comm").read_text().strip())
"""


def _scheduled_anew() -> str:
    """Schedule a run whose tests a pytest collects that was started, not forked."""
    job_id: str = schedule_tests("python -m pytest -p no:cacheprovider --color=no")["job_id"]
    return job_id


def _seen(project: Path, name: str) -> dict[str, Any]:
    """Run a job and return what its pytest sees of itself; its name tells how it came to be."""
    results = results_of(schedule("-q"))
    assert results["outcome"] == "passed", results
    seen: dict[str, Any] = json.loads((project / "look.json").read_text())
    assert (seen["name"] == template.PROCESS_NAME) == (name == "forked"), seen["name"]
    assert seen["mark"]
    assert seen["shown"][-1] == "-q"
    return {**seen["is"], "left": seen["left"]}


def test_it_is_like_one_that_was_started(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Path, arguments, environment, signals, threads, plugins and so on, and what /proc shows."""
    monkeypatch.setenv("TMPDIR", str(project / "tmp"))
    monkeypatch.setenv("LOOK", str(project / "look.json"))
    Path("tmp").mkdir()
    Path("conftest.py").write_text(LOOK)
    Path("test_it.py").write_text("def test_it(): pass")
    outcomes_of(schedule())  # after this one the dispatcher is ready
    forked = _seen(project, "forked")
    monkeypatch.setenv("PYTHON_SOMETHING", "that an interpreter may look at when it starts")
    started = _seen(project, "started")
    del started["environment"]["PYTHON_SOMETHING"]
    assert abs(forked.pop("left") - started.pop("left")) < A_FEW  # calls until a RecursionError
    for name in started:
        assert forked[name] == started[name], name


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
    Path("conftest.py").write_text(TELL_NAME)
    Path("test_it.py").write_text("def test_it(): pass")
    outcomes_of(_scheduled_anew())
    folder.mkdir()
    folder.joinpath("made_later.py").touch()
    Path("test_it.py").write_text("import made_later\ndef test_it(): pass")
    assert outcomes_of(_scheduled_anew()) == {"test_it.py::test_it": "passed"}
    assert Path("name").read_text() == template.PROCESS_NAME
    shutil.copytree(Path(iniconfig.__file__).parent, folder / "iniconfig")
    Path("test_it.py").write_text(
        "import iniconfig\ndef test_that(): assert 'made' in iniconfig.__file__\n"
    )
    assert outcomes_of(_scheduled_anew()) == {"test_it.py::test_that": "passed"}


def test_it_ends_as_an_interpreter_does(project: Path) -> None:
    """Its functions for the end are called, its threads awaited, its files written."""
    Path("conftest.py").write_text(
        "import atexit, threading, time\n"
        "from pathlib import Path\n"
        "FILE = open('unclosed', 'a')\n"
        "def pytest_configure(config):\n"
        "    if hasattr(config, 'workerinput'): return\n"
        "    atexit.register(lambda: Path('at_exit').touch())\n"
        "    FILE.write('whole')\n"
        "    def last(): time.sleep(0.3); Path('thread').touch()\n"
        "    threading.Thread(target=last).start()\n"
        "def pytest_unconfigure(config):\n"
        "    if hasattr(config, 'workerinput'): return\n"
        "    name = Path('/proc/self/comm').read_text().strip()\n"
        "    Path('name').write_text(name)\n"
    )
    Path("test_it.py").write_text("def test_it(): assert 0")
    outcomes_of(schedule())
    for name in ("at_exit", "thread", "unclosed", "name"):
        Path(name).unlink()
    results = results_of(schedule())
    assert Path("name").read_text() == template.PROCESS_NAME
    assert (results["exit_code"], results["outcome"]) == (1, "failed")
    wait_until(lambda: Path("at_exit").exists(), "what was registered is called")
    assert Path("thread").exists()
    assert wait_until(lambda: Path("unclosed").read_text(), "its file is written") == "whole"


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
    dispatcher = int(Path(f"/proc/{runner}/stat").read_text().rpartition(")")[2].split()[1])
    for pid in (dispatcher, runner):
        os.kill(pid, signal.SIGKILL)
    assert outcomes_of(job_id) == {"test_gated.py::test_gated": "not_run"}
    assert processes_marked(mark) == []


def test_one_that_would_differ_is_started(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another environment for the start of an interpreter, or the wish that nothing is forked."""
    Path("conftest.py").write_text(TELL_NAME)
    Path("test_it.py").write_text("def test_it(): pass")
    outcomes_of(schedule())
    for name, is_fork in (("ANOTHER", True), ("PYTHONDEVMODE", False)):
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            outcomes_of(schedule())
        assert (Path("name").read_text() == template.PROCESS_NAME) == is_fork, name
    Path("pytest.ini").write_text("[pytest]\nvalor_schedule_fork_workers = false")
    outcomes_of(schedule())
    assert Path("name").read_text() != template.PROCESS_NAME


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
    assert likeness.is_like(("-m", "pytest"), str(project), environment) == alike


def test_what_runs_at_every_start_is_seen(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sitecustomize.py that came later would run in an interpreter that is started."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    environment = {**os.environ, JOB_ID_VARIABLE: "x"}
    assert likeness.is_like(("-m", "pytest"), str(project), environment)
    tmp_path.joinpath("site").mkdir()
    tmp_path.joinpath("site", "sitecustomize.py").touch()
    assert not likeness.is_like(("-m", "pytest"), str(project), environment)


def test_an_environment_inside_of_a_project_is_none_of_its_modules(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the project has by a name hides what is installed in its own virtual environment."""
    installed = types.ModuleType("iniconfig")
    installed.__file__ = str(project / ".venv/lib/iniconfig/__init__.py")
    monkeypatch.setitem(sys.modules, "iniconfig", installed)
    environment = {**os.environ, JOB_ID_VARIABLE: "x"}
    assert likeness.is_like(("-m", "pytest"), str(project), environment)
    Path("iniconfig").mkdir()
    assert not likeness.is_like(("-m", "pytest"), str(project), environment)
    installed.__file__ = str(project / "iniconfig/__init__.py")
    assert likeness.is_like(("-m", "pytest"), str(project), environment)


def test_a_project_of_what_pytest_needs_gets_its_own(project: Path) -> None:
    """A package in the working directory comes before one that the dispatcher has imported."""
    shutil.copytree(Path(iniconfig.__file__).parent, "iniconfig")
    Path("test_it.py").write_text(
        "import iniconfig, os\ndef test_it(): assert iniconfig.__file__.startswith(os.getcwd())\n"
    )
    for _ in range(2):
        assert results_of(_scheduled_anew())["outcome"] == "passed"


def test_what_has_no_room_is_cut_off() -> None:
    """A process shows as much of a command and environment as there is room for."""
    code = (
        "import os; from pathlib import Path; from pytest_valor_schedule import title\n"
        "assert title.has_room('A=b') and not title.has_room('A' * 10**6)\n"
        "title.show_as(['run', 'x' * 10**5], {'NAME': 'value', 'B': 'y' * 10**6})\n"
        "command = Path('/proc/self/cmdline').read_bytes()\n"
        "assert command.startswith(b'run\\0xxx') and command.endswith(b'\\0'), command\n"
        "assert Path('/proc/self/environ').read_bytes().startswith(b'NAME=value\\0B=yyy')\n"
        "assert os.environ['PATH']\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
