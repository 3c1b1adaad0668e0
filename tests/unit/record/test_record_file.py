"""Records as files: written whole, and read whatever became of them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_valor_schedule.errors import StoreError
from pytest_valor_schedule.model.job import job_record
from pytest_valor_schedule.model.job_terms import JobStatus, Outcome
from pytest_valor_schedule.model.result import Summary, TestOutcome, TestResult
from pytest_valor_schedule.queue import job_row
from pytest_valor_schedule.queue.job_row import job_in
from pytest_valor_schedule.record import record_file
from pytest_valor_schedule.text import render, result_list
from tests.support.jobs import a_job
from tests.support.properties import steady

RESULTS = [
    TestResult(nodeid="a", outcome=TestOutcome.PASSED, duration_seconds=0.5, started_at=1e9),
    TestResult(
        nodeid="b[\x1b]", outcome=TestOutcome.FAILED, message="m", longrepr="l", phase="call"
    ),
]
ENDED = a_job(
    status=JobStatus.COMPLETED,
    outcome=Outcome.FAILED,
    started_at=1e9,
    completed_at=1e9 + 1,
    summary=Summary.of(RESULTS, 1.0),
    test_count=2,
)


def _write(path: Path) -> dict[str, Any]:
    errors = [{"nodeid": "c", "longrepr": "e"}]
    document = job_record(ENDED, ["a", "b[\x1b]"], collection_errors=errors)
    record_file.write(path, document, (result.to_json() for result in RESULTS))
    whole: dict[str, Any] = json.loads(path.read_text())
    return whole


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a record goes."""
    return tmp_path / f"{ENDED.job_id}.json"


def test_a_record_comes_back_whole(path: Path) -> None:
    """With results, which are one line each, and without."""
    whole = _write(path)
    assert record_file.read(path) == whole
    assert record_file.is_whole(whole)
    assert whole["results"] == [result.to_json() for result in RESULTS]
    assert sum('"nodeid": "' in line for line in path.read_text().splitlines()) == 3
    assert job_row.read_record(path) == (ENDED, ["a", "b[\x1b]"])
    record_file.write(path, job_record(ENDED, ["a"]))
    assert "results" not in (record_file.read(path) or {})
    record_file.write(path, job_record(ENDED, []), [])
    assert (record_file.read(path) or {})["results"] == []


def test_some_results_of_a_record_can_be_read(path: Path) -> None:
    """As they are in the whole, of which the list of the tests is left out."""
    whole = _write(path)
    del whole["tests_to_run"]
    assert record_file.read_some(path, lambda each: True) == whole
    bad = record_file.read_some(path, lambda each: each["outcome"] == "failed")
    assert bad == {**whole, "results": whole["results"][1:]}
    record_file.write(path, job_record(ENDED, []), [])
    assert record_file.read_some(path, lambda each: True) is None  # it says that there are two


def test_a_part_of_a_record_is_not_taken_for_the_whole(path: Path) -> None:
    """Wherever it was cut off, or what else is in its place."""
    _write(path)
    text = path.read_bytes()
    for length in range(len(text)):
        path.write_bytes(text[:length])
        assert record_file.read_some(path, lambda each: False) is None
    for other in (b"[]", b'{\n "results": [\n  1\n ]\n}', text.replace(b'"nodeid"', b'"node"')):
        path.write_bytes(other)
        assert record_file.read_some(path, lambda each: False) is None
    path.unlink()
    assert record_file.read_some(path, lambda each: False) is None


def test_a_record_that_cannot_be_written_leaves_the_old_one(path: Path) -> None:
    """A failure on the way changes nothing and leaves no scrap."""
    before = _write(path)

    def failing() -> Any:
        yield {}
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreError, match="make room"):
        record_file.write(path, {}, failing())
    assert record_file.read(path) == before
    assert list(path.parent.iterdir()) == [path]


def test_room_is_asked_for_only_where_it_helps(path: Path) -> None:
    """A disk that can only be read is not mended by making room on it."""

    def failing() -> Any:
        yield {}
        raise OSError(30, "Read-only file system")

    with pytest.raises(StoreError, match=r"Read-only file system.*; check its permissions"):
        record_file.write(path, {}, failing())


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


def _places(document: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every value in a document."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(document, dict):
        inner = list(document.items())
    elif isinstance(document, list):
        inner = list(enumerate(document))
    ways = [way for key, value in inner for way in _places(value, (*place, key))]
    return [place, *ways] if place else ways


@steady
@given(st.data())
def test_any_other_value_anywhere_does_no_harm(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A record with something else in it is refused, or can be shown and taken over."""
    path = tmp_path_factory.mktemp("record") / f"{ENDED.job_id}.json"
    document = _write(path)
    for *way, last in data.draw(st.lists(st.sampled_from(_places(document)), max_size=3)):
        inner, value = document, data.draw(_values)
        with contextlib.suppress(TypeError, LookupError):  # another change has taken the place
            for key in way:
                inner = inner[key]
            inner[last] = value
    path.write_text(json.dumps(document))
    _look_at(path)


@steady
@given(st.binary(max_size=200), st.integers(0, 3000))
def test_noise_does_no_harm(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, offset: int
) -> None:
    """A record with any bytes in it is refused, or can be shown and taken over."""
    path = tmp_path_factory.mktemp("record") / f"{ENDED.job_id}.json"
    _write(path)
    content = path.read_bytes()
    path.write_bytes(content[:offset] + noise + content[offset + len(noise) :])
    _look_at(path)


def _look_at(path: Path) -> None:
    found = job_row.read_record(path)
    if found is not None:
        render.job_line(found[0].to_json())
        assert found[0].worker_demand >= 1
    document = record_file.read(path)
    if document is not None and record_file.is_whole(document) and job_in(document) is not None:
        lines = result_list.lines(document, {}, {"all": True})
        assert all(line.isprintable() for line in lines)
        render.exit_code(document)
