"""From journals to what became of each test and of the job."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_valor_schedule.daemon.outcomes import decide_outcome
from pytest_valor_schedule.model.job_terms import Outcome
from pytest_valor_schedule.model.result import Summary, TestOutcome, TestResult
from pytest_valor_schedule.model.run_config import collection_digest
from pytest_valor_schedule.record.run_summary import RunSummary, aggregate
from tests.support.events import (
    Event,
    collected,
    collection_error,
    crash,
    down,
    finish,
    hung,
    internal_error,
    interrupted,
    ran,
    refused,
    report,
    start,
    subtest,
)
from tests.support.properties import steady

Journals = dict[str, list[Event]]

LIVES = {
    "...": TestOutcome.PASSED,
    "F-.": TestOutcome.ERROR,
    ".F.": TestOutcome.FAILED,
    "..F": TestOutcome.ERROR,
    ".FF": TestOutcome.FAILED,
    "F-F": TestOutcome.ERROR,
    "s-.": TestOutcome.SKIPPED,
    ".s.": TestOutcome.SKIPPED,
    ".sF": TestOutcome.ERROR,
    "x-.": TestOutcome.XFAILED,
    ".x.": TestOutcome.XFAILED,
    ".xF": TestOutcome.ERROR,
    ".X.": TestOutcome.XPASSED,
    ".XF": TestOutcome.ERROR,
}


def _united(tests: list[str], journals: Journals, stopped_at: float | None = None) -> RunSummary:
    """Unite journals of writers such as "gw0", all of one round, or "1.2-gw0"."""
    rounds = {name if "-" in name else f"1.1-{name}": events for name, events in journals.items()}
    return aggregate(tests, rounds.items(), stopped_at)


def _only(journals: Journals, stopped_at: float | None = None) -> TestResult:
    """Return the result of a run of the one test "t"."""
    (result,) = _united(["t"], journals, stopped_at).results
    assert result.nodeid == "t"
    return result


@pytest.mark.parametrize(("letters", "outcome"), LIVES.items())
def test_the_phases_of_a_test_make_its_outcome(letters: str, outcome: TestOutcome) -> None:
    """A failed call is a failure, a failure around it an error, and the rest is pytest's word."""
    assert _only({"gw0": ran("t", letters)}).outcome is outcome


def test_a_result_tells_when_and_where_the_test_ran() -> None:
    """The duration is that of all phases, and a pass has nothing else to tell."""
    assert _only({"gw1": ran("t", moment=5.0)}) == TestResult(
        nodeid="t",
        outcome=TestOutcome.PASSED,
        duration_seconds=1.5,
        started_at=1_700_000_005.0,
        worker="gw1",
    )


@pytest.mark.parametrize(
    ("letters", "phase"),
    [("F-.", "setup"), (".FF", "call"), ("..F", "teardown"), (".sF", "teardown"), (".s.", "call")],
)
def test_a_result_tells_why_the_test_did_not_pass(letters: str, phase: str) -> None:
    """Phase, message and place are those of the report that decided."""
    result = _only({"gw0": ran("t", letters)})
    assert result.phase == phase
    assert str(result.message).startswith(f"{phase} ")
    assert result.location == f"test_{phase}.py:1"


def test_a_failure_in_the_call_comes_before_one_in_the_teardown() -> None:
    """Both tracebacks are kept, the one of the test itself first, and all that was captured."""
    events = [
        start("t"),
        report("t", "setup"),
        report("t", "call", "F", longrepr="call", sections=[["out", "1"]]),
        report("t", "teardown", "F", longrepr="teardown", sections=[["out", "1"], ["err", "2"]]),
    ]
    result = _only({"gw0": events})
    assert result.longrepr == "call\n\nteardown"
    assert result.sections == (("out", "1"), ("err", "2"))


def test_a_failed_subtest_fails_its_test() -> None:
    """The first failed subtest is named, and every subtest has its own outcome."""
    events = [
        start("t"),
        subtest("t", ".", "(i=0)"),
        subtest("t", "F", "(i=1)"),
        subtest("t", "F", "(i=2)"),
        *ran("t")[1:],
    ]
    result = _only({"gw0": events})
    assert result.outcome is TestOutcome.FAILED
    assert result.message == "contains 2 failed subtests: (i=1) call failed"
    descriptions = [(each["description"], each["outcome"]) for each in result.subtests]
    assert descriptions == [("(i=0)", "passed"), ("(i=1)", "failed"), ("(i=2)", "failed")]


