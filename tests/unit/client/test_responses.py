"""Compare the types of the answers with what the package knows."""

from __future__ import annotations

import typing
from typing import Any

import pytest

from pytest_valor_schedule.client import responses
from pytest_valor_schedule.client.responses import JobStatusResponse, ResultFields
from pytest_valor_schedule.model.job_terms import JobStatus, Outcome, Priority
from pytest_valor_schedule.model.result import TestOutcome, TestResult
from tests.support import jobs

HIDDEN = {"launcher", "arguments"}


@pytest.mark.parametrize(
    ("names", "kinds"),
    [
        (responses.JobStatusName, JobStatus),
        (responses.JobOutcomeName, Outcome),
        (responses.TestOutcomeName, TestOutcome),
        (responses.PriorityName, Priority),
    ],
)
def test_every_kind_is_named(names: Any, kinds: type) -> None:
    """A literal type has the values that there are, and no others."""
    assert set(typing.get_args(names)) == {str(each) for each in kinds}  # type: ignore[attr-defined]


def test_every_field_is_named() -> None:
    """Whatever a job or a result may have is a key of the type of its answer."""
    job = set(jobs.a_job().to_json()) | set(jobs.a_job().__dataclass_fields__)
    assert job - HIDDEN <= JobStatusResponse.__annotations__.keys()
    assert set(TestResult.__dataclass_fields__) == ResultFields.__annotations__.keys()
