"""A session on workers that are forked from it ends as one on workers that xdist starts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule.record import event_log
from tests.support import every_outcome, forked_session
from tests.support.waiting import processes_marked, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")

_PROGRESS = re.compile(r"[.FEsxXu,-]*(\s*\[ *\d+%\])?")
_OF_ONE = ("collected ", "created: ", "bringing up", "plugins: ", "cachedir: ")
_CHANGES = (
    (r"\bgw\d+", "gwN"),
    (r"0x[0-9a-f]+", "0x"),
    (r"pytest-of-\w+/pytest-\d+", "TMP"),
    (r" in \d+\.\d+s( \(.*\))?", ""),
    (r"^[=_!-]+ | [=_!-]+$", ""),
)


def _lines(output: str) -> list[str]:
    """Return what a run printed, but for what is otherwise in each, and in no order."""
    lines = []
    for line in output.splitlines():
        if not _PROGRESS.fullmatch(line) and not line.startswith(_OF_ONE):
            for pattern, text in _CHANGES:
                line = re.sub(pattern, text, line)
            lines.append(line)
    return sorted(line for line in lines if not re.fullmatch(r"2 workers \[\d+ items?\]", line))


def _compare(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the project in both ways, which are to print the same; return what was forked."""
    by_hand = forked_session.run_by_hand("-n2", *arguments)
    forked = forked_session.run(*arguments)
    assert not forked_session.hazards()
    assert _lines(forked.stdout) == _lines(by_hand.stdout), forked.stdout + by_hand.stdout
    assert forked.returncode == by_hand.returncode
    assert sorted(forked.stderr) == sorted(by_hand.stderr)  # lines of two workers may mix
    return forked


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = forked_session.run(*arguments)
    assert not forked_session.hazards()
    return done


def _events(kind: str) -> list[dict[str, Any]]:
    return [
        {**event, "writer": reader.writer.rpartition("-")[2]}
        for reader in event_log.readers(Path(forked_session.FOLDER))
        for event in reader.read()
        if event["kind"] == kind
    ]


@pytest.mark.parametrize("capture", ["fd", "sys", "no"])
def test_every_outcome(project: Path, capture: str) -> None:
    """Every way in which a test can end is told as by hand, whatever captures the output."""
    shutil.copy(every_outcome.__file__, "test_it.py")
    _compare(
        *("-rA", "--doctest-modules", f"--capture={capture}"),
        *("--deselect=test_it.py::test_property_that_cannot_be_sent", "-p", "no:randomly"),
    )


def test_no_workers_are_shown_to_who_asked_for_none(project: Path) -> None:
    """What is printed is what pytest without workers prints, but for the names of the files."""
    shutil.copy(every_outcome.__file__, "test_it.py")
    without = ("--deselect=test_it.py::test_property_that_cannot_be_sent", "-rA")
    plain = forked_session.run_by_hand(*without)
    forked = forked_session.run(*without, shows_workers=False)
    same = [line for line in plain.stdout.splitlines() if not line.startswith("test_it.py ")]
    lines = [line for line in forked.stdout.splitlines() if not _PROGRESS.fullmatch(line)]
    assert _plain(lines) == _plain([line for line in same if not _PROGRESS.fullmatch(line)])


def _plain(lines: list[str]) -> list[str]:
    for pattern, text in _CHANGES[:4]:
        lines = [re.sub(pattern, text, line) for line in lines]
    return [line for line in lines if not line.startswith(_OF_ONE)]


OUTPUT = """
import os, sys
import pytest

@pytest.mark.parametrize("number", range(6))
def test_prints(number):
    print("out", number)
    print("err", number, file=sys.stderr)
    os.system(f"echo child {number}; echo child err {number} >&2")
    assert number % 3

@pytest.mark.parametrize("number", range(4))
def test_capsys(number, capsys):
    print("mine")
    assert capsys.readouterr().out == "mine\\n"
    print("left", number)
    assert number != 1

def test_capfd(capfd):
    os.system("echo mine")
    assert capfd.readouterr().out == "mine\\n"

def test_reads_nothing():
    assert not os.read(0, 1)

def test_log(caplog):
    import logging
    logging.warning("logged")
    assert 0
"""