def test_one_failed_subtest_is_told_in_the_singular() -> None:
    """The message reads as pytest writes it."""
    result = _only({"gw0": [start("t"), subtest("t", "F"), *ran("t")[1:]]})
    assert result.message == "contains 1 failed subtest: [part] call failed"


def test_good_subtests_leave_a_test_good() -> None:
    """A skipped subtest does not skip its test."""
    result = _only({"gw0": [start("t"), subtest("t", "s"), subtest("t", "."), *ran("t")[1:]]})
    assert result.outcome is TestOutcome.PASSED
    assert len(result.subtests) == 2


# pytest-rerunfailures 16 announces each try as a start; nothing obliges others to.
RERUN, RERUN_IN_TEARDOWN = ran("t", ".R."), ran("t", "..R")


@pytest.mark.parametrize("try_letters", [".R.", "..R", ".RR", "R-.", ".R"])
@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize(("letters", "outcome"), [("...", "passed"), (".F.", "failed")])
def test_of_reruns_the_last_one_counts(
    try_letters: str, announced: bool, letters: str, outcome: str
) -> None:
    """A flaky test is what it was in the end, and the result says how often it was tried again."""
    first, again, last = ran("t", try_letters), ran("t", try_letters), ran("t", letters)
    skipped = 0 if announced else 1
    result = _only({"gw0": [*first, *again[skipped:], *last[skipped:]]})
    assert result.outcome == outcome
    assert result.reruns == 2


@pytest.mark.parametrize("rerun", [RERUN, RERUN_IN_TEARDOWN])
def test_a_test_that_was_cut_off_before_its_rerun_has_no_result(rerun: list[Event]) -> None:
    """A failure that was to be tried again is neither a failure nor a pass."""
    result = _only({"gw0": rerun})
    assert result.outcome is TestOutcome.NOT_RUN
    assert result.message == "failed, and the run ended before it was tried again"
    assert _only({"gw0": [*rerun, start("t", 2.0)]}).outcome is TestOutcome.NOT_RUN


@pytest.mark.parametrize("rerun", [RERUN, RERUN_IN_TEARDOWN])
def test_a_rerun_that_kills_its_worker_is_a_crash(rerun: list[Event]) -> None:
    """What went before does not hide that the last try never ended."""
    journals = {"controller": [down("gw0"), crash("t")], "gw0": [*rerun, start("t", 1.5)]}
    assert _only(journals).outcome is TestOutcome.CRASHED


def test_a_test_that_killed_its_worker_has_crashed() -> None:
    """The crash is blamed on the test that the worker's journal says had started."""
    result = _only({"controller": [down("gw0"), crash("t")], "gw0": ran("t", ".")})
    assert result.outcome is TestOutcome.CRASHED
    assert result.message == "killed its worker gw0"
    assert (result.worker, result.started_at) == ("gw0", 1_700_000_001.0)


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (-11, " (SIGSEGV)"),
        (3, " (exit code 3)"),
        (0, " (exit code 0)"),
        (-9, " (SIGKILL: killed, probably out of memory)"),
        (-200, " (signal 200)"),
        (None, ""),
    ],
)
def test_a_crash_tells_how_the_worker_ended(code: int | None, cause: str) -> None:
    """The signal or exit code is named where it is known, and the stacks are kept."""
    died = down("gw0", code=code, stacks="File x, line 1")
    result = _only({"controller": [died], "gw0": ran("t", ".")})
    assert result.message == f"killed its worker gw0{cause}"
    assert result.longrepr == "File x, line 1"


def test_a_test_that_hung_has_failed() -> None:
    """A test that was ended over its time tells so, and that its worker then died is no news."""
    journals = {
        "runner": [hung("gw0", "t")],
        "controller": [down("gw0"), crash("t")],
        "gw0": ran("t", "."),
    }
    result = _only(journals)
    assert result.outcome is TestOutcome.FAILED
    assert result.message == "ran longer than its limit of 5 s"
    assert result.longrepr == "File x"


