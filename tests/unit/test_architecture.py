"""How the modules of the package hang together."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import pytest_valor_schedule

PACKAGE = pytest_valor_schedule.__name__
ROOT = Path(pytest_valor_schedule.__file__).parent


def _dotted(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {_dotted(path): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}
PURE = [
    name for name, tree in TREES.items() if re.search("Pure[.;]", ast.get_docstring(tree) or "")
]
IMPURE = {"io", "os", "random", "secrets", "socket", "subprocess", "tempfile", "threading", "time"}


def _imported(name: str) -> Iterator[str]:
    """Yield the full name of everything imported anywhere, for types and in functions too."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "A module is imported by its full name."
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _own_modules(name: str) -> set[str]:
    """Return the modules of the package that a module imports."""
    own = {each for each in _imported(name) if each.split(".")[0] == PACKAGE}
    return {each if each in TREES else each.rpartition(".")[0] for each in own}


LAYERS = (
    {"cli", "plugin"},
    {"client"},
    {"daemon"},
    {"in_job", "text"},
    {"queue"},
    {"record"},
    {"process", "compat"},
    {"config"},
    {"model"},
    {"_util"},
    {"errors", "env", "hookspecs", "version"},
)
"""The packages; each may import from those in the lines below it."""
HEIGHTS = {name: -number for number, names in enumerate(LAYERS) for name in names}
ENTRIES = {PACKAGE, f"{PACKAGE}.__main__", f"{PACKAGE}.runner"}
"""The names by which others start or import us; nobody of us imports them."""


def _room(name: str) -> str:
    """Return the package of a module, or the module itself where it lies in none."""
    return name.split(".")[1]


def test_the_packages_are_those_of_the_layers() -> None:
    """A new room needs a place in the order of the house, and a charter."""
    rooms = {_room(name) for name in TREES.keys() - ENTRIES}
    assert rooms == HEIGHTS.keys()
    packages = [path.parent.name for path in ROOT.glob("*/__init__.py")]
    for name in packages:
        tree = TREES[f"{PACKAGE}.{name}"]
        assert ast.get_docstring(tree)
        assert len(tree.body) == 1, "A package gives nothing out but its modules."


@pytest.mark.parametrize("name", sorted(TREES.keys() - ENTRIES))
def test_imports_point_down(name: str) -> None:
    """A module imports from its own package and from those in the lines below it."""
    room = _room(name)
    wrong = {
        other
        for other in _own_modules(name)
        if _room(other) != room and HEIGHTS[_room(other)] >= HEIGHTS[room]
    }
    assert not wrong


def test_what_forks_by_its_path_imports_nothing_of_ours() -> None:
    """The interpreter that it becomes is to have no module of ours."""
    forks = f"{PACKAGE}.process.fork_server"
    assert TREES[forks]
    assert not _own_modules(forks)


def test_every_module_was_looked_at() -> None:
    """What follows would pass on nothing."""
    assert len(TREES) == sum(1 for path in ROOT.rglob("*.py") if path.is_file()) > 100
    edges = {(name, other) for name in TREES for other in _own_modules(name)}
    assert len(edges) > 3 * len(TREES)
    assert {other for _, other in edges} <= TREES.keys()


def test_there_is_no_import_cycle() -> None:
    """Modules can be read from the bottom up, imports for types and in functions included."""
    graph = {name: _own_modules(name) for name in TREES}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


@pytest.mark.parametrize("name", TREES)
def test_nobody_imports_the_package_root(name: str) -> None:
    """The public names are for users; a module takes what it needs from where it is."""
    assert not ENTRIES & _own_modules(name)


@pytest.mark.parametrize("name", PURE)
def test_what_decides_is_pure(name: str) -> None:
    """A module that calls itself pure imports nothing that looks at the world."""
    assert not {each.split(".")[0] for each in _imported(name)} & IMPURE


def test_all_public_names_are_there_and_sorted() -> None:
    """`__all__` can be read by people and imported by programs."""
    names = pytest_valor_schedule.__all__
    assert names == sorted(names)
    assert dir(pytest_valor_schedule) == names
    for name in names:
        assert getattr(pytest_valor_schedule, name) is not None


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    """A mistyped name fails as in any other module."""
    with pytest.raises(AttributeError, match="no attribute 'shedule_tests'"):
        _ = pytest_valor_schedule.shedule_tests


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        (PACKAGE, {"pytest", "sqlite3", "filelock", "xdist"}),
        (f"{PACKAGE}.plugin.hooks", {"sqlite3", "filelock", "xdist", f"{PACKAGE}.client.query"}),
    ],
)
def test_an_import_brings_in_no_more_than_it_needs(module: str, absent: set[str]) -> None:
    """Every pytest of the machine loads the plugin, so it must cost next to nothing."""
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert module in done.stdout.split()
    assert not absent.intersection(done.stdout.split())
