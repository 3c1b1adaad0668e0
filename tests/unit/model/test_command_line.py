"""Commands as people type them."""

from __future__ import annotations

import shlex
import subprocess
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_valor_schedule.errors import InvalidRequestError
from pytest_valor_schedule.model import command_line, shell
from pytest_valor_schedule.model.command_line import Specification
from tests.support.properties import steady

Words = tuple[str, ...]


def _parse(text: str) -> Specification:
    return command_line.parse(text, {"tests", "src"}.__contains__)


@pytest.mark.parametrize(
    ("text", "launcher", "arguments"),
    [
        ("pytest", "pytest", ()),
        ("pytest tests/ -v", "pytest", ("tests/", "-v")),
        (" \n pytest\ttests  \n", "pytest", ("tests",)),
        ("py.test -x", "py.test", ("-x",)),
        (".venv/bin/pytest -x", ".venv/bin/pytest", ("-x",)),
        ("python -m pytest -k fast", "python -m pytest", ("-k", "fast")),
        ("python -mpytest -x", "python -mpytest", ("-x",)),
        ("python3.12 -X dev -W error -m py.test", "python3.12 -X dev -W error -m py.test", ()),
        ("/opt/pypy3 -u -m pytest", "/opt/pypy3 -u -m pytest", ()),
        ("coverage run -m pytest tests", "coverage run -m pytest", ("tests",)),
        ("coverage run --branch -m pytest", "coverage run --branch -m pytest", ()),
        ("coverage run --source src -m pytest", "coverage run --source src -m pytest", ()),
        ("python -Im pytest -q", "python -Im pytest", ("-q",)),
        ("uv run pytest", "uv run pytest", ()),
        ("uv run --frozen pytest -x", "uv run --frozen pytest", ("-x",)),
        ("uv run --with a-plugin pytest", "uv run --with a-plugin pytest", ()),
        ("uv run --with pytest pytest tests", "uv run --with pytest pytest", ("tests",)),
        ("uv run --python python3.12 pytest", "uv run --python python3.12 pytest", ()),
        ("uv run -m pytest -x", "uv run -m pytest", ("-x",)),
        ("uv run python -m pytest tests", "uv run python -m pytest", ("tests",)),
        ("uv run coverage run -m pytest", "uv run coverage run -m pytest", ()),
        ("poetry run pytest -q", "poetry run pytest", ("-q",)),
        ("pdm run pytest", "pdm run pytest", ()),
        ("pipenv run py.test", "pipenv run py.test", ()),
        ("hatch run pytest", "hatch run pytest", ()),
        ("hatch run test.py3:pytest -x", "hatch run test.py3:pytest", ("-x",)),
        ("tests", "pytest", ("tests",)),
        ("src -x", "pytest", ("src", "-x")),
        ("tests/test_a.py::test_b[1-x]", "pytest", ("tests/test_a.py::test_b[1-x]",)),
        ("test_new.py", "pytest", ("test_new.py",)),
        ("-k fast", "pytest", ("-k", "fast")),
        ("-m pytest", "pytest", ("-m", "pytest")),
    ],
)
def test_a_command_is_split_into_launcher_and_arguments(
    text: str, launcher: str, arguments: Words
) -> None:
    """What starts pytest is told apart from what pytest gets."""
    parsed = _parse(text)
    assert parsed.launcher == tuple(launcher.split())
    assert parsed.arguments == arguments
    assert parsed.environment == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('-k "a or b"', ("-k", "a or b")),
        ("-k 'a or b'", ("-k", "a or b")),
        (r"a\ b", ("a b",)),
        (r'"a\"b"', ('a"b',)),
        (r"'a\b'", (r"a\b",)),
        ("a'b'\"c\"", ("abc",)),
        ("''", ("",)),
        ("a#b~c", ("a#b~c",)),
        ("'#' \"~\" \\~", ("#", "~", "~")),
        (r"\;", (";",)),
        ('"a;b|c&d>(e)"', ("a;b|c&d>(e)",)),
        (r'"\$HOME"', ("$HOME",)),
        ("a \\\n  b", ("a", "b")),
    ],
)
def test_words_are_split_as_a_shell_splits_them(text: str, words: Words) -> None:
    """Quotes, backslashes and continued lines mean what they mean in a shell."""
    assert _parse(f"pytest {text}").arguments == words


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        ("A=1 pytest", (("A", "1"),)),
        ("A=1 B= C_2=x=y pytest", (("A", "1"), ("B", ""), ("C_2", "x=y"))),
        ("A='x y;z' uv run pytest", (("A", "x y;z"),)),
        ("A=1 -k B=2", (("A", "1"),)),
    ],
)
def test_leading_assignments_are_the_environment(text: str, environment: tuple[Words, ...]) -> None:
    """NAME=value before the command sets a variable, and behind it it is an argument."""
    assert _parse(text).environment == environment


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" pytest -k 'a b' ", "pytest -k 'a b'"),
        ("A=1 KEYBOARD=2 pytest  -x", "A=1 KEYBOARD=2 pytest  -x"),
        ("API_TOKEN=s3cret A='1 2' pytest -k 'a b'", "API_TOKEN=*** A='1 2' pytest -k 'a b'"),
        ("DB=postgres://me:s3cret@host/db pytest", "DB=*** pytest"),
        ("DB=postgres://host/db pytest", "DB=postgres://host/db pytest"),
        ("VALOR_SCHEDULE_NOTIFY=slack://s3cret tests", "VALOR_SCHEDULE_NOTIFY=*** tests"),
    ],
)
def test_what_may_be_secret_is_not_shown(text: str, shown: str) -> None:
    """A variable that the command sets keeps its value to itself if that looks like a secret."""
    assert shell.without_secrets(text) == shown


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        (None, "is None"),
        (5, "is 5"),
        (["pytest"], "but must be a text"),
        ("pytest 'a b", 'unclosed quote: "\'a b"'),
        ('pytest "a', "unclosed quote"),
        ("pytest \\", "lone backslash"),
        ("pytest a\0b", "NUL"),
        ("pytest \ud800", "lone surrogate"),
        ("coverage report", "'coverage' is neither pytest"),
        ("A=1 B=2", "names no command"),
        ("make test", "'make' is neither pytest"),
        ("bash -c pytest", "'bash' is neither pytest"),
        ("uv sync", "'uv' is neither pytest"),
        ("nowhere", "'nowhere' is neither pytest"),
        ("python", "'python' does not start pytest; write python -m pytest"),
        ("python setup.py test", "'python setup.py test' does not start pytest"),
        ("python -c pass", "'python -c pass' does not start pytest"),
        ("python -m unittest", "'python -m unittest' does not start pytest"),
        ("python -m", "does not start pytest"),
        ("coverage run -m unittest", "write coverage run -m pytest"),
        ("uv run", "write uv run pytest"),
        ("poetry run ruff check", "'poetry run ruff check' does not start pytest"),
        ("uv run python setup.py", "'python setup.py' does not start pytest"),
    ],
)
def test_what_does_not_start_pytest_is_refused(text: Any, named: str) -> None:
    """The refusal quotes the part that cannot be used."""
    with pytest.raises(InvalidRequestError) as refused:
        _parse(text)
    assert named in str(refused.value)


