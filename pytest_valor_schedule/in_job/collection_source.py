"""Find in the files of a project what its collection does otherwise in each worker.

That is whether it asks which worker it runs in, makes something that no other process has, such as
a name with a random number, or seeds random numbers. It is looked for in the text of what was
imported, and not watched for while it is imported: so nothing of Python's or pytest's is replaced
by something that a test could notice, nothing is to be done before the collection, and what is
found does not hang on the branch that was taken this time. What a fixture, a test, or a hook that
is called later does is no matter: that is done in a worker.
"""

from __future__ import annotations

import ast
import enum
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

_IDENTITY = re.compile(r"PYTEST_XDIST_\w+|VALOR_SCHEDULE_SLOT|workerinput|slaveinput|workeroutput")
_ASKING = {"get_xdist_worker_id", "is_xdist_worker", "is_xdist_controller", "is_xdist_master"}
_SEEDING = {"seed", "manual_seed", "seed_everything", "seed_all", "set_seed", "reseed_random"}
_UNIQUE = {
    *("getpid", "urandom", "uuid1", "uuid4", "token_hex", "token_bytes", "token_urlsafe"),
    *("randint", "randrange", "getrandbits", "randbelow", "mkdtemp", "mkstemp"),
    *("TemporaryDirectory", "NamedTemporaryFile", "TemporaryFile"),
}
_GENERATORS = {"default_rng", "RandomState", "Random", "Faker"}  # unique unless they get a seed
# To look for words one after the other is faster than for a pattern with all of them.
_ASKS = (
    *(b"PYTEST_XDIST_", b"VALOR_SCHEDULE_SLOT", b"workerinput", b"slaveinput", b"workeroutput"),
    *(name.encode() for name in sorted(_ASKING)),
)
_LOOKS_AT_OBJECTS = (
    *(b"get_objects", b"get_referrers", b"gc.get_stats", b"gc.get_count", b"gc.get_freeze_count"),
    *(b"gc.unfreeze", b"objgraph", b"pympler"),
)
_CALLS = tuple(f"{name}(".encode() for name in sorted(_SEEDING | _UNIQUE | _GENERATORS))
_CALL = re.compile(rb"\b(%s)" % b"|".join(map(re.escape, _CALLS)))
_FUNCTION = re.compile(rb"\s*(async +)?def +(?!pytest_)")
_LATE = re.compile(
    r"test.*|(async)?(set_?up|tear_?down)(_?(class|module|method|function))?"
    r"|pytest_(runtest_|fixture_|testnode|xdist_|configure_node|handlecrash|assert).*"
    r"|pytest_(sessionfinish|unconfigure|terminal_summary)",
    re.IGNORECASE,
)
"""Names of functions that pytest calls when the workers are there."""
_OTHERS = ("site-packages", "dist-packages")
_Function = ast.FunctionDef | ast.AsyncFunctionDef


class Kind(enum.Enum):
    """What is found."""

    IDENTITY = enum.auto()  # it may ask for the worker
    UNIQUE = enum.auto()  # it makes what no other process has
    SEED = enum.auto()  # it seeds random numbers
    OBJECTS = enum.auto()  # it, or a test, may look at all objects that there are


class Finding(NamedTuple):
    """A place in a file."""

    kind: Kind
    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


def project_files() -> list[Path]:
    """Return the files of all modules that are imported and were not installed."""
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    library = str(Path(os.__file__).parent)
    return sorted({Path(file) for file in files if file and _is_own(file, library)})


def _is_own(file: str, library: str) -> bool:
    package = str(Path(__file__).parents[1])
    return (
        file.endswith(".py")
        and not file.startswith((library, package))
        and not any(name in file for name in _OTHERS)
    )


def question_for_id(files: Iterable[Path]) -> Finding | None:
    """Return where these files ask for the name or the slot of a worker, which a session lacks."""
    for path in files:
        try:
            asks = _has_any(path.read_bytes(), (b"PYTEST_XDIST_WORKER", b"VALOR_SCHEDULE_SLOT"))
        except OSError:
            continue
        for finding in _in_file(path) if asks else ():
            if finding.kind is Kind.IDENTITY:
                return finding
    return None


