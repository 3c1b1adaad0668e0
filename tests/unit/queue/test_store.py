"""The queue in its SQLite file, and the records beside it."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import job_end
from pytest_valor_schedule.daemon.job_end import JobEnd
from pytest_valor_schedule.errors import StoreError, UnknownJobError
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.job_terms import JobStatus, Priority
from pytest_valor_schedule.queue import environments
from pytest_valor_schedule.queue.store import JobStore
from tests.support.jobs import a_job

FIRST, SECOND, THIRD = (
    "20261122-203015-4f9a2c",
    "20261122-203015-4f9b00",
    "20261123-080000-20d1ff",
)


@pytest.fixture
def store(home: Home) -> Iterator[JobStore]:
    """An empty queue, which is empty again in the end, so that nobody serves it."""
    with JobStore(home) as store:
        yield store
        with store.database.transaction() as connection:
            connection.execute("DELETE FROM jobs")


def _add(store: JobStore, *job_ids: str, **changes: Any) -> None:
    for job_id in job_ids:
        assert store.add(a_job(job_id=job_id, **changes), ["a", "b"], {"PASSWORD": "secret"})


def _ids(jobs: list[Job]) -> list[str]:
    return [job.job_id for job in jobs]


def _record(store: JobStore, job_id: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(store.home.record(job_id).read_bytes())
    return record


def test_an_added_job_is_kept(store: JobStore) -> None:
    """The job, its tests and its environment come back as they were, also to another process."""
    tests = ["a[1]", "ü", "test_\udcff.py::a"]
    assert store.add(a_job(), tests, {"PATH": "/bin"})
    with JobStore(store.home) as other:
        assert other.get(FIRST) == a_job()
        assert other.tests(FIRST) == tests
        assert environments.read(other.home, FIRST) == {"PATH": "/bin"}
        assert other.claim(FIRST) is None
        assert other.progress(FIRST) is None


def test_an_added_job_has_its_record(store: JobStore) -> None:
    """A job is published from the moment of scheduling on."""
    _add(store, FIRST)
    record = _record(store, FIRST)
    assert (record["status"], record["tests_to_run"]) == ("scheduled", ["a", "b"])
    assert "PASSWORD" not in json.dumps(record)


def test_a_job_without_its_record_is_not_added(store: JobStore) -> None:
    """Where the record cannot be written, nothing is scheduled."""
    store.home.results.rmdir()
    with pytest.raises(StoreError, match="cannot be written"):
        store.add(a_job(), ["a"], {})
    assert store.count() == 0


def test_an_id_is_taken_once(store: JobStore) -> None:
    """A second job of the same id is refused, and the first one stays as it is."""
    _add(store, FIRST)
    assert not store.add(a_job(specification="another"), ["c"], {})
    assert store.count() == 1
    assert store.tests(FIRST) == ["a", "b"]
    assert _record(store, FIRST)["specification"] == a_job().specification


def test_all_files_are_private(store: JobStore) -> None:
    """Nobody else can read what was scheduled."""
    _add(store, FIRST)
    files = [path for path in store.home.root.rglob("*") if path.is_file()]
    assert store.home.database in files
    assert {file.stat().st_mode & 0o077 for file in files} == {0}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (FIRST, FIRST),
        ("4f9a2c", FIRST),
        ("4F9A2C", FIRST),
        (f"  {FIRST}\n", FIRST),
        ("4f9a", FIRST),
        ("20261123", THIRD),
        ("20261122-203015-4f9b", SECOND),
        ("20d", THIRD),
    ],
)
def test_a_job_is_found_by_what_names_it(store: JobStore, text: str, found: str) -> None:
    """A full id, its last part, or an unambiguous prefix of either finds the job."""
    _add(store, FIRST, SECOND, THIRD)
    assert store.find(text).job_id == found


def test_an_exact_name_comes_before_a_prefix(store: JobStore) -> None:
    """The last part of one id is its name, also where a longer id begins with it."""
    _add(store, "20261122-203015-202611", THIRD)
    assert store.find("202611").job_id == "20261122-203015-202611"


@pytest.mark.parametrize("text", ["2026", "4f9", "20261122-203015", "2"])
def test_an_ambiguous_prefix_is_refused(store: JobStore, text: str) -> None:
    """The refusal lists jobs that fit, so that more of the id can be given."""
    _add(store, FIRST, SECOND, THIRD)
    with pytest.raises(UnknownJobError, match=f"'{text}' fits more than one job .*{SECOND}"):
        store.find(text)


@pytest.mark.parametrize(
    "noise",
    [
        *("", " ", "-", "../x", f"../{FIRST}", f"{FIRST}/..", f"{FIRST}\0", "%", "*", "4f9a2_"),
        *("4f9a2?", "zzz", "4f9a2c' OR '1'='1", "f" * 100, "\ud800", "٤"),
        *(None, 5, 4.5, True, b"4f9a2c", ["4f9a2c"], {}),
    ],
    ids=ascii,
)
def test_noise_finds_no_job(store: JobStore, noise: object) -> None:
    """What is not a part of an id names no job, and the refusal repeats it."""
    _add(store, FIRST)
    with pytest.raises(UnknownJobError) as refused:
        store.find(noise)
    assert str(refused.value).startswith(f"There is no job {noise!r}; ")


def test_an_unknown_full_id_is_refused(store: JobStore) -> None:
    """Reading a job that is not there is the same error everywhere."""
    for read in (store.get, store.tests, store.claim, store.cancel_requested):
        with pytest.raises(UnknownJobError):
            read(FIRST)


def test_a_change_needs_the_expected_status(store: JobStore) -> None:
    """A job that stands otherwise by now is not changed."""
    _add(store, FIRST)
    before = store.get(FIRST)
    assert store.change(FIRST, JobStatus.RUNNING, status=JobStatus.COMPLETED) is None
    assert store.change(THIRD, JobStatus.SCHEDULED, attempt=9) is None
    assert store.get(FIRST) == before


def test_a_change_is_kept(store: JobStore) -> None:
    """The changed job is returned and found by everybody."""
    _add(store, FIRST)
    changed = store.change(FIRST, JobStatus.SCHEDULED, status=JobStatus.RUNNING, workers=2)
    expected = dataclasses.replace(a_job(), status=JobStatus.RUNNING, workers=2)
    assert changed == store.get(FIRST) == expected
    assert _ids(store.jobs(JobStatus.RUNNING)) == [FIRST]
    assert store.queue() == []


def test_a_change_can_name_the_attempt_that_it_means(store: JobStore) -> None:
    """A runner of an earlier attempt does not get the job."""
    _add(store, FIRST, attempt=2)
    assert store.change(FIRST, JobStatus.SCHEDULED, if_attempt=1, workers=1) is None
    assert store.change(FIRST, JobStatus.SCHEDULED, if_attempt=2, workers=1) is not None


def test_of_many_that_claim_a_job_one_gets_it(store: JobStore) -> None:
    """Two runners never run the same job."""
    _add(store, FIRST)

    def claim(name: str) -> Job | None:
        with JobStore(store.home) as own:
            return own.change(FIRST, JobStatus.SCHEDULED, claim=name, status=JobStatus.RUNNING)

    names = [f"runner {number}" for number in range(8)]
    with ThreadPoolExecutor(len(names)) as pool:
        got = dict(zip(names, pool.map(claim, names), strict=True))
    winners = [name for name, job in got.items() if job is not None]
    assert [store.claim(FIRST)] == winners


def test_a_claim_stays_until_the_next_one(store: JobStore) -> None:
    """A change that names no runner leaves the claim as it is."""
    _add(store, FIRST)
    store.change(FIRST, JobStatus.SCHEDULED, claim="me")
    store.change(FIRST, JobStatus.SCHEDULED, workers=2)
    assert store.claim(FIRST) == "me"


@pytest.mark.parametrize("status", JobStatus)
def test_the_environment_is_erased_with_the_end(store: JobStore, status: JobStatus) -> None:
    """Secrets of an environment are kept as long as a job needs them, and no longer."""
    _add(store, FIRST)
    store.change(FIRST, JobStatus.SCHEDULED, status=status)
    assert environments.is_there(store.home, FIRST) != status.is_final


def test_an_environment_that_nobody_needs_is_erased(store: JobStore) -> None:
    """One of a job that has ended at once, one of an unknown job when it is not about to come."""
    _add(store, FIRST, SECOND)
    ended = store.home.environments / f"{FIRST}.json"
    kept = ended.read_bytes()
    store.change(FIRST, JobStatus.SCHEDULED, status=JobStatus.COMPLETED)
    ended.write_bytes(kept)  # as if a kill had come between
    with environments.keep(store.home, THIRD, {}):
        now = time.time()
        store.drop_environments(now)
        left = {path.stem for path in store.home.environments.iterdir()}
        assert left == {SECOND, THIRD}
        store.drop_environments(now + 3601)
        assert [path.stem for path in store.home.environments.iterdir()] == [SECOND]


def test_an_environment_is_not_kept_for_a_job_that_was_not_added(store: JobStore) -> None:
    """Neither where the id is taken, whose environment stays, nor where there is no record."""
    _add(store, FIRST)
    assert not store.add(a_job(job_id=FIRST), ["a"], {"PASSWORD": "another"})
    assert environments.read(store.home, FIRST) == {"PASSWORD": "secret"}
    store.home.record(SECOND).mkdir()
    with pytest.raises(StoreError):
        store.add(a_job(job_id=SECOND), ["a"], {"PASSWORD": "secret"})
    assert not environments.is_there(store.home, SECOND)


def test_the_queue_is_in_the_order_of_adding(store: JobStore) -> None:
    """Age is that of the queue, whatever clocks and ids say."""
    _add(store, THIRD, FIRST, SECOND)
    assert _ids(store.queue()) == [THIRD, FIRST, SECOND]
    store.change(THIRD, JobStatus.SCHEDULED, priority=Priority.LOW)
    assert _ids(store.queue()) == [THIRD, FIRST, SECOND]
    store.change(FIRST, JobStatus.SCHEDULED, status=JobStatus.CANCELLED)
    assert _ids(store.queue()) == [THIRD, SECOND]


def test_the_newest_jobs_come_first(store: JobStore) -> None:
    """A list begins with the newest job and may be limited."""
    _add(store, FIRST, SECOND, THIRD)
    assert _ids(store.jobs()) == [THIRD, SECOND, FIRST]
    assert _ids(store.jobs(limit=2)) == [THIRD, SECOND]
    assert store.jobs(limit=0) == []
    assert _ids(store.jobs(limit=10**30)) == [THIRD, SECOND, FIRST]


def test_the_newest_job_of_a_folder_is_found(store: JobStore) -> None:
    """A folder's newest job is found, whether or not it has ended, and no other folder's."""
    _add(store, FIRST, SECOND, cwd="/here")
    _add(store, THIRD, cwd="/there")
    store.change(SECOND, JobStatus.SCHEDULED, status=JobStatus.COMPLETED)
    assert store.newest_from("/here") == SECOND
    with pytest.raises(UnknownJobError, match="No job was scheduled from /nowhere"):
        store.newest_from("/nowhere")


def test_jobs_are_filtered_and_counted_by_status(store: JobStore) -> None:
    """A filter leaves the jobs of one status, and the count is of all of these."""
    _add(store, FIRST, SECOND, THIRD)
    store.change(SECOND, JobStatus.SCHEDULED, status=JobStatus.COMPLETED)
    assert _ids(store.jobs(JobStatus.SCHEDULED, limit=1)) == [THIRD]
    assert store.count(JobStatus.SCHEDULED) == 2
    assert store.count(JobStatus.COMPLETED) == 1
    assert store.count(JobStatus.RUNNING) == 0
    assert store.count() == 3


def test_one_unreadable_row_does_not_hide_the_others(store: JobStore) -> None:
    """The queue goes on past a job of which neither its row nor its record can be read."""
    _add(store, FIRST, SECOND, THIRD)
    with store.database.transaction() as connection:
        connection.execute("UPDATE jobs SET document = '[]' WHERE id = ?", (SECOND,))
    assert store.get(SECOND) == a_job(job_id=SECOND)
    store.home.record(SECOND).write_text("{")
    assert _ids(store.queue()) == [FIRST, THIRD]
    with pytest.raises(StoreError):
        store.get(SECOND)


def test_progress_and_a_wish_to_cancel_are_kept(store: JobStore) -> None:
    """What a runner tells and what it is asked for pass through the queue."""
    _add(store, FIRST)
    assert not store.cancel_requested(FIRST)
    store.set_progress(FIRST, {"finished": 1, "failed": 0, "total": 2})
    store.request_cancel(FIRST)
    with JobStore(store.home) as other:
        assert other.progress(FIRST) == {"finished": 1, "failed": 0, "total": 2}
        assert other.cancel_requested(FIRST)


def test_a_failed_transaction_changes_nothing(store: JobStore) -> None:
    """An exception inside a change rolls it back and comes through as it is."""
    _add(store, FIRST)
    with pytest.raises(TypeError, match="no_such_field"):
        store.change(FIRST, JobStatus.SCHEDULED, workers=2, no_such_field=1)
    assert store.get(FIRST) == a_job()
    assert store.change(FIRST, JobStatus.SCHEDULED, workers=2) is not None


@pytest.mark.parametrize(("hours", "seconds"), [(1, 600.0), (-1, 0.0)])
def test_a_job_whose_runner_died_ran_no_longer_than_it_may(
    store: JobStore, hours: int, seconds: float
) -> None:
    """Only the clock says when it ended, and that may have been set since."""
    _add(store, FIRST)
    now = a_job().created_at
    job = store.change(FIRST, JobStatus.SCHEDULED, status=JobStatus.RUNNING, started_at=now)
    assert job is not None
    ended = job_end.complete(store, job, JobEnd(completed_at=now + hours * 3600))
    assert ended is not None
    assert ended.summary is not None
    assert ended.summary.duration_seconds == seconds
