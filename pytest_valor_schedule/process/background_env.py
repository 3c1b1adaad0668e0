"""What our background processes have of whoever started them: little, and all of it named here.

A dispatcher serves everybody who has this home. What its first submitter had in its environment,
secrets, tools that measure or preload, settings of its project, is no business of the others.
"""

from __future__ import annotations

from collections.abc import Mapping

from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.process.fork_check import variables_at_start

_FROM_STARTER = (
    "HOME",  # where this user's packages are
    # What of the settings of the machine a dispatcher and a runner look up; see `settings`.
    *(f"VALOR_SCHEDULE_{name}" for name in ("SLOTS", "AGING_MINUTES", "MEMORY_RESERVE_MB")),
    "VALOR_SCHEDULE_IDLE_SECONDS",
)
_NEVER = ("COV", "LD_AUDIT", "LD_PRELOAD")
"""What measures a process, or changes it from below, on behalf of one run."""


def background_environment(home: Home, theirs: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a background process of ours.

    Args:
        home: The one that it works for; by it people see whose process it is.
        theirs: The environment of whom it serves first. What an interpreter reads when it starts
            is taken over: the packages of ours are found by it, and jobs that have the same may
            be forked.
    """
    at_start = variables_at_start(theirs).items()
    return {
        **{name: value for name, value in at_start if not name.startswith(_NEVER)},
        **{name: theirs[name] for name in _FROM_STARTER if name in theirs},
        "VALOR_HOME": str(home.root),
    }
