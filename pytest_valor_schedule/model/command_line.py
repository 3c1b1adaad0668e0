"""Parse a command as a person types it. Pure; nothing is given to a shell."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import PurePath

from pytest_valor_schedule.errors import InvalidRequestError
from pytest_valor_schedule.model import shell

_PYTHON = re.compile(r"(python|pypy)[0-9.]*(\.exe)?")
_PYTEST = re.compile(r"(pytest|py\.test)(\.exe)?")
_RUNNERS = ("uv", "poetry", "pdm", "hatch", "pipenv")
_HATCH_PYTEST = re.compile(r"[\w.-]+:(pytest|py\.test)")
_RUNNER_OPTIONS_WITH_VALUE = (
    *("--with", "--with-editable", "--with-requirements", "--python", "-p", "--extra", "--group"),
    *("--only-group", "--no-group", "--package", "--project", "--directory", "--env-file"),
    *("--index", "--index-url", "--default-index", "-C", "-P", "-e", "--env"),
)
_OPTIONS_WITH_VALUE = (  # of python and of coverage run
    *("-X", "-W", "--check-hash-based-pycs", "--source", "--omit", "--include", "--rcfile"),
    *("--concurrency", "--context", "--data-file"),
)
_MODULE_OPTION = re.compile(r"-[a-zA-Z]*m(pytest|py\.test)?")

_RUN_NO_TEST = (
    *("--collect-only", "--co", "--help", "-h", "--version", "-V", "--fixtures", "--markers"),
    *("--fixtures-per-test", "--cache-show", "--setup-only", "--setup-plan"),
)
_NOT_IN_BACKGROUND = {
    **dict.fromkeys(("--pdb", "--trace"), "opens a debugger"),
    **dict.fromkeys(_RUN_NO_TEST, "runs no test"),
    **dict.fromkeys(("--looponfail", "-f"), "never ends"),
}
_NEEDED_PLUGIN_OFF = ("-pno:xdist", "-pno:xdist.plugin", "-pno:valor_schedule")
_SCHEDULE_FLAGS = ("--schedule", "--schedule-wait")
_SCHEDULE_OPTIONS = (
    *("--priority", "--max-workers", "--timeout-minutes", "--notify", "--confirm-failures"),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Specification:
    """A parsed command.

    Attributes:
        environment: The leading NAME=value pairs.
        launcher: What starts pytest, such as ("uv", "run", "pytest"); ("pytest",) or ("python",
            "-m", "pytest") without a path mean the interpreter that schedules.
        arguments: What pytest gets.
    """

    environment: tuple[tuple[str, str], ...]
    launcher: tuple[str, ...]
    arguments: tuple[str, ...]


def parse(text: str, is_path: Callable[[str], bool]) -> Specification:
    """Return what a command means.

    Args:
        text: A command such as "uv run pytest -x", or bare pytest arguments.
        is_path: Tells whether a word names a file or folder, seen from the working directory.

    Raises:
        InvalidRequestError: naming the part that cannot be used.
    """
    words = shell.split(text)
    environment = shell.assignments(words)
    launcher, arguments = _launcher(words[len(environment) :], is_path)
    check_arguments(arguments)
    return Specification(
        environment=environment,
        launcher=launcher,
        arguments=without_schedule_flags(arguments),
    )


def _launcher(
    words: Sequence[str], is_path: Callable[[str], bool]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what starts pytest, and pytest's arguments."""
    if not words:
        raise InvalidRequestError("The test specification sets variables but names no command.")
    start = 0
    while _is_runner(words, start):
        start = _behind_options(words, start + 2, _RUNNER_OPTIONS_WITH_VALUE)
    if (end := _behind_pytest(words, start)) is not None:
        return tuple(words[:end]), tuple(words[end:])
    if start:
        raise InvalidRequestError(
            f"{shell.excerpt(' '.join(words))} does not start pytest; write {words[0]} run pytest."
        )
    head = words[0]
    if head.startswith("-") or "::" in head or is_path(head) or head.endswith(".py"):
        return ("pytest",), tuple(words)
    raise InvalidRequestError(
        f"{shell.excerpt(head)} is neither pytest, nor something that starts it (python -m, "
        "uv run, poetry run, pdm run, hatch run, pipenv run, coverage run -m), nor a "
        "test file or folder here; correct it."
    )


