"""Compare what a waiting pytest shows with what a direct run shows.

`python -m tests.tools.replay_parity PATH` runs pytest in a copy of the project at PATH, to which
some files with tests of every kind are added, directly and with `--schedule-wait`, with several
options each; prints the lines that differ. The exit code is 0 if there are none. VALOR_HOME is a
temporary folder unless it is set.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

SUITE = {
    "test_a.py": """
import unittest, warnings
import pytest

def test_passes(): print("not shown")
def test_fails():
    print("shown")
    assert [1, 2] == [1, 3]
@pytest.fixture
def broken(): raise ValueError("at the start")
@pytest.fixture
def breaks():
    yield
    raise ValueError("at the end")
def test_setup_error(broken): pass
def test_teardown_error(breaks): pass
@pytest.mark.xfail(reason="later")
def test_expected(): assert 0
@pytest.mark.xfail
def test_unexpected(): pass
@pytest.mark.skip(reason="not now")
def test_skipped(): pass
def test_warns():
    warnings.warn("careful")
    warnings.warn(DeprecationWarning("old"))
class TestCase(unittest.TestCase):
    def test_parts(self):
        for i in range(3):
            with self.subTest(i=i):
                self.assertNotEqual(i, 1)
""",
    "test_b.py": """
import pytest
@pytest.mark.parametrize("n", range(12))
def test_number(n): assert n != 7
def test_says_why(): pytest.fail("because", pytrace=False)
""",
    "test_c.txt": ">>> 1 + 1\n3\n",
}
OPTIONS = (
    (),
    ("-q",),
    ("-v",),
    ("--tb=line",),
    ("-rA", "--tb=short"),
    ("-vv", "--tb=long", "-l"),
)
_SECTION = re.compile(
    r"^(=+ (?:FAILURES|ERRORS|warnings summary|short test summary).*)", re.M | re.S
)
_DURATIONS = re.compile(r"^=+ slowest .*?(?=^=)", re.M | re.S)
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}")
_PROGRESS = re.compile(r"\[ *\d+%\]")
Ending = tuple[int, list[str], list[tuple[str | None, ...]]]


def end_of(text: str) -> str:
    """Return everything from the first section on, without durations and the worker's line."""
    found = _SECTION.search(text)
    assert found, text
    shown = _DURATIONS.sub("", found[1])
    lines = re.sub(r"in \d+\.\d+s(?: \(.*\))?|=+", "", shown).splitlines()
    return "\n".join(line.strip() for line in lines if not line.startswith("[gw"))


def cases(path: Path) -> list[tuple[str | None, ...]]:
    """Return the test cases of a JUnit file: class, name, and what became of each."""
    return sorted(
        (
            each.get("classname"),
            each.get("name"),
            *(f"{part.tag} {part.get('message')} {part.text}" for part in each),
        )
        for each in ET.parse(path).iter("testcase")
    )


def extended(project: Path, target: Path) -> Path:
    """Copy a project and add the modules to its tests; return the copy."""
    copy = target / project.name
    shutil.copytree(project, copy)
    tests = next((copy / name for name in ("tests", "testing") if (copy / name).is_dir()), copy)
    for name, text in SUITE.items():
        (tests / name.replace("test_", "test_zz_")).write_text(text)
    return copy


def ending(project: Path, arguments: Sequence[str]) -> Ending:
    """Run pytest; return its exit code, the lines at the end, and the cases of its JUnit file."""
    quiet = ("-p", "no:cacheprovider", "-p", "no:randomly")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", *quiet, f"--junit-xml={report}", *arguments]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True)
        text = done.stdout.replace(str(report), "report.xml")
        report.write_text(_without_chance(report.read_text()))
        return done.returncode, end_of(_without_chance(text)).splitlines(), cases(report)


def _without_chance(text: str) -> str:
    """Return what was printed without where objects were in memory, and which test was when.

    pytest's own lines about subtests of unittest are in what it captures, with its progress.
    """
    return _PROGRESS.sub("[%]", _ADDRESS.sub("0x", text))


def differences(project: Path, options: Sequence[str]) -> list[str]:
    """Return how a waiting pytest's end differs from that of a direct run."""
    return compared(ending(project, options), ending(project, [*options, "--schedule-wait"]))


def compared(direct: Ending, waiting: Ending) -> list[str]:
    """Return how the end of a waiting pytest differs from that of a direct one."""
    code, lines, report = direct
    its_code, its_lines, its_report = waiting
    different = list(difflib.unified_diff(lines, its_lines, "direct", "waiting", n=0, lineterm=""))
    if code != its_code:
        different.append(f"exit code: direct {code}, waiting {its_code}")
    different += [f"JUnit, only direct: {case}" for case in report if case not in its_report]
    return different + [f"JUnit, only waiting: {case}" for case in its_report if case not in report]


def main() -> int:
    """Compare, print, and return the exit code."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("VALOR_HOME", str(Path(folder, "home")))
        project = extended(Path(sys.argv[1]).resolve(), Path(folder))
        for options in OPTIONS:
            different = differences(project, options)
            count += len(different)
            name = " ".join((project.name, *options))
            print(*different, f"{name}: {len(different)} differences", sep="\n")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
