"""Check whether a fork can be like an interpreter that is started, and make it so (Linux).

It is loaded by the fork server, and imports nothing of this package.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import importlib.machinery
import io
import os
import site
import sys
import threading
import time
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

_AT_SITE = {"sitecustomize", "usercustomize"}
_SUFFIXES = tuple(importlib.machinery.all_suffixes())
_AT_START = (
    *("PYTHON", "LD_", "LC_", "LANG", "TZ", "MALLOC_", "GLIBC_"),
    *("OPENSSL_", "EXECNET_", "COV"),
)
_OPTIONS = ("-P", "-u")
_PACKAGES = ("site-packages", "dist-packages")
_NAMES = {0: "stdin", 1: "stdout", 2: "stderr"}


def variables_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables at which an interpreter, or a library, looks only when it starts."""
    return {name: value for name, value in environment.items() if name.startswith(_AT_START)}


def is_like(
    words: Sequence[str], cwd: str, environment: Mapping[str, str], modules: Collection[str]
) -> bool:
    """Return whether a fork of this process would be like a start.

    Args:
        words: What the interpreter would be started with: `-m pytest ...`, or a script.
        cwd: Its working directory.
        environment: All of its environment.
        modules: The names of those that the fork has imported.
    """
    path = environment.get("PYTHONPATH")
    folders = path.split(os.pathsep) if path else []
    if not all(map(os.path.isabs, folders)):
        return False  # what it means depends on the working directory
    first = Path(cwd) if words[0] == "-m" else Path(words[0]).resolve().parent
    if not os.access(cwd, os.R_OK | os.X_OK):
        return False  # where it cannot be started either
    names = {name.partition(".")[0] for name in modules if name != "__main__"} | _AT_SITE
    if any(_hides_any(names, folder) for folder in (first, *map(Path, folders))):
        return False
    return at_start(environment) == at_start(os.environ)


def is_edited(modules: Collection[str], since: float) -> bool:
    """Return whether what this process has imported was changed after a time in epoch seconds.

    So it is for those who work on pytest.
    """
    for name in modules:
        with contextlib.suppress(OSError):
            file = getattr(sys.modules.get(name), "__file__", None)
            if file is not None and Path(file).stat().st_mtime > since:
                return True
    return False


def sources(modules: Collection[str]) -> list[str]:
    """Return the files and folders of which a change makes this interpreter out of date.

    Args:
        modules: The names of those that it has imported.
    """
    packages = [path for path in map(Path, sys.path) if path.name in _PACKAGES]
    pth_files = [path for folder in packages for path in folder.glob("*.pth")]
    started = (Path(sys.executable), Path(sys.prefix, "pyvenv.cfg"))
    beside = Path(__file__).parent.glob("*.py")
    imported = [getattr(sys.modules.get(name), "__file__", None) for name in modules]
    paths = {*started, *packages, *pth_files, *beside, *filter(None, imported)}
    return [os.path.abspath(path) for path in paths]  # noqa: PTH100  # what is a link stays one


def at_start(environment: Mapping[str, str]) -> tuple[object, ...]:
    """Return what an interpreter, and what we import in it, makes of its environment."""
    packages = Path(environment.get("HOME", "~")).expanduser() / ".local" / "lib"
    has_own = bool(site.ENABLE_USER_SITE) and packages.is_dir()
    variables = sorted(variables_at_start(environment).items())
    return (*variables, packages if has_own else None)


def _hides_any(names: Collection[str], folder: Path) -> bool:
    """Whether a folder on its path has anything that it would import instead of ours.

    So it is in the projects of what pytest needs, such as Pygments.
    """
    try:
        own = {each.name.partition(".")[0] for each in os.scandir(folder) if _is_module(each)}
    except OSError:  # it is not there
        return False
    return any(not _is_from(folder, name) for name in own.intersection(names))