@pytest.mark.parametrize(
    ("letters", "outcome", "phase"),
    [
        ("..", "passed", "teardown"),
        (".X", "xpassed", "teardown"),
        (".s", "skipped", "teardown"),
        (".x", "xfailed", "teardown"),
        ("s", "skipped", "teardown"),
        (".F", "failed", "call"),
        ("F", "error", "setup"),
    ],
)
@pytest.mark.parametrize("how", ["the run ended", "cut off", "interrupted", "stopped"])
def test_a_test_whose_teardown_alone_is_missing_is_not_run_again(
    letters: str, outcome: str, phase: str, how: str
) -> None:
    """It is what its body was, whoever ended the run, and says that its teardown did not end."""
    noted = {**hung("gw0", "t"), "kind": "cut_off", "text": "was running when it was stopped"}
    journals = {
        "runner": [noted] if how == "cut off" else [],
        "gw0": [*ran("t", letters), *([interrupted("enough")] if how == "interrupted" else [])],
    }
    account = _united(["t"], journals, stopped_at=9.0 if how == "stopped" else None)
    [result] = account.results
    assert (result.outcome, result.phase, result.unfinished) == (outcome, phase, True)
    assert "its teardown did not end (" in f"{result.message}{result.longrepr}"
    assert account.missing == account.cut_off == ()


def test_a_pass_without_a_teardown_is_no_silent_one() -> None:
    """The job says in how many teardowns the run ended."""
    account = _united(
        ["t", "u", "v"], {"gw0": ran("t", ".."), "gw1": ran("u", ".."), "gw2": ran("v")}
    )
    outcome, text = decide_outcome(account, 0)
    assert outcome is Outcome.PASSED
    assert text == "Every teardown ended but those of 2 tests, in which the run did."


def test_a_test_that_killed_its_worker_in_its_teardown_keeps_its_failure() -> None:
    """It has crashed; what it was before, and its traceback, are told beside the crash."""
    journals = {
        "controller": [down("gw0", stacks="File x"), down("gw1", stacks="File y")],
        "gw0": ran("t", ".F"),
        "gw1": ran("u", ".."),
    }
    failed, passed = _united(["t", "u"], journals).results
    assert failed.outcome is passed.outcome is TestOutcome.CRASHED
    assert (
        failed.message == "killed its worker gw0 in its teardown, after it had failed: call failed"
    )
    assert failed.longrepr == "E   boom\n\nFile x"
    assert passed.message == "killed its worker gw1 in its teardown, after it had passed"
    assert passed.longrepr == "File y"


def test_a_crash_lasted_until_its_worker_died() -> None:
    """The phase that killed the worker was never reported; its time is not lost with it."""
    journals = {
        "controller": [down("gw0", moment=61.0)],
        "runner": [{**hung("gw1", "u"), "moment": 31.0}],
        "gw0": ran("t", ".", moment=1.0),
        "gw1": ran("u", ".", moment=1.0),
    }
    results = _united(["t", "u"], journals).results
    assert [each.duration_seconds for each in results] == [60.0, 30.0]
    assert [each.unfinished for each in results] == [True, True]


def test_a_failed_subtest_comes_before_a_teardown_that_did_not_end() -> None:
    """As it would come before one that failed."""
    events = [start("t"), subtest("t", "F"), *ran("t", "..")[1:]]
    result = _only({"gw0": events})
    assert result.outcome is TestOutcome.FAILED
    assert str(result.message).startswith("contains 1 failed subtest")


@pytest.mark.parametrize("phase", ["???", "None", "of a plugin"])
def test_a_report_of_no_phase_counts_as_one_of_the_call(phase: str) -> None:
    """So pytest counts it: the test has failed, no worker was killed, and the text is kept."""
    journals = {
        "controller": [down("gw1")],
        "gw0": [start("t"), report("t", phase, "F", message="CRASHED with signal 11"), finish("t")],
    }
    result = _only(journals)
    assert (result.outcome, result.phase) == (TestOutcome.FAILED, "call")
    assert (result.message, result.longrepr) == ("CRASHED with signal 11", "E   boom")
    assert (result.duration_seconds, result.unfinished) == (1.0, None)


