"""The code under test: a cart that sums up prices."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Cart:
    """What a customer is about to buy."""

    items: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, name: str, cents: int, count: int = 1) -> None:
        """Put something into the cart."""
        if count < 1:
            raise ValueError(f"{count} of {name} cannot be bought")
        self.items[name] = (cents, self.items.get(name, (0, 0))[1] + count)

    def total(self) -> int:
        """Return the sum in cents."""
        return sum(cents * count for cents, count in self.items.values())
