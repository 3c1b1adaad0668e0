"""Keep a warm interpreter for each of the virtual environments that were used last.

One takes 32 MB of memory (Python 3.11, pytest 9.2), of which 21 are its own; what is forked from it
shares them, and a pytest that is started has them as well.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias, TypeVar

from pytest_valor_schedule.process import fork_check
from pytest_valor_schedule.process.warm_interpreter import WarmInterpreter

MOST_WARM = 4
"""How many are kept."""
_Use: TypeAlias = tuple[str, tuple[object, ...]]
"""An interpreter, and what it makes of its environment when it starts."""
_Key = TypeVar("_Key")


def least_used(uses: Sequence[_Key], most: int) -> Sequence[_Key]:
    """Return those that are too many, of all in the order of their last use."""
    return uses[: max(0, len(uses) - most)]


class WarmInterpreters:
    """Starts warm interpreters when they are likely to pay, and ends them when they do not.

    Args:
        most: How many are kept; one more may be there while a process of it runs.
    """

    def __init__(self, most: int = MOST_WARM) -> None:
        self._most = most
        self._kept: dict[_Use, WarmInterpreter | None] = {}  # the one that was used last is last
        self._environments: dict[_Use, Mapping[str, str]] = {}  # the last one of each
        self._retired: list[WarmInterpreter] = []

    def get(self, interpreter: str, environment: Mapping[str, str]) -> WarmInterpreter | None:
        """Return a warm interpreter, or None where an ordinary start is the better one.

        The first time that is the better one: whoever comes once needs nothing that is warm.

        Args:
            interpreter: The path of the Python.
            environment: Of a process of it; see `processes.background_environment`. It is told from
                others by what an interpreter makes of it when it starts.
        """
        use = interpreter, fork_check.at_start(environment)
        self._environments[use] = environment
        is_first = use not in self._kept
        self._kept[use] = self._kept.pop(use, None)
        for each in least_used([*self._kept], self._most):
            self._retire(self._kept.pop(each))
            del self._environments[each]
        if is_first:
            return None
        warm = self._usable(use)
        if warm is None and self._renew(use):
            warm = self._usable(use)
        return warm

    def find(self, interpreter: str, environment: Mapping[str, str]) -> WarmInterpreter | None:
        """Return what `get` does, but only where it was asked for that before."""
        is_known = (interpreter, fork_check.at_start(environment)) in self._kept
        return self.get(interpreter, environment) if is_known else None

    def _usable(self, use: _Use) -> WarmInterpreter | None:
        warm = self._kept[use]
        return warm if warm is not None and warm.is_usable() else None

    def get_ready(self) -> None:
        """Start in a quiet moment one for which the next job would wait."""
        self._close_retired()
        for use in reversed([*self._kept]):
            if self._renew(use):
                return

    def _renew(self, use: _Use) -> bool:
        """Start the warm interpreter of a use, unless there is one that needs no successor."""
        warm = self._kept[use]
        if warm is not None and not warm.needs_successor(time.monotonic()):
            return False
        self._kept[use] = None
        self._retire(warm)
        try:
            self._kept[use] = WarmInterpreter(use[0], self._environments[use])
        except OSError:  # it is not there any more
            del self._kept[use], self._environments[use]
        return use in self._kept

    def _retire(self, warm: WarmInterpreter | None) -> None:
        """Let one end as soon as nothing that it forked runs any more: only it tells how."""
        if warm is not None:
            self._retired.append(warm)
        self._close_retired()

    def _close_retired(self) -> None:
        for warm in [each for each in self._retired if not each.has_forks()]:
            self._retired.remove(warm)
            warm.close()

    def kept(self) -> Collection[WarmInterpreter]:
        """Return those that may be asked once more."""
        return [each for each in self._kept.values() if each is not None]

    def pids(self) -> Collection[int]:
        """Return the pids of all."""
        return {each.pid for each in self._all()}

    def close(self) -> None:
        """End all; what they have forked goes on."""
        for each in self._all():
            each.close()
        self._kept.clear()
        self._retired.clear()

    def _all(self) -> list[WarmInterpreter]:
        return [*self._retired, *filter(None, self._kept.values())]
