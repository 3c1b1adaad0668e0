"""What forbids it to fork workers from a session is noticed; what does not, is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support import forked_session

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")

TESTS = "def test_a(): pass\ndef test_b(): pass\n"

HAZARDS = {
    "a thread": (
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(5,), name='busy', daemon=True).start()\n",
        "further threads: busy",
    ),
    "a thread that Python does not know": (
        "import _thread, time\n_thread.start_new_thread(time.sleep, (5,))\n",
        "1 threads that Python does not know of",
    ),
    "a socket": (
        "import socket\nS = socket.socket()\nS.bind(('127.0.0.1', 0))\n",
        "an open socket",
    ),
    "an event loop": ("import select\nLOOP = select.epoll()\n", "event loop"),
    "a loop of asyncio": (
        "import asyncio\nLOOP = asyncio.new_event_loop()\ndef pytest_runtest_teardown(): pass\n",
        "event loop",
    ),
    "a child process": (
        "import subprocess\nCHILD = subprocess.Popen(['sleep', '3'])\n",
        "child processes: sleep",
    ),
    "shared memory": ("import mmap\nSHARED = mmap.mmap(-1, 4096)\n", "shares memory"),
    "a file that is written": (
        "FILE = open('written.txt', 'w')\n",
        "open for writing: ",
    ),
    "a database": (
        "import sqlite3\nDB = sqlite3.connect('it.db')\nDB.execute('create table t (x)')\n",
        "it.db",
    ),
    "a temporary folder": (
        "import tempfile\ndef make(): return tempfile.TemporaryDirectory()\nFOLDER = make()\n",
        "A temporary folder was made",
    ),
    "pytest's folder for temporary files": (
        "def pytest_sessionstart(session): session.config._tmp_path_factory.getbasetemp()\n",
        "temporary files is in use",
    ),
    "an alarm": (
        "import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\n"
        "signal.setitimer(signal.ITIMER_REAL, 100)\n",
        "an alarm",
    ),
    "a trace": ("import sys\nsys.setprofile(lambda *_: None)\n", "traced"),
    "a worker's name": (
        "import os\nDATABASE = 'db' + os.environ.get('PYTEST_XDIST_WORKER', '')\n",
        "may ask in which worker it runs",
    ),
    "a worker's input": (
        "def pytest_configure(config):\n    config.is_worker = hasattr(config, 'workerinput')\n",
        "conftest.py:2",
    ),
    "a name of its own": (
        "import os\nDATABASE = f'db{os.getpid()}'\n",
        "each worker is to have for itself",
    ),
    "hooks that begin and end": (
        "def pytest_sessionstart(session): open('server', 'w').close()\n"
        "def pytest_sessionfinish(session): pass\n",
        "may begin or end something in each worker",
    ),
    "a hook around the run": (
        "import pytest\n@pytest.hookimpl(wrapper=True)\n"
        "def pytest_runtestloop():\n    return (yield)\n",
        "may begin or end something in each worker",
    ),
    "CUDA": (
        "import sys, types\ntorch = sys.modules['torch'] = types.ModuleType('torch')\n"
        "torch.cuda = types.SimpleNamespace(is_initialized=lambda: True)\n",
        "CUDA has been initialised",
    ),
}


@pytest.mark.parametrize("name", HAZARDS)
def test_a_hazard(project: Path, name: str) -> None:
    """It is told in a sentence, and no test has run."""
    conftest, sentence = HAZARDS[name]
    Path("conftest.py").write_text(conftest)
    Path("test_it.py").write_text(TESTS)
    done = forked_session.run()
    assert any(sentence in each for each in forked_session.hazards()), done.stdout + done.stderr
    assert "no tests ran" in done.stdout


HARMLESS = {
    "a thread that has ended": (
        "import threading\nT = threading.Thread(target=print)\nT.start()\nT.join()\n"
    ),
    "a child that has ended": "import subprocess\nsubprocess.run(['true'])\n",
    "markers and an end": (
        "def pytest_configure(config): config.addinivalue_line('markers', 'slow: it is')\n"
        "def pytest_sessionfinish(session): pass\n"
    ),
    "a fixture that asks": (
        "import os, pytest\n@pytest.fixture(autouse=True, scope='session')\n"
        "def database():\n    assert os.environ['PYTEST_XDIST_WORKER'].startswith('gw')\n"
    ),
    "a function for fixtures": (
        "def worker_of(request): return request.config.workerinput['workerid']\n"
    ),
    "a log": "import logging\nlogging.basicConfig(filename='log.txt')\n",
    "random numbers in a test": "import random, uuid\ndef make(): return uuid.uuid4()\n",
    "a mapped file": (
        "import mmap\nopen('data', 'w').write('x' * 9000)\nFILE = open('data', 'rb')\n"
        "DATA = mmap.mmap(FILE.fileno(), 0, access=mmap.ACCESS_READ)\n"
    ),
    "warnings as errors": "import warnings\nwarnings.simplefilter('error')\n",
}


@pytest.mark.parametrize("name", HARMLESS)
def test_no_hazard(project: Path, name: str) -> None:
    """What works in a fork as in a started worker forbids nothing."""
    Path("conftest.py").write_text(HARMLESS[name])
    Path("test_it.py").write_text(TESTS)
    done = forked_session.run()
    assert forked_session.hazards() == []
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--tx=2*popen//python=python3", "are to be others"),
        ("--dist=each", "are to be others"),
        ("--trace", "debugger"),
    ],
)
def test_options(project: Path, option: str, sentence: str) -> None:
    """Options that name other workers, or need the terminal, are no matter of forks."""
    Path("test_it.py").write_text(TESTS)
    forked_session.run(option)
    assert any(sentence in each for each in forked_session.hazards())


def test_a_plugin_of_which_nothing_is_known(project: Path) -> None:
    """One that was installed, and has a hook for the end of a session, is not trusted."""
    folder = project / "site-packages"
    folder.mkdir()
    (folder / "odd_plugin.py").write_text("def pytest_unconfigure(config): pass\n")
    (folder / "asking_plugin.py").write_text(
        "def pytest_configure(config): hasattr(config, 'workerinput')\n"
    )
    (folder / "plain_plugin.py").write_text("def pytest_report_header(): return 'plain'\n")
    Path("test_it.py").write_text(TESTS)
    conftest = "import sys\nsys.path.insert(0, 'site-packages')\npytest_plugins = ['{}_plugin']\n"
    Path("conftest.py").write_text(conftest.format("plain"))
    assert "2 passed" in forked_session.run().stdout
    for name in ("odd", "asking"):
        Path("conftest.py").write_text(conftest.format(name))
        forked_session.run()
        assert any(f"{name}_plugin.py" in each for each in forked_session.hazards())
