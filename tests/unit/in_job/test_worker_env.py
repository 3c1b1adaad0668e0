"""Set the environment of a worker."""

from __future__ import annotations

from pytest_valor_schedule.in_job.worker_env import worker_environment


def test_threads_are_shared_unless_the_user_says_otherwise() -> None:
    """The libraries of a worker get its part of the machine."""
    variables = worker_environment(3, 2, {"OMP_NUM_THREADS": "8"})
    assert variables["VALOR_SCHEDULE_SLOT"] == "3"
    assert variables["MKL_NUM_THREADS"] == "2"
    assert "OMP_NUM_THREADS" not in variables