def _is_runner(words: Sequence[str], at: int) -> bool:
    return list(words[at + 1 : at + 2]) == ["run"] and PurePath(words[at]).name in _RUNNERS


def _behind_options(words: Sequence[str], start: int, with_value: Sequence[str]) -> int:
    """Return where options end, or the one stands that names a module."""
    i = start
    while i < len(words) and words[i].startswith("-") and not _MODULE_OPTION.fullmatch(words[i]):
        i += 2 if words[i] in with_value else 1
    return min(i, len(words))


def _behind_pytest(words: Sequence[str], start: int) -> int | None:
    """Return where pytest's arguments begin; None if what stands there does not start pytest."""
    head, *others = words[start : start + 2] or [""]
    name = PurePath(head).name
    if _PYTEST.fullmatch(name) or _HATCH_PYTEST.fullmatch(head):
        return start + 1
    if _PYTHON.fullmatch(name):
        return _behind_module(words, start, start + 1)
    if name == "coverage" and others == ["run"]:
        return _behind_module(words, start, start + 2)
    if start and head == "-m":  # uv run -m pytest
        return _behind_module(words, 0, start)
    return None


def _behind_module(words: Sequence[str], head: int, start: int) -> int:
    """Return where the arguments behind `-m pytest` of an interpreter or `coverage run` begin."""
    i = _behind_options(words, start, _OPTIONS_WITH_VALUE)
    option = _MODULE_OPTION.fullmatch(words[i]) if i < len(words) else None
    if option and option[1]:
        return i + 1
    if option and list(words[i + 1 : i + 2]) in (["pytest"], ["py.test"]):
        return i + 2
    raise InvalidRequestError(
        f"{shell.excerpt(' '.join(words[head : start + 2]))} does not start pytest; "
        f"write {' '.join(words[head:start])} -m pytest."
    )


def check_arguments(arguments: Sequence[str]) -> None:
    """Raise InvalidRequestError for pytest arguments that make no sense in the background."""
    for before, word in pairwise(("", *arguments)):
        if word == "--":
            return
        option = word.split("=", 1)[0]
        if option in _NOT_IN_BACKGROUND:
            raise InvalidRequestError(
                f"{option} {_NOT_IN_BACKGROUND[option]}, which makes no sense in the background; "
                "leave it out, or run pytest directly."
            )
        if option in _SCHEDULE_OPTIONS:
            raise InvalidRequestError(
                f"{option} belongs to pytest --schedule; give it as an argument of the call."
            )
        joined = f"-p{word}" if before == "-p" else word
        if joined in _NEEDED_PLUGIN_OFF:
            raise InvalidRequestError(
                f"-p {joined[2:]} switches off a plugin that a scheduled run needs; leave it out."
            )


def without_schedule_flags(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return pytest arguments without those that only say that and how to schedule."""
    others: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            return (*others, word, *words)
        if word in _SCHEDULE_OPTIONS:
            next(words, None)
        elif word not in _SCHEDULE_FLAGS and word.split("=", 1)[0] not in _SCHEDULE_OPTIONS:
            others.append(word)
    return tuple(others)


def invocation(executable: str, argv: Sequence[str], arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the command that starts the pytest of this process once more.

    Args:
        executable: `sys.executable`.
        argv: `sys.orig_argv`.
        arguments: What that pytest got, which are the last words of argv if it was started from
            a command line.
    """
    count = len(argv) - len(arguments)
    head = list(argv[1:count]) if list(argv[count:]) == list(arguments) else []
    module = head[-2:] in (["-m", "pytest"], ["-m", "py.test"])
    script = bool(head) and _PYTEST.fullmatch(PurePath(head[-1]).name) is not None
    return (executable, *head) if module or script else (executable, "-m", "pytest")
