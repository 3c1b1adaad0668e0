"""Lines of a terminal, with their colours, as an SVG."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.sax.saxutils import escape

_COLUMN, _ROW, _MARGIN = 8.4, 19, 16
_COLOURS = {"31": "#f7768e", "32": "#9ece6a", "33": "#e0af68", "36": "#7dcfff"}
_STYLE = (
    'font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="14" '
    'fill="#c0caf5"'
)
_PAINTED = re.compile(r"\x1b\[(\d+)m(.*?)\x1b\[0m")


def svg(title: str, lines: Sequence[str], columns: int) -> str:
    """Return a picture of lines that may have a word in a colour.

    Args:
        title: For those who cannot see it.
        lines: As they are printed into a terminal.
        columns: How wide the terminal is.
    """
    width, height = round(columns * _COLUMN) + 2 * _MARGIN, len(lines) * _ROW + 2 * _MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width}" height="{height}" rx="8" fill="#1a1b26"/>',
            f"<g {_STYLE}>",
            *(_text(number, line) for number, line in enumerate(lines)),
            "</g>",
            "</svg>\n",
        ]
    )


def _text(number: int, line: str) -> str:
    length = round(len(_PAINTED.sub(r"\2", line)) * _COLUMN, 1)
    fit = f' textLength="{length}"' if line else ""  # columns, whatever the font is
    kept = escape(line).replace(" ", "\N{NO-BREAK SPACE}")  # SVG joins spaces, browsers differ
    words = _PAINTED.sub(_tspan, kept)
    return f'<text x="{_MARGIN}" y="{_MARGIN + number * _ROW + 14}"{fit}>{words}</text>'


def _tspan(found: re.Match[str]) -> str:
    return f'<tspan fill="{_COLOURS[found[1]]}">{found[2]}</tspan>'
