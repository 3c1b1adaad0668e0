"""A process that has pytest imported, from which a terminal's pytest is forked.

Most of the time of `pytest --schedule` on a small project is the import of pytest. The fork has
the arguments, folder, environment and exit of the command; what it imports of plugins and of the
project it imports itself. Tests of the start itself start a real command.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from _pytest.config import _prepareconfig

_MODULES = (
    *("xdist.dsession", "xdist.looponfail"),
    *("pytest_valor_schedule.cli.main", "pytest_valor_schedule.client.administer"),
    *("pytest_valor_schedule.plugin.submit_role", "pytest_valor_schedule.plugin.show_run"),
)


@functools.cache
def _server() -> subprocess.Popen[str]:
    """Start the process that forks; its end is that of its input, which ends with this process."""
    command = [sys.executable, __file__]
    others = ("VALOR", "PYTEST_")  # they are of the test that happens to come first
    ours = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd="/", env=ours)


def run(
    arguments: list[str],
    folder: Path | None = None,
    program: str = "pytest",
    environment: Mapping[str, str] = os.environ,
) -> subprocess.CompletedProcess[str]:
    """Run a module, or the script at an absolute path, and return what it printed."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as outputs:
        wanted = {
            "program": program,
            "arguments": arguments,
            "folder": str(Path.cwd() / (folder or "")),
            "environment": dict(environment),
            "outputs": outputs,
        }
        server.stdin.write(json.dumps(wanted) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        texts = [(Path(outputs) / name).read_text(errors="replace") for name in ("1", "2")]
    command = [program, *arguments]
    return subprocess.CompletedProcess(command, code, *texts)


def stop() -> None:
    """End the process that forks, if there is one."""
    if _server.cache_info().currsize:
        _server().communicate()
        _server.cache_clear()


def _become(wanted: dict[str, Any]) -> None:
    """Be a pytest that was just started."""
    for number in (1, 2):
        output = os.open(Path(wanted["outputs"], str(number)), os.O_WRONLY | os.O_CREAT)
        os.dup2(output, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(wanted["environment"])
    os.chdir(wanted["folder"])
    program, arguments = wanted["program"], wanted["arguments"]
    is_script = Path(program).is_absolute()
    sys.path[0] = str(Path(program).parent) if is_script else wanted["folder"]
    sys.argv = [program, *arguments]
    sys.orig_argv = [sys.executable, *(() if is_script else ("-m",)), program, *arguments]
    try:
        if is_script:
            runpy.run_path(program, run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        _leave(end.code)
    except BaseException:
        traceback.print_exc()
        _leave(1)
    _leave(0)


def _leave(code: object) -> NoReturn:
    """End as an interpreter does, but for taking all modules apart."""
    if isinstance(code, str):
        print(code, file=sys.stderr)
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _import_plugins() -> None:
    """Import what every pytest here imports, as a pytest does it: with assertions rewritten.

    Else each of them would warn that it finds modules which it cannot rewrite any more.
    """
    config = _prepareconfig(["-p", "no:cacheprovider", "-p", "no:hypothesispytest"])
    config._ensure_unconfigure()
    for name in _MODULES:
        importlib.import_module(name)


def main() -> None:
    """Fork a pytest for each line of input, and print its exit code."""
    _import_plugins()
    gc.freeze()
    for line in iter(sys.stdin.readline, ""):
        pid = os.fork()
        if not pid:
            _become(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
