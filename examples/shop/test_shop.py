"""A small suite to schedule: `pytest --schedule` in this folder."""

from __future__ import annotations

import time

import pytest
from shop import Cart


@pytest.fixture
def cart() -> Cart:
    cart = Cart()
    cart.add("tea", 450)
    return cart


def test_total(cart: Cart) -> None:
    cart.add("cup", 900, count=2)
    assert cart.total() == 2250


def test_more_of_the_same(cart: Cart) -> None:
    cart.add("tea", 450, count=3)
    assert cart.total() == 1800


@pytest.mark.parametrize("count", [0, -1])
def test_no_less_than_one(cart: Cart, count: int) -> None:
    with pytest.raises(ValueError, match="cannot be bought"):
        cart.add("cup", 900, count)


@pytest.mark.parametrize("second", range(4))
def test_slow_payment(cart: Cart, second: int) -> None:
    time.sleep(0.5)
    assert cart.total() == 450


@pytest.mark.xfail(reason="discounts are not there yet")
def test_discount(cart: Cart) -> None:
    assert cart.total(discount=10) == 405  # type: ignore[call-arg]
