"""The names of a job's rounds, with which the names of their files begin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_valor_schedule.model.round import Round, RoundKind
from tests.support.properties import steady


@steady
@given(st.builds(Round, st.integers(0), st.sampled_from(RoundKind), st.just(0)))
def test_a_round_is_read_from_its_prefix(round_: Round) -> None:
    """What stands in the name of a file is all of it."""
    assert Round.of(round_.prefix) == round_


@pytest.mark.parametrize(
    ("prefix", "round_"),
    [
        ("1.1", Round(1, RoundKind.FIRST)),
        ("12.2", Round(12, RoundKind.RERUN_MISSING)),
        ("1.alone10", Round(1, RoundKind.ISOLATE, 10)),
        ("2.confirm1", Round(2, RoundKind.RERUN_FAILURES, 1)),
    ],
)
def test_the_names_of_files_stay(prefix: str, round_: Round) -> None:
    """Other versions read the same folder."""
    assert Round.of(prefix) == round_
    assert round_.prefix == prefix


@pytest.mark.parametrize("prefix", ["1.3", "1.other2", "1.confirmed", "", "x", "1"])
def test_a_round_of_another_version_ran_what_was_missing(prefix: str) -> None:
    """So all that it reports counts."""
    assert Round.of(prefix).kind is RoundKind.RERUN_MISSING
