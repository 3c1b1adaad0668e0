"""Show of the stacks that faulthandler writes what is a test's. Pure."""

from __future__ import annotations

import re

_THREAD = re.compile(r"(?:Current thread|Thread) .*:")
_FRAME = '  File "'
_RUNS_TESTS = re.compile(r'[/\\](?:_pytest|pluggy|xdist|execnet)[/\\][^"]*"')
_OURS = re.compile(r'[/\\]pytest_valor_schedule[/\\]process[/\\]stacks\.py"')


def from_test_on(stacks: str) -> str:
    """Return stacks with the frames from a test on, without those of what runs it.

    Threads that have no others are left out. Where there is none in which a test ran, as when
    pytest itself crashed, all is kept.
    """
    shown = [_shortened(block) for block in _blocks(stacks)]
    if not any(map(_has_frames, shown)):
        return stacks
    return "\n".join(line for lines in shown for line in lines).strip("\n")


def _blocks(stacks: str) -> list[list[str]]:
    """Split a text where the frames of a thread begin."""
    blocks: list[list[str]] = [[]]
    for line in stacks.splitlines():
        if _THREAD.match(line):
            blocks.append([])
        blocks[-1].append(line)
    return blocks


def _shortened(block: list[str]) -> list[str]:
    """Return a thread's lines as far as they are to be shown; none if no frame is a test's."""
    lines, seen = list[str](), False
    for number, line in enumerate(block):
        if not line.startswith(_FRAME):
            lines.append(line)
        elif _RUNS_TESTS.search(line):
            if seen:
                return [*lines, *_after_frames(block[number:])]
            lines.append(line)
        elif not _OURS.search(line):
            seen = True
            lines.append(line)
    return lines if seen or not _has_frames(block) else []


def _after_frames(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith(_FRAME)]


def _has_frames(lines: list[str]) -> bool:
    return any(line.startswith(_FRAME) for line in lines)
