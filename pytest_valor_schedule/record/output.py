"""Make of what a job's pytest printed plain text, its error line, and the stacks of its tests."""

from __future__ import annotations

import re

_CONTROL = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # an operating system command, such as a title or a link
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # a control sequence, such as a colour
    r"|\x1b[ -/]*[0-~]"  # any other escape
)
"""Control sequences of a terminal, by ECMA-48."""

_MOST_CHARACTERS = 300
_RAISED = re.compile(r"E\s+[\w.]+(Error|Exception|Warning|Interrupt|Exit|Failed)\b")
_INTERNAL = "INTERNALERROR> "
_QUOTES = "Traceback (most recent call last):"  # another error, which is the reason for this one

_THREAD = re.compile(r"^(?=(?:Current thread|Thread) .*:)", re.MULTILINE)
_FRAME = '  File "'
_RUNS_TESTS = re.compile(r'[/\\](?:_pytest|pluggy|xdist|execnet)[/\\][^"]*"')
_OURS = re.compile(r'[/\\]pytest_valor_schedule[/\\]process[/\\]stacks\.py"')


def without_controls(text: str) -> str:
    """Return what a terminal would show of a text: without colours, and lines as last rewritten."""
    lines = _CONTROL.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


def error_line(output: str) -> str:
    """Return the line that says most: the first that pytest marks as an error, or the last."""
    plain = _CONTROL.sub("", output).splitlines()
    texts = (line.removeprefix(_INTERNAL).strip() for line in plain)
    lines = [text for text in texts if text.strip(" =!")]
    usage = [line.partition(": ")[2] for line in lines if ": error: " in line]
    errors = [line for line in lines if _RAISED.match(line) and not line.endswith(_QUOTES)]
    marks = [line for line in lines if line.startswith(("ERROR:", "ERROR "))]
    raised = [line[1:].strip() for line in errors]
    best = (usage or raised or marks or lines[-1:] or ["it printed nothing"])[0]
    return best[:_MOST_CHARACTERS].rstrip(".")


def trim_stacks(stacks: str) -> str:
    """Return stacks of faulthandler from the frames of a test on, without those of what runs it.

    Threads that have no others are left out. Where there is none in which a test ran, as when
    pytest itself crashed, all is kept.
    """
    blocks = [_trim_block(block.splitlines()) for block in _THREAD.split(stacks)]
    if not any(map(_has_frames, blocks)):
        return stacks
    return "\n".join(line for lines in blocks for line in lines).strip("\n")


def _trim_block(block: list[str]) -> list[str]:
    """Return a thread's lines as far as they are to be shown; none if no frame is a test's."""
    lines, has_test = list[str](), False
    for number, line in enumerate(block):
        if not line.startswith(_FRAME):
            lines.append(line)
        elif _RUNS_TESTS.search(line):
            if has_test:
                return [*lines, *(each for each in block[number:] if not each.startswith(_FRAME))]
            lines.append(line)
        elif not _OURS.search(line):
            has_test = True
            lines.append(line)
    return lines if has_test or not _has_frames(block) else []


def _has_frames(lines: list[str]) -> bool:
    return any(line.startswith(_FRAME) for line in lines)
