"""Whatever stands in a journal: any test can write into the folder of its job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_valor_schedule.daemon.outcomes import decide_outcome
from pytest_valor_schedule.daemon.progress import Progress
from pytest_valor_schedule.model.result import Summary
from pytest_valor_schedule.queue.demand import Work
from pytest_valor_schedule.record import event_log, record_file
from pytest_valor_schedule.record.run_summary import aggregate
from tests.support.events import ran
from tests.support.properties import steady

TESTS = ("a", "b")
KINDS = (
    *("open", "start", "report", "finish", "silent", "killer", "hung", "cut_off", "crash", "down"),
    *("worker", "collected", "interrupted", "collection_error", "internal_error", "claim"),
    *("failed_otherwise", "warning", "", "mood"),
)
NAMES = (
    *("id", "phase", "outcome", "duration", "xfail", "subtest", "message", "location", "longrepr"),
    *("sections", "serial", "extra", "at", "moment", "log", "worker", "text", "code", "stacks"),
    *("ids", "pid", "claim", "line", "category", "filename"),
)
_values: st.SearchStrategy[object] = st.sampled_from(
    [
        *(None, True, False, 0, 1, -1, 7, 2**40, 10**400, 0.0, 1.5, -0.1, 1e308),
        *(float("inf"), float("nan"), "", "x", "a", "failed", "passed", "rerun", "call", "gw0"),
        *("é", "\ud800", "\x00", [], [[]], ["a"], ["a", 1], [["a", "b"]], [["a", 1.5]], [None]),
        *({}, {"a": {}}, {"a": [None, {"": "x"}]}, {"outcome": "failed"}, ["a", 1, "b"], [{}, 2]),
    ]
)
_fields = st.dictionaries(st.sampled_from(NAMES), _values)
_events = st.builds(
    lambda kind, nodeid, fields: {**nodeid, **fields, "kind": kind},
    st.sampled_from(KINDS),
    st.sampled_from([{"id": "a"}, {"id": "b"}, {"id": "z"}, {"ids": ["z"]}, {}]),
    _fields,
)
_writers = st.sampled_from(("1.0-runner", "1.1-controller", "1.1-gw0", "1.2-gw1", "1.confirm1-gw0"))
_journals = st.dictionaries(_writers, st.lists(_events, max_size=8))


@steady
@given(_journals)
def test_no_event_is_more_than_a_lost_line(
    tmp_path: Path, journals: dict[str, list[object]]
) -> None:
    """Of arbitrary events comes an account of the tests, of no others, that adds up and is kept."""
    read = {
        writer: [
            each for event in events if (each := event_log.parse_line(json.dumps(event).encode()))
        ]
        for writer, events in sorted(journals.items())
    }
    account = aggregate(TESTS, read.items())
    collected = {
        nodeid
        for events in read.values()
        for event in events
        if event["kind"] == "collected"
        for nodeid in event.get("ids") or ()
    }
    nodeids = [result.nodeid for result in account.results]
    assert nodeids[:2] == list(TESTS)
    assert set(nodeids) <= {*TESTS, *collected}
    counts = Summary.of(account.results, 1.0).to_json()
    summary = dict(counts)
    assert counts.pop("duration_seconds") == 1.0
    assert counts.pop("total") == sum(
        n for name, n in counts.items() if name not in ("flaky", "skipped_modules")
    )
    decide_outcome(account, 0)
    path = tmp_path / "record.json"
    results = (result.to_json() for result in account.results)
    errors = [dict(error) for error in account.collection_errors]
    record_file.write(path, {"summary": summary, "collection_errors": errors}, results)
    written = record_file.read(path)
    assert written is not None
    assert record_file.is_whole(written)
    progress = Progress(tmp_path, "1.1", Work.of(TESTS, {}, 1.0))
    for writer, events in read.items():
        for event in events:
            progress._take(writer, event, 1.0)
    assert json.dumps([progress.counts(), progress.running()])


@pytest.mark.parametrize(
    "field",
    [
        *({"moment": "x"}, {"moment": True}, {"moment": 1e300}, {"moment": -1}, {"at": 10**400}),
        *({"duration": [1]}, {"code": 2**40}, {"code": 1.5}, {"ids": "abc"}, {"ids": [1]}),
        *({"sections": [["a"]]}, {"sections": [["a", 1]]}, {"sections": {}}, {"text": 5}),
        *({"extra": []}, {"extra": {"a": float("nan")}}, {"location": ["a", 1, "b"]}),
    ],
    ids=repr,
)
def test_a_field_that_no_writer_writes_is_left_out(field: dict[str, object]) -> None:
    """The rest of the event counts."""
    assert event_log.valid_fields({"kind": "report", "id": "t", **field}) == {
        "kind": "report",
        "id": "t",
    }


def test_what_nests_without_end_is_left_out() -> None:
    """Not every reader of a record could read it."""
    deep: list[object] = []
    for _ in range(200):
        deep = [deep]
    assert "extra" not in event_log.valid_fields({"kind": "report", "extra": {"deep": deep}})


def test_events_of_the_recorder_are_whole() -> None:
    """Nothing of what our own writers write is left out."""
    place = {"kind": "warning", "id": "t", "location": ["a.py", 1, "test"], "line": 3}
    more = {"extra": {"a": [1.5, None]}, "sections": [["out", "text"]], "serial": {"a": {}}}
    for event in [*ran("t", ".Fx"), place, {"kind": "report", **more, "code": None}]:
        assert event_log.valid_fields(event) == event
