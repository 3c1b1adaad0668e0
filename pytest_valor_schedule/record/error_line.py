"""Find the line in which pytest says why it failed. Pure."""

from __future__ import annotations

import re

_MOST_CHARACTERS = 300
_RAISED = re.compile(r"E\s+[\w.]+(Error|Exception|Warning|Interrupt|Exit|Failed)\b")
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_INTERNAL = "INTERNALERROR> "
_QUOTES = "Traceback (most recent call last):"  # another error, which is the reason for this one


def reason(output: str) -> str:
    """Return the line that says most: the first that pytest marks as an error, or the last."""
    plain = _COLOUR.sub("", output).splitlines()
    texts = (line.removeprefix(_INTERNAL).strip() for line in plain)
    lines = [text for text in texts if text.strip(" =!")]
    usage = [line.partition(": ")[2] for line in lines if ": error: " in line]
    raised = [
        line[1:].strip() for line in lines if _RAISED.match(line) and not line.endswith(_QUOTES)
    ]
    marked = [line for line in lines if line.startswith(("ERROR:", "ERROR "))]
    found = (usage or raised or marked or lines[-1:] or ["it printed nothing"])[0]
    return found[:_MOST_CHARACTERS].rstrip(".")
