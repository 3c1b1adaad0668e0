"""What the property tests of this suite share."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

steady = settings(
    deadline=None,  # no test asserts a time
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

moments = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC)).map(
    datetime.timestamp
)
"""Seconds since the epoch, to the microsecond."""
