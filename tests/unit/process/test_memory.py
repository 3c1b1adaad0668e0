"""Tell how much memory there is, and how much processes use."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_valor_schedule.process import memory

MIB = 2**20


def _write(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_the_least_of_machine_and_cgroups_counts(tmp_path: Path) -> None:
    """A limit of the container is a limit, but what its files take in the cache is not used."""
    proc = _write(tmp_path / "proc", meminfo="MemTotal: 9 kB\nMemAvailable:    4096 kB\n")
    none = tmp_path / "none"
    assert memory.available(proc, none, none) == 4 * MIB
    usage = {"memory__max": f"{5 * MIB}\n", "memory__current": f"{4 * MIB}\n"}
    v2 = _write(tmp_path / "v2", **usage, memory__stat=f"anon 7\ninactive_file {MIB}\n")
    assert memory.available(proc, v2, none) == 2 * MIB
    (v2 / "memory.max").write_text("max\n")
    assert memory.available(proc, v2, none) == 4 * MIB
    usage = {"memory__limit_in_bytes": str(3 * MIB), "memory__usage_in_bytes": str(2 * MIB)}
    v1 = _write(tmp_path / "v1", **usage, memory__stat="total_inactive_file 0\n")
    assert memory.available(proc, v2, v1) == MIB


def test_nothing_is_known_elsewhere(tmp_path: Path) -> None:
    """Where there is no /proc, memory keeps no job from starting."""
    assert memory.available(tmp_path, tmp_path, tmp_path) == math.inf
    assert memory.used_by_children(os.getpid(), tmp_path) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_descendants_count_however_deep() -> None:
    """What a grandchild has filled is seen, and is gone with it."""
    grandchild = "block = bytearray(b'x' * 50 * 2**20); print(flush=True); input()"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"
    before = memory.used_by_children(os.getpid())
    with subprocess.Popen(
        [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert memory.used_by_children(os.getpid()) - before > 50 * MIB
        process.communicate(b"\n")
    assert memory.used_by_children(os.getpid()) - before < 50 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_a_process_that_ends_under_the_eye_is_no_error() -> None:
    """Those of a job come and go all the time, and a look at one that goes must not end the job."""
    code = "import os\nwhile os.getppid() > 1:\n    os.fork() or os._exit(0)\n    os.wait()"
    with subprocess.Popen([sys.executable, "-S", "-c", code]) as forks:
        try:
            looks = 0
            while looks < 1500:
                for pid in list(memory.children(forks.pid)):
                    list(memory.children(pid))
                    looks += 1
        finally:
            forks.kill()
