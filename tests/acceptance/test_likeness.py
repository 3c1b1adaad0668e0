"""What is forked is like what is started, from its first line to its last."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule import get_job_status, schedule_tests
from pytest_valor_schedule.client import session
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import service
from pytest_valor_schedule.model import run_request
from tests.conftest import MARK, WITHOUT_HYPOTHESIS
from tests.support import interpreter
from tests.support.scheduled import results_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")

CONFTEST = """
import sys
MODULES = sorted(sys.modules)

import atexit, json, os, sqlite3, threading, time, weakref
from pathlib import Path

import pytest
from interpreter import IS_FORKED, everything

exec(IS_FORKED)
HERE = Path(__file__).parent
RUNS = "VALOR_SCHEDULE_JOB_ID" in os.environ or os.environ["RUN"] in ("plain", "xdist")


def path(config, what):
    worker = getattr(config, "workerinput", {}).get("workerid", "controller")
    return HERE / f"{os.environ['RUN']}-{worker}-{what}"


def note(config, moment):
    found = {**everything(MODULES), "forked": is_forked()}
    path(config, f"{moment}.json").write_text(json.dumps(found))


class Last:
    def __init__(self, config, say):
        self.config, self.say = config, say

    def __del__(self):
        self.say("collected")


def held(config, say):
    try:
        yield config
    finally:
        say("generator closed")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    if not RUNS:
        return
    note(config, "begin")
    ends = os.open(path(config, "ends"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(line, write=os.write):
        write(ends, line.encode() + b"\\n")

    config.last = Last(config, say)  # each is reachable from itself only
    config.generator = held(config, say)
    next(config.generator)
    config.files = [path(config, f"{n}.text").open("w") for n in (1, 2)]
    for file in config.files:
        file.write("a line that is still in a buffer")
    config.database = sqlite3.connect(path(config, "database"))
    config.database.execute("pragma journal_mode = wal")
    config.database.execute("create table it (it)")
    config.database.commit()
    atexit.register(say, "atexit")
    weakref.finalize(config, say, "finalize")
    config.say = say


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    if RUNS:
        say = session.config.say
        note(session.config, "end")
        threading.Thread(target=lambda: (time.sleep(0.3), say("thread"))).start()
        threading.Thread(target=lambda: (time.sleep(900), say("never")), daemon=True).start()
"""


@dataclasses.dataclass(frozen=True)
class Row:
    """One thing that may differ.

    Attributes:
        reason: Why.
        alike: Whether it differs in nothing else, by the started and the forked one's.
    """

    reason: str
    alike: Callable[[Any, Any], bool] = lambda started, forked: True


def _adds(*names: str) -> Callable[[Any, Any], bool]:
    """Return whether a forked one has all that a started one has, and else only what is named."""

    def alike(started: list[Any], forked: list[Any]) -> bool:
        left = [str(each) for each in forked]
        for each in map(str, started):
            if each not in left:
                return False
            left.remove(each)
        return all(any(name in each for name in names) for each in left)

    return alike


def _is_ours(name: str) -> bool:
    first = name.partition(".")[0]
    return first in ("pytest_valor_schedule", "_pytest") or first in sys.stdlib_module_names


def _modules(started: list[str], forked: list[str]) -> bool:
    return set(started) <= set(forked) and all(map(_is_ours, set(forked) - set(started)))


def _files(started: dict[str, str], forked: dict[str, str]) -> bool:
    return all(forked.get(name) == file for name, file in started.items())


def _variables(started: Mapping[str, str], forked: Mapping[str, str]) -> bool:
    names = {name for name, _ in started.items() ^ forked.items()}
    return all(name in OUR_VARIABLES or name.endswith(("_THREADS", "_CPU_COUNT")) for name in names)


def _as_variables(words: list[str]) -> dict[str, str]:
    return dict(word.partition("=")[::2] for word in words if word)


COMMAND = Row("The command of a job has its workers and its plugins by name.")
OUR_VARIABLES = {
    *("RUN", "VALOR_SCHEDULE_JOB_ID", "VALOR_SCHEDULE_SLOT", "PYTEST_XDIST_TESTRUNUID"),
    *("VALOR_SCHEDULE_HANDSHAKE", "VALOR_SCHEDULE_COLLECT", "VALOR_SCHEDULE_SESSIONS"),
    "PYTEST_XDIST_WORKER_COUNT",
    *("COLUMNS", "LINES"),  # which readline sets for what is started, and not in the process itself
}
MAY_DIFFER = {
    "argv": COMMAND,
    "orig_argv": COMMAND,
    "cmdline": COMMAND,
    "words": COMMAND,
    "modules": Row("Our plugin and what it imports; of pytest's own also what is off.", _modules),
    "finds": Row("As the modules.", _files),
    "path_importer_cache": Row(
        "As the modules.", _adds("/pytest_valor_schedule/", str(Path(os.__file__).parent))
    ),
    "frames": Row(
        "One call of ours stands below all others.",
        lambda started, forked: forked == [*started, "fork_server.py:<module>"],
    ),
    "hash of a text": Row("A seed is chosen at a start, and cannot be another one in a fork."),
    "random": Row("Each has its own.", lambda started, forked: started != forked),
    "key of the process": Row("Each has its own.", lambda started, forked: started != forked),
    "environment": Row("A job has its id, a worker its slot and its threads.", _variables),
    "environ": Row(
        "As the environment.",
        lambda started, forked: _variables(_as_variables(started), _as_variables(forked)),
    ),
    "open": Row(
        "Our event logs, the slots, the pipe that tells of the runner's end, and the fork server.",
        _adds(".jsonl", ".stacks", ".lock", "more pipe 20000 own", "more socket"),
    ),
    "threads": Row("Ours watch the runner and the workers.", _adds("valor-schedule-")),
    "status Threads": Row("As the threads.", lambda started, forked: forked[0] >= started[0]),
    "signals of this": Row(
        "A worker that hangs is asked for its stacks by a signal of its own.",
        lambda started, forked: forked["SigCgt:"] & ~started["SigCgt:"] in (0, 1 << 62),
    ),
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, no_process_left: str) -> Iterator[Path]:
    """The folder of a project that was run plainly, by xdist, by two jobs and in a session."""
    root = tmp_path_factory.mktemp("likeness")
    project, home = root / "project", Home(root / "home")
    project.mkdir()
    shutil.copy(interpreter.__file__, project)
    project.joinpath("conftest.py").write_text(CONFTEST)
    project.joinpath("test_it.py").write_text("def test_a(): pass\ndef test_b(): pass\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, no_process_left)
        patch.setenv("VALOR_HOME", str(home.root))
        patch.setenv("VALOR_SCHEDULE_IDLE_SECONDS", "5")  # one dispatcher has both jobs
        patch.setenv("VALOR_SCHEDULE_SLOTS", "2")
        patch.setenv("PYTEST_ADDOPTS", f"{WITHOUT_HYPOTHESIS} -p no:cacheprovider")
        patch.chdir(project)
        _run("plain")
        _run("xdist", "-n", "2")
        with pytest.MonkeyPatch.context() as without:
            without.setattr(session, "ask", lambda *_: None)
            for name in ("cold", "warm"):
                patch.setenv("RUN", name)
                assert _schedule() == "workers"
        patch.setenv("RUN", "session")
        patch.setenv("VALOR_SCHEDULE_SESSIONS", "true")
        wait_until(lambda: _schedule() == "session", "a session runs them")
        patch.setenv("VALOR_SCHEDULE_IDLE_SECONDS", "0")
        yield project
        shutil.rmtree(home.root)
        wait_until(lambda: not service.is_running(home), "the dispatcher has gone")


def _run(name: str, *arguments: str) -> None:
    environment = {**run_request.job_environment(), "RUN": name}
    command = [sys.executable, "-m", "pytest", *arguments]
    subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,  # as that of a job, which its runner reads
        stderr=subprocess.STDOUT,
        start_new_session=True,
        check=True,
    )


def _schedule() -> str:
    """Have a job run, and return in which processes its tests ran."""
    receipt = schedule_tests(
        "python -m pytest", max_workers=1 if os.environ["RUN"] == "session" else 2
    )
    assert results_of(receipt["job_id"])["outcome"] == "passed"
    return get_job_status(receipt["job_id"])["ran_in"]


def _facts(project: Path, run: str, worker: str, moment: str) -> dict[str, Any]:
    text = project.joinpath(f"{run}-{worker}-{moment}.json").read_text()
    found: dict[str, Any] = json.loads(text.replace(f"{project}/{run}-", f"{project}/RUN-"))
    return found


def _differences(started: dict[str, Any], forked: dict[str, Any]) -> dict[str, Any]:
    names = started.keys() | forked.keys()
    found = {name: (started.get(name), forked.get(name)) for name in names}
    return {
        name: pair
        for name, pair in found.items()
        if pair[0] != pair[1] and not (name in MAY_DIFFER and MAY_DIFFER[name].alike(*pair))
    }


@pytest.mark.parametrize(
    ("run", "worker", "moment", "beside"),
    [
        *[
            (run, worker, moment, beside)
            for run in ("cold", "warm")
            for worker, moment, beside in (
                ("controller", "begin", "plain"),
                ("controller", "end", "xdist"),
                ("gw0", "begin", "xdist"),
                ("gw0", "end", "xdist"),
            )
        ],
        ("session", "controller", "begin", "plain"),
        ("session", "controller", "end", "plain"),
    ],
)
def test_an_interpreter_of_a_job_is_like_a_started_one(
    run: str, worker: str, moment: str, beside: str, seen: Path
) -> None:
    """In all that it can know of itself, but for what stands in the table with its reason."""
    started = _facts(seen, beside, worker, moment)
    forked = _facts(seen, run, worker, moment)
    is_fork = (started.pop("forked"), forked.pop("forked"))
    assert is_fork == (False, (run, worker) != ("cold", "controller"))
    assert _differences(started, forked) == {}
    if moment == "begin":  # by the end xdist may have changed its title
        assert forked["words"] == forked["cmdline"][:-1] == eval(forked["orig_argv"])


@pytest.mark.parametrize(
    ("run", "worker"),
    [
        *[(run, w) for run in ("xdist", "cold", "warm") for w in ("controller", "gw0", "gw1")],
        ("session", "controller"),
    ],
)
def test_it_ends_like_one(run: str, worker: str, seen: Path) -> None:
    """What it leaves is finalised: cycles, generators, threads, open files and databases."""
    if not seen.joinpath(f"{run}-{worker}-ends").exists():
        assert (run, worker) == ("warm", "gw1")  # by then it is known that a second does not pay
        return
    beside = "plain" if worker == "controller" else "xdist"
    assert _ends(seen, run, worker) == _ends(seen, beside, worker)


def _ends(project: Path, run: str, worker: str) -> dict[str, str | list[str]]:
    found = {
        path.name.removeprefix(f"{run}-{worker}-"): path
        for path in project.glob(f"{run}-{worker}-*")
        if path.suffix != ".json"
    }
    assert "ends" in found
    return {
        name: sorted(path.read_text().splitlines()) if "database" not in name else []
        for name, path in found.items()
    }