@pytest.mark.parametrize("capture", ["fd", "sys", "no", "tee-sys"])
def test_output(project: Path, capture: str) -> None:
    """What a test prints is captured for it and for no other, as by hand."""
    Path("test_it.py").write_text(OUTPUT)
    without = ["--deselect=test_it.py::test_reads_nothing"] if capture in ("sys", "tee-sys") else []
    _compare(f"--capture={capture}", *without)


PLACES = """
import atexit, json, os, random, sys, threading
from pathlib import Path
import pytest

HERE = Path(__file__).parent

@pytest.fixture(scope="session", autouse=True)
def session_wide(worker_id, tmp_path_factory):
    def note(name, value):
        with open(HERE / f"{worker_id}.txt", "a") as file:
            file.write(json.dumps([name, value]) + "\\n")

    note("begin", worker_id)
    note("basetemp", tmp_path_factory.getbasetemp().name)
    note("random", random.random())
    note("pid", os.getpid())
    note("argv", sys.argv)
    note("slot", os.environ.get("VALOR_SCHEDULE_SLOT"))
    note("count", os.environ["PYTEST_XDIST_WORKER_COUNT"])
    note("threads", threading.active_count())
    note("main", threading.current_thread() is threading.main_thread())
    atexit.register(note, "exit", worker_id)
    yield
    note("end", worker_id)

@pytest.mark.parametrize("number", range(8))
def test_place(number, tmp_path, worker_id, request, testrun_uid):
    import time
    time.sleep(0.05)
    assert tmp_path.parent.name == f"popen-{worker_id}"
    assert request.config.workerinput["workerid"] == worker_id
    assert request.config.workerinput["testrunuid"] == testrun_uid
    assert request.config.option.numprocesses is None
    assert request.config.option.dist == "no"
    assert not request.config.pluginmanager.has_plugin("dsession")
"""


def test_each_worker_is_one(project: Path) -> None:
    """It has its own name, folder, slot and random numbers, and ends like a process."""
    Path("test_it.py").write_text(PLACES)
    done = _run("--junitxml=report.xml")
    assert done.returncode == 0, done.stdout
    notes = [
        dict(map(json.loads, path.read_text().splitlines()))
        for path in (Path("gw0.txt"), Path("gw1.txt"))
    ]
    for number, each in enumerate(notes):
        worker = f"gw{number}"
        assert {each[name] for name in ("begin", "end", "exit")} == {worker}
        assert each["basetemp"] == f"popen-{worker}"
        assert each["slot"] == str(10 + number)
        assert each["count"] == "2"
        assert each["argv"] == ["-c"]
        assert each["threads"] == 1
        assert each["main"]
    for name in ("random", "pid"):
        assert notes[0][name] != notes[1][name]
    assert Path("report.xml").read_text().count("<testcase ") == 8


def test_a_seed_holds_in_every_worker(project: Path) -> None:
    """Where the project seeds random numbers, all workers have those of a started one."""
    Path("conftest.py").write_text("import random\nrandom.seed(5)\n")
    Path("test_it.py").write_text(
        "import random, time, pytest\n"
        "@pytest.fixture(scope='session')\n"
        "def number():\n"
        "    with open('numbers', 'a') as file: file.write(f'{random.random()}\\n')\n"
        "@pytest.mark.parametrize('n', range(6))\n"
        "def test_it(n, number): time.sleep(0.1)\n"
    )
    _run()
    numbers = Path("numbers").read_text().split()
    Path("numbers").unlink()
    forked_session.run_by_hand("-n2")
    assert numbers == Path("numbers").read_text().split()
    assert len(numbers) == 2


