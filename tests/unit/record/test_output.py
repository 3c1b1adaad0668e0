"""Read what a job printed."""

from __future__ import annotations

import pytest

from pytest_valor_schedule.record.output import trim_stacks, without_controls

SITE = "/venv/lib/python3.11/site-packages"
TEST = ["/project/helper.py", "/project/test_it.py"]
MACHINE = [f"{SITE}/_pytest/python.py", f"{SITE}/pluggy/_hooks.py", f"{SITE}/xdist/remote.py"]
ROOT = ["<string>"]
EXECNET = [f"{SITE}/execnet/gateway_base.py"]


def _thread(paths: list[str], head: str = "Current thread 0x7f (most recent call first):") -> str:
    return "\n".join([head, *(f'  File "{path}", line 1 in name' for path in paths)])


CURRENT, OTHER = "Current thread 0x7f [python] (most recent call first):", "Thread 0x7e (most ...):"


def test_control_sequences_are_left_out() -> None:
    """Colours, titles and links go, and a line is as it was last rewritten."""
    text = (
        "\x1b]0;title\x07\x1b[1mcollecting ... \x1b[0m\rcollected 9 items\r\n\x1b[31mred\x1b[0m\n"
    )
    assert without_controls(text) == "collected 9 items\nred\n"


@pytest.mark.parametrize(
    ("stacks", "shown"),
    [
        pytest.param(_thread(TEST + MACHINE + ROOT), _thread(TEST), id="a test"),
        pytest.param(
            _thread([*MACHINE[:1], *TEST, *MACHINE, *ROOT]),
            _thread([*MACHINE[:1], *TEST]),
            id="pytest called by a test",
        ),
        pytest.param(
            _thread([f"{SITE}/pytest_valor_schedule/process/stacks.py", *TEST, *MACHINE]),
            _thread(TEST),
            id="our own _exit",
        ),
        pytest.param(
            "Fatal Python error: x\n\n"
            + _thread(EXECNET * 3, OTHER)
            + "\n\n"
            + _thread(["/project/pool.py"], OTHER)
            + "\n\n"
            + _thread(TEST + MACHINE, CURRENT)
            + "\n\nExtension modules: numpy",
            "Fatal Python error: x\n\n"
            + _thread(["/project/pool.py"], OTHER)
            + "\n\n"
            + _thread(TEST, CURRENT)
            + "\n\nExtension modules: numpy",
            id="threads",
        ),
        pytest.param(_thread(MACHINE), _thread(MACHINE), id="pytest itself"),
        pytest.param("no stacks", "no stacks", id="text"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_frames_are_shown_from_the_test_on(stacks: str, shown: str) -> None:
    """What runs tests is left out, and nothing is where no test is in it."""
    assert trim_stacks(stacks) == shown