OPERATORS = [";", "&", "&&", "|", "||", "<", ">", ">>", "(", ")"]
EXPANSIONS = ["`ls`", "$(ls)", "${HOME}", "$HOME"]
HARD_TO_QUOTE = "'\n\0\\\""


@pytest.mark.parametrize("operator", [*OPERATORS, *EXPANSIONS])
@pytest.mark.parametrize("text", ["pytest a{}b", "pytest {}", "pytest a {} b", "A={} pytest"])
def test_an_unquoted_operator_is_refused(operator: str, text: str) -> None:
    """What only a shell would understand is named, and never handed on."""
    with pytest.raises(InvalidRequestError) as refused:
        _parse(text.format(operator))
    named = operator if operator in OPERATORS else operator[:2].rstrip("l")
    assert f'contains "{named}"' in str(refused.value)
    assert "single quotes" in str(refused.value)


@pytest.mark.parametrize("text", ["pytest a # b", "pytest #b", "pytest ~/a", "# pytest"])
def test_a_comment_or_home_at_the_begin_of_a_word_is_refused(text: str) -> None:
    """A shell would leave out the one and replace the other, so neither is handed on."""
    with pytest.raises(InvalidRequestError, match=r'contains "[#~]"'):
        _parse(text)


def test_a_second_line_is_refused() -> None:
    """Two lines are two commands, and only one can be scheduled."""
    with pytest.raises(InvalidRequestError, match="contains a line break"):
        _parse("pytest a\npytest b")


