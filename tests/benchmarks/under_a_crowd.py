"""What a crowd costs: many who submit, many who wait, a long queue, and a very large job.

`python tests/benchmarks/under_a_crowd.py PART [NUMBER]`, each PART with its usual NUMBER:

- `submit` 100: so many processes submit 3 jobs each at the same moment; who is refused, and when
  the last was served.
- `collect` 100: the same through `schedule_tests`, which starts a pytest for each.
- `queued` 2000: a submission, a look and `watch --once` with so many jobs in the queue.
- `drain` 50: so many jobs of one test on 2 slots.
- `wait` 20: the CPU that so many waiting clients use, and how soon one knows of the end.
- `large` 100000: the most memory of each process of a job with so many tests, beside `-n 2`.
"""

from __future__ import annotations

import functools
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from many_jobs import waiting
from measuring import QUIET, home, moment
from recording import SUITE

from pytest_valor_schedule import (
    cancel_job,
    get_job_status,
    list_jobs,
    schedule_tests,
    wait_for_job,
)
from pytest_valor_schedule._util import locks
from pytest_valor_schedule.client.submit import submit
from pytest_valor_schedule.client.wait import wait_until_ended
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.model.collection import Collection
from pytest_valor_schedule.model.run_options import RunOptions
from pytest_valor_schedule.model.run_request import RunRequest
from pytest_valor_schedule.process import memory
from pytest_valor_schedule.queue.job_row import JobRow, insert
from pytest_valor_schedule.queue.store import JobStore

_JOBS = 3
_PREPARE = """
import os, sys, time
sys.path.insert(0, {here!r})
from pathlib import Path
from under_a_crowd import submit_ready, submit_collected
folder = Path({folder!r})
(folder / str(os.getpid())).touch()
late = time.monotonic() + 120
while not (folder / "go").exists() and time.monotonic() < late:
    time.sleep(0.01)
for _ in range({jobs}):
    begin = time.monotonic()
    try:
        {way}(folder)
        told = "ok"
    except Exception as error:
        told = repr(error).replace(chr(10), " ")
    print(time.monotonic() - begin, told, flush=True)
"""


def submit_ready(folder: Path) -> None:
    """Submit a run whose tests are known."""
    order = RunRequest(
        specification="pytest",
        launcher=(sys.executable, "-m", "pytest"),
        arguments=(*QUIET,),
        cwd=str(folder),
        environment=dict(os.environ),
    )
    found = Collection(
        nodeids=("test_it.py::test_it[0]",), rootdir=str(folder), interpreter=sys.executable
    )
    submit(Home.find(os.environ), order, RunOptions(max_workers=1), found)


def submit_collected(folder: Path) -> None:
    """Have a pytest collect, and submit what it found."""
    answer = schedule_tests("pytest " + " ".join(QUIET), max_workers=1, cwd=folder)
    if "error" in answer:
        raise RuntimeError(answer["error"])


@contextmanager
def nobody_serves() -> Iterator[None]:
    """Nothing starts, because the lock of the dispatcher is held here."""
    found = Home.find(os.environ)
    found.make()
    handle = locks.take_exclusive(found.dispatcher_lock, 1.0, lambda: False)
    assert handle is not None
    yield
    os.close(handle)


def a_project(folder: Path, tests: int = 1) -> Path:
    """Make a project of so many empty tests."""
    project = folder / "project"
    project.mkdir()
    (project / "test_it.py").write_text(SUITE.format(count=tests))
    return project


def crowd(way: str, count: int = 100) -> None:
    """Submit from many processes at once, while nothing starts and while jobs run."""
    for served in (False, True):
        _crowd(way, count, served=served)


def _crowd(way: str, count: int, *, served: bool) -> None:
    with home(VALOR_SCHEDULE_SLOTS="2") as folder:
        project = a_project(folder)
        with nobody_serves() if not served else closing(JobStore(Home.find(os.environ))):
            answers, seconds = _at_once(project, count, way)
        times = sorted(took for took, _ in answers)
        refused = [text for _, text in answers if text != "ok"]
        name = f"{way}, {'a dispatcher at work' if served else 'nothing starts'}"
        print(
            f"{name}: {count} x {_JOBS}: {len(refused)} of {len(answers)} refused, all done in "
            f"{seconds:.1f} s, median {statistics.median(times):.2f} s, longest {times[-1]:.2f} s"
        )
        for text in set(refused):
            print("   ", text[:200])


