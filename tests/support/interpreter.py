"""All that an interpreter can know of itself, as text that can be compared.

It is copied into a project, and called by its conftest.py in each process of a run.
"""

from __future__ import annotations

import atexit
import builtins
import codecs
import contextlib
import csv
import ctypes
import decimal
import faulthandler
import fcntl
import gc
import json
import locale
import logging
import multiprocessing
import os
import platform
import random
import re
import resource
import signal
import site
import socket
import ssl
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import tracemalloc
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_VALUES = (
    *("flags", "executable", "_base_executable", "prefix", "base_prefix", "exec_prefix", "path"),
    *("argv", "orig_argv", "warnoptions", "_xoptions", "dont_write_bytecode", "hash_info"),
    *("thread_info", "int_info", "version", "byteorder", "maxunicode", "platlibdir", "last_value"),
    *("pycache_prefix", "float_repr_style", "tracebacklimit", "ps1", "displayhook", "excepthook"),
    *("unraisablehook", "breakpointhook"),
)
_FUNCTIONS = (
    *("getrecursionlimit", "getswitchinterval", "getfilesystemencoding", "getdefaultencoding"),
    *(
        "getfilesystemencodeerrors",
        "gettrace",
        "getprofile",
        "getdlopenflags",
        "get_asyncgen_hooks",
    ),
    *("get_int_max_str_digits", "get_coroutine_origin_tracking_depth"),
)
_STREAMS = ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__")
_OF_STREAM = (
    *("name", "mode", "encoding", "errors", "newlines", "line_buffering", "write_through"),
)
_PRCTLS = {"death signal": 2, "subreaper": 37}  # into a variable
_OTHER_PRCTLS = {"dumpable": 3, "capabilities": 7, "securebits": 27, "slack": 30, "huge pages": 42}
_FILES = (
    *("comm", "cmdline", "environ", "limits", "oom_score_adj", "cgroup", "loginuid", "sessionid"),
    *("coredump_filter", "timerslack_ns", "setgroups", "uid_map", "attr/current", "personality"),
)
_LINKS = ("exe", "root", "cwd")
_PER_PROCESS = re.compile(
    r"N?S?Pid|PPid|Tgid|N?[Ss]?pgid|NS.*|Ngid|State|FDSize|.*ctxt_switches"
    r"|Sig.*|Shd.*|Kthread|Vm.*|Rss.*|Huge.*"
)
_OF_THE_C_LIBRARY = 0b11 << 31  # signals 32 and 33
_KEYCTL = {"x86_64": 250, "aarch64": 219}


def _named(thing: object) -> str:
    """Return a text without an address."""
    name = getattr(thing, "__qualname__", None)
    if isinstance(name, str):
        return f"{getattr(thing, '__module__', '')}.{name}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(thing))


def _of_sys(modules: Sequence[str]) -> Iterator[tuple[str, object]]:
    yield "modules", list(modules)
    yield "finds", {name: getattr(sys.modules.get(name), "__file__", None) for name in modules}
    yield "frames", list(_frames())
    for name in _VALUES:
        yield name, _named(getattr(sys, name, None))
    for name in _FUNCTIONS:
        yield name, _named(getattr(sys, name)())
    for name in _STREAMS:
        stream = getattr(sys, name)
        kind = _named(type(stream))
        yield name, [kind, *(_named(getattr(stream, each, None)) for each in _OF_STREAM)]
    yield "meta_path", [_named(type(each)) for each in sys.meta_path]
    yield "path_hooks", [_named(each) for each in sys.path_hooks]
    yield "path_importer_cache", sorted(map(str, sys.path_importer_cache))
    main = vars(sys.modules["__main__"])
    yield "main", sorted(main)
    yield "main is", [str(main.get(name)) for name in ("__name__", "__file__", "__package__")]
    yield "hash of a text", hash("a text")
    yield "builtins", sorted(vars(builtins))