CRASHES = """
import os, signal, time
import pytest

@pytest.mark.parametrize("number", range(12))
def test_it(number):
    print("before the end of", number)
    time.sleep(0.02)
    if number == 2: os._exit(3)
    if number == 5: os.kill(os.getpid(), signal.SIGSEGV)
    if number == 7: os.kill(os.getpid(), signal.SIGKILL)
"""


def test_crashed_workers_are_replaced_by_forks(project: Path) -> None:
    """A worker that dies is replaced; the test that ran is blamed, and every other one runs."""
    Path("test_it.py").write_text(CRASHES + "\nprint('imported', flush=True)\n")
    done = _run("-v")
    assert done.returncode == 1
    assert "3 failed, 9 passed" in done.stdout
    assert {each["id"] for each in _events("crash")} == {
        f"test_it.py::test_it[{number}]" for number in (2, 5, 7)
    }
    codes = sorted(each["code"] for each in _events("down"))
    assert codes == [-11, -9, 3], "and their ends are known"
    assert all("before the end of" in str(each["sections"]) for each in _events("down"))
    assert "Fatal Python error: Segmentation fault" in done.stdout
    starts = Counter(each["id"] for each in _events("start"))
    assert set(starts.values()) == {1}, "no test ran twice"
    assert {"gw2", "gw3", "gw4"} <= {each["writer"] for each in _events("open")}


def test_no_worker_is_replaced_more_often_than_allowed(project: Path) -> None:
    """--max-worker-restart counts forks as it counts what is started."""
    Path("test_it.py").write_text(CRASHES)
    done = _run("--max-worker-restart=1")
    assert "maximum crashed workers reached: 1" in done.stdout


def test_a_worker_that_ends_while_it_holds_its_pipe_is_noticed(project: Path) -> None:
    """A child of a dead worker that lives on does not let the session wait for ever."""
    Path("test_it.py").write_text(
        "import os, signal, time\n"
        "def test_leaves_a_child():\n"
        "    if not os.fork():\n        time.sleep(3); os._exit(0)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "def test_other(): pass\ndef test_third(): pass\n"
    )
    assert "1 failed, 2 passed" in _run().stdout


DIST = """
import pytest
@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("n", range(3))
def test_group(n): __import__("time").sleep(0.05)
class TestA:
    @pytest.mark.parametrize("n", range(3))
    def test_a(self, n): __import__("time").sleep(0.05)
class TestB:
    @pytest.mark.xdist_group("one")
    @pytest.mark.parametrize("n", range(3))
    def test_b(self, n): __import__("time").sleep(0.05)
"""


@pytest.mark.parametrize("dist", ["load", "worksteal", "loadscope", "loadfile", "loadgroup"])
def test_distribution(project: Path, dist: str) -> None:
    """Tests that --dist keeps together run in one worker, and are called as they were."""
    for name in ("a", "b"):
        Path(f"test_{name}.py").write_text(DIST)
    done = _compare(f"--dist={dist}", "-rA")
    assert "18 passed" in done.stdout
    ids = {each["id"] for each in _events("start")}
    assert len(ids) == 18
    assert not any("@" in nodeid for nodeid in ids)
    workers: dict[str, set[str]] = {}
    for each in _events("start"):
        nodeid = each["id"]
        key = {
            "loadfile": nodeid.partition("::")[0],
            "loadscope": nodeid.rpartition("::")[0],
            "loadgroup": nodeid if "test_a[" in nodeid else "one",
        }.get(dist, nodeid)
        workers.setdefault(key, set()).add(each["writer"])
    if dist != "loadgroup" or "@one" in done.stdout:  # which pytest 9.2 and xdist 3.8 do not do
        assert all(len(each) == 1 for each in workers.values())


STOPS = """
import time, pytest
@pytest.mark.parametrize("number", range(30))
def test_it(number):
    time.sleep(0.05)
    if number == 3: {stop}
"""


