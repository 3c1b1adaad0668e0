"""What a runner tells the pytest that it starts."""

from __future__ import annotations

import json
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from pytest_valor_schedule.model import run_config
from pytest_valor_schedule.model.run_config import CollectOrder, RunConfig
from tests.support.properties import steady

TOLD = RunConfig(
    folder="/folder", prefix="1.2", workers=3, digest="abc", lifeline=5, only="/folder/only.json"
)


def test_what_was_told_is_taken_once() -> None:
    """A pytest that the job starts in turn is told nothing."""
    environment = {run_config.VARIABLE: TOLD.to_text(), "PATH": "/bin"}
    assert run_config.take(environment) == TOLD
    assert environment == {"PATH": "/bin"}
    assert run_config.take(environment) is None


def test_an_order_to_collect_is_taken_once() -> None:
    """A pytest that a conftest.py starts while we collect runs as it is."""
    order = CollectOrder(target="/target", lifeline=None)
    environment = {run_config.COLLECT_VARIABLE: order.to_text()}
    assert run_config.take(environment) == order
    assert environment == {}


def test_what_a_newer_runner_tells_is_understood() -> None:
    """The job's interpreter may have an older version installed than the one that serves."""
    text = json.dumps({**TOLD.to_json(), "mood": "new"})
    assert run_config.take({run_config.VARIABLE: text}) == TOLD
    text = json.dumps({"target": "/target", "lifeline": None, "mood": "new"})
    taken = run_config.take({run_config.COLLECT_VARIABLE: text})
    assert taken == CollectOrder(target="/target", lifeline=None)


@steady
@given(st.lists(st.text(), unique=True), st.randoms())
def test_equal_sets_of_tests_have_equal_digests(nodeids: list[str], random: Random) -> None:
    """The order of a collection does not matter, and a test more or less does."""
    digest = run_config.collection_digest(nodeids)
    shuffled = random.sample(nodeids, len(nodeids))
    assert run_config.collection_digest(shuffled) == digest
    assert run_config.collection_digest([*nodeids, "one more"]) != digest