def _frames() -> Iterator[str]:
    """Yield the calls below pytest, and below what execnet runs, the first one last."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        name = frame.f_code.co_filename
        if "site-packages" not in name:
            yield f"{Path(name).name}:{frame.f_code.co_name}"


def _of_modules() -> Iterator[tuple[str, object]]:
    yield "gc", (gc.isenabled(), gc.get_threshold(), gc.get_debug(), gc.get_freeze_count())
    yield "gc has", ([_named(each) for each in gc.callbacks], len(gc.garbage))
    yield "threads", sorted((each.name, each.daemon) for each in threading.enumerate())
    yield "main thread", threading.main_thread().native_id == os.getpid()
    yield "threading", (threading.stack_size(), _named(threading.excepthook))
    yield "locale", (locale.setlocale(locale.LC_ALL), locale.getpreferredencoding())
    yield "conventions", locale.localeconv()
    yield "warnings", [str(each) for each in warnings.filters]
    yield "shows warnings", _named(warnings.showwarning)
    root = logging.getLogger()
    yield "logging", (root.level, [_named(type(each)) for each in root.handlers], root.disabled)
    yield "loggers", (sorted(root.manager.loggerDict), root.manager.disable)
    yield "logging began", _seconds(getattr(logging, "_startTime", time.time())) >= _born() - 1
    yield "decimal", repr(decimal.getcontext())
    yield "random", hash(random.getstate())
    process: Any = multiprocessing.current_process()
    yield "key of the process", bytes(process.authkey).hex()
    yield (
        "multiprocessing",
        (
            multiprocessing.get_start_method(allow_none=True),
            process.name,
            multiprocessing.parent_process() is None,
            len(multiprocessing.active_children()),
        ),
    )
    yield "atexit", getattr(atexit, "_ncallbacks", int)()
    yield "codecs", [_named(codecs.lookup_error(name)) for name in ("strict", "surrogateescape")]
    yield "csv", (csv.field_size_limit(), csv.list_dialects())
    yield "temporary", (tempfile.gettempdir(), tempfile.gettempprefix())
    yield "faulthandler", faulthandler.is_enabled()
    yield "tracemalloc", (tracemalloc.is_tracing(), tracemalloc.get_traceback_limit())
    yield "time zone", (time.tzname, time.timezone)
    yield "socket", (socket.getdefaulttimeout(), socket.has_ipv6)
    yield "ssl", (ssl.OPENSSL_VERSION, str(ssl.get_default_verify_paths()), ssl.RAND_status())
    yield "site", (site.ENABLE_USER_SITE, site.getuserbase(), site.getsitepackages())
    yield "sysconfig", sysconfig.get_paths()
    yield "platform", (platform.platform(), platform.python_implementation())


def _seconds(moment: float) -> float:
    return moment / 1e9 if moment > 1e15 else moment  # newer ones have nanoseconds


def _born() -> float:
    """Return when this process began, in seconds since the epoch."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    since = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - since


def _of_os() -> Iterator[tuple[str, object]]:
    umask = os.umask(0)
    os.umask(umask)
    yield "umask", umask
    yield "folder", str(Path.cwd())
    yield "environment", dict(os.environ)
    yield "identity", (os.getresuid(), os.getresgid(), os.getgroups())
    yield "leads", (os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid())
    yield "nice", os.getpriority(os.PRIO_PROCESS, 0)
    yield "scheduling", (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority)
    yield "cpus", (sorted(os.sched_getaffinity(0)), os.cpu_count())
    yield "open", sorted(_open())
    for name in sorted(name for name in vars(resource) if name.startswith("RLIMIT_")):
        yield name, resource.getrlimit(getattr(resource, name))
    libc = ctypes.CDLL(None)
    for name, number in _PRCTLS.items():
        value = ctypes.c_int(-1)
        yield name, (libc.prctl(number, ctypes.byref(value), 0, 0, 0), value.value)
    for name, number in _OTHER_PRCTLS.items():
        yield name, libc.prctl(number, 0, 0, 0, 0)
    if (keyctl := _KEYCTL.get(platform.machine())) is not None:
        for number in (-3, -4, -5):  # of the session, of the user
            yield f"keyring {number}", libc.syscall(keyctl, 0, number, 0)


