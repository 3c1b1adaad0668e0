"""Jobs and results, and both as JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_valor_schedule.model.job import SCHEMA_VERSION, Job, job_record
from pytest_valor_schedule.model.job_terms import JobStatus, Outcome, Priority
from pytest_valor_schedule.model.result import Summary, TestOutcome, TestResult
from tests.support.jobs import a_job
from tests.support.properties import moments, steady

SUMMARY = Summary.of([TestResult(nodeid="a", outcome=TestOutcome.PASSED)], 1.5)

_TEXTS = st.text(max_size=5)
_WORDS = st.lists(_TEXTS, max_size=3).map(tuple)
_COUNTS = st.integers(0, 10**6)
_RESULTS = st.lists(st.builds(TestResult, nodeid=_TEXTS, outcome=st.sampled_from(TestOutcome)))


def _consistent(job: Job) -> Job:
    """Have a job that has ended say how."""
    if not job.status.is_final:
        return job
    return dataclasses.replace(
        job,
        outcome=job.outcome or Outcome.PASSED,
        summary=job.summary or SUMMARY,
        completed_at=job.completed_at or job.created_at,
    )


_JOBS = st.builds(
    Job,
    specification=_TEXTS,
    launcher=_WORDS,
    arguments=_WORDS,
    max_workers=_COUNTS,
    timeout_minutes=st.floats(0.001, 1e6) | st.integers(1, 10**6),
    test_count=_COUNTS,
    estimated_seconds=st.floats(0, 1e6),
    created_at=moments,
    status=st.sampled_from(JobStatus),
    outcome=st.none() | st.sampled_from(Outcome),
    explanation=st.none() | _TEXTS,
    started_at=st.none() | moments,
    completed_at=st.none() | moments,
    attempt=_COUNTS,
    workers=st.none() | _COUNTS,
    exit_code=st.none() | st.integers(-64, 255),
    summary=st.none() | st.builds(Summary.of, _RESULTS, st.floats(0, 1e6)),
).map(_consistent)


def _through_json(document: dict[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(json.dumps(document))
    return read


@steady
@given(_JOBS)
def test_a_job_survives_the_way_to_json_and_back(job: Job) -> None:
    """What a job was written as is read as the same job."""
    assert Job.from_json(_through_json(job.to_json())) == job


def test_keys_of_a_newer_version_are_ignored() -> None:
    """An older reader understands a newer record, at each of its levels."""
    job = a_job(summary=SUMMARY)
    document = _through_json(job.to_json())
    document["mood"] = "new"
    document["summary"]["moody"] = 3
    assert Job.from_json(document) == job


@pytest.mark.parametrize("name", ["job_id", "status", "created_at", "launcher"])
def test_a_document_without_what_a_job_needs_is_refused(name: str) -> None:
    """A job is read whole or not at all."""
    document = _through_json(a_job().to_json())
    del document[name]
    with pytest.raises((KeyError, TypeError, ValueError)):
        Job.from_json(document)


@pytest.mark.parametrize("document", [None, [], "job", 5, {"status": "lost"}, {"launcher": 5}])
def test_what_is_no_job_is_refused_by_one_of_three_errors(document: Any) -> None:
    """A reader of a damaged row knows which errors to expect."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        Job.from_json(document)


def test_only_fields_with_a_value_are_written() -> None:
    """A record does not speak of what has not come to pass."""
    written = a_job().to_json()
    assert "outcome" not in written
    assert "started_at" not in written


@pytest.mark.parametrize(
    ("most", "tests", "wanted"), [(4, 412, 4), (4, 3, 3), (1, 9, 1), (4, 0, 1)]
)
def test_a_job_wants_no_more_workers_than_it_has_tests(most: int, tests: int, wanted: int) -> None:
    """Workers without a test are never started, and one always is."""
    assert a_job(max_workers=most, test_count=tests).worker_demand == wanted


def test_the_command_has_our_plugins_and_the_workers_before_the_arguments() -> None:
    """Arguments after `--` cannot swallow what the queue adds."""
    job = a_job(launcher=("py", "-m", "pytest"), arguments=("--", "-n"), workers=3)
    added = ("-p", "xdist", "-p", "valor_schedule", "-n", "3")
    assert job.command == ("py", "-m", "pytest", *added, "--", "-n")


@steady
@given(_RESULTS, st.floats(0, 1e6))
def test_the_total_is_the_sum_of_the_eight_counts(
    results: list[TestResult], seconds: float
) -> None:
    """Each result is counted once, under its own outcome."""
    counts = Summary.of(results, seconds).to_json()
    assert counts.pop("duration_seconds") == pytest.approx(seconds, abs=0.001)
    assert counts.pop("total") == len(results) == sum(counts.values())
    for outcome in TestOutcome:
        name = "errors" if outcome is TestOutcome.ERROR else outcome
        assert counts[name] == [each.outcome for each in results].count(outcome)


def test_a_result_is_written_with_its_time_as_text() -> None:
    """A result carries what is known of it and nothing empty."""
    result = TestResult(nodeid="a", outcome=TestOutcome.FAILED, started_at=0.0, message="boom")
    assert _through_json(result.to_json()) == {
        "nodeid": "a",
        "outcome": "failed",
        "duration_seconds": 0.0,
        "started_at": "1970-01-01T00:00:00+00:00",
        "message": "boom",
    }


def test_a_record_is_versioned_and_has_results_only_when_there_are_some() -> None:
    """A record names its version and its tests, and `results` comes with the end."""
    scheduled = job_record(a_job(), ["a"], note="kept")
    assert scheduled["schema_version"] == SCHEMA_VERSION
    assert scheduled["tests_to_run"] == ["a"]
    assert scheduled["note"] == "kept"
    assert "results" not in scheduled


def test_only_the_last_two_statuses_have_ended() -> None:
    """A poller that waits for an end waits for completed or cancelled."""
    assert [status for status in JobStatus if status.is_final] == ["completed", "cancelled"]


def test_the_words_of_the_contract_are_fixed() -> None:
    """Statuses, outcomes and priorities are exactly those that were promised."""
    assert list(JobStatus) == ["scheduled", "running", "completed", "cancelled"]
    assert {str(outcome) for outcome in Outcome} == {
        *("passed", "failed", "no_tests", "timed_out", "incomplete", "error", "cancelled")
    }
    assert {str(outcome) for outcome in TestOutcome} == {
        *("passed", "failed", "error", "skipped", "xfailed", "xpassed", "crashed", "not_run")
    }
    assert sorted(Priority, key=lambda priority: priority.rank) == ["high", "normal", "low"]


def test_failed_error_and_crashed_are_the_bad_outcomes() -> None:
    """These three, and no others, make a job fail."""
    assert [outcome for outcome in TestOutcome if outcome.bad] == ["failed", "error", "crashed"]
