from __future__ import annotations

import os


def test_runs_in_the_background() -> None:
    assert "VALOR_SCHEDULE_JOB_ID" in os.environ
