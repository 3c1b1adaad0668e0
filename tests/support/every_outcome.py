"""Tests that end in every way that pytest knows; copied into projects by test_job_runs.py."""

from __future__ import annotations

import unittest
from collections.abc import Iterator

import pytest


@pytest.fixture
def bad_setup() -> None:
    raise RuntimeError("no setup")


@pytest.fixture
def bad_teardown() -> Iterator[None]:
    yield
    raise RuntimeError("no teardown")


def test_error_in_setup(bad_setup: None) -> None:
    pass


def test_error_in_teardown(bad_teardown: None) -> None:
    pass


def test_failure_and_error_in_teardown(bad_teardown: None) -> None:
    assert 0


def test_pytest_fail() -> None:
    pytest.fail("one line\nand another")


def test_skipped() -> None:
    pytest.skip("not now")


@pytest.mark.skipif(True, reason="a condition")
def test_skipif() -> None:
    pass


@pytest.mark.xfail(reason="known")
def test_known_bug() -> None:
    assert 0


@pytest.mark.xfail(strict=True)
def test_strict_xpass() -> None:
    pass


@pytest.mark.xfail(run=False)
def test_xfail_not_run() -> None:
    pass


def test_imperative_xfail() -> None:
    pytest.xfail("later")


@pytest.mark.xfail
def test_xfail_in_setup(bad_setup: None) -> None:
    pass


@pytest.mark.xfail
def test_xpass() -> None:
    pass


@pytest.mark.xfail(raises=ValueError)
def test_xfail_of_another_kind() -> None:
    raise KeyError


class TestUnittest(unittest.TestCase):
    def test_passes(self) -> None:
        pass

    def test_fails(self) -> None:
        self.fail("so")

    @unittest.skip("not now")
    def test_skipped(self) -> None:
        pass

    @unittest.expectedFailure
    def test_expected_failure(self) -> None:
        self.fail()

    @unittest.expectedFailure
    def test_unexpected_success(self) -> None:
        pass


class TestUnittestSetup(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        raise RuntimeError

    def test_one(self) -> None:
        pass

    def test_two(self) -> None:
        pass


if hasattr(pytest, "Subtests"):

    def test_with_subtests(subtests: pytest.Subtests) -> None:
        for i in range(3):
            with subtests.test("one", i=i):
                assert i != 1

    def test_with_subtests_and_failure(subtests: pytest.Subtests) -> None:
        with subtests.test("one"):
            assert 0
        assert 0

    def test_with_skipped_subtest(subtests: pytest.Subtests) -> None:
        with subtests.test("one"):
            pytest.skip("not now")

    class TestUnittestSubtests(unittest.TestCase):
        def test_one_fails(self) -> None:
            for i in range(3):
                with self.subTest(i=i):
                    assert i != 1


@pytest.mark.parametrize(
    "value",
    ["a b", "c::d", "e/f", "ü", "[z]", "\n", "\x00", "x" * 10_000, "", "@g", "\ud800", "'\"$(x);"],
)
def test_odd_ids(value: str) -> None:
    pass


@pytest.mark.xdist_group("one group")
def test_in_a_group() -> None:
    pass


RUNS: list[int] = []


@pytest.mark.flaky(reruns=2)
def test_rerun() -> None:
    RUNS.append(1)
    assert len(RUNS) > 1


@pytest.mark.flaky(reruns=1)
def test_rerun_in_vain() -> None:
    assert 0


def test_property_that_cannot_be_sent(record_property: pytest.FixtureRequest) -> None:
    record_property("thing", object())  # type: ignore[operator]


def documented() -> None:
    """Return nothing.

    >>> 1 + 1
    3
    """
