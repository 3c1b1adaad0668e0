"""What the text of a project says of its collection."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_valor_schedule.in_job.collection_source import Kind, findings


def _kinds(folder: Path, text: str) -> list[tuple[str, int]]:
    path = folder / "it.py"
    path.write_text(text)
    return [(each.kind.name, each.line) for each in findings([path])]


@pytest.mark.parametrize(
    "text",
    [
        'import os\nNAME = os.environ["PYTEST_XDIST_WORKER"]',
        'import os\nNAME = os.getenv("PYTEST_XDIST_WORKER_COUNT")',
        "def helper(config):\n    return config.workerinput",
        "class Helper:\n  x = is_xdist_worker(session)",
        '@pytest.mark.skipif("PYTEST_XDIST_WORKER" in os.environ)\n\n\ndef test_it(): pass',
        "def pytest_configure(config):\n    hasattr(config, 'workerinput')",
        "f = lambda config: \\\n config.workerinput",
    ],
)
def test_who_asks_for_the_worker_early_is_found(tmp_path: Path, text: str) -> None:
    """At import, in what decorates a test, in an early hook, or in what anybody may call."""
    assert {kind for kind, _ in _kinds(tmp_path, text)} == {Kind.IDENTITY.name}


@pytest.mark.parametrize(
    "text",
    [
        "@pytest.fixture\ndef name(config): return config.workerinput",
        "@pytest_asyncio.fixture(scope='x')\nasync def name(config): return config.workerinput",
        "def test_it(): assert os.environ['PYTEST_XDIST_WORKER']",
        "class TestIt:\n  def setup_method(self): os.environ['PYTEST_XDIST_WORKER']",
        "class TestIt:\n  def setUpClass(cls): os.environ['PYTEST_XDIST_WORKER']",
        "def pytest_runtest_setup(item): item.config.workerinput",
        "def pytest_sessionfinish(session): session.config.workeroutput['x'] = 1",
        "def pytest_configure_node(node): node.workerinput['x'] = 1",
        "def worker(request): return request.config.workerinput",
        "'''It may use PYTEST_XDIST_WORKER or workerinput.'''",
        "# workerinput\nfrom xdist import is_xdist_worker",
    ],
)
def test_who_asks_in_a_worker_is_not(tmp_path: Path, text: str) -> None:
    """A fixture, a test and a late hook run where the worker is known."""
    assert not _kinds(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("NAME = f'x{os.getpid()}'", ["UNIQUE"]),
        ("class A:\n    name = uuid4().hex", ["UNIQUE"]),
        ("if X:\n    DIR = tempfile.mkdtemp()", ["UNIQUE"]),
        ("def pytest_sessionstart(session):\n    session.x = uuid.uuid4()", ["UNIQUE"]),
        ("RNG = default_rng()", ["UNIQUE"]),
        ("RNG = default_rng(5)", []),
        ("def make(): return uuid4()", []),
        ("if __name__ == '__main__':\n    uuid4()", []),
        ("@parametrize('x', [random.randint(1, 2)])\ndef test_it(x): pass", []),
        ("@fixture\ndef name(): return uuid4()", []),
        ("random.seed(3)", ["SEED"]),
        ("def pytest_configure(config): random.seed(3)", ["SEED"]),
        ("random.seed()", []),
        ("def test_it(): random.seed(3)", []),
        ("def test_it():\n    assert x in gc.get_objects()", ["OBJECTS"]),
        ("def broken(:\n    uuid4(", []),
    ],
)
def test_what_is_done_at_import(tmp_path: Path, text: str, kinds: list[str]) -> None:
    """A name of its own and a seed count where they are made before the workers are."""
    assert [kind for kind, _ in _kinds(tmp_path, text)] == kinds


def test_the_line_is_told(tmp_path: Path) -> None:
    """A person is told where it is."""
    assert _kinds(tmp_path, "import os\n\nX = os.getpid()\n") == [("UNIQUE", 3)]


def test_a_file_that_is_gone_says_nothing(tmp_path: Path) -> None:
    """What cannot be read is passed over."""
    assert not findings([tmp_path / "gone.py"])