def test_a_test_that_its_worker_was_done_with_is_finished() -> None:
    """A protocol of the project may report the call alone; a pass is then a pass."""
    events = [start("t"), report("t", "call"), finish("t")]
    assert _only({"gw0": events}).outcome is TestOutcome.PASSED


@pytest.mark.parametrize("letters", ["...", ".F.", ".s."])
def test_earlier_crashes_are_kept(letters: str) -> None:
    """A test that crashed twice and then ended tells of both crashes and of the reruns."""
    journals = {
        "controller": [down("gw0", 2.0, code=-11, stacks="File x"), down("gw1", 4.0)],
        "gw0": ran("t", ".", moment=1.0),
        "gw1": ran("t", "", moment=3.0),
        "gw2": ran("t", letters, moment=5.0),
    }
    result = _only(journals)
    assert result.outcome == LIVES[letters]
    assert result.reruns == 2
    assert [each["message"] for each in result.crashes] == [
        "killed its worker gw0 (SIGSEGV)",
        "killed its worker gw1",
    ]
    assert result.crashes[0]["longrepr"] == "File x"
    assert result.crashes[0]["outcome"] == "crashed"


def test_a_test_that_crashed_each_time_tells_of_the_earlier_times() -> None:
    """The last crash is its result."""
    gone = [down(f"gw{number}") for number in range(3)]
    tries = {f"gw{number}": ran("t", "", moment=number + 1.0) for number in range(3)}
    result = _only({"controller": gone, **tries})
    assert (result.outcome, result.worker, result.reruns) == (TestOutcome.CRASHED, "gw2", 2)
    assert [each["worker"] for each in result.crashes] == ["gw0", "gw1"]


def test_what_was_cut_off_in_an_earlier_round_is_kept() -> None:
    """A test that may have killed the first run says so, though it passed in the second."""
    journals = {"1.1-gw0": ran("t", "."), "1.2-gw0": ran("t", moment=9.0)}
    result = _only(journals)
    assert (result.outcome, result.reruns) == (TestOutcome.PASSED, 1)
    assert [each["message"] for each in result.crashes] == ["was running when the run ended"]


def test_a_test_that_finished_at_the_last_moment_did_not_hang() -> None:
    """Whoever reports in spite of the notice has a result."""
    assert _only({"runner": [hung("gw0", "t")], "gw0": ran("t")}).outcome is TestOutcome.PASSED


@pytest.mark.parametrize(
    ("letters", "phase"),
    [("", "setup"), (".", "call"), ("..", "teardown"), (".F", "teardown"), ("s", "teardown")],
)
def test_a_crash_names_the_phase_in_which_it_happened(letters: str, phase: str) -> None:
    """The phase of a test that never ended is the one that had not ended."""
    assert _only({"controller": [down("gw0")], "gw0": ran("t", letters)}).phase == phase


def test_the_test_that_ran_is_blamed_and_not_the_one_that_xdist_names() -> None:
    """A finished test stays finished when xdist blames it for the crash of the next one."""
    journals = {
        "controller": [down("gw0"), crash("done")],
        "gw0": [*ran("done"), *ran("running", ".")],
    }
    results = _united(["done", "running"], journals).results
    assert [each.outcome for each in results] == [TestOutcome.PASSED, TestOutcome.CRASHED]


def test_a_crash_before_any_start_is_blamed_on_the_test_that_xdist_names() -> None:
    """Where no journal knows better, xdist's word is taken."""
    result = _only({"controller": [down("gw0"), crash("t")], "gw0": []})
    assert result.outcome is TestOutcome.CRASHED
    assert result.message == "worker 'gw0' crashed while running 't'"


@pytest.mark.parametrize("first", ["gw0", "gw1"])
@pytest.mark.parametrize(("letters", "outcome"), [("...", "passed"), (".F.", "failed")])
def test_a_test_that_finished_after_a_crash_is_finished(
    first: str, letters: str, outcome: str
) -> None:
    """A crash that another worker did not repeat is outlived, in whichever order it is read."""
    crashed, finished = ran("t", "."), ran("t", letters, moment=3.0)
    other = "gw1" if first == "gw0" else "gw0"
    journals = {"controller": [down(first), crash("t")], first: crashed, other: finished}
    result = _only(journals)
    assert result.outcome == outcome
    assert result.worker == other


