"""Parse a command as a person types it. Pure; nothing is given to a shell."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
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
_MODULE_OPTION = re.compile(r"-[a-zA-Z]*m")

_RUN_NO_TEST = (
    *("--collect-only", "--co", "--help", "-h", "--version", "-V", "--fixtures", "--markers"),
    *("--fixtures-per-test", "--cache-show", "--setup-only", "--setup-plan"),
)
_NOT_IN_BACKGROUND = {
    **dict.fromkeys(("--pdb", "--trace"), "opens a debugger"),
    **dict.fromkeys(_RUN_NO_TEST, "runs no test"),
    **dict.fromkeys(("--looponfail", "-f"), "never ends"),
}
_PLUGINS_NEEDED = ("xdist", "xdist.plugin", "valor_schedule")
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
    split = _split_at_pytest(words)
    if split is not None:
        return split
    head = words[0]
    if head.startswith("-") or "::" in head or is_path(head) or head.endswith(".py"):
        return ("pytest",), tuple(words)
    raise InvalidRequestError(
        f"{shell.excerpt(head)} is neither pytest, nor something that starts it (python -m, "
        "uv run, poetry run, pdm run, hatch run, pipenv run, coverage run -m), nor a "
        "test file or folder here; correct it."
    )


def _split_at_pytest(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return a command up to the word that starts pytest, and what is behind; None without one."""
    start = 0
    while _is_runner(words, start):
        start = _behind_runner(words, start)
    name = PurePath(words[start]).name
    if _PYTEST.fullmatch(name) or _HATCH_PYTEST.fullmatch(words[start]):
        return tuple(words[: start + 1]), tuple(words[start + 1 :])
    if _PYTHON.fullmatch(name):
        return _after_module_option(words, start, start + 1)
    if name == "coverage" and words[start + 1 : start + 2] == ["run"]:
        return _after_module_option(words, start, start + 2)
    if start and words[start] == "-m":  # uv run -m pytest
        return _after_module_option(words, start, start)
    return None


def _is_runner(words: Sequence[str], at: int) -> bool:
    return PurePath(words[at]).name in _RUNNERS and list(words[at + 1 : at + 2]) == ["run"]


def _behind_runner(words: Sequence[str], start: int) -> int:
    """Return where the command behind `uv run` begins; the runner's own options come between."""
    i = start + 2
    while i < len(words) and words[i].startswith("-") and words[i] != "-m":
        i += 2 if words[i] in _RUNNER_OPTIONS_WITH_VALUE else 1
    if i < len(words) and (words[i] == "-m" or _starts_pytest(words, i)):
        return i
    raise InvalidRequestError(
        f"{shell.excerpt(' '.join(words[start:]))} does not start pytest; "
        f"write {words[start]} run pytest."
    )


def _starts_pytest(words: Sequence[str], at: int) -> bool:
    name = PurePath(words[at]).name
    matches = _PYTEST.fullmatch(name), _PYTHON.fullmatch(name), _HATCH_PYTEST.fullmatch(words[at])
    return any(matches) or name == "coverage" or _is_runner(words, at)


def _after_module_option(
    words: Sequence[str], head: int, start: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Find `-m pytest` behind an interpreter, or behind `coverage run`."""
    i = start
    while i < len(words) and words[i].startswith("-"):
        if words[i] in ("-mpytest", "-mpy.test"):
            return tuple(words[: i + 1]), tuple(words[i + 1 :])
        if _MODULE_OPTION.fullmatch(words[i]):
            break
        i += 2 if words[i] in _OPTIONS_WITH_VALUE else 1
    if tuple(words[i + 1 : i + 2]) in (("pytest",), ("py.test",)) and words[i].startswith("-"):
        return tuple(words[: i + 2]), tuple(words[i + 2 :])
    raise InvalidRequestError(
        f"{shell.excerpt(' '.join(words[head : start + 2]))} does not start pytest; "
        f"write {' '.join(words[head:start])} -m pytest."
    )


def check_arguments(arguments: Sequence[str]) -> None:
    """Raise InvalidRequestError for pytest arguments that make no sense in the background."""
    before = ""
    for word in arguments:
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
        plugin = word.removeprefix("-p").lstrip("=") if before != "-p" else word
        if (before == "-p" or word.startswith("-pno:")) and plugin.startswith("no:"):
            _check_plugin(plugin.removeprefix("no:"))
        before = word


def _check_plugin(name: str) -> None:
    if name in _PLUGINS_NEEDED:
        raise InvalidRequestError(
            f"-p no:{name} switches off a plugin that a scheduled run needs; leave it out."
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
