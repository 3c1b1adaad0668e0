"""Split a command like a shell, without one. Pure."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Sequence

from pytest_valor_schedule.errors import InvalidRequestError

HIDDEN = "***"
"""Stands for a value that may be secret."""
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|(^|_)(PASS|PWD|KEY|AUTH|DSN|NOTIFY)($|_)", re.I
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_URL_WITH_USER = re.compile(r"://[^/\s]*@")


def split(text: str) -> list[str]:
    """Return the words of a command.

    Raises:
        InvalidRequestError: if it is empty, or if a shell would do more than split it.
    """
    if not isinstance(text, str):
        raise InvalidRequestError(
            f"The test specification is {repr(text)[:40]}, but must be a text such as "
            '"pytest tests/ -v".'
        )
    if not text.strip():
        raise InvalidRequestError(
            'The test specification is empty; give a command such as "pytest tests/ -v".'
        )
    if "\0" in text:
        raise InvalidRequestError("The test specification contains a NUL character; remove it.")
    if _SURROGATE.search(text):
        raise InvalidRequestError(
            f"The test specification contains a lone surrogate: {excerpt(text)}; remove it."
        )
    return shlex.split(_without_shell_syntax(text.strip()))


def assignments(words: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the pairs of the NAME=value words that a command begins with."""
    leading = itertools.takewhile(_ASSIGNMENT.match, words)
    return tuple((name, value) for name, _, value in (word.partition("=") for word in leading))


def without_secrets(text: str) -> str:
    """Return a command with *** in place of what its NAME=value words may have that is secret.

    Raises:
        InvalidRequestError: if it is not one that `split` takes.
    """
    words = split(text)
    pairs = assignments(words)
    if not any(_is_secret(*pair) for pair in pairs):
        return text.strip()
    visible = [
        f"{name}={HIDDEN if _is_secret(name, value) else shlex.quote(value)}"
        for name, value in pairs
    ]
    return " ".join([*visible, shlex.join(words[len(pairs) :])])


def _is_secret(name: str, value: str) -> bool:
    return bool(_SECRET_NAME.search(name) or _URL_WITH_USER.search(value))


def _without_shell_syntax(text: str) -> str:
    """Return the text as `shlex` splits it like a shell; raise where a shell would do more."""
    pieces, quote, start, i = [], "", 0, 0
    word_begins = True
    while i < len(text):
        char = text[i]
        if char == "\\" and quote != "'":
            pieces.append(_escaped(text[i : i + 2], quote))
            word_begins = word_begins and not pieces[-1]
            i += 2
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote, start = char, i
        if quote != "'":
            _refuse_operator(text, i, quoted=bool(quote), word_begins=word_begins)
        word_begins = not quote and char.isspace()
        pieces.append(char)
        i += 1
    if quote:
        raise InvalidRequestError(
            f"The test specification has an unclosed quote: {excerpt(text[start:])}; close it."
        )
    return "".join(pieces)


def _escaped(pair: str, quote: str) -> str:
    """Return a backslash and what follows as `shlex` understands it."""
    if len(pair) < 2:
        raise InvalidRequestError("The test specification ends in a lone backslash; remove it.")
    if pair == "\\\n":
        return ""  # a line that goes on
    return pair[1] if quote and pair[1] in "$`" else pair


_OPERATOR = re.compile(r"&&|\|\||>>|[;&|<>()\n]")
_AT_WORD_BEGIN = re.compile(r"[#~]")  # a comment, somebody's home
_EXPANSION = re.compile(r"`|\$(?:\\\n)*[({\w@*#?!$-]", re.ASCII)  # also over a line that goes on


def _refuse_operator(text: str, position: int, *, quoted: bool, word_begins: bool) -> None:
    operator = _EXPANSION.match(text, position)
    if not operator and not quoted:
        operator = _OPERATOR.match(text, position)
    if not operator and not quoted and word_begins:
        operator = _AT_WORD_BEGIN.match(text, position)
    if not operator:
        return
    name = "a line break" if operator[0] == "\n" else f'"{operator[0]}"'
    raise InvalidRequestError(
        f"The test specification contains {name}, which only a shell would understand: "
        f"{excerpt(text[position:])}; schedule one pytest command, and put such characters "
        "in single quotes if they belong to an argument."
    )


def excerpt(text: str) -> str:
    """Return a text for a message, shortened."""
    return repr(text if len(text) <= 40 else text[:37] + "...")
