"""Plugins that write or tidy up at the end of a session see the run once, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from pytest_valor_schedule import schedule_tests
from tests.support.scheduled import results_of, run_pytest, schedule, scheduled_id
from tests.tools.replay_parity import cases

PLUGIN = """
import json, os, pathlib, sys
import pytest
from _pytest.terminal import TerminalReporter
seen = []
class Reporter(TerminalReporter): "As pytest-sugar has one."
@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    if config.pluginmanager.unregister(name="terminalreporter"):
        config.pluginmanager.register(Reporter(config, sys.stdout), "terminalreporter")
def pytest_runtest_logreport(report):
    if report.when == "call":
        seen.append(report.outcome)
def pytest_sessionfinish(session):
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pathlib.Path(f"report.json").write_text(json.dumps(sorted(seen)))
        session.exitstatus |= not seen
def pytest_terminal_summary(terminalreporter):
    terminalreporter.section("what was seen")
    terminalreporter.write_line(f"{len(seen)} tests")
"""
FLAKY = """
import pathlib
def test_good(): pass
def test_flaky():
    mark = pathlib.Path("mark")
    if not mark.exists():
        mark.touch()
        assert 0
"""


@pytest.fixture
def reporter(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with an installed plugin that writes a report, and the report."""
    folder = project / "site-packages"  # by which an installed one is known
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("reporter.py").write_text(PLUGIN)
    Path("test_it.py").write_text(FLAKY)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder / "report.json"


@pytest.mark.usefixtures("no_dispatcher")
def test_who_only_collects_writes_no_report(reporter: Path) -> None:
    """A report of before stays, in the terminal and from a program; the exit code is 0."""
    reporter.write_text("of before")
    done = run_pytest("--schedule", "-p", "reporter")
    assert (done.returncode, "what was seen" in done.stdout) == (0, False)
    assert "2 scheduled in " in done.stdout
    assert schedule_tests("pytest -p reporter")["test_count"] == 2
    assert reporter.read_text() == "of before"


@pytest.mark.home_in_use
def test_a_report_is_of_the_whole_run(reporter: Path) -> None:
    """What is run again replaces no report, and who waits sees all."""
    job_id = schedule("-p", "reporter", "--confirm-failures", "1")
    assert results_of(job_id)["summary"]["flaky"] == 1
    assert json.loads(reporter.read_text()) == ["failed", "passed"]
    reporter.unlink()
    waited = run_pytest("--schedule-wait", "-p", "reporter")
    assert waited.returncode == 0
    assert "2 tests" in waited.stdout
    assert json.loads(reporter.read_text()) == ["passed", "passed"]


@pytest.mark.home_in_use
def test_who_looks_at_more_than_reports_does_not_end_a_waiting_session(reporter: Path) -> None:
    """A plugin for snapshots would throw away those that no test has used here."""
    plugin = Path("snapshottest.py")
    job = "VALOR_SCHEDULE_JOB_ID"
    plugin.write_text(PLUGIN.replace("report.json", f"{{os.environ.get('{job}')}}"))
    waited = run_pytest("--schedule-wait", "-p", "snapshottest", "-k", "good")
    assert waited.returncode == 0
    assert Path(scheduled_id(waited)).exists()
    assert not Path("None").exists()


