"""Unit tests start no job: none of them has a home, unless it asks for one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon import service


@pytest.fixture(autouse=True)
def own_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have whoever looks for a home find none that can be used."""
    for name in [name for name in os.environ if name.startswith("VALOR_SCHEDULE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("VALOR_HOME", os.devnull)


@pytest.fixture
def home(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Home]:
    """An empty home; nobody may have served it in the end."""
    home = Home(tmp_path_factory.mktemp("valor") / "home")
    monkeypatch.setenv("VALOR_HOME", str(home.root))
    yield home
    assert not service.is_running(home)