def _at_once(project: Path, count: int, way: str) -> tuple[list[tuple[float, str]], float]:
    code = _PREPARE.format(
        here=str(Path(__file__).parent), folder=str(project), jobs=_JOBS, way=way
    )
    command = [sys.executable, "-c", code]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    while sum(each.name.isdigit() for each in project.iterdir()) < count:
        time.sleep(0.05)
    begin = time.monotonic()
    (project / "go").touch()
    lines = [line for each in started for line in each.communicate()[0].splitlines()]
    parts = [line.split(" ", 1) for line in lines]
    return [(float(took), told) for took, told in parts], time.monotonic() - begin


def cost(action: Callable[[], object], times: int = 15) -> str:
    """Return how long it takes, and how much of that on a CPU, as others may be busy too."""
    walls, cpus = [], []
    for _ in range(times):
        wall, cpu = time.perf_counter(), time.process_time()
        action()
        walls.append((time.perf_counter() - wall) * 1000)
        cpus.append((time.process_time() - cpu) * 1000)
    return f"{statistics.median(walls):.1f} ms (CPU {statistics.median(cpus):.1f})"


def queued(count: int = 2000) -> None:
    """Look at a long queue, and add to it."""
    for number in (0, count):
        with home(VALOR_SCHEDULE_SLOTS="2") as folder, nobody_serves():
            project = a_project(folder)
            _fill(number)
            adding = cost(functools.partial(submit_ready, project))
            looking = cost(lambda: get_job_status(waiting(1).job_id))
            listing = cost(list_jobs)
            watch = [sys.executable, "-m", "pytest_valor_schedule", "watch", "--once"]
            begin = time.perf_counter()
            lines = subprocess.run(watch, capture_output=True, text=True).stdout.count("\n")
            watching = time.perf_counter() - begin
        print(
            f"{number} queued: a submission {adding}, status {looking}, list {listing}, "
            f"watch --once {lines} lines in {watching:.2f} s"
        )


def _fill(count: int) -> None:
    with (
        closing(JobStore(Home.find(os.environ))) as store,
        store.database.transaction() as connection,
    ):
        for number in range(count):
            insert(connection, JobRow(job=waiting(number), tests=["test_it.py::test_it"]))


def drain(count: int = 50) -> None:
    """Run many jobs of one test."""
    with home(VALOR_SCHEDULE_SLOTS="2") as folder:
        project = a_project(folder)
        with nobody_serves():
            for _ in range(count):
                submit_ready(project)
        submit_ready(project)
        begin = time.monotonic()
        with closing(JobStore(Home.find(os.environ))) as store:
            while store.anything_to_do():
                time.sleep(0.05)
            jobs = store.jobs()
        seconds = time.monotonic() - begin
        ran = statistics.median((job.completed_at or 0.0) - (job.started_at or 0.0) for job in jobs)
        own, others = (each / len(jobs) for each in _cpu_of_dispatcher())
        bad = [job.outcome for job in jobs if job.outcome != "passed"]
        print(
            f"{len(jobs)} jobs of one test: {len(jobs) / seconds:.2f} a second, {ran:.2f} s from "
            f"start to end; CPU of each job: {1000 * own:.0f} ms in the dispatcher, "
            f"{1000 * others:.0f} ms in what it has started; bad: {bad}"
        )


def _cpu_of_dispatcher() -> tuple[float, float]:
    """Return what the processes handed to this one have used, and what their ended children."""
    own = others = 0.0
    for task in Path("/proc/self/task").glob("*/children"):
        for pid in task.read_text().split():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
            user, system, users, systems = (int(each) / os.sysconf("SC_CLK_TCK") for each in fields)
            own, others = own + user + system, others + users + systems
    return own, others


def wait(count: int = 20) -> None:
    """Wait with many clients for two long jobs, and see how soon the end of a short one is known.

    The first job runs meanwhile, the second waits for its slots.
    """
    with home(VALOR_SCHEDULE_SLOTS="1") as folder:
        project = a_project(folder)
        (project / "test_it.py").write_text("import time\ndef test_it(): time.sleep(600)\n")
        for _ in range(2):
            submit_ready(project)
        ids = [job["job_id"] for job in list_jobs()["jobs"]]
        for job_id, what in zip(reversed(ids), ("running", "waiting"), strict=True):
            print(f"{count} who wait for a {what} job: {_cost_of_waiting(job_id, count)}")
        for job_id in ids:
            cancel_job(job_id)
        found = sorted(_latency(project) for _ in range(15))
        print(
            f"the end is known {1000 * statistics.mean(found):.0f} ms after its record on average, "
            f"at most {1000 * found[-1]:.0f} ms"
        )


