"""What the functions for programs answer has types, and the types are true."""

from __future__ import annotations

import re
import subprocess
import sys
import typing
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any

import pytest

import pytest_valor_schedule
from tests.support.scheduled import GATED, open_gate, results_of

pytestmark = pytest.mark.usefixtures("warm_collection")

PROGRAM = """
from pytest_valor_schedule import get_job_results, get_job_status, schedule_tests
answer = schedule_tests("pytest", timeout_minutes=0.5)
if "error" in answer:
    raise SystemExit(answer["error"])
status = get_job_status(answer["job_id"])
print(status["status"], status["summary"]["passed"])
print([each["nodeid"] for each in get_job_results(answer["job_id"])["results"]])
"""


def _mypy(program: Path) -> str:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", str(program)]
    return subprocess.run(command, capture_output=True, text=True, cwd=program.parent).stdout


def test_a_checker_of_types_finds_what_is_mistyped(tmp_path: Path) -> None:
    """A program that is right passes `mypy --strict`, and each wrong key in it is refused."""
    program = tmp_path / "program.py"
    wrong = ('status["statsu"]', 'answer["id"]', 'status["summary"]["pass"]', "status.status")
    program.write_text(PROGRAM + "".join(f"print({each})\n" for each in wrong))
    found = _mypy(program)
    first = len(PROGRAM.splitlines()) + 1
    lines = re.findall(r"^program\.py:(\d+): error: ", found, re.MULTILINE)
    assert lines == [str(first + number) for number in range(len(wrong))], found
    assert '"statsu"' in found


def _misfits(answer: object, wanted: Any, path: str = "answer") -> list[str]:
    """Return what in an answer is not as its type says."""
    origin, inside = typing.get_origin(wanted), typing.get_args(wanted)
    if wanted is Any:
        return []
    if typing.is_typeddict(wanted):
        return _misfits_of_keys(answer, wanted, path)
    if origin is typing.Literal:
        return [] if answer in inside else [f"{path}: {answer!r}"]
    if origin in (UnionType, typing.Union):
        return [] if any(not _misfits(answer, each) for each in inside) else [f"{path}: {answer!r}"]
    if origin is list:
        assert isinstance(answer, list), path
        return [text for each in answer for text in _misfits(each, inside[0], path + "[]")]
    if origin is dict:
        assert isinstance(answer, dict), path
        return [text for each in answer.values() for text in _misfits(each, inside[1], path)]
    kinds = (int, float) if wanted is float else wanted
    return [] if isinstance(answer, kinds) else [f"{path}: {answer!r} is no {wanted}"]


def _misfits_of_keys(answer: object, wanted: Any, path: str) -> list[str]:
    assert isinstance(answer, Mapping), path
    kinds = typing.get_type_hints(wanted)
    unknown = [f"{path}.{key}" for key in answer.keys() - kinds.keys()]
    known = [key for key in answer if key in kinds]
    return unknown + [
        text for key in known for text in _misfits(answer[key], kinds[key], f"{path}.{key}")
    ]


def _checked(function: Any, *arguments: Any, **options: Any) -> Any:
    answer = function(*arguments, **options)
    assert _misfits(answer, typing.get_type_hints(function)["return"]) == []
    return answer


def test_every_answer_is_of_its_type(project: Path) -> None:
    """Of jobs that wait, run, have ended in several ways, and of what is impossible."""
    ours = pytest_valor_schedule
    project.joinpath("test_gated.py").write_text(
        GATED + "def test_bad(): print('text'); assert 0\n"
        "def test_skip(): import pytest; pytest.skip('so')\n"
    )
    first = _checked(ours.schedule_tests, "pytest", timeout_minutes=1.5)["job_id"]
    second = _checked(ours.schedule_tests, "pytest -k bad")["job_id"]
    _checked(ours.hold_job, second)
    _checked(ours.set_priority, second, "high")
    for job_id in (first, second):
        _checked(ours.get_job_status, job_id)
    _checked(ours.list_jobs)
    _checked(ours.release_job, second)
    open_gate()
    for job_id in (first, second):
        results_of(job_id)
        _checked(ours.get_job_results, job_id)
        _checked(ours.wait_for_job, job_id, 0)
    _checked(ours.compare_jobs, second, first)
    again = _checked(ours.rerun_job, first, failed=True)["job_id"]
    _checked(ours.cancel_job, again)
    _checked(ours.pause_queue)
    _checked(ours.resume_queue)
    for function in (ours.get_job_status, ours.get_job_results, ours.cancel_job, ours.compare_jobs):
        assert "error" in _checked(function, "none")
    assert "error" in _checked(ours.schedule_tests, "pytest 'never closed")
