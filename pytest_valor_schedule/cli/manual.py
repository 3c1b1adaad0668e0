"""Print the manual: the pages of `docs/`, and the help of the commands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable

from pytest_valor_schedule.errors import InvalidRequestError

_PACKAGE = "pytest_valor_schedule"
_LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")
_COMMENT = re.compile(r"<!--.*?-->\n", re.DOTALL)


def topics() -> Mapping[str, str]:
    """Return the topics of the manual in alphabetical order, each with its sentence."""
    pages = sorted(_folder().iterdir(), key=lambda page: page.name)
    return {page.name[:-3]: _summary(page) for page in pages if page.name.endswith(".md")}


def page(topic: str) -> str:
    """Return a page of the manual as plain text: links as their words, and no comments."""
    text = _folder().joinpath(f"{topic}.md").read_text("utf-8")
    return _LINK.sub(r"\1", _COMMENT.sub("", text)).rstrip()


def topic_lines() -> list[str]:
    """Return a line for each topic."""
    return [
        "The manual, by `valor-schedule help TOPIC`:",
        *(f"  {topic:17}{summary}" for topic, summary in topics().items()),
        "`valor-schedule --help` lists the commands, `help COMMAND` explains one.",
    ]


def unknown_topic(name: str, commands: Iterable[str]) -> InvalidRequestError:
    """Return the error for a name that is neither a topic nor a command."""
    import difflib  # here, because few need it

    close = difflib.get_close_matches(name.lower(), {*topics(), *commands}, n=1, cutoff=0.5)
    meant = f"did you mean {close[0]!r}?" if close else "`valor-schedule help` lists the topics."
    return InvalidRequestError(f"There is no help on {name!r}; {meant}")


def _folder() -> Traversable:
    return files(_PACKAGE).joinpath("docs")


def _summary(page: Traversable) -> str:
    """Return the sentence below the title of a page."""
    return page.read_text("utf-8").splitlines()[2]