@pytest.mark.parametrize(
    ("stop", "option"),
    [
        ("assert 0", "-x"),
        ("assert 0", "--maxfail=1"),
        ("raise KeyboardInterrupt", "-v"),
        ("pytest.exit('enough')", "-v"),
        ("pytest.exit('enough', returncode=7)", "-v"),
    ],
)
def test_early_ends(project: Path, stop: str, option: str) -> None:
    """What ends a run early ends it with the same exit code, and says the same at the end."""
    Path("test_it.py").write_text(STOPS.format(stop=stop))
    by_hand = forked_session.run_by_hand("-n2", option)
    forked = _run(option)
    assert forked.returncode == by_hand.returncode
    ends = [
        [line.strip("! ") for line in each.stdout.splitlines() if line.startswith("!")]
        for each in (forked, by_hand)
    ]
    assert _lines("\n".join(ends[0])) == _lines("\n".join(ends[1])), forked.stdout


def test_warnings(project: Path) -> None:
    """Warnings of the collection and of tests are listed once, as by hand."""
    Path("test_it.py").write_text(
        "import warnings, pytest\nwarnings.warn('at import')\n"
        "@pytest.mark.parametrize('n', range(4))\n"
        "def test_it(n): warnings.warn(f'in test {n}', UserWarning)\n"
    )
    done = _run()
    assert done.stdout.count("UserWarning: at import") == 1
    assert all(f"in test {n}" in done.stdout for n in range(4))


def test_a_slow_teardown_of_a_session_fixture_is_waited_for(project: Path) -> None:
    """Each worker ends its session, and no process is left behind."""
    mark = f"FORK_TEST={uuid.uuid4().hex}"
    Path("test_it.py").write_text(
        "import time, pytest\n@pytest.fixture(scope='session')\ndef slow():\n    yield\n"
        "    time.sleep(4)\ndef test_a(slow): pass\ndef test_b(slow): pass\n"
    )
    name, _, value = mark.partition("=")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, value)
        done = _run()
    assert "2 passed" in done.stdout
    wait_until(lambda: not processes_marked(mark), "no process is left", 5.0)


def test_no_process_is_left(project: Path) -> None:
    """Neither workers nor the template outlive the session, also when it is killed."""
    mark = f"FORK_TEST={uuid.uuid4().hex}"
    Path("test_it.py").write_text(
        "import os, signal, time\ndef test_a():\n    time.sleep(0.5)\n"
        "    stat = open(f'/proc/{os.getppid()}/stat').read()  # of the template\n"
        "    os.kill(int(stat.rpartition(')')[2].split()[1]), signal.SIGKILL)\n"
        "def test_b(): time.sleep(1)\n"
    )
    name, _, value = mark.partition("=")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, value)
        done = _run()
    assert done.returncode == -9
    wait_until(lambda: not processes_marked(mark), "no process is left", 30.0)


def test_data_for_workers_arrives(project: Path) -> None:
    """What a conftest.py sends to workers, and they send back, arrives."""
    Path("conftest.py").write_text(
        "import pytest\n"
        "def pytest_configure_node(node): node.workerinput['thing'] = node.gateway.id + '!'\n"
        "def pytest_testnodedown(node, error):\n"
        "    with open('outputs', 'a') as file: file.write(node.workeroutput['thing'] + '\\n')\n"
        "@pytest.fixture\n"
        "def thing(request):\n"
        "    config = request.config\n"
        "    config.workeroutput['thing'] = config.workerinput['thing'] * 2\n"
        "    return config.workerinput['thing']\n"
    )
    Path("test_it.py").write_text(
        "import time, pytest\n@pytest.mark.parametrize('n', range(4))\n"
        "def test_it(n, thing, worker_id):\n    time.sleep(0.1)\n"
        "    assert thing == worker_id + '!'\n"
    )
    done = _run()
    assert "4 passed" in done.stdout, done.stdout
    assert sorted(Path("outputs").read_text().split()) == ["gw0!gw0!", "gw1!gw1!"]


