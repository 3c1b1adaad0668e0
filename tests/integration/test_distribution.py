"""How the tests of a real job are handed out."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_valor_schedule.config.home import Home
from tests.support.scheduled import (
    nothing_scheduled,
    outcomes_of,
    record_of,
    results_of,
    run_pytest,
    scheduled_id,
)

LAST_IS_SLOW = """
import time
import pytest
@pytest.mark.parametrize("number", range(6))
def test_it(number):
    time.sleep(0.6 if number == 5 else 0.01 * number)
"""


def _order_of(job_id: str) -> list[str]:
    """Return the parameters of a job's tests in the order of their start."""
    results = sorted(results_of(job_id)["results"], key=lambda each: str(each["started_at"]))
    return [each["nodeid"].partition("[")[2].rstrip("]") for each in results]


def _run(*arguments: str) -> str:
    job_id = scheduled_id(run_pytest("--schedule", *arguments))
    results_of(job_id)
    return job_id


@pytest.mark.home_in_use
def test_what_was_slow_comes_first_the_next_time(project: Path, home: Home) -> None:
    """At first as collected, then the longest first, unless the project wants it otherwise."""
    Path("test_it.py").write_text(LAST_IS_SLOW)
    one = ("--max-workers", "1", "-o", "valor_schedule_inline=never")
    assert _order_of(_run(*one)) == list("012345")
    again = _run(*one)
    assert _order_of(again)[0] == "5"
    assert record_of(home, again)["estimated_seconds"] < 10
    assert _order_of(_run(*one, "-o", "valor_schedule_order=collected")) == list("012345")


WIPES = """
import pathlib, time
def _wipe(config, name):
    if getattr(config, "workerinput", {}).get("workerid") == "gw1":
        time.sleep(0.3)
        for path in pathlib.Path(__file__).with_name(name).iterdir():
            path.unlink()
def pytest_configure(config): _wipe(config, "a")
def pytest_sessionstart(session): _wipe(session.config, "b")
"""
WRITES = """
import pathlib, time, pytest
@pytest.mark.parametrize("number", range(6))
def test_n(number):
    time.sleep(0.05)
    for name in "ab":
        pathlib.Path(__file__).with_name(name).joinpath(str(number)).touch()
"""


@pytest.mark.home_in_use
def test_what_a_worker_wipes_while_it_starts_is_of_no_test(project: Path) -> None:
    """When it is configured, and when its session starts: no test has run before."""
    Path("conftest.py").write_text(WIPES)
    Path("test_it.py").write_text(WRITES)
    for name in "ab":
        Path(name).mkdir()
    assert set(outcomes_of(_run("--max-workers", "2")).values()) == {"passed"}
    assert [len(list(Path(name).iterdir())) for name in "ab"] == [6, 6]


@pytest.mark.home_in_use
def test_a_worker_that_does_not_pay_is_not_started(project: Path, home: Home) -> None:
    """Tests that take less than the start of a second worker get one; the record says so."""
    Path("test_it.py").write_text("def test_1(): pass\ndef test_2(): pass")
    first, second = (record_of(home, _run("--max-workers", "2")) for _ in range(2))
    assert (first["workers"], first.get("useful_workers")) == (2, None)
    assert (second["workers"], second["useful_workers"]) == (1, 1)


@pytest.mark.home_in_use
def test_a_scheduler_of_the_project_comes_first(project: Path) -> None:
    """Whoever writes the hook of xdist in a conftest.py means it."""
    Path("conftest.py").write_text(
        "from xdist.scheduler import LoadScheduling\n"
        "def pytest_xdist_make_scheduler(config, log):\n"
        "    open('asked', 'w').close()\n"
        "    return LoadScheduling(config, log)\n"
    )
    Path("test_it.py").write_text("def test_1(): pass\ndef test_2(): pass")
    assert set(outcomes_of(_run("--max-workers", "2")).values()) == {"passed"}
    assert Path("asked").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "valor_schedule_order=random"), '"longest", "failed-first" or "collected"'),
        (("--dist=no",), "--dist no runs all tests in one process"),
        (("--dist", "no"), "use --max-workers 1"),
    ],
)
def test_what_cannot_be_is_refused(
    project: Path, home: Home, arguments: tuple[str, ...], message: str
) -> None:
    """In one sentence, with pytest's exit code for it, and nothing is scheduled."""
    Path("test_it.py").write_text("def test_1(): pass")
    done = run_pytest("--schedule", *arguments)
    assert done.returncode == 4
    assert message in done.stderr
    assert nothing_scheduled()


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_runs_by_hand_teach_if_the_project_wants_it(
    project: Path, home: Home, workers: tuple[str, ...]
) -> None:
    """The first job after one is estimated from it; by default nothing is learned."""
    Path("test_it.py").write_text("def test_1(): pass")
    if not workers:
        assert run_pytest().returncode == 0
        assert not home.database.exists()
    assert run_pytest(*workers, "-o", "valor_schedule_learn=all").returncode == 0
    assert "from 1 run" in run_pytest("--schedule").stdout


def test_a_run_that_cannot_teach_does_not_fail(project: Path, home: Home) -> None:
    """It says so in one line."""
    home.root.parent.mkdir(exist_ok=True)
    home.root.touch()
    Path("test_it.py").write_text("def test_1(): pass")
    done = run_pytest("-o", "valor_schedule_learn=all")
    assert done.returncode == 0
    assert done.stderr.startswith("The durations of this run were not learned: ")
    home.root.unlink()