def test_of_two_crashes_the_later_one_is_told() -> None:
    """The record speaks of the last try, in whichever order the journals are read."""
    gone: Journals = {"controller": [down("gw0"), down("gw1")]}
    earlier, later = ran("t", "", moment=1.0), ran("t", "", moment=2.0)
    assert _only({**gone, "gw0": earlier, "gw1": later}).worker == "gw1"
    assert _only({**gone, "gw0": later, "gw1": earlier}).worker == "gw0"


def test_a_failure_on_one_worker_is_not_hidden_by_a_pass_on_another() -> None:
    """A test that ran twice and failed once has failed."""
    for journals in (
        {"gw0": ran("t", ".F."), "gw1": ran("t")},
        {"gw0": ran("t"), "gw1": ran("t", ".F.")},
    ):
        assert _only(journals).outcome is TestOutcome.FAILED


@pytest.mark.parametrize(("stopped_at", "outcome"), [(1.5, "not_run"), (2.5, "crashed")])
def test_a_worker_that_ends_after_the_run_was_stopped_did_not_crash(
    stopped_at: float, outcome: str
) -> None:
    """Only what happened before somebody stopped the run is a crash."""
    journals = {"controller": [down("gw0", 2.0), crash("t", 2.0)], "gw0": ran("t", ".")}
    assert _only(journals, stopped_at).outcome == outcome


def test_a_test_that_was_running_in_the_end_has_no_result() -> None:
    """A test that was cut off, by nobody knows what, says so."""
    result = _only({"gw0": ran("t", ".")})
    assert result.outcome is TestOutcome.NOT_RUN
    assert result.message == "was running when the run ended"
    assert result.worker == "gw0"


def test_an_interrupted_worker_did_not_crash() -> None:
    """A test that stopped its worker by pytest.exit() has no result, and tells the reason."""
    journals = {
        "controller": [down("gw0"), crash("t")],
        "gw0": [*ran("t", "."), interrupted("enough")],
    }
    result = _only(journals)
    assert result.outcome is TestOutcome.NOT_RUN
    assert result.message == "enough"


def test_a_test_that_never_ran_is_in_the_account() -> None:
    """Every test of the job has a result, also without any journal."""
    assert _only({}) == TestResult(nodeid="t", outcome=TestOutcome.NOT_RUN)


def test_tests_that_nobody_knew_of_are_in_the_account() -> None:
    """What workers collected beyond the scheduled tests is added behind these."""
    workers = {"gw0": [collected("a", "new"), *ran("a")], "gw1": [collected("a", "newer")]}
    journals: Journals = {"controller": [], **workers}
    results = _united(["b", "a", "b"], journals).results
    assert [each.nodeid for each in results] == ["b", "a", "new", "newer"]


def test_what_nobody_collected_is_not_in_the_account() -> None:
    """Lines that a test wrote add no test: no report, no late collection, no worker's of no run."""
    forged = [collected("forged"), *ran("forged"), *ran("other")]
    digests = {"gw0": collection_digest(["a", "new"]), "gw1": collection_digest(["a", "b"])}
    workers = [{"kind": "worker", "worker": name, "digest": each} for name, each in digests.items()]
    journals = {
        "controller": [*workers, crash("forged"), *forged],
        "gw0": [collected("a", "new"), *ran("a"), *forged],
        "gw1": [collected("a", "b", "forged"), *ran("new"), *forged],
        "gw7": forged,
    }
    results = _united(["a", "b"], journals).results
    outcomes = {each.nodeid: str(each.outcome) for each in results}
    assert outcomes == {"a": "passed", "b": "not_run", "new": "passed"}


def test_workers_of_two_rounds_are_not_mistaken() -> None:
    """A worker of the second round did not die with the one that had its name in the first."""
    journals = {"1.1-controller": [down("gw0")], "1.2-gw0": ran("t", ".")}
    assert _only(journals).outcome is TestOutcome.NOT_RUN
    journals = {"1.2-controller": [down("gw0")], "1.2-gw0": ran("t", ".")}
    assert _only(journals).outcome is TestOutcome.CRASHED


