"""Keep of an address what is no secret, and name what is missing."""

from __future__ import annotations

import pytest

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import notifier
from pytest_valor_schedule.daemon.notification import (
    shortened,
)


def test_without_the_extra_a_warning_says_what_to_install(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library is an optional extra."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    home.make()
    warning = notifier.problem(home, "json://localhost", {})
    assert warning is not None
    assert "pip install 'pytest-valor-schedule[notify]'" in warning


@pytest.mark.parametrize(
    ("address", "kept"),
    [(None, None), ("-100", "-100"), ("slack://A/B/C", "slack://***"), ("@chat", "@chat")],
)
def test_what_is_kept_of_an_address(address: str | None, kept: str | None) -> None:
    """Only a chat id is kept as it is."""
    assert shortened(address) == kept
