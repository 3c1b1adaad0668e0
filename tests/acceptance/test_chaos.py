"""A short run of tests/tools/chaos.py."""

from __future__ import annotations

import subprocess
import sys

from tests.support.pages import ROOT


def test_nothing_is_lost_or_left_when_anything_is_killed() -> None:
    """After random signals every acknowledged job has ended whole, and no process is left."""
    command = [sys.executable, "-m", "tests.tools.chaos", "6", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 problems" in done.stdout
