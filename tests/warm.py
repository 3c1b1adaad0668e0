"""A process that has pytest imported, from which a terminal's pytest is forked.

Most of the time of `pytest --schedule` on a small project is the import of pytest. The fork has
the arguments, folder, environment and exit of the command; what it imports of plugins and of the
project it imports itself. Tests of the start itself start a real command.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest


@functools.cache
def _server() -> subprocess.Popen[str]:
    """Start the process that forks; its end is that of its input, which ends with this process."""
    command = [sys.executable, __file__]
    ours = {name: value for name, value in os.environ.items() if not name.startswith("VALOR")}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd="/", env=ours)


def run(arguments: list[str], folder: Path | None) -> subprocess.CompletedProcess[str]:
    """Run `python -m pytest` with these arguments and return what it printed."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as outputs:
        wanted = {
            "arguments": arguments,
            "folder": str(Path.cwd() / (folder or "")),
            "environment": dict(os.environ),
            "outputs": outputs,
        }
        server.stdin.write(json.dumps(wanted) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        texts = [(Path(outputs) / name).read_text() for name in ("1", "2")]
    command = [sys.executable, "-m", "pytest", *arguments]
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
    sys.path[0] = wanted["folder"]
    sys.argv = [pytest.__file__, *wanted["arguments"]]
    sys.orig_argv = [sys.executable, "-m", "pytest", *wanted["arguments"]]
    runpy.run_module("pytest", run_name="__main__")


def main() -> None:
    """Fork a pytest for each line of input, and print its exit code."""
    from _pytest.config import default_plugins

    for name in default_plugins:
        importlib.import_module(f"_pytest.{name}")
    for line in iter(sys.stdin.readline, ""):
        pid = os.fork()
        if not pid:
            _become(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
