"""What a conftest.py may change, add and do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_valor_schedule import list_jobs, schedule_tests
from pytest_valor_schedule.client import query
from pytest_valor_schedule.config.home import Home
from tests.support.scheduled import record_of, results_of, run_pytest, scheduled_id

pytestmark = pytest.mark.usefixtures("warm_collection")

TWO_TESTS = "def test_a(): pass\ndef test_b(): pass\n"


def _conftest(body: str, name: str = "submit", arguments: str = "config, request") -> None:
    Path("test_it.py").write_text(TWO_TESTS)
    Path("conftest.py").write_text(f"def pytest_valor_schedule_{name}({arguments}):\n    {body}\n")


def _schedule(way: str, *options: str) -> str:
    """Schedule in one of two ways and return all that was said."""
    if way == "terminal":
        done = run_pytest("--schedule", *options)
        return done.stdout + done.stderr
    answer = schedule_tests(" ".join(["pytest", *options]))
    return str(answer.get("error", answer))


both_ways = pytest.mark.parametrize("way", ["terminal", "api"])


@both_ways
@pytest.mark.usefixtures("no_dispatcher")
def test_a_request_can_be_changed(project: Path, way: str) -> None:
    """Priority, workers and limit are what the hook makes of them, and it sees what was asked."""
    _conftest(
        "assert (request['priority'], request['test_count']) == ('normal', 2)\n"
        "    return {'priority': 'high', 'max_workers': 1, 'timeout_minutes': 3}"
    )
    _schedule(way)
    [job] = list_jobs()["jobs"]
    assert (job["priority"], job["max_workers"], job["timeout_minutes"]) == ("high", 1, 3)


@both_ways
def test_a_run_can_be_refused(project: Path, way: str) -> None:
    """A veto is said, and nothing is scheduled."""
    _conftest("return {'veto': 'not on a Friday'}")
    said = _schedule(way)
    assert "The project does not let this run be scheduled: not on a Friday" in said
    assert list_jobs()["total"] == 0


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        ("{'priority': 'urgent'}", "priority is 'urgent'"),
        ("{'workers': 3}", "'workers' is in what pytest_valor_schedule_submit returned"),
        ("'high'", "pytest_valor_schedule_submit returned 'high', but must return a mapping"),
        ("{'veto': ''}", "it gives no reason"),
    ],
)
def test_what_a_hook_returns_is_checked(project: Path, returned: str, text: str) -> None:
    """An impossible wish is an error that names it, and nothing is scheduled."""
    _conftest(f"return {returned}")
    assert text in _schedule("api")
    assert list_jobs()["total"] == 0


@pytest.mark.home_in_use
def test_a_result_can_have_more_in_it(project: Path, home: Home) -> None:
    """What the hook returns for any phase stands under `extra` of the test."""
    _conftest(
        "return {report.when: report.nodeid[-1]} if report.when != 'setup' else None",
        "result",
        "config, report",
    )
    job_id = scheduled_id(run_pytest("--schedule"))
    results = results_of(job_id)["results"]
    assert [each["extra"] for each in results] == [
        {"call": "a", "teardown": "a"},
        {"call": "b", "teardown": "b"},
    ]
    assert record_of(home, job_id)["results"] == results


@pytest.mark.home_in_use
def test_a_hook_below_the_root_counts_too(project: Path) -> None:
    """A conftest.py that is found only by the collection can add to results."""
    folder = Path("sub", "deep")
    folder.mkdir(parents=True)
    (folder / "test_it.py").write_text("def test_a(): pass\n")
    (folder / "conftest.py").write_text(
        "def pytest_valor_schedule_result(config, report): return {'here': True}\n"
    )
    [result] = results_of(scheduled_id(run_pytest("--schedule")))["results"]
    assert result["extra"] == {"here": True}


@pytest.mark.home_in_use
def test_a_fault_in_a_hook_fails_no_run(project: Path) -> None:
    """What cannot be recorded is warned of in the log; the results are all there."""
    Path("conftest.py").write_text(
        "def pytest_valor_schedule_result(config, report):\n"
        "    if 'raises' in report.nodeid: raise ValueError\n"
        "    wrong = {'object': {'a': object()}, 'nan': {'a': float('nan')}, 'number': 3}\n"
        "    return wrong[report.nodeid.partition('test_')[2].partition('test_')[2]]\n"
    )
    names = ("object", "nan", "number", "raises")
    Path("test_it.py").write_text("".join(f"def test_{name}(): pass\n" for name in names))
    job_id = scheduled_id(run_pytest("--schedule"))
    results = results_of(job_id)
    assert (results["outcome"], results["summary"]["passed"]) == ("passed", 4)
    assert not any("extra" in each for each in results["results"])
    assert "was not recorded" in query.read_output(job_id)["output"]


@pytest.mark.home_in_use
def test_the_end_of_a_session_can_be_used(project: Path) -> None:
    """The last hook gets what the controller knows of its job, of which the first lines tell."""
    _conftest(
        "import json, pathlib; pathlib.Path('end.json').write_text(json.dumps(dict(job)))",
        "finish",
        "config, job",
    )
    job_id = scheduled_id(run_pytest("--schedule", "--max-workers=1", "-n", "1"))
    results_of(job_id)
    job = json.loads(Path("end.json").read_text())
    assert (job["job_id"], job["exit_code"], job["failed"]) == (job_id, 0, 0)
    _assert_has_a_header(job_id)


def _assert_has_a_header(job_id: str) -> None:
    """One line of the log names the job and its slots, where workers were asked for."""
    assert f"valor-schedule: job {job_id}, worker slots " in query.read_output(job_id)["output"]


FLAKY = """
import os, pathlib, pytest
@pytest.fixture
def first(request):
    seen = pathlib.Path(request.node.name)
    if seen.exists():
        return False
    seen.touch()
    return True
