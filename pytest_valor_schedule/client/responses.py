"""Define the types of what the functions for programs answer.

Every answer is a plain `dict`. No key is required, because an answer to a bad request has `error`
alone: look for that first.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

JobStatusName = Literal["scheduled", "running", "completed", "cancelled"]
JobOutcomeName = Literal[
    "passed", "failed", "no_tests", "timed_out", "incomplete", "error", "cancelled"
]
TestOutcomeName = Literal[
    "passed", "failed", "error", "skipped", "xfailed", "xpassed", "crashed", "not_run"
]
PriorityName = Literal["low", "normal", "high"]


class ErrorResponse(TypedDict, total=False):
    """What every answer may be instead.

    Attributes:
        error: One sentence or more: what is wrong, and what to do.
        status: Of the job that it is about, where that is why.
        exit_code: pytest's, where it could not collect.
        output: What pytest printed then.
    """

    error: str
    status: JobStatusName
    exit_code: int
    output: str


class ScheduleResponse(ErrorResponse, total=False):
    """What `schedule_tests` and `rerun_job` answer.

    Attributes:
        job_id: The new job's.
        tests_to_run: Node ids, in the order of their collection.
        test_count: How many.
        estimated_duration: For people: "1m 30s", a range such as "10s to 2m", or "not known yet".
        timeout_minutes: Minutes after its start at which the job is ended.
        warnings: Sentences about what will not be as it was asked for.
        workers: How many it will have at most (`rerun_job`, as what follows).
        estimated_from: How many runs the estimate is made of.
        estimate: The estimate as people read it.
        place: Where the job stands in the queue, as people read it.
    """

    job_id: str
    tests_to_run: list[str]
    test_count: int
    estimated_duration: str
    timeout_minutes: float
    warnings: list[str]
    workers: int
    estimated_from: str
    estimate: str
    place: str


class ResultFields(TypedDict, total=False):
    """What became of one test; times as ISO 8601 text, durations in seconds.

    Attributes:
        nodeid: Its id.
        outcome: What became of it.
        duration_seconds: Of setup, call and teardown together.
        started_at: When its setup began.
        worker: The worker that ran it, such as "gw0".
        phase: "setup", "call" or "teardown", where it did not pass.
        message: One line: why it did not pass.
        longrepr: pytest's whole text of it.
        sections: Pairs of a title and captured text.
        location: File and line.
        reruns: How often it was tried again.
        crashes: Earlier attempts in which its worker died.
        subtests: What became of each subtest.
        flaky: True where it is bad, and passed when it was run again.
        extra: What the hook `pytest_valor_schedule_result` added.
        unfinished: True where it began, and its worker or the run ended before its teardown did.
    """

    nodeid: str
    outcome: TestOutcomeName
    duration_seconds: float
    started_at: str
    worker: str
    phase: str
    message: str
    longrepr: str
    sections: list[list[str]]
    location: str
    reruns: int
    crashes: list[dict[str, Any]]
    subtests: list[dict[str, Any]]
    flaky: bool
    extra: dict[str, Any]
    unfinished: bool


class SummaryFields(TypedDict, total=False):
    """How many tests had which outcome.

    `total` is the sum of all but `flaky` and `skipped_modules`.
    """

    total: int
    passed: int
    failed: int
    errors: int
    skipped: int
    xfailed: int
    xpassed: int
    crashed: int
    not_run: int
    flaky: int
    skipped_modules: int
    duration_seconds: float


class RunningTestFields(TypedDict, total=False):
    """A test that runs at this moment; `expected_seconds` where something is known of it."""

    worker: str
    nodeid: str
    started_at: str
    expected_seconds: float


class ProgressFields(TypedDict, total=False):
    """How far a running job is.

    Attributes:
        finished: Tests that have ended.
        failed: Those of them that are bad.
        total: All tests of the job.
        memory_mb: What its processes use together.
        running: The tests that run at this moment.
        queued_seconds: What the tests that have not begun are expected to take.
    """

    finished: int
    failed: int
    total: int
    memory_mb: float
    running: list[RunningTestFields]
    queued_seconds: float
    workers: int


class JobStatusResponse(ErrorResponse, total=False):
    """What `get_job_status` and `wait_for_job` answer, and each job of `list_jobs`.

    Times are ISO 8601 text. A field is there when it has a value.
    """

    job_id: str
    specification: str
    cwd: str
    rootdir: str
    interpreter: str
    command: list[str]
    priority: PriorityName
    max_workers: int
    timeout_minutes: float
    test_count: int
    estimated_seconds: float
    estimated_from_runs: int
    estimated_memory_bytes: int
    created_at: str
    notification_chat_id: str
    held: bool
    attempt: int
    workers: int
    useful_workers: int
    slots: list[int]
    peak_memory_bytes: int
    umask: int
    chosen_by_cache: bool
    test_timeout_seconds: float
    stall_seconds: float
    log_mb: float
    order: str
    confirm_failures: int
    flaky_passes: bool
    fork_workers: bool
    random_seed: int
    rerun_of: str
    junit_path: str
    measures_coverage: bool
    shows_workers: bool
    deselected: int
    collection_lines: list[str]
    terminal_size: list[int]
    started_at: str
    completed_at: str
    outcome: JobOutcomeName
    explanation: str
    rounds: int
    ran_in: str
    not_in_session: str
    summary: SummaryFields
    progress: ProgressFields
    estimated_end: str
    queue_position: int
    reason: str
    estimated_start: str
    results: list[ResultFields]


class CollectionErrorFields(TypedDict):
    """A file that could not be collected, and pytest's text of why."""

    nodeid: str
    longrepr: str


class JobResultsResponse(ErrorResponse, total=False):
    """What `get_job_results` answers."""

    job_id: str
    outcome: JobOutcomeName
    started_at: str | None
    completed_at: str
    summary: SummaryFields
    results: list[ResultFields]
    explanation: str
    collection_errors: list[CollectionErrorFields]


class JobListResponse(ErrorResponse, total=False):
    """What `list_jobs` answers: `total` is how many match, `filtered_by` the status or None."""

    jobs: list[JobStatusResponse]
    total: int
    filtered_by: JobStatusName | None


class JobChangeResponse(ErrorResponse, total=False):
    """What `cancel_job`, `hold_job`, `release_job` and `set_priority` answer."""

    job_id: str
    held: bool
    priority: PriorityName


class QueueStateResponse(ErrorResponse, total=False):
    """What `pause_queue` and `resume_queue` answer."""

    paused: bool


class SlowerFields(TypedDict):
    """The seconds that a test took in two runs."""

    before: float
    now: float


class ComparisonResponse(ErrorResponse, total=False):
    """What `compare_jobs` answers: node ids, and of what is slower the seconds."""

    job_id: str
    earlier_job_id: str
    newly_failing: list[str]
    fixed: list[str]
    still_failing: list[str]
    new: list[str]
    gone: list[str]
    not_run: list[str]
    slower: dict[str, SlowerFields]
