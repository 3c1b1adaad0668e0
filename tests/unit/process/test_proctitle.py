"""Show the command and the environment that a forked process took over."""

from __future__ import annotations

import subprocess
import sys


def test_a_command_and_an_environment_of_any_length_are_shown() -> None:
    """And what the process starts inherits that environment."""
    code = (
        "import os; from pathlib import Path; from pytest_valor_schedule.process import proctitle\n"
        "proctitle.show_as(['run', 'x' * 10**5, 'y z'], {'NAME': 'value', 'B': 'y' * 10**5})\n"
        "command = Path('/proc/self/cmdline').read_bytes()\n"
        "assert command == b'run\\0' + b'x' * 10**5 + b'\\0y z\\0'\n"
        "environment = Path('/proc/self/environ').read_bytes()\n"
        "assert environment == b'NAME=value\\0B=' + b'y' * 10**5 + b'\\0'\n"
        "os.environ['ANOTHER'] = '1'\n"
        "assert os.system('test $NAME$ANOTHER = value1') == 0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