def _cost_of_waiting(job_id: str, count: int) -> str:
    command = [sys.executable, "-m", "pytest_valor_schedule", "wait", job_id]
    clients = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(count)]
    time.sleep(10)  # until all have started
    before = [_used_by(client) for client in clients]
    begin = time.monotonic()
    time.sleep(8)
    seconds = (time.monotonic() - begin) * count
    used = [
        tuple(new - old for new, old in zip(_used_by(client), had, strict=True))
        for client, had in zip(clients, before, strict=True)
    ]
    for client in clients:
        client.kill()
        client.wait()
    cpu, wakes = (sum(each) / seconds for each in zip(*used, strict=True))
    return f"{100 * cpu:.2f} % of a core and {wakes:.1f} wake-ups a second each"


def _used_by(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """Return the CPU seconds and the wake-ups of a process."""
    cpu = int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[0]) / 1e9
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)
    return cpu, float(found[1] if found else 0)


def _latency(project: Path) -> float:
    (project / "test_it.py").write_text("def test_it(): pass\n")
    answer = schedule_tests("pytest " + " ".join(QUIET), max_workers=1, cwd=project)
    with closing(JobStore(Home.find(os.environ))) as store:
        job = wait_until_ended(store, answer["job_id"], 60.0)
        return time.time() - store.home.record(job.job_id).stat().st_mtime


class Peaks:
    """The most memory of each process below this one, by what it is."""

    def __init__(self) -> None:
        self.found: dict[str, float] = {}
        self._over = threading.Event()

    def __enter__(self) -> Peaks:
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            for pid in memory._descendants(os.getpid(), Path("/proc")):
                try:
                    status = Path(f"/proc/{pid}/status").read_text()
                    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if found := re.search(r"RssAnon:\s+(\d+)", status):
                    name = re.search(r"Name:\t(.*)", status)
                    key = f"{name[1] if name else ''} {pid} {b' '.join(words)[-60:].decode()}"
                    self.found[key] = max(self.found.get(key, 0.0), int(found[1]) / 1024)

    def show(self, title: str) -> None:
        """Print the largest."""
        print(title)
        for key, value in sorted(self.found.items(), key=lambda pair: -pair[1])[:7]:
            print(f"   {value:7.0f} MB  {key}")


def large(count: int = 100_000) -> None:
    """Run a very large job, and the same by hand."""
    with home(VALOR_SCHEDULE_SLOTS="2") as folder:
        project = a_project(folder, count)
        for options in (["--collect-only", "-qq"], ["-n", "2"]):
            with Peaks() as peaks:
                begin = time.monotonic()
                command = [sys.executable, "-m", "pytest", *QUIET, *options]
                subprocess.run(command, cwd=project, stdout=subprocess.DEVNULL)
            peaks.show(f"pytest {' '.join(options)}: {time.monotonic() - begin:.1f} s")
        with Peaks() as peaks:
            begin = time.monotonic()
            answer = schedule_tests("pytest " + " ".join(QUIET), max_workers=2, cwd=project)
            print(f"schedule_tests: {time.monotonic() - begin:.1f} s")
        peaks.show("schedule_tests")
        with Peaks() as peaks:
            wait_for_job(answer["job_id"])
        status = get_job_status(answer["job_id"])
        took = moment(status, "completed_at") - moment(status, "created_at")
        peaks.show(f"job: {status['outcome']} in {took:.1f} s")
        for words in (["results"], ["wait"], ["status"], ["results", "--slowest", "3"], ["diff"]):
            command = [sys.executable, "-m", "pytest_valor_schedule", *words, answer["job_id"]]
            begin = time.monotonic()
            with subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ) as it:
                used = os.wait4(it.pid, 0)[2]
                it.returncode = 0
            print(
                f"{' '.join(words)}: {used.ru_maxrss / 1024:.0f} MB, "
                f"{time.monotonic() - begin:.2f} s"
            )


def main() -> None:
    """Do the part that is named."""
    part, *number = sys.argv[1:] or [""]
    actions: dict[str, Callable[..., None]] = {
        "submit": functools.partial(crowd, "submit_ready"),
        "collect": functools.partial(crowd, "submit_collected"),
        **{each.__name__: each for each in (queued, drain, wait, large)},
    }
    if part not in actions:
        sys.exit(f"PART is {part!r}, but must be one of {', '.join(actions)}.")
    actions[part](*map(int, number))


if __name__ == "__main__":
    main()