def findings(files: Iterable[Path]) -> list[Finding]:
    """Return what is found in these files; one that cannot be read is passed over."""
    return [each for path in files for each in _in_file(path)]


def _in_file(path: Path) -> Iterator[Finding]:
    try:
        content = path.read_bytes()
        if _has_any(content, _LOOKS_AT_OBJECTS):
            yield Finding(Kind.OBJECTS, path, 0)
        asks = _has_any(content, _ASKS)
        if not asks and not (_has_any(content, _CALLS) and _may_call_early(content)):
            return
        nodes: list[tuple[ast.AST, bool]] = []
        _add_early(ast.parse(content), True, nodes, asks)
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    for node, is_certain in nodes:
        kind = _kind_of(node)
        if kind is Kind.IDENTITY or (kind is not None and is_certain):
            yield Finding(kind, path, getattr(node, "lineno", 0))


def _has_any(content: bytes, words: Iterable[bytes]) -> bool:
    return any(word in content for word in words)


def _may_call_early(content: bytes) -> bool:
    return not all(_is_in_function(content, each.start()) for each in _CALL.finditer(content))


def _is_in_function(content: bytes, place: int) -> bool:
    """Return whether a place is in a function that is no hook, at a glance: parsing takes time."""
    lines = content[:place].split(b"\n")
    indent = _indent(lines.pop())
    for line in reversed(lines):
        if not indent:
            break
        if line.strip() and _indent(line) < indent:
            indent = _indent(line)
            if _FUNCTION.match(line):
                return True
    return False


def _indent(line: bytes) -> int:
    return len(line) - len(line.lstrip())


def _add_early(
    node: ast.AST, is_certain: bool, nodes: list[tuple[ast.AST, bool]], all_of_them: bool
) -> None:
    """Add every node that may be executed before the first test, and whether it surely is.

    A function that pytest does not call may be called by anybody at any time. What decorates
    tests is certain, but goes into their node ids, which all workers are to share.

    Args:
        node: Where to begin.
        is_certain: Whether it is executed itself.
        nodes: Where they are added.
        all_of_them: Whether to add those that are not certain.
    """
    nodes.append((node, is_certain))
    for child, certainty in _parts(node, is_certain):
        if certainty or all_of_them:
            _add_early(child, certainty, nodes, all_of_them)


def _parts(node: ast.AST, is_certain: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Yield the parts of a node that may be executed before the first test."""
    if isinstance(node, _Function):
        yield node.args, is_certain
        yield from ((each, False) for each in node.decorator_list)
        if not _is_late(node):
            is_hook = is_certain and node.name.startswith("pytest_")
            yield from ((each, is_hook) for each in node.body)
    elif not _is_main(node):
        certainty = is_certain and not isinstance(node, ast.Lambda)
        yield from ((child, certainty) for child in ast.iter_child_nodes(node))


def _is_main(node: ast.AST) -> bool:
    """Return whether it is what a module does only where it is run as a program."""
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def _is_late(function: _Function) -> bool:
    names = {each.arg for each in (*function.args.args, *function.args.kwonlyargs)}
    is_fixture = any("fixture" in ast.unparse(each) for each in function.decorator_list)
    return is_fixture or "request" in names or bool(_LATE.fullmatch(function.name))


def _kind_of(node: ast.AST) -> Kind | None:
    match node:
        case ast.Attribute(attr=text) | ast.Constant(value=str(text)):
            return Kind.IDENTITY if _IDENTITY.fullmatch(text) else None
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return _kind_of_call(name, has_arguments=bool(node.args or node.keywords))
    return None


def _kind_of_call(name: str, *, has_arguments: bool) -> Kind | None:
    if name in _ASKING:
        return Kind.IDENTITY
    if name in _SEEDING:
        return Kind.SEED if has_arguments else None
    is_unique = name in _UNIQUE or (name in _GENERATORS and not has_arguments)
    return Kind.UNIQUE if is_unique else None
