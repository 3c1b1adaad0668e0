"""How much memory there is, and how much processes use."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_valor_schedule import get_job_status
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.process import memory
from pytest_valor_schedule.queue.history import History, Run
from pytest_valor_schedule.queue.store import JobStore
from tests.support.scheduled import (
    GATED,
    is_running,
    open_gate,
    record_of,
    results_of,
    run_pytest,
    scheduled_id,
)
from tests.support.waiting import wait_until

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


@pytest.mark.home_in_use
@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_the_peak_of_a_job_is_recorded_and_expected_the_next_time(
    project: Path, home: Home
) -> None:
    """In the record, in the status while it runs, and in the estimate of the same job."""
    filling = "    block = b'x' * 2**20 * 100\n    while"
    Path("test_gated.py").write_text(GATED.replace("    while", filling))
    job_id = scheduled_id(run_pytest("--schedule"))
    wait_until(
        lambda: get_job_status(job_id).get("progress", {}).get("memory_mb", 0) > 100,
        "the status shows the memory",
    )
    open_gate()
    results_of(job_id)
    assert record_of(home, job_id)["peak_memory_bytes"] > 100 * MIB
    again = record_of(home, scheduled_id(run_pytest("--schedule")))
    assert again["estimated_memory_bytes"] > 100 * MIB


@pytest.mark.home_in_use
def test_the_peak_of_a_short_job_is_known_too(project: Path, home: Home) -> None:
    """Also of a test that is over before anybody looks."""
    Path("test_short.py").write_text("def test_short(): b'x' * 2**20 * 200")
    job_id = scheduled_id(run_pytest("--schedule"))
    results_of(job_id)
    assert record_of(home, job_id)["peak_memory_bytes"] > 200 * MIB


def test_a_job_waits_for_memory_and_says_so(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that do not fit together run one after the other; the first may always start."""
    monkeypatch.setenv("VALOR_SCHEDULE_MEMORY_RESERVE_MB", str(2**40))
    Path("test_gated.py").write_text(GATED)
    first = scheduled_id(run_pytest("--schedule", "--max-workers", "1"))
    wait_until(lambda: is_running(first), "the first runs")
    second = run_pytest("--schedule", "--max-workers", "1")
    assert "waits for 0.1 GiB of memory, 0.0 GiB free" in second.stdout
    assert not is_running(scheduled_id(second))
    open_gate()
    begun = [results_of(job_id)["started_at"] for job_id in (first, scheduled_id(second))]
    assert begun[1] > results_of(first)["completed_at"]


def test_a_peak_rises_at_once_and_sinks_slowly(home: Home) -> None:
    """And is scaled to the number of workers; other jobs of a project take the largest."""

    def expected(selected: str, workers: int = 1) -> float:
        return history.estimate("/p", ["t"], workers, selected).memory_bytes / MIB

    with JobStore(home) as store:
        history = History(store.database)
        assert expected("a") == 128
        for size in (200, 400, 200):
            run = Run(selection="a", workers=1, peak_memory_bytes=size * MIB)
            history.learn("/p", {}, 1.0, run=run)
        assert expected("a") == 300
        assert expected("a", workers=3) == 600
        assert expected("b") == 300
        history.learn("/p", {}, 2.0, run=Run(selection="a", workers=1))
        assert expected("a") == 300
