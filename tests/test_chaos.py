"""A short run of tests/chaos.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_nothing_is_lost_or_left_when_anything_is_killed() -> None:
    """After random signals every acknowledged job has ended whole, and no process is left."""
    program = Path(__file__).with_name("chaos.py")
    command = [sys.executable, str(program), "6", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 problems" in done.stdout
