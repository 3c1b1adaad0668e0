"""The pages for people: the README, the manual, and the examples; and running what they show."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest_valor_schedule
from tests.support.waiting import DEADLINE_SECONDS

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
PACKAGE = Path(pytest_valor_schedule.__file__).parent
README = ROOT / "README.md"
MANUAL = sorted(PACKAGE.joinpath("docs").glob("*.md"))
EXAMPLES = sorted(ROOT.joinpath("examples").glob("*/README.md"))
PAGES = {_name.relative_to(ROOT).as_posix(): _name for _name in (README, *MANUAL, *EXAMPLES)}

_BLOCK = re.compile(r"(?:<!-- ([^>]+) -->\n)?^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_TRY_AGAIN = 75
_MASKS = (
    (r"\d{8}-\d{6}-[0-9a-f]{6}", "JOB"),
    (r"\b[0-9a-f]{6}\b", "JOB"),
    (r"\bgw\d\b", "WORKER"),
    (r"'duration_seconds': [\d.]+", "TIME"),
    (r"\b\d+(\.\d+)?(ms| ?s|m|h)\b( \d+[smh]\b)?", "TIME"),
    (r" +TIME", " TIME"),
    (r"\bon \d+ workers?", "on some workers"),
    (r"\[\d\]$", "[number]"),
    (r"={3,}", "==="),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """A block of code of a page.

    Attributes:
        page: The page's path in the repository.
        mark: The HTML comment above it, or "".
        language: What stands behind its opening fence.
        text: Its lines.
    """

    page: str
    mark: str
    language: str
    text: str


def blocks(*languages: str, page: str = "") -> list[Block]:
    """Return the blocks of all pages, or of one, that are in some languages."""
    return [
        Block(name, mark, language, text)
        for name, path in PAGES.items()
        if not page or name == page
        for mark, language, text in _BLOCK.findall(path.read_text("utf-8"))
        if not languages or language in languages
    ]


def pages_with(*languages: str) -> list[str]:
    """Return the pages that have such a block."""
    return sorted({block.page for block in blocks(*languages)})


def topic(name: str) -> str:
    """Return the page of the manual on a topic."""
    return (PACKAGE / "docs" / f"{name}.md").read_text("utf-8")


def section(name: str, title: str) -> str:
    """Return a section of the page on a topic, without its title."""
    return topic(name).split(f"## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> dict[str, str]:
    """Return the first two cells of each row of the tables of a text, the first without marks."""
    found = re.findall(r"^\| `([^`]+)`[^|]* \| ([^|]*?) ?\|", text, re.MULTILINE)
    return {name: value.strip("`") for name, value in found}


def default(value: object) -> str:
    """Return a default as a table has it."""
    words = {"None": "none", "True": "true", "False": "off"}
    return words.get(str(value), f"{value:g}" if isinstance(value, float) else str(value))


def signatures() -> list[Block]:
    """Return the blocks that show how the public functions are called."""
    page = "pytest_valor_schedule/docs/api.md"
    return [block for block in blocks("python", page=page) if block.text.startswith("def ")]


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield each `$ command` of a console block, and the output below it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def run_in_shell(
    command: str, folder: Path, more: Mapping[str, str] = os.environ
) -> subprocess.CompletedProcess[str]:
    """Run a command line in a terminal of 80 columns that has this environment activated.

    Who is told to wait again waits again.
    """
    activated = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, **more, "PATH": activated, "COLUMNS": "80"}
    while True:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=2 * DEADLINE_SECONDS,
        )
        if done.returncode != _TRY_AGAIN:
            return done


def masked(text: str) -> str:
    """Return an output without what is another in every run: ids, times, numbers of workers."""
    lines = "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
    for pattern, word in _MASKS:
        lines = re.sub(pattern, word, lines, flags=re.MULTILINE)
    return lines


def is_like(output: str, shown: str) -> bool:
    """Return whether an output is what a page shows, where `...` stands for any lines."""
    parts = [re.escape(part) for part in re.split(r"^\.\.\.$", masked(shown), flags=re.MULTILINE)]
    return re.fullmatch("(?s:.*)".join(parts), masked(output)) is not None