@pytest.mark.home_in_use
def test_what_plugins_find_is_no_flaky_test(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flaky tests may pass, but not what else made the run fail."""
    Path("test_it.py").write_text(FLAKY)
    monkeypatch.setenv("VALOR_SCHEDULE_FLAKY", "pass")
    Path("conftest.py").write_text(
        "import pytest\n@pytest.hookimpl(wrapper=True)\ndef pytest_runtestloop(session):\n"
        "    result = yield\n    session.testsfailed += 1\n    return result\n"
    )
    results = results_of(schedule("--confirm-failures", "1"))
    assert results["outcome"] == "failed"
    assert "No test failed, but pytest ended with exit code 1" in results["explanation"]
    Path("mark").unlink()
    Path("conftest.py").unlink()
    results = results_of(schedule("--confirm-failures", "1"))
    assert results["outcome"] == "passed"
    assert "What failed passed when it was run again" in results["explanation"]


@pytest.mark.home_in_use
@pytest.mark.parametrize("limit", ["--timeout-minutes=0.05", "-ovalor_schedule_stall_minutes=0.05"])
def test_a_junit_file_has_the_tests_of_a_run_that_was_cut_off(project: Path, limit: str) -> None:
    """The record is written there, where no pytest has seen all of it."""
    Path("test_it.py").write_text(
        "import time\ndef test_quick(): pass\ndef test_slow(): time.sleep(60)\n"
        "def test_last(): pass"
    )
    job_id = schedule("--junit-xml=junit.xml", "--max-workers", "1", limit)
    summary = results_of(job_id)["summary"]
    [suite] = ET.parse("junit.xml").getroot()
    assert int(suite.get("tests", "")) == summary["total"] == 3
    bad = int(suite.get("errors", "")) + int(suite.get("failures", ""))
    assert bad == summary["failed"] + summary["not_run"] > 0


def test_a_run_by_hand_keeps_its_reports(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the project has its runs scheduled, this one is not."""
    Path("pytest.ini").write_text("[pytest]\nvalor_schedule_schedule = true")
    Path("conftest.py").write_text(
        "def pytest_addoption(parser): parser.addoption('--report-log')\n"
        "def pytest_report_header(config): return f'to {config.option.report_log}'"
    )
    Path("test_it.py").write_text("def test_it(): pass")
    assert "to None" in run_pytest("--report-log=log").stdout
    monkeypatch.setenv("VALOR_SCHEDULE_SCHEDULE", "0")
    assert "to log" in run_pytest("--report-log=log").stdout


@pytest.mark.usefixtures("no_dispatcher")
@pytest.mark.parametrize("option", ["--schedule", "--schedule-wait"])
def test_a_junit_file_has_the_errors_of_the_collection(project: Path, option: str) -> None:
    """Where nothing is handed over, nobody else writes it; where something is, the job does."""
    Path("test_a.py").write_text("def test_a(): pass\n")
    Path("test_b.py").write_text("import not_there\n")
    Path("test_c.py").write_text("1 / 0\n")
    direct = run_pytest("--junit-xml=direct.xml")
    done = run_pytest("--junit-xml=report.xml", option)
    assert done.returncode == direct.returncode == 2
    assert cases(Path("report.xml")) == cases(Path("direct.xml"))
    assert len(cases(Path("report.xml"))) == 2
    Path("report.xml").unlink()
    assert run_pytest("--junit-xml=report.xml", "--schedule", "test_a.py").returncode == 0
    assert schedule_tests("pytest --junit-xml=report.xml test_a.py")["test_count"] == 1
    assert not Path("report.xml").exists()


SUGAR = """
import sys
import pytest
from _pytest.terminal import TerminalReporter
class Reporter(TerminalReporter):
    def pytest_runtest_logstart(self): pass
    def pytest_runtest_logreport(self, report):
        status = self.config.hook.pytest_report_teststatus(report=report, config=self.config)
        self.stats.setdefault(status[0], []).append(report)
        if report.when == "call":
            self.write_line(f"{report.nodeid} {report.outcome}")
@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    if config.pluginmanager.unregister(name="terminalreporter"):
        config.pluginmanager.register(Reporter(config, sys.stdout), "terminalreporter")
"""


@pytest.mark.home_in_use
def test_a_terminal_of_another_plugin_has_no_line_of_ours(project: Path) -> None:
    """From the first test to the last line it prints what it prints in a direct run."""
    Path("conftest.py").write_text(SUGAR)
    Path("test_it.py").write_text("def test_a(): pass\ndef test_b(): assert 0\n")
    direct, waited = (
        run_pytest(*options).stdout.partition("test_it.py::test_a passed")[2].partition(" in ")[0]
        for options in ((), ("--schedule-wait",))
    )
    assert " FAILURES " in direct
    assert waited == direct