def test_the_second_round_makes_up_for_the_first() -> None:
    """A test that was cut off and then ran has the result of its run."""
    journals = {"1.1-gw0": ran("t", "."), "1.2-gw0": ran("t", ".F.", moment=9.0)}
    result = _only(journals)
    assert result.outcome is TestOutcome.FAILED
    assert result.started_at == 1_700_000_009.0


def test_what_could_still_be_run_is_missing() -> None:
    """Only tests without a result are run once more, and only those that the workers have."""
    tests = ["passed", "crashed", "cut", "never", "gone"]
    workers = [collected(*tests[:4]), *ran("passed"), *ran("cut", ".")]
    journals = {"controller": [down("gw1")], "gw0": workers, "gw1": ran("crashed", ".")}
    assert _united(tests, journals).missing == ("cut", "never")
    assert _united(["never"], {}).missing == ("never",)


@pytest.mark.parametrize(
    ("workers_have", "changes"),
    [
        ([], None),
        ([collected("a", "b")], None),
        ([collected("a")], "1 scheduled test is not there any more"),
        ([collected("c", "d")], "2 scheduled tests are not there any more and 2 are new"),
        ([collected("a", "c")], "1 scheduled test is not there any more and 1 is new"),
        ([collected("a"), collected("b")], None),
        ([collected("a", "b", "c")], "1 test is new"),
    ],
)
def test_changes_of_the_collection_are_told(workers_have: list[Event], changes: str) -> None:
    """The account says how the tests of the workers differ from those that were scheduled."""
    journals = {f"gw{number}": [event] for number, event in enumerate(workers_have)}
    assert _united(["a", "b"], {"controller": [], **journals}).changes == changes


def test_only_what_a_worker_with_work_collected_is_missing() -> None:
    """A worker that was refused has tests that no other round would find, and each says why."""
    journals = {
        "controller": [refused("gw1"), collection_error("bad.py")],
        "gw0": [collected("a", "new"), *ran("a")],
        "gw1": [collected("a", "other")],
    }
    account = _united(["a", "gone", "bad.py::b", "badly.py::c"], journals)
    assert account.missing == ("new",)
    assert account.refusals == ("another collection in worker gw1",)
    assert {each.nodeid: each.message for each in account.results} == {
        "a": None,
        "gone": "was not there any more when the job collected its tests",
        "bad.py::b": "bad.py could not be collected",
        "badly.py::c": "was not there any more when the job collected its tests",
        "new": None,
        "other": "was collected by gw1 alone, which ran no tests for that reason",
    }


def test_a_worker_that_collected_what_was_scheduled_says_only_that() -> None:
    """Beside one with fewer tests it makes all of them tests that could be run."""
    both = {"gw0": collection_digest(["a", "b"]), "gw1": collection_digest(["a"])}
    workers = [{"kind": "worker", "worker": name, "digest": each} for name, each in both.items()]
    journals = {"controller": workers, "gw1": [collected("a")]}
    assert _united(["a", "b"], journals).missing == ("a", "b")
    assert _united(["a", "b"], {**journals, "controller": workers[1:]}).missing == ("a",)


def test_what_a_full_disk_may_have_cost_is_told() -> None:
    """A test without a result says so, but for one of which something else is known."""
    journals = {
        "gw0": [*ran("passed"), *ran("begun", ".")],
        "gw1": [*ran("hung", "."), interrupted("enough")],
        "runner": [{"kind": "disk_full"}],
    }
    account = _united(["passed", "begun", "never", "hung"], journals)
    assert account.disk_full
    assert account.missing == ("begun", "never", "hung")
    messages = [str(each.message) for each in account.results]
    assert ["disk was full" in message for message in messages] == [False, True, True, False]


@pytest.mark.parametrize(
    ("events", "from_outside"),
    [
        ([], False),
        ([internal_error("ValueError")], False),
        ([{**internal_error("EOFError"), "from_outside": True}], True),
        ([down("gw0")], False),
        ([down("gw0", code=1)], False),
        ([down("gw0", code=-9)], True),
    ],
)
def test_what_came_from_outside_is_told(events: list[Event], from_outside: bool) -> None:
    """A killed worker and a pipe or disk that failed are no fault of the project."""
    assert _united(["a"], {"controller": events}).from_outside is from_outside