@pytest.mark.parametrize("number", range(2))
def test_broken(number, first): assert 0
@pytest.mark.parametrize("number", range(2))
def test_flaky(number, first): assert not first
def test_good(): pass
"""


@pytest.mark.home_in_use
def test_failures_are_confirmed(project: Path) -> None:
    """What fails once and then passes is flaky; what fails again is not; nothing else is run."""
    Path("test_it.py").write_text(FLAKY)
    done = run_pytest("--schedule-wait", "--confirm-failures=2", "--max-workers=1")
    assert done.returncode == 1
    assert "4 failed, 1 passed, 2 flaky" in done.stdout
    results = results_of(scheduled_id(done))
    assert results["outcome"] == "failed"
    assert results["summary"]["flaky"] == 2
    assert [each.get("flaky") for each in results["results"]] == [None, None, True, True, None]
    assert [each["outcome"] for each in results["results"]] == ["failed"] * 4 + ["passed"]


@pytest.mark.home_in_use
def test_a_crash_that_does_not_come_again_is_shown(project: Path) -> None:
    """What is run again changes nothing of what the run was, in the terminal neither."""
    text = FLAKY.replace("range(2)", "range(1)")
    Path("test_it.py").write_text(text.replace("first): ", "first): first and os._exit(5); "))
    done = run_pytest("--schedule-wait", "--confirm-failures=1", "-rA", "--max-workers=1")
    for name in ("broken", "flaky"):
        assert f"FAILED test_it.py::test_{name}" in done.stdout
    assert "killed its worker" in done.stdout
    results = results_of(scheduled_id(done))["results"]
    assert [each["outcome"] for each in results] == ["crashed", "crashed", "passed"]
    assert [each.get("flaky") for each in results] == [None, True, None]


@pytest.mark.home_in_use
def test_flaky_tests_can_pass(project: Path) -> None:
    """With valor_schedule_flaky = pass a job is not failed by what passed in the end."""
    Path("test_it.py").write_text(FLAKY.replace("assert 0", "pass"))
    done = run_pytest("--schedule-wait", "--confirm-failures=1", "-o", "valor_schedule_flaky=pass")
    assert done.returncode == 0
    results = results_of(scheduled_id(done))
    assert (results["outcome"], results["summary"]["flaky"]) == ("passed", 2)


@pytest.mark.parametrize("value", ["-1", "11", "x", "1.5"])
def test_a_number_of_tries_is_checked(project: Path, value: str) -> None:
    """Anything but a whole number from 0 to 10 is an error."""
    Path("test_it.py").write_text(TWO_TESTS)
    done = run_pytest("--schedule", f"--confirm-failures={value}")
    assert done.returncode == 4
    assert "--confirm-failures is" in done.stdout + done.stderr
    assert "error" in schedule_tests("pytest", confirm_failures=-1)
