"""Read what a job printed."""

from __future__ import annotations

from pytest_valor_schedule.record.output import without_controls


def test_control_sequences_are_left_out() -> None:
    """Colours, titles and links go, and a line is as it was last rewritten."""
    text = (
        "\x1b]0;title\x07\x1b[1mcollecting ... \x1b[0m\rcollected 9 items\r\n\x1b[31mred\x1b[0m\n"
    )
    assert without_controls(text) == "collected 9 items\nred\n"
