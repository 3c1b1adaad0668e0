"""Which role a pytest process has."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_valor_schedule import env
from pytest_valor_schedule.plugin.process_role import NoJob, ProcessRole, Submitter, role_of


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have no settings and no run around the pytest that is looked at."""
    monkeypatch.setenv("VALOR_HOME", str(tmp_path / "home"))
    for name in (env.JOB_ID_VARIABLE, env.DIRECT_VARIABLE):
        monkeypatch.delenv(name, raising=False)


SUBMITTER = Submitter(waits=False, problem=None)
WAITING = Submitter(waits=True, problem=None)


@pytest.mark.parametrize(
    ("variables", "options", "role"),
    [
        ({}, [], NoJob.PLAIN_RUN),
        ({}, ["--schedule"], SUBMITTER),
        ({}, ["--schedule-wait"], WAITING),
        ({"VALOR_SCHEDULE_SCHEDULE": "1"}, [], SUBMITTER),
        ({"VALOR_SCHEDULE_SCHEDULE": "1"}, ["--pdb"], NoJob.PLAIN_RUN),
        ({"VALOR_SCHEDULE_SCHEDULE": "0"}, [], NoJob.PLAIN_RUN),
        ({"VALOR_SCHEDULE_DIRECT_RUNS": "share"}, [], NoJob.DIRECT_RUN),
        ({"VALOR_SCHEDULE_DIRECT_RUNS": "share"}, ["--pdb"], NoJob.PLAIN_RUN),
        ({"VALOR_SCHEDULE_DIRECT_RUNS": "queue"}, [], WAITING),
        ({"VALOR_SCHEDULE_DIRECT_RUNS": "queue"}, ["--schedule"], SUBMITTER),
        ({env.DIRECT_VARIABLE: "1"}, ["--schedule"], NoJob.PLAIN_RUN),
        ({env.JOB_ID_VARIABLE: "20261122-203015-4f9a2c"}, ["--schedule"], NoJob.UNINVOLVED),
    ],
)
def test_a_process_has_one_role(
    variables: dict[str, str],
    options: list[str],
    role: ProcessRole,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The nearest that says anything decides; inside a job nothing does."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert role_of(pytester.parseconfig(*options)) == role


def test_what_cannot_be_handed_over_has_a_problem(pytester: pytest.Pytester) -> None:
    """Who asks for the queue in so many words is told why not."""
    role = role_of(pytester.parseconfig("--schedule", "--pdb"))
    assert isinstance(role, Submitter)
    assert str(role.problem).startswith("--pdb opens a debugger")


def test_a_worker_of_another_run_hands_nothing_over(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the environment says, which it has from its controller."""
    monkeypatch.setenv("VALOR_SCHEDULE_SCHEDULE", "1")
    config = pytester.parseconfig()
    config.workerinput = {"workerid": "gw0"}  # type: ignore[attr-defined]
    assert role_of(config) is NoJob.UNINVOLVED


def test_a_conftest_may_ask_for_the_queue_late(pytester: pytest.Pytester) -> None:
    """A decision stands, unless somebody asks for the queue in so many words."""
    config = pytester.parseconfig()
    assert role_of(config) is NoJob.PLAIN_RUN
    config.option.schedule = True
    assert role_of(config) == SUBMITTER
