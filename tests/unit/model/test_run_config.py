"""What a runner tells the pytest that it starts."""

from __future__ import annotations

import json
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from pytest_valor_schedule import env
from pytest_valor_schedule.model import run_config
from pytest_valor_schedule.model.run_config import CollectConfig, RunConfig
from tests.support.properties import steady

TOLD = RunConfig(
    folder="/folder", prefix="1.2", workers=3, digest="abc", death_pipe=5, only="/folder/only.json"
)


def test_what_was_told_is_taken_once() -> None:
    """A pytest that the job starts in turn is told nothing."""
    environment = {env.RUN_CONFIG_VARIABLE: TOLD.to_text(), "PATH": "/bin"}
    assert run_config.take_config(environment) == TOLD
    assert environment == {"PATH": "/bin"}
    assert run_config.take_config(environment) is None


def test_an_order_to_collect_is_taken_once() -> None:
    """A pytest that a conftest.py starts while we collect runs as it is."""
    order = CollectConfig(target="/target", death_pipe=None)
    environment = {env.COLLECT_VARIABLE: order.to_text()}
    assert run_config.take_config(environment) == order
    assert environment == {}


def test_what_a_newer_runner_tells_is_understood() -> None:
    """The job's interpreter may have an older version installed than the one that serves."""
    text = json.dumps({**TOLD.to_json(), "mood": "new"})
    assert run_config.take_config({env.RUN_CONFIG_VARIABLE: text}) == TOLD
    text = json.dumps({"target": "/target", "lifeline": None, "mood": "new"})
    taken = run_config.take_config({env.COLLECT_VARIABLE: text})
    assert taken == CollectConfig(target="/target", death_pipe=None)


def test_older_versions_read_what_is_sent() -> None:
    """What has another name now than in their days is sent by the one that they know."""
    sent = RunConfig("/folder", "1.1", 2, "abc", death_pipe=7, durations="/folder/d.json").to_json()
    assert (sent["lifeline"], sent["known"]) == (7, "/folder/d.json")
    assert not sent.keys() & {"death_pipe", "durations"}


@steady
@given(st.lists(st.text(), unique=True), st.randoms())
def test_equal_sets_of_tests_have_equal_digests(nodeids: list[str], random: Random) -> None:
    """The order of a collection does not matter, and a test more or less does."""
    digest = run_config.collection_digest(nodeids)
    shuffled = random.sample(nodeids, len(nodeids))
    assert run_config.collection_digest(shuffled) == digest
    assert run_config.collection_digest([*nodeids, "one more"]) != digest