def test_the_death_of_the_template_is_survived(project: Path) -> None:
    """Where nobody can fork any more, a worker is replaced by one that is started."""
    Path("test_it.py").write_text(
        "import os, signal, time, pytest\n"
        "@pytest.mark.parametrize('n', range(8))\n"
        "def test_it(n):\n"
        "    time.sleep(0.1)\n"
        "    if n == 2:\n"
        "        os.kill(os.getppid(), signal.SIGKILL)\n"
        "        time.sleep(0.1)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = _run()
    assert "1 failed, 7 passed" in done.stdout, done.stdout


BAD_MODULES = {
    "test_bad.py": "def test_it(: pass\n",
    "test_skipped.py": "import pytest\npytest.skip('not here', allow_module_level=True)\n",
    "test_good.py": "def test_a(): pass\ndef test_b(): pass\n",
}


def test_errors_of_the_collection_beside_workers(project: Path) -> None:
    """The other tests run, as by `-n`, and what was not collected is recorded."""
    for name, text in BAD_MODULES.items():
        Path(name).write_text(text)
    done = _compare("-rs")
    assert "2 passed, 1 skipped, 1 error" in done.stdout
    assert [each["id"] for each in _events("collection_error")] == ["test_bad.py"]
    assert [each["id"] for each in _events("collection_skip")] == ["test_skipped.py"]
    assert not _events("failed_otherwise")


def test_errors_of_the_collection_without_workers(project: Path) -> None:
    """No test runs, as by pytest alone."""
    for name, text in BAD_MODULES.items():
        Path(name).write_text(text)
    plain = forked_session.run_by_hand()
    forked = forked_session.run(shows_workers=False)
    assert forked.returncode == plain.returncode == 2
    assert _plain(forked.stdout.splitlines()) == _plain(plain.stdout.splitlines())


def test_an_interrupt_of_the_whole_group(project: Path) -> None:
    """Ctrl-C ends the session, and all processes of it."""
    name, value = "FORK_TEST", uuid.uuid4().hex
    Path("test_it.py").write_text(
        "import os, signal, time, pytest\n"
        "@pytest.mark.parametrize('n', range(6))\n"
        "def test_it(n):\n    time.sleep(0.2)\n"
        "    if n == 3: os.killpg(0, signal.SIGINT); time.sleep(5)\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, value)
        done = _run()
    assert done.returncode == 2
    assert "KeyboardInterrupt" in done.stdout
    wait_until(lambda: not processes_marked(f"{name}={value}"), "no process is left", 30.0)


def test_where_nothing_can_be_forked_workers_are_started(project: Path) -> None:
    """A machine that is full has no template, and the session goes on as it can."""
    Path("conftest.py").write_text(
        "import errno, os\nfork = os.fork\n"
        "def no_fork():\n    os.fork = fork\n    raise OSError(errno.EAGAIN, 'full')\n"
        "def pytest_collection_finish(session):\n"
        "    if 'FORKED' not in os.environ: os.fork = no_fork\n"
        "    os.environ['FORKED'] = '1'\n"
    )
    Path("test_it.py").write_text("def test_a(): pass\ndef test_b(): pass\n")
    assert "2 passed" in _run().stdout


def test_what_stands_behind_pytest_main_runs_once(project: Path) -> None:
    """A program that goes on after its tests does so in its own process only."""
    Path("test_it.py").write_text("def test_a(): pass\ndef test_b(): pass\n")
    Path("program.py").write_text(
        "import pytest, sys\ntry:\n    code = pytest.main(sys.argv[1:])\n"
        "finally:\n    print('after')\n"
        "print('code', int(code))\n"
    )
    done = forked_session.run("-q", program="program.py")
    assert done.stdout.count("after") == 1
    assert "code 0" in done.stdout