@pytest.mark.parametrize("expansion", EXPANSIONS)
def test_double_quotes_do_not_protect_an_expansion(expansion: str) -> None:
    """A shell expands inside of double quotes, so it is refused there too."""
    with pytest.raises(InvalidRequestError, match="only a shell"):
        _parse(f'pytest "{expansion}"')


@pytest.mark.parametrize("text", [*OPERATORS, *EXPANSIONS, "a\nb"])
def test_in_single_quotes_everything_is_text(text: str) -> None:
    """Single quotes make any character a part of the argument."""
    assert _parse(f"pytest -k '{text}'").arguments == ("-k", text)


@steady
@given(
    st.sampled_from([*OPERATORS, *EXPANSIONS]),
    st.text(st.characters(exclude_characters=HARD_TO_QUOTE, exclude_categories=["Cs"])),
    st.text(st.characters(exclude_characters=HARD_TO_QUOTE, exclude_categories=["Cs"])),
)
def test_an_operator_is_found_anywhere(operator: str, before: str, after: str) -> None:
    """Outside of quotes an operator is refused whatever stands around it, inside it is text."""
    with pytest.raises(InvalidRequestError):
        _parse(f"pytest {before}{operator}{after}")
    text = before + operator + after
    assert _parse(f"pytest ./'{text}'").arguments == (f"./{text}",)


@steady
@given(st.lists(st.text().filter(lambda word: "\0" not in word and not word.startswith("-"))))
def test_quoted_arguments_are_given_back(words: list[str]) -> None:
    """Arguments that a program quotes by shlex.join arrive as they were."""
    assert _parse(shlex.join(["pytest", *words])).arguments == tuple(words)


_SHELL_PIECES = st.sampled_from(
    ["a", "é", " ", "\t", "'", '"', "\\", "\\\n", "\n", "$", "$1", "$$", "`", "#", " #", "~", "="]
)


@steady
@example("$\\\na")
@given(st.lists(_SHELL_PIECES, max_size=8).map("".join))
def test_words_are_those_of_a_shell(text: str) -> None:
    """What is not refused is split as `sh` splits it, where no files are looked for."""
    try:
        words = _parse(f"pytest -- {text}").arguments
    except InvalidRequestError:
        return
    script = f"set -f; printf '%s\\0' -- {text.strip()}"
    split = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True).stdout
    assert words == tuple(split.decode().split("\0")[:-1])


_PIECES = st.sampled_from(
    [
        *("pytest", "python", "-m", "-mpytest", "uv", "run", "hatch", "coverage", "A=1", "tests"),
        *("-p", "no:xdist", "--pdb", "--", "--schedule", "--priority", "-k", "=", ":", "::", "."),
        *(" ", "'", '"', "\\", "$", "`", "(", "\n", "\t", "\r", "\0", "#", "é", "\u2028", "\ud800"),
    ]
)


@steady
@given(st.text() | st.lists(_PIECES).map(" ".join) | st.lists(_PIECES).map("".join))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """No text leads to another error than a refusal."""
    try:
        parsed = _parse(text)
    except InvalidRequestError:
        return
    assert parsed.launcher
    assert command_line.without_schedule_flags(parsed.arguments) == parsed.arguments


def test_a_chain_of_launchers_may_be_long() -> None:
    """However many launchers start one another, the last one starts pytest."""
    assert _parse("uv run " * 1000 + "pytest tests").arguments == ("tests",)