def test_of_internal_errors_the_first_of_a_worker_counts() -> None:
    """Its controller fails over it, and then over the consequences."""
    journals = {
        "controller": [internal_error("about the worker"), internal_error("KeyError")],
        "gw0": [internal_error("the cause"), internal_error("more")],
    }
    assert _united([], journals).internal_error == "the cause"
    del journals["gw0"]
    assert _united([], journals).internal_error == "about the worker"


def test_the_deaths_of_workers_are_told() -> None:
    """What is known of each dead worker is kept, also of one that ran nothing."""
    assert _united([], {"controller": [down("gw0")]}).deaths == (
        "a worker ended (Not properly terminated)",
    )
    assert _united([], {"controller": [down("gw0", 2.0)]}, stopped_at=1.0).deaths == ()


def test_a_record_holds_so_much_text_and_no_more() -> None:
    """Thousands of long tracebacks do not fill the disk; each keeps at least its end."""
    long = {"longrepr": "x" * 50_000 + "end", "sections": [["out", "y" * 50_000 + "end"]]}
    events = [{**event, **long} for number in range(1000) for event in ran(str(number), "F-.")]
    results = _united([str(number) for number in range(1000)], {"gw0": events}).results
    assert results[0].longrepr == long["longrepr"]
    assert all(str(each.longrepr).endswith("end") for each in results)
    assert all(each.sections[0][1].endswith("end") for each in results)
    assert len(json.dumps([each.to_json() for each in results])) < 30_000_000


@pytest.mark.parametrize("lost", ["setup", "call", "teardown"])
def test_a_failure_whose_report_was_lost_is_no_pass(lost: str) -> None:
    """A gap in a journal, as a full disk leaves it, never makes a test look better."""
    kept = [event for event in ran("t", ".F.") if event.get("phase") != lost]
    good = (TestOutcome.PASSED, TestOutcome.SKIPPED, TestOutcome.XFAILED, TestOutcome.XPASSED)
    assert _only({"gw0": kept}).outcome not in good


def test_a_lost_start_does_not_lose_the_result() -> None:
    """Reports count also where the line before them is damaged."""
    assert _only({"gw0": ran("t", ".F.")[1:]}).outcome is TestOutcome.FAILED


def test_events_of_a_newer_version_are_passed_over() -> None:
    """An older reader makes the best of a journal that has more in it."""
    events: list[Event] = [{"kind": "open", "version": 9}, {"kind": "mood", "id": "t"}, *ran("t")]
    assert _only({"gw0": events}).outcome is TestOutcome.PASSED


def test_the_account_tells_why_pytest_stopped() -> None:
    """It is kept beside the results, in the words of the worker in which it happened."""
    errors = [collection_error("test_a.py", "E   first"), collection_error("test_b.py")]
    journals = {
        "controller": [interrupted("stopping after 1 failures"), *errors],
        "gw0": [*errors, interrupted("a worker's own"), internal_error("ValueError")],
    }
    account = _united([], journals)
    assert account.interruption == "a worker's own"
    del journals["gw0"]
    assert _united([], journals).interruption == "stopping after 1 failures"
    assert account.internal_error == "ValueError"
    assert [error["nodeid"] for error in account.collection_errors] == ["test_a.py", "test_b.py"]


def test_a_line_of_another_test_does_not_cut_off_the_one_that_runs() -> None:
    """A test that writes into its worker's journal stays the one that its reports are of."""
    first, *others = ran("t", ".F.")
    result = _only({"gw0": [first, *ran("forged"), others[0], *ran("forged", ".F"), *others[1:]]})
    assert (result.outcome, result.reruns, result.crashes) == (TestOutcome.FAILED, None, ())


