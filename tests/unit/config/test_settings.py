"""Where a setting comes from, and where files lie."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pytest

from pytest_valor_schedule.config import settings
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.config.settings import Setting
from pytest_valor_schedule.errors import InvalidRequestError, StoreError

SOURCES = {
    "option": "--max-workers",
    "environment": "the environment variable VALOR_SCHEDULE_MAX_WORKERS",
    "ini": "valor_schedule_max_workers in the ini file",
    "machine": "max_workers in config.toml",
}
ABSENT: dict[str, Any] = {"option": None, "environment": {}, "ini": None, "machine": {}}
PRESENT: dict[str, Any] = {
    "option": 3,
    "environment": {"VALOR_SCHEDULE_MAX_WORKERS": "4"},
    "ini": "5",
    "machine": {"max_workers": 6},
}
VALUES = {"option": 3, "environment": "4", "ini": "5", "machine": 6}


@pytest.mark.parametrize(
    "given", [set(names) for n in range(5) for names in itertools.combinations(SOURCES, n)]
)
def test_the_nearest_source_wins(given: set[str]) -> None:
    """Call or command line, environment, ini file, config.toml, default: the first that speaks."""
    asked = {name: (PRESENT if name in given else ABSENT)[name] for name in SOURCES}
    nearest = next((name for name in SOURCES if name in given), None)
    expected = Setting(VALUES[nearest], SOURCES[nearest]) if nearest else Setting(2, "the default")
    assert settings.look_up("max_workers", **asked) == expected


@pytest.mark.parametrize("source", ["environment", "ini"])
def test_an_empty_text_is_no_value(source: str) -> None:
    """A variable or ini line that is there but empty leaves the word to the next source."""
    empty = {"environment": {"VALOR_SCHEDULE_PRIORITY": ""}, "ini": ""}
    asked = {**ABSENT, source: empty[source], "machine": {"priority": "low"}}
    assert settings.look_up("priority", **asked).value == "low"


def test_a_false_value_is_a_value() -> None:
    """Nearer settings can switch off what farther ones switch on."""
    asked = {**ABSENT, "environment": {"VALOR_SCHEDULE_SCHEDULE": "0"}, "ini": "true"}
    assert not settings.check("schedule", settings.look_up("schedule", **asked))
    asked = {**ABSENT, "machine": {"schedule": False}}
    assert settings.look_up("schedule", **asked) == Setting(False, "schedule in config.toml")


@pytest.mark.parametrize("name", settings.SETTINGS)
def test_every_setting_has_a_default(name: str) -> None:
    """Where nobody sets a setting, its default holds."""
    assert settings.look_up(name, **ABSENT) == Setting(
        settings.SETTINGS[name].default, "the default"
    )


@pytest.mark.parametrize("value", ["1", "true", "YES", " on ", True, 1])
def test_words_for_yes_are_on(value: Any) -> None:
    """Yes is understood in any case and spelling that is usual."""
    assert settings.check("schedule", Setting(value, "x"))


@pytest.mark.parametrize("value", ["0", "False", "no", "OFF", False, 0])
def test_words_for_no_are_off(value: Any) -> None:
    """No is understood in any case and spelling that is usual."""
    assert not settings.check("schedule", Setting(value, "x"))


@pytest.mark.parametrize("value", ["maybe", "", None, 2, "truee", []])
def test_what_is_neither_yes_nor_no_is_refused(value: Any) -> None:
    """The refusal names the source of the value."""
    with pytest.raises(InvalidRequestError, match=r"^schedule in config\.toml is .* use one\.$"):
        settings.check("schedule", Setting(value, "schedule in config.toml"))


@pytest.mark.parametrize("environment", [{}, {"VALOR_HOME": ""}])
def test_the_home_is_a_folder_of_the_user(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without VALOR_HOME everything lies in ~/.valor."""
    monkeypatch.setenv("HOME", "/home/ada")
    assert Home.find(environment).root == Path("/home/ada/.valor")