@pytest.mark.parametrize(
    "arguments",
    [
        *("--pdb", "--trace", "--collect-only", "--co", "--help", "-h", "--version", "-V"),
        *("--fixtures", "--markers", "--cache-show", "--cache-show=x", "--setup-only"),
        *("--setup-plan", "--looponfail", "-f", "tests -x --pdb"),
    ],
)
def test_what_makes_no_sense_in_the_background_is_refused(arguments: str) -> None:
    """An option that debugs or runs no test is named, with the way out."""
    option = arguments.split()[-1].split("=")[0]
    with pytest.raises(InvalidRequestError, match=rf"^{option} .*background; leave it out, or"):
        command_line.check_arguments(arguments.split())


@pytest.mark.parametrize("arguments", ["--priority high", "--max-workers=4", "--notify me"])
def test_options_of_scheduling_are_refused_in_a_specification(arguments: str) -> None:
    """How to schedule is said by arguments of the call, and not twice."""
    with pytest.raises(InvalidRequestError, match="give it as an argument of the call"):
        _parse(f"pytest {arguments}")


@pytest.mark.parametrize("plugin", ["xdist", "xdist.plugin", "valor_schedule"])
@pytest.mark.parametrize("option", ["-p no:{}", "-pno:{}"])
def test_a_needed_plugin_cannot_be_switched_off(option: str, plugin: str) -> None:
    """A run that could not be recorded is refused before it is scheduled."""
    with pytest.raises(InvalidRequestError, match=rf"^-p no:{plugin} "):
        command_line.check_arguments(option.format(plugin).split())


@pytest.mark.parametrize(
    "arguments",
    [
        *("", "-x -vv --tb=short -n 8 --dist loadfile", "-p no:cacheprovider", "-pno:randomly"),
        *("-p xdist", "tests no:xdist", "--pdbcls=a:b", "--trace-config", "-- --pdb"),
    ],
)
def test_other_arguments_are_accepted(arguments: str) -> None:
    """All else is pytest's own business."""
    command_line.check_arguments(arguments.split())


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ("", ""),
        ("--schedule", ""),
        ("-x --schedule tests --schedule-wait -v", "-x tests -v"),
        ("--priority high -x --max-workers=4 tests", "-x tests"),
        ("--timeout-minutes 5 --notify me a", "a"),
        ("a --priority", "a"),
        ("--schedule -- --schedule --priority x", "-- --schedule --priority x"),
        ("--scheduled --priority-list", "--scheduled --priority-list"),
    ],
)
def test_flags_of_scheduling_are_left_out(arguments: str, kept: str) -> None:
    """A job's pytest does not get what only says that and how to schedule."""
    assert command_line.without_schedule_flags(arguments.split()) == tuple(kept.split())


@pytest.mark.parametrize(
    ("argv", "arguments", "command"),
    [
        ("py -m pytest tests -x", "tests -x", "EXE -m pytest"),
        ("py -X dev -m pytest", "", "EXE -X dev -m pytest"),
        ("py -m py.test a", "a", "EXE -m py.test"),
        ("py /bin/pytest -v", "-v", "EXE /bin/pytest"),
        ("py /bin/coverage run -m pytest x", "x", "EXE /bin/coverage run -m pytest"),
        ("py script.py", "tests", "EXE -m pytest"),
        ("py script.py", "", "EXE -m pytest"),
        ("py script.py tests", "tests", "EXE -m pytest"),
        ("py -m unittest", "", "EXE -m pytest"),
        ("py", "", "EXE -m pytest"),
        ("py", "a b c", "EXE -m pytest"),
        ("", "", "EXE -m pytest"),
    ],
)
def test_an_invocation_starts_the_same_pytest_again(
    argv: str, arguments: str, command: str
) -> None:
    """A command line is repeated without its arguments, and a program gets `python -m pytest`."""
    started = command_line.invocation("EXE", argv.split(), arguments.split())
    assert started == tuple(command.split())
