"""Write points in time and durations as people and JSON read them."""

from __future__ import annotations

import math
from datetime import UTC, datetime


def to_text(moment: float | None) -> str | None:
    """Return seconds since the epoch as ISO 8601 text in UTC, and None as None."""
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()


def from_text(text: str | None) -> float | None:
    """Return ISO 8601 text as seconds since the epoch, and None as None."""
    return None if text is None else datetime.fromisoformat(text).timestamp()


def elapsed(since: float, now: float, most: float = math.inf) -> float:
    """Return the seconds since a moment, from 0 to `most`: the clock may have been set since."""
    return min(max(0.0, now - since), most)


def measured_text(seconds: float) -> str:
    """Return a duration that was measured, as pytest does: such as "3.05s" or "1m 30s"."""
    return f"{seconds:.2f}s" if seconds < 60 else duration_text(seconds)


def duration_text(seconds: float) -> str:
    """Return a duration in seconds as short text such as "42s", "1m 30s" or "2h 5m"."""
    whole = max(1, math.ceil(seconds))
    minutes, rest = divmod(whole, 60)
    if not minutes:
        return f"{rest}s"
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "m")] if hours else [(minutes, "m"), (rest, "s")]
    return " ".join(f"{count}{unit}" for count, unit in parts if count)


_ROUND = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)  # seconds


def range_text(least: float, most: float) -> str:
    """Return between which durations something lies, in round numbers, such as "10s to 2m"."""
    low = max((each for each in _ROUND if each <= least), default=0)
    high = min((each for each in _ROUND if each >= most), default=math.ceil(most / 3600) * 3600)
    if not low or low == high:
        return f"up to {duration_text(high)}"
    return f"{duration_text(low)} to {duration_text(high)}"