@pytest.mark.parametrize(("named", "root"), [("/srv/valor", "/srv/valor"), ("~/v", "/home/ada/v")])
def test_valor_home_moves_the_home(named: str, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home is an absolute path, also for a process in another working directory."""
    monkeypatch.setenv("HOME", "/home/ada")
    assert Home.find({"VALOR_HOME": named}).root == Path(root)


@pytest.mark.parametrize(
    "environment", [{"VALOR_HOME": "valor"}, {"VALOR_HOME": "."}, {"VALOR_HOME": "", "HOME": "me"}]
)
def test_a_relative_home_is_refused(environment: dict[str, str]) -> None:
    """Every folder would have a queue of its own, and nobody would find the jobs of another."""
    with pytest.raises(InvalidRequestError, match=r"relative path.*absolute path"):
        Home.find(environment)


def test_a_home_of_an_unknown_user_is_refused() -> None:
    """A VALOR_HOME that names nobody's folder is an error in a sentence, not a traceback."""
    with pytest.raises(InvalidRequestError, match="VALOR_HOME"):
        Home.find({"VALOR_HOME": "~nobody-of-this-name/valor"})


def test_everything_lies_inside_the_home(home: Home) -> None:
    """No file of a queue is outside of its home."""
    files = (
        *(home.results, home.schedule, home.database, home.config),
        *(home.dispatcher_lock, home.starting_lock, home.dispatcher_log),
        *(home.record("j"), home.job_folder("j"), home.output("j")),
    )
    assert len(set(files)) == len(files)
    assert all(home.root in file.parents for file in files)


def test_the_folders_are_private(home: Home) -> None:
    """Only their user can enter the folders, and making them twice does no harm."""
    home.make()
    home.make()
    folders = [home.root, *(path for path in home.root.rglob("*") if path.is_dir())]
    assert home.results in folders
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}


def test_a_home_that_cannot_be_made_is_refused(home: Home) -> None:
    """A file in the place of the home is an error that says what to do."""
    home.root.write_text("in the way")
    with pytest.raises(StoreError, match="set VALOR_HOME"):
        home.make()


def test_without_config_toml_nothing_is_set(home: Home) -> None:
    """There need not be a config.toml."""
    assert home.settings() == {}


def test_config_toml_is_read(home: Home) -> None:
    """The machine-wide settings are those of the file."""
    home.make()
    home.config.write_text('priority = "low"\nmax_workers = 3\n')
    assert home.settings() == {"priority": "low", "max_workers": 3}


@pytest.mark.parametrize("content", [b"priority = low", b"= 1", b"a = '\xff'", b"\0"])
def test_a_broken_config_toml_is_refused(home: Home, content: bytes) -> None:
    """The error names the file and says what to do."""
    home.make()
    home.config.write_bytes(content)
    with pytest.raises(InvalidRequestError, match=r"config\.toml cannot be read .* delete it\.$"):
        home.settings()


def test_a_dispatcher_stays_as_long_as_the_settings_say(home: Home) -> None:
    """The environment comes before config.toml, and both before the default."""
    home.make()
    default = settings.amount("idle_seconds", home, {})
    home.config.write_text("idle_seconds = 7")
    assert settings.amount("idle_seconds", home, {}) == 7.0 != default
    assert settings.amount("idle_seconds", home, {"VALOR_SCHEDULE_IDLE_SECONDS": "0.3"}) == 0.3


@pytest.mark.parametrize("content", ["idle_seconds = 'soon'", "idle_seconds = [1]", "broken"])
def test_no_setting_keeps_a_dispatcher_from_serving(home: Home, content: str) -> None:
    """The queue goes on with the default where config.toml makes no sense."""
    home.make()
    default = settings.amount("idle_seconds", home, {})
    home.config.write_text(content)
    assert settings.amount("idle_seconds", home, {}) == default


def test_a_home_of_somebody_else_is_refused(home: Home) -> None:
    """Nobody's jobs are run from a folder that another user owns."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    home.make()
    os.chown(home.root, 65534, -1)
    with pytest.raises(StoreError, match="belongs to another user"):
        home.make()


@pytest.mark.parametrize("inner", ["", "test_schedule", "test_schedule/jobs", "test_results"])
def test_a_home_that_others_may_write_to_is_refused(home: Home, inner: str) -> None:
    """Nobody else can put jobs into the queue; the message says how to mend it."""
    home.make()
    folder = home.root / inner
    folder.chmod(0o777)
    with pytest.raises(StoreError, match=f"chmod go-w {folder}"):
        home.make()
