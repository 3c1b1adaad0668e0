"""Virtual environments that take little time to make."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest


@dataclasses.dataclass(frozen=True)
class Environment:
    """A virtual environment with all that the running one has.

    Attributes:
        folder: Where it is.
        packages: Where packages of its own may be put.
        pth_file: The file by which it has those of the running one.
    """

    folder: Path
    packages: Path
    pth_file: Path

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.folder / "bin" / "python")


def make_environment(folder: Path) -> Environment:
    """Make one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    others = Path(pytest.__file__).parent.parent
    pth_file = packages / "others.pth"
    pth_file.write_text(f"import site; site.addsitedir({str(others)!r})\n")
    return Environment(folder, packages, pth_file)