def _open() -> Iterator[str]:
    """Yield what is open, with a number where it is one that is known."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with contextlib.suppress(OSError):  # that of the listing
            kind = re.sub(r":\[\d+\]|#\d+", "", os.readlink(f"/proc/self/fd/{name}"))  # noqa: PTH115
            number = name if int(name) <= 2 else "more"
            flags = fcntl.fcntl(int(name), fcntl.F_GETFL) & ~os.O_NOFOLLOW
            inherited = "inherited" if os.get_inheritable(int(name)) else "own"
            yield f"{number} {kind} {flags:o} {inherited}"


def _of_signals() -> Iterator[tuple[str, object]]:
    for number in sorted(signal.valid_signals()):
        yield f"signal {number}", _named(signal.getsignal(number))
    yield "blocked", sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))
    yield "pending", sorted(signal.sigpending())
    yield "timers", [signal.getitimer(each) for each in range(3)]
    wakes = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakes)
    yield "wakes", wakes
    yield "signals of this", _signals("self")
    yield "signals of a fork", _of_a_fork()
    with subprocess.Popen(["sleep", "60"]) as child:
        while Path(f"/proc/{child.pid}/comm").read_text() != "sleep\n":  # before its exec
            time.sleep(0.01)
        yield "signals of a child", _signals(child.pid)
        child.kill()


def _of_a_fork() -> object:
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writing, json.dumps(_signals("self")).encode())
        os._exit(0)
    os.close(writing)
    found = json.loads(os.read(reading, 4096))
    os.close(reading)
    os.waitpid(pid, 0)
    return found


def _signals(pid: int | str) -> dict[str, int]:
    """Return which signals a process catches, ignores, has blocked and pending, as bits."""
    lines = [line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    masks = {line[0]: line[1] for line in lines if re.match(r"(Sig|Shd)(?!Q)", line[0])}
    return {name: int(mask, 16) & ~_OF_THE_C_LIBRARY for name, mask in masks.items()}


def _of_proc() -> Iterator[tuple[str, object]]:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if not _PER_PROCESS.fullmatch(name):
            yield f"status {name}", value.split()
    for name in _FILES:
        with contextlib.suppress(OSError):
            yield name, Path(f"/proc/self/{name}").read_text(errors="replace").split("\0")
    own = Path("/proc/self")
    for path in (*map(own.joinpath, _LINKS), *own.joinpath("ns").iterdir()):
        yield f"link {path.name}", str(path.readlink())
    maps = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    yield "maps", sorted({each[5] for each in maps if len(each) > 5})
    yield "words", sys.orig_argv if "setproctitle" in sys.modules else _words()


def _words() -> list[str]:
    """Return the command as those find it who change their title, setproctitle among them."""
    count, argv = ctypes.c_int(), ctypes.c_void_p()
    ctypes.pythonapi.Py_GetArgcArgv(ctypes.byref(count), ctypes.byref(argv))
    pointer = ctypes.POINTER(ctypes.c_void_p)
    environment = ctypes.cast(ctypes.c_void_p.in_dll(ctypes.CDLL(None), "environ"), pointer)
    if not environment or not environment[0]:
        return []
    room = 512 + sum(map(len, sys.orig_argv))
    with Path("/proc/self/mem").open("rb", buffering=0) as memory, contextlib.suppress(OSError):
        memory.seek(environment[0] - room)
        return memory.read(room).decode(errors="replace").split("\0")[-1 - count.value : -1]
    return []


def everything(modules: Sequence[str]) -> dict[str, object]:
    """Return what this interpreter is like.

    Args:
        modules: Those that were imported before this one.
    """
    parts = (_of_sys(modules), _of_modules(), _of_os(), _of_signals(), _of_proc())
    found = {name: value for part in parts for name, value in part}
    plain: dict[str, object] = json.loads(json.dumps(found, default=str))
    return plain


IS_FORKED = """
import os
from pathlib import Path

def is_forked():
    '''Whether this process and its parent come of one `exec`, by a random place in memory.'''
    return _place("self") == _place(os.getppid())

def _place(pid):
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return next(line.partition("-")[0] for line in lines if line.endswith("[vdso]"))
"""
