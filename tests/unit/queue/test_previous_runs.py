"""Which runs a job is compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.job_terms import JobStatus, Outcome
from pytest_valor_schedule.model.result import Summary
from pytest_valor_schedule.queue import previous_runs
from pytest_valor_schedule.queue.store import JobStore
from tests.support.jobs import a_job

ALL = [f"test_a.py::test_{number}" for number in range(10)]


@pytest.fixture
def store(home: Home) -> Iterator[JobStore]:
    with JobStore(home) as store:
        yield store


class _Folder:
    """A folder in which one run follows the other."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._runs: dict[str, str] = {}  # id -> name

    def run(self, name: str, specification: str, tests: Sequence[str], **changes: Any) -> Job:
        job = a_job(
            job_id=f"20261122-203015-{len(self._runs):06x}",
            specification=specification,
            test_count=len(tests),
        )
        fields = {"completed_at": job.created_at, "summary": Summary.of([], 0.0), **changes}
        ended = dataclasses.replace(
            job, status=JobStatus.COMPLETED, outcome=Outcome.PASSED, **fields
        )
        assert self._store.add(ended, tests, {})
        self._runs[job.job_id] = name
        return ended

    def before(self, job: Job) -> list[str]:
        return [self._runs[each.job_id] for each in previous_runs.earlier_jobs(self._store, job)]


@pytest.fixture
def folder(store: JobStore) -> _Folder:
    return _Folder(store)


def test_where_a_report_goes_makes_no_other_run(folder: _Folder) -> None:
    """Whatever was typed: who ran the same tests can be compared with, the newest first."""
    folder.run("first", "pytest --junit-xml=1.xml", ALL)
    folder.run("second", "pytest -q --color=no -p no:randomly", ALL[::-1])
    folder.run("few", "pytest -k few", ALL[:3])
    folder.run("elsewhere", "pytest -q", ALL, cwd="/elsewhere")
    folder.run("other", "pytest test_b.py", [f"test_b.py::test_{n}" for n in range(10)])
    last = folder.run("last", "pytest --junit-xml=2.xml", ALL)
    assert folder.before(last) == ["second", "first"]


def test_added_and_removed_tests_make_no_other_run(folder: _Folder) -> None:
    """Neither where the same was typed, nor where that differs and nothing fits better."""
    folder.run("one", "pytest test_new.py", ["test_new.py::test_first"])
    more = [f"test_new.py::test_{n}" for n in range(5)]
    assert folder.before(folder.run("more", "pytest test_new.py", more)) == ["one"]
    folder.run("first", "pytest --junit-xml=1.xml", ALL)
    second = folder.run("second", "pytest --junit-xml=2.xml", [*ALL[1:], "test_a.py::test_new"])
    assert folder.before(second) == ["first"]
    assert folder.before(folder.run("third", "pytest --junit-xml=3.xml", ALL)) == ["first"]


def test_another_selection_is_another_run(folder: _Folder) -> None:
    """Who runs a part and the whole in turns compares each with its like."""
    folder.run("whole", "pytest", ALL)
    folder.run("part", "pytest -m 'not slow'", ALL[:8])
    assert folder.before(folder.run("whole again", "pytest", ALL)) == ["whole"]
    assert folder.before(folder.run("part again", "pytest -m 'not slow'", ALL[:8])) == ["part"]
    assert folder.before(folder.run("half", "pytest -k half", ALL[:5])) == []


def test_what_failed_is_compared_with_the_run_that_it_is_part_of(folder: _Folder) -> None:
    """The failed ones of a run are no run to compare the whole with, but the other way round."""
    folder.run("whole", "pytest -q", ALL)
    failed = folder.run("failed", "pytest --lf", ALL[:2], chosen_by_cache=True)
    assert folder.before(failed) == ["whole"]
    assert folder.before(folder.run("again", "pytest -v", ALL)) == ["whole"]
    fewer = folder.run("fewer", "pytest --lf -x", ALL[:1], chosen_by_cache=True)
    assert folder.before(fewer) == ["again", "failed", "whole"]


def test_a_list_of_tests_that_cannot_be_read_is_no_match(folder: _Folder, store: JobStore) -> None:
    """One bad row stops nobody from being compared with another."""
    folder.run("whole", "pytest -q", ALL)
    bad = folder.run("bad", "pytest -v", ALL)
    store.home.record(bad.job_id).unlink()
    with store.database.transaction() as connection:
        connection.execute("UPDATE jobs SET tests = 'x' WHERE id = ?", (bad.job_id,))
    assert folder.before(folder.run("last", "pytest -vv", ALL)) == ["whole"]
