"""Record in a job's controller what only it can know, and hand the run config to the workers.

That is the crashes of workers, the errors of their collections, and its own end.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule._util.log import OUTPUT
from pytest_valor_schedule.compat import other_plugins, xdist_workers
from pytest_valor_schedule.env import JOB_ID_VARIABLE
from pytest_valor_schedule.in_job.crash_output import CrashOutput, printed_since_start
from pytest_valor_schedule.in_job.scheduler_plugin import REFUSED
from pytest_valor_schedule.in_job.worker_recorder import CLOCK, Recorder
from pytest_valor_schedule.model.run_config import RunConfig, collection_digest
from pytest_valor_schedule.model.work_units import without_group
from pytest_valor_schedule.process import stacks
from pytest_valor_schedule.record import event_log
from pytest_valor_schedule.record.aggregator import crash_text
from pytest_valor_schedule.record.output import trim_stacks
from pytest_valor_schedule.record.reports import location_of, truncate

_DEATH_SECONDS = 0.5  # between the end of a worker's pipe and that of its process


class ControllerRecorder(Recorder):
    """Records what happens to the workers, and hands the run config on to them."""

    def __init__(self, config: pytest.Config, run_config: RunConfig) -> None:
        super().__init__(run_config, "controller")
        self._config = config
        self._crash_outputs: dict[str, CrashOutput] = {}
        self._deaths: dict[str, dict[str, Any]] = {}
        self._failures = 0  # as pytest.Session counts them

    def take_collection(
        self, session: pytest.Session, reports: Iterable[pytest.CollectReport]
    ) -> None:
        """Record what this process has collected itself, before it became a controller."""
        for report in reports:
            self.pytest_collectreport(report)
        self._failures = session.testsfailed

    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(self) -> None:
        if self._run_config.is_further:  # the reports of the whole run are to stay
            other_plugins.end_without_reports(self._config)

    def pytest_report_header(self) -> str | None:
        if not self._run_config.shows_workers:
            return None
        slots = ", ".join(map(str, self._run_config.slots))
        return f"valor-schedule: job {os.environ.get(JOB_ID_VARIABLE)}, worker slots {slots}"

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        try:
            return (yield)
        except session.Failed as failed:
            self.note_stop(failed)
            raise

    def note_stop(self, failed: BaseException) -> None:
        """Note that -x or --maxfail ended the run."""
        text = str(failed)
        self._write(lambda: {"kind": "interrupted", "text": text})

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if session.testsfailed > self._failures:  # a plugin counts, such as one for the coverage
            self._write(lambda: {"kind": "failed_otherwise"})
        if self._run_config.is_repetition:
            return
        job = {
            "job_id": os.environ.get(JOB_ID_VARIABLE),
            "exit_code": int(exitstatus),
            "test_count": session.testscollected,
            "failed": session.testsfailed,
            "slots": list(self._run_config.slots),
        }
        try:
            self._config.hook.pytest_valor_schedule_finish(config=self._config, job=job)
        except Exception as error:
            self._warn(f"pytest_valor_schedule_finish failed: {error!r}")

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_setupnodes(self, config: pytest.Config) -> None:
        os.chdir(config.invocation_params.dir)  # which a conftest.py may have left

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput["valor_schedule"] = self._run_config.to_json()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        self.note_collection(str(node.gateway.id), ids)
        pid = xdist_workers.pid_of(node)
        if pid is not None:
            self._crash_outputs[str(node.gateway.id)] = CrashOutput(pid)

    @pytest.hookimpl(optionalhook=True, tryfirst=True)  # before it is printed
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        if error:
            self._write(lambda: self._death_of(node, error))
        crash_output = self._crash_outputs.pop(str(node.gateway.id), None)
        if crash_output is not None:
            crash_output.close()

    def note_collection(self, worker: str, ids: Sequence[str]) -> None:
        """Witness what a worker has collected, because any test can write into any event log."""
        dist = str(self._config.getoption("dist"))
        digest = collection_digest({without_group(nodeid, dist) for nodeid in ids})
        self._write(lambda: {"kind": "worker", "worker": worker, "digest": digest})

    def _death_of(self, node: Any, error: object) -> dict[str, Any]:
        worker = str(node.gateway.id)
        folder, prefix = Path(self._run_config.folder), self._run_config.prefix
        log = event_log.path(folder, prefix, worker)
        crash_output = self._crash_outputs.get(worker)
        death = {
            "kind": "down",
            "worker": worker,
            "text": truncate(str(error)),
            "moment": CLOCK.monotonic(),
            "code": xdist_workers.exit_code_of(node, patience=_DEATH_SECONDS),
            "stacks": truncate(stacks.read(event_log.stacks_path(folder, prefix, worker))),
            "sections": [
                *(crash_output.sections() if crash_output else []),
                *printed_since_start(log, folder / OUTPUT),
            ],
        }
        self._deaths[worker] = death
        return death

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport) -> None:
        """Note which test xdist blames for the death of a worker."""
        nodeid = without_group(crashitem, str(self._config.getoption("dist")))
        text, moment = truncate(report.longreprtext), CLOCK.monotonic()
        self._write(lambda: {"kind": "crash", "id": nodeid, "text": text, "moment": moment})
        report.location = location_of(nodeid)  # by which the terminal heads a failure
        node: Any = getattr(report, "node", None)
        if node is not None and (death := self._deaths.get(str(node.gateway.id))):
            _describe_crash(report, death)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failures += report.failed and not hasattr(report, "wasxfail")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._write(lambda: {"kind": "collection_skip", "id": report.nodeid})
        if report.failed:
            self._failures += 1
            text = truncate(report.longreprtext)
            worker = getattr(report, REFUSED, None)  # see `SchedulerPlugin`
            self._write(
                lambda: {
                    "kind": "collection_error",
                    "id": report.nodeid,
                    "text": text,
                    **({"refused": worker} if worker else {}),
                }
            )


def _describe_crash(report: pytest.TestReport, death: Mapping[str, Any]) -> None:
    """Have the report that xdist makes of a crash say how it was, and where."""
    parts = (crash_text(death["worker"], death), trim_stacks(death["stacks"]))
    report.longrepr = "\n\n".join(filter(None, parts))
    report.sections += [(name, text) for name, text in death["sections"]]
