"""Events as the recorders write them."""

from __future__ import annotations

from typing import Any

Event = dict[str, Any]

_REPORTED: dict[str, Event] = {
    ".": {"outcome": "passed"},
    "F": {"outcome": "failed", "longrepr": "E   boom"},
    "s": {"outcome": "skipped"},
    "x": {"outcome": "skipped", "xfail": True},
    "X": {"outcome": "passed", "xfail": True},
    "R": {"outcome": "rerun"},
}


def start(nodeid: str, moment: float = 1.0) -> Event:
    """Return the start of a test."""
    return {"kind": "start", "id": nodeid, "at": 1_700_000_000.0 + moment, "moment": moment}


def report(nodeid: str, phase: str, letter: str = ".", **more: Any) -> Event:
    """Return one report; the letter is pytest's own, and R for a failure that is to be rerun."""
    event = {"kind": "report", "id": nodeid, "phase": phase, "duration": 0.5, **_REPORTED[letter]}
    if letter != ".":
        event |= {"message": f"{phase} {event['outcome']}", "location": f"test_{phase}.py:1"}
    return event | more


def subtest(nodeid: str, letter: str, description: str = "[part]") -> Event:
    """Return the report of a subtest."""
    return report(nodeid, "call", letter, subtest=description)


def ran(nodeid: str, letters: str = "...", moment: float = 1.0) -> list[Event]:
    """Return the events of one run of a test.

    Args:
        nodeid: The test.
        letters: What setup, call and teardown reported, "-" for a phase that did not run; fewer
            letters than three for a test that was cut off.
        moment: When it started.
    """
    reports = zip(("setup", "call", "teardown"), letters, strict=False)
    return [
        start(nodeid, moment),
        *(report(nodeid, phase, letter) for phase, letter in reports if letter != "-"),
    ]


def finish(nodeid: str, moment: float = 2.0) -> Event:
    """Return the notice that a test ended without the report of a teardown."""
    return {"kind": "finish", "id": nodeid, "moment": moment}


def down(worker: str, moment: float = 2.0, **more: Any) -> Event:
    """Return the controller's notice that a worker has died."""
    event = {"kind": "down", "worker": worker, "text": "Not properly terminated"}
    return {**event, "moment": moment, **more}


def hung(worker: str, nodeid: str) -> Event:
    """Return the runner's notice that it ended a worker over a test that did not end."""
    text = "ran longer than its limit of 5 s"
    return {"kind": "hung", "worker": worker, "id": nodeid, "text": text, "stacks": "File x"}


def crash(nodeid: str, moment: float = 2.0) -> Event:
    """Return xdist's verdict that a test killed its worker."""
    text = f"worker 'gw0' crashed while running '{nodeid}'"
    return {"kind": "crash", "id": nodeid, "text": text, "moment": moment}


def collected(*nodeids: str) -> Event:
    """Return a worker's collection, written where it differs from the scheduled one."""
    return {"kind": "collected", "ids": list(nodeids)}


def refused(worker: str) -> Event:
    """Return the controller's notice that a worker collected other tests than the others."""
    return {**collection_error(f"another collection in worker {worker}"), "refused": worker}


def interrupted(text: str) -> Event:
    """Return the notice that a process of the run stopped early."""
    return {"kind": "interrupted", "text": text}


def internal_error(text: str) -> Event:
    """Return pytest's own failure."""
    return {"kind": "internal_error", "text": text}


def collection_error(nodeid: str, text: str = "E   ImportError") -> Event:
    """Return the failure to collect a file."""
    return {"kind": "collection_error", "id": nodeid, "text": text}