WORKERS = ("gw0", "gw1", "gw2")
TESTS = ("a", "b", "c", "d")
_ids, _workers = st.sampled_from(TESTS), st.sampled_from(WORKERS)
_moments = st.floats(0, 10)
_texts = st.text() | st.sampled_from(("", " \n", "two\nlines\n"))
_letters = st.sampled_from(".FsxXR")
_phases = st.sampled_from(("setup", "call", "teardown"))
_anything = st.one_of(
    st.builds(start, _ids, _moments),
    st.builds(report, _ids, _phases, _letters),
    st.builds(report, _ids, _phases, _letters),
    st.builds(subtest, _ids, _letters),
    st.builds(collected, _ids, st.just("new")),
    st.builds(refused, _workers),
    st.builds(down, _workers, _moments),
    st.builds(crash, _ids, _moments),
    st.builds(interrupted, _texts),
    st.builds(internal_error, _texts),
    st.builds(collection_error, _ids, _texts),
)
_journals = st.dictionaries(st.sampled_from(("controller", *WORKERS)), st.lists(_anything))
_exit_codes = st.none() | st.integers(-15, 5)


@steady
@given(st.lists(_ids), _journals, st.none() | _moments, _exit_codes)
def test_whatever_is_lost_every_test_is_accounted_for_once(
    tests: list[str], journals: Journals, stopped_at: float | None, exit_code: int | None
) -> None:
    """Any events in any order make an account of all tests that adds up and can be written."""
    account = _united(tests, journals, stopped_at)
    nodeids = [result.nodeid for result in account.results]
    assert len(set(nodeids)) == len(nodeids)
    assert set(tests) <= set(nodeids) <= {*TESTS, "new"}
    counts = Summary.of(account.results, 1.0).to_json()
    assert counts.pop("duration_seconds") == 1.0
    assert counts.pop("total") == len(nodeids) == sum(counts.values())
    assert json.dumps([result.to_json() for result in account.results])
    outcome, _ = decide_outcome(account, exit_code)
    if outcome is Outcome.PASSED:
        assert not counts["not_run"]
        assert not any(result.outcome.bad for result in account.results)


_lives = st.one_of(
    st.sampled_from([[letters] for letters in LIVES]),
    st.sampled_from([[".R.", "..."], ["..R", "..."], [".R.", ".F."], ["R-.", ".R.", "F-."]]),
)


@steady
@given(st.data(), st.lists(_lives, min_size=1, max_size=3))
def test_a_lost_line_never_makes_a_test_look_better(
    data: st.DataObject, lives: list[list[str]]
) -> None:
    """Of a worker's journal any lines may be missing: a test that looks good and whole was so."""
    whole = [
        event
        for nodeid, life in zip(TESTS, lives, strict=False)
        for letters in life
        for event in ran(nodeid, letters)
    ]
    kept = [event for event in whole if data.draw(st.booleans())]
    assume(kept != whole)
    truth = {each.nodeid: each.outcome for each in _united(list(TESTS), {"gw0": whole}).results}
    for seen in _united(list(truth), {"gw0": kept}).results:
        unknown = seen.outcome is TestOutcome.NOT_RUN or seen.unfinished
        assert unknown or seen.outcome.bad or seen.outcome is truth[seen.nodeid]


@pytest.mark.parametrize(
    ("round_", "counts"), [("1.1", False), ("1.2", True), ("1.confirm1", False)]
)
def test_what_a_plugin_found_counts_if_it_was_found_at_last(round_: str, counts: bool) -> None:
    """A second round may reach a coverage that the first missed, and have no internal error."""
    found = [{"kind": "failed_otherwise"}, internal_error("ValueError")]
    rounds = ("1.1", "1.2", "1.confirm1")
    journals = [(f"{each}-controller", found if each == round_ else []) for each in rounds]
    account = aggregate(["a"], journals)
    assert account.failed_otherwise is counts
    assert account.internal_error == ("ValueError" if counts else None)


def test_a_module_that_each_round_skips_counts_once() -> None:
    """Only what controllers have seen counts, whatever a test writes."""
    skips = [{"kind": "collection_skip", "id": name} for name in ("test_a.py", "test_b.py")]
    forged = [{"kind": "collection_skip", "id": "test_c.py"}]
    journals = [("1.1-controller", skips), ("1.1-gw0", forged), ("1.2-controller", skips)]
    assert aggregate(["a"], journals).skipped_modules == 2