def _is_module(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith(_SUFFIXES) or entry.is_dir()


def _is_from(folder: Path, name: str) -> bool:
    """Whether the module that we have by this name comes from the folder."""
    file = getattr(sys.modules.get(name), "__file__", None)
    # Not any below it: many a project has its virtual environment inside.
    return file is not None and Path(file).parent in (folder, folder / name)


def become(request: Mapping[str, Any], handles: Sequence[int], keep: Collection[int]) -> None:
    """Do by hand what `exec` does, and what subprocess does before it.

    Args:
        request: See `fork_server.ForkRequest`.
        handles: The descriptors that came with it, for its streams and the inherited ones.
        keep: The others that stay open.
    """
    if request.get("leads"):
        os.setsid()
    _take(handles, (0, 1, 2, *request.get("inherited", ())), keep)
    if request.get("umask") is not None:
        os.umask(request["umask"])
    if request.get("nice") is not None:
        os.setpriority(os.PRIO_PROCESS, 0, request["nice"])
    os.chdir(request["cwd"])
    for name in os.environ.keys() - request["environment"].keys():
        del os.environ[name]
    os.environ.update(request["environment"])
    importlib.invalidate_caches()  # a folder of PYTHONPATH that was not there
    for handle in _NAMES:
        _open_stream(handle, "-u" in _options(request["words"]))
    _renew()


def _take(handles: Sequence[int], numbers: Sequence[int], keep: Collection[int]) -> None:
    """Give descriptors the numbers that they are to have, and close all others."""
    free = max(*numbers, *handles, *keep) + 1
    copies = [fcntl.fcntl(handle, fcntl.F_DUPFD, free) for handle in handles]
    for handle, number in zip(copies, numbers, strict=True):
        os.dup2(handle, number)
    start = len(_NAMES)  # from 0 to 0 would be all
    for handle in (*sorted({*numbers, *keep} - _NAMES.keys()), os.sysconf("SC_OPEN_MAX")):
        os.closerange(start, handle)
        start = handle + 1


def _open_stream(handle: int, unbuffered: bool) -> None:
    """Open a stream as the interpreter opens its own, with the encoding that it chose."""
    like: TextIO | None = getattr(sys, f"__{_NAMES[handle]}__")
    unbuffered = unbuffered or getattr(like, "write_through", False)
    mode = "w" if handle else "r"
    buffering = 0 if unbuffered and handle else -1
    buffer: Any = open(handle, f"{mode}b", buffering, closefd=False)  # noqa: SIM115  # as it is
    raw = getattr(buffer, "raw", buffer)
    raw.name = f"<{_NAMES[handle]}>"
    by_lines = not unbuffered and (raw.isatty() or handle == 2)
    codec = (getattr(like, "encoding", None), getattr(like, "errors", None))
    stream: Any = io.TextIOWrapper(buffer, *codec, "\n", by_lines, unbuffered)
    stream.mode = mode
    setattr(sys, _NAMES[handle], stream)
    setattr(sys, f"__{_NAMES[handle]}__", stream)


def _renew() -> None:
    """Bring up to date what is set once, when an interpreter or a module starts."""
    main: Any = threading.main_thread()
    if hasattr(main, "_set_native_id"):
        main._set_native_id()
    logging: Any = sys.modules.get("logging")
    if hasattr(logging, "_startTime"):
        now = time.time_ns if isinstance(logging._startTime, int) else time.time
        logging._startTime = now()


def first_on_path(words: Sequence[str]) -> list[str]:
    """Return what an interpreter puts before the rest of its path."""
    options = _options(words)
    if "-P" in options or sys.flags.safe_path:
        return []
    word = words[len(options)]
    if word == "-c":
        return [""]
    return [str(Path.cwd() if word == "-m" else Path(word).resolve().parent)]


def _options(words: Sequence[str]) -> Sequence[str]:
    """Return the options of the interpreter with which a command begins."""
    count = next((i for i, word in enumerate(words) if word not in _OPTIONS), len(words))
    return words[:count]


def program(words: Sequence[str]) -> tuple[Callable[..., object], tuple[Any, ...]]:
    """Return what an interpreter runs that was started with these words, as a call."""
    sys.orig_argv = [sys.executable, *words]
    first, *rest = words[len(_options(words)) :]
    main = sys.modules["__main__"] = _main_module()
    if first == "-m":
        import runpy

        sys.argv = ["-m", *rest[1:]]
        return runpy._run_module_as_main, (rest[0],)  # type: ignore[attr-defined]
    if first == "-c":
        sys.argv = ["-c", *rest[1:]]
        return exec, (compile(rest[0], "<string>", "exec"), vars(main))
    sys.argv = [first, *rest]
    return _script(first, main)


def _main_module() -> types.ModuleType:
    main = types.ModuleType("__main__")
    main.__builtins__ = sys.modules["builtins"]  # type: ignore[attr-defined]
    if sys.version_info < (3, 14):
        main.__annotations__ = {}
    return main


def _script(path: str, main: types.ModuleType) -> tuple[Callable[..., object], tuple[Any, ...]]:
    """Return the call of a script; one that is a folder or an archive has a module to be run."""
    try:
        code = compile(Path(path).read_bytes(), path, "exec")
    except (OSError, SyntaxError, ValueError):
        import runpy

        return runpy.run_path, (path, None, "__main__")
    vars(main).update(__file__=path, __cached__=None)
    main.__loader__ = importlib.machinery.SourceFileLoader("__main__", path)
    return exec, (code, vars(main))
