"""Workers that are forked are like those that were started."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from scheduled import results_of, run_pytest, scheduled_id

from pytest_valor_schedule.forkserver import WORKER_NAME, forking, variables_at_start
from pytest_valor_schedule.home import Home

pytestmark = pytest.mark.home_in_use

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks them")

A_FEW = 6
LOOK = """
import gc, inspect, json, locale, os, signal, sys, threading, warnings
from pathlib import Path

def look(config):
    handles = [os.readlink(f"/proc/self/fd/{n}").split("#")[0] for n in range(3)]
    return {
        "path": sys.path, "argv": sys.argv, "orig_argv": sys.orig_argv, "cwd": os.getcwd(),
        "flags": str(sys.flags), "warnings": [str(each) for each in warnings.filters],
        "main": sorted(name for name in vars(sys.modules["__main__"]) if name[:2] != "__"),
        "left": sys.getrecursionlimit() - len(inspect.stack()),
        "streams": [(each.encoding, each.errors) for each in (sys.__stdin__, sys.__stdout__)],
        "locks": [each for each in map(os.path.realpath, Path("/proc/self/fd").iterdir())
                  if each.endswith(".lock")],
        "locale": locale.setlocale(locale.LC_ALL),
        "interrupt": str(signal.getsignal(signal.SIGINT)), "umask": os.umask(0o22),
        "threads": sorted(type(each).__name__ for each in threading.enumerate()),
        "meta_path": [str(type(each)) for each in sys.meta_path],
        "modules": sorted(name for name in sys.modules if not name.startswith("encodings.")),
        "handles": [each for each in handles if "pipe" not in each],
        "executable": sys.executable, "session": os.getsid(0) == os.getpgid(0),
        "plugins": sorted(str(name) for name, _ in config.pluginmanager.list_name_plugin()
                          if not str(name).isdigit()),
        "collects": gc.isenabled(), "environment": {
            name: value for name, value in os.environ.items()
            # readline sets the last two for the children of a process, but not for itself.
            if not name.startswith(("PYTEST_", "VALOR_SCHEDULE_", "COLUMNS", "LINES"))},
    }

def test_look(request):
    found = {"name": Path("/proc/self/comm").read_text().strip(), "is": look(request.config)}
    Path(os.environ["LOOK"]).write_text(json.dumps(found))
"""


def _seen(project: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("LOOK", str(project / "look.json"))
    results = results_of(scheduled_id(run_pytest("--schedule")))
    assert results["outcome"] == "passed", results
    found = json.loads((project / "look.json").read_text())
    assert (found["name"] == WORKER_NAME) == (name == "forked")
    return dict(found["is"])


@linux_only
def test_a_forked_worker_is_like_a_fresh_one(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Path, arguments, warnings, signals, plugins and so on are those of xdist's own workers."""
    Path("test_it.py").write_text(LOOK)
    forked = _seen(project, "forked", monkeypatch)
    monkeypatch.setenv("VALOR_SCHEDULE_FORK_WORKERS", "0")
    started = _seen(project, "started", monkeypatch)
    left = [found.pop("left") for found in (forked, started)]  # calls until a RecursionError
    assert abs(left[0] - left[1]) < A_FEW
    # What every pytest with xdist imports in some order of its own, and what a runner needs.
    modules = set(forked.pop("modules")) ^ set(started.pop("modules"))
    standard = {name for name in modules if name.split(".")[0] in sys.stdlib_module_names}
    assert {name.split(".")[0] for name in modules - standard} <= {"pytest", "_pytest"}, modules
    for name in forked:
        assert forked[name] == started[name], name


@linux_only
def test_variables_for_the_start_of_an_interpreter_are_heeded(project: Path) -> None:
    """A conftest.py that sets one gets workers that were started with it."""
    Path("conftest.py").write_text(
        "import os\ndef pytest_configure(): os.environ.setdefault('PYTHONWARNINGS', 'error')\n"
    )
    Path("test_it.py").write_text(
        "import sys\ndef test_it(): assert sys.warnoptions == ['error']\n"
    )
    assert results_of(scheduled_id(run_pytest("--schedule")))["outcome"] == "passed"


def test_a_worker_that_does_not_end_is_ended(project: Path) -> None:
    """A thread that a test leaves behind holds up its worker, but not the run."""
    Path("test_it.py").write_text(
        "import threading, time\n"
        "def test_it(): threading.Thread(target=time.sleep, args=(900,)).start()\n"
    )
    assert results_of(scheduled_id(run_pytest("--schedule")))["outcome"] == "passed"


@linux_only
@pytest.mark.parametrize("where", ["environment", "ini", "machine"])
def test_forks_can_be_switched_off(
    project: Path, home: Home, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Then xdist starts the workers; the nearest of all that is said about it counts."""
    home.make()
    home.config.write_text(f"fork_workers = {'false' if where == 'machine' else 'true'}\n")
    if where != "machine":
        said = "true" if where == "environment" else "false"
        Path("pytest.ini").write_text(f"[pytest]\nvalor_schedule_fork_workers = {said}\n")
    if where == "environment":
        monkeypatch.setenv("VALOR_SCHEDULE_FORK_WORKERS", "0")
    Path("test_it.py").write_text(
        "import pathlib\ndef test_it():\n"
        f"    assert pathlib.Path('/proc/self/comm').read_text() != '{WORKER_NAME}\\n'\n"
    )
    assert results_of(scheduled_id(run_pytest("--schedule")))["outcome"] == "passed"


@pytest.mark.parametrize(
    "command",
    [("/py", "-m", "pytest", "-q"), ("/py", "/bin/pytest", "-q")],
)
def test_a_plain_start_can_fork(command: tuple[str, ...]) -> None:
    """`python -m pytest` and `python SCRIPT` get our module between."""
    python, *rest = command
    assert forking(command, python)[2:] == tuple(rest)
    assert forking(command, python)[1].endswith("forkserver.py")


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
    assert forking(command, "/py") == command


@linux_only
def test_what_a_controller_hands_down_is_heeded(project: Path) -> None:
    """Workers ignore the signals, and the like, that a conftest.py has the controller ignore."""
    Path("conftest.py").write_text(
        "import os, signal\n"
        "def pytest_configure(config):\n"
        "    in_job = 'VALOR_SCHEDULE_JOB_ID' in os.environ\n"
        "    if in_job and not hasattr(config, 'workerinput'):\n"
        "        signal.signal(signal.SIGUSR2, signal.SIG_IGN)\n"
    )
    Path("test_it.py").write_text(
        "import signal\ndef test_it(): assert signal.getsignal(signal.SIGUSR2) == signal.SIG_IGN\n"
    )
    assert results_of(scheduled_id(run_pytest("--schedule")))["outcome"] == "passed"


def test_what_is_looked_at_only_at_the_start() -> None:
    """The variables of the interpreter, its libraries and its locale are told from others."""
    looked_at = {"PYTHONPATH": "a", "LC_ALL": "C", "OPENSSL_CONF": "c"}
    assert variables_at_start({**looked_at, "HOME": "/", "PATH": "b"}) == looked_at
