"""Run each command of the command line, over the functions for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence

from pytest_valor_schedule.cli import parser
from pytest_valor_schedule.cli.output import Options, in_colour, print_lines, show, write
from pytest_valor_schedule.client import job_answers
from pytest_valor_schedule.model.job_terms import JobStatus
from pytest_valor_schedule.text import render
from pytest_valor_schedule.text.render import Response

TYPE_CHECKING: bool = False  # without typing: see cli/__init__
if TYPE_CHECKING:
    from typing import Any

_TRY_AGAIN = 75  # EX_TEMPFAIL: the time is over, the job is not
_PAUSED = "paused: no further job starts until `valor-schedule resume`; what runs goes on"


def _job(options: Options) -> str:
    """Return the id that was given, or that of the newest job scheduled from this folder."""
    job: str | None = options.job
    return job if job is not None else job_answers.newest_job_here()


def _run(options: Options) -> int:
    from pytest_valor_schedule.client import schedule

    parser.refuse_late(options.handed_on)
    return _show_receipt(options, schedule.schedule_arguments(options.handed_on, vars(options)))


def _rerun(options: Options) -> int:
    from pytest_valor_schedule.client import schedule

    options.wait = False
    return _show_receipt(options, schedule.rerun_job(_job(options), failed=options.failed))


def _show_receipt(options: Options, answer: Response) -> int:
    """Show a new job; with --wait what became of it."""
    from pytest_valor_schedule.client import wait

    if "error" in answer or not options.wait:
        code = show(options, answer, render.receipt_lines)
        return int(answer.get("exit_code") or code)
    if not options.json:
        print_lines(render.receipt_lines(answer))
        sys.stdout.flush()
    status = wait.wait_for_job(answer["job_id"])
    if options.json:
        show(options, {**answer, **status}, lambda _: [])
    else:
        print_lines(_result_lines({**answer, **status}, {}))
    return render.exit_code(status)


def _result_lines(answer: Response, options: Mapping[str, Any]) -> Sequence[str]:
    """Return the results of a job as lines."""
    from pytest_valor_schedule.text import result_list

    if "error" in answer:
        return [f"error: {answer['error']}"]
    brief = not (options.get("failed") or options.get("all") or options.get("slowest") is not None)
    streaks: Response = {}
    if brief and any(map(result_list.needs_a_look, answer["results"])):
        from pytest_valor_schedule.client import compare

        streaks = compare.count_failures_in_a_row(answer["job_id"])
    return result_list.lines(answer, streaks, options)


def _list(options: Options) -> int:
    status = options.status and JobStatus(options.status)
    answer = job_answers.job_list(status, options.limit)
    return show(options, answer, lambda a: render.list_lines(a["jobs"], a["total"]))


def _status(options: Options) -> int:
    answer = job_answers.job_status(_job(options), results=options.json)
    return show(options, answer, render.status_lines)


def _watch(options: Options) -> int:
    from pytest_valor_schedule.cli import refresh
    from pytest_valor_schedule.client import administer

    if options.json:
        return show(
            options, {**job_answers.job_list(None, 50), **administer.list_slots()}, lambda _: []
        )
    refresh.watch(once=options.once)
    return 0


def _wait(options: Options) -> int:
    from pytest_valor_schedule.client import wait

    answer = wait.wait_for_job(_job(options), options.timeout, results=options.json)
    code = show(options, answer, render.status_lines)
    if code or answer.get("outcome"):
        return code or render.exit_code(answer)
    return _TRY_AGAIN


def _follow(options: Options) -> int:
    from pytest_valor_schedule.cli import refresh
    from pytest_valor_schedule.text.screen import Screen

    screen = Screen(sys.stdout, columns=None)
    answer = refresh.follow(
        _job(options), show=(lambda piece: None) if options.json else screen.show
    )
    show(options, answer, lambda a: ["", *render.status_lines(a)])
    return render.exit_code(answer)


def _logs(options: Options) -> int:
    from pytest_valor_schedule.client import query

    as_printed = not options.json and in_colour(sys.stdout)
    answer = query.read_output(_job(options), as_printed=as_printed)
    if not options.json and answer.get("output") == "":
        print(f"There is no output of job {answer['job_id']}.", file=sys.stderr)
    return show(options, answer, lambda a: a["output"].removesuffix("\n").split("\n"))


def _results(options: Options) -> int:
    from pytest_valor_schedule.text import result_list

    whole = options.all or options.slowest or options.junit or options.json
    keep = None if whole and not options.failed else result_list.needs_a_look
    answer = job_answers.job_results(_job(options), keep)
    if "error" in answer:
        return show(options, answer, lambda _: [])
    if options.junit is not None:
        from pytest_valor_schedule.record import junit

        write(options.junit, junit.junit_xml(answer))
        return 0
    if options.json:
        results = result_list.select(answer["results"], options.failed, options.slowest)
        return show(options, {**answer, "results": results}, lambda _: [])
    print_lines(_result_lines(answer, vars(options)))
    return 0


def _diff(options: Options) -> int:
    from pytest_valor_schedule.client import compare
    from pytest_valor_schedule.text import result_list

    answer = compare.compare_jobs(_job(options), options.earlier)
    return show(options, answer, result_list.diff_lines) or int(
        bool(answer["newly_failing"] or answer["not_run"])
    )


def _replay(options: Options) -> int:
    from pytest_valor_schedule.cli import replay_command
    from pytest_valor_schedule.client import query

    if options.handed_on or not query.read_output(options.job).get("output"):
        return replay_command.replay(options.job, options.handed_on)
    record = query.get_record(options.job)
    if "error" in record:
        return show(options, record, lambda _: [])
    text = query.read_output(options.job, as_printed=in_colour(sys.stdout))["output"]
    print(text, end="")
    print_lines([] if render.output_is_final(record) else render.status_lines(record))
    return render.exit_code(record)


def _timeline(options: Options) -> int:
    from pytest_valor_schedule.client import query
    from pytest_valor_schedule.text import timeline

    record = query.get_record(_job(options))
    if "error" in record:
        return show(options, record, lambda _: [])
    if options.json or (options.output is None and options.perfetto is None):
        print(json.dumps(timeline.trace(record)))
        return 0
    if options.output is not None:
        write(options.output, timeline.page(record))
    if options.perfetto is not None:
        write(options.perfetto, json.dumps(timeline.trace(record)))
    return 0


def _change(options: Options) -> int:
    """Run the commands that change what is in the queue, or whether it goes on."""
    from pytest_valor_schedule.client import control

    line = "{job_id} {status}"
    match options.command:
        case "cancel":
            answer: Response = control.cancel_job(options.job)
        case "hold":
            answer, line = control.hold_job(options.job), "{job_id} held"
        case "release":
            answer, line = control.release_job(options.job), "{job_id} released"
        case "priority":
            answer, line = (
                control.set_priority(options.job, options.priority),
                "{job_id} {priority}",
            )
        case "pause":
            answer, line = control.pause_queue(), _PAUSED
        case _:
            answer, line = control.resume_queue(), "jobs start again"
    return show(options, answer, lambda a: [line.format(**a)])


def _administer(options: Options) -> int:
    """Run the commands about the machine and the disk."""
    from pytest_valor_schedule.client import administer

    match options.command:
        case "slots":
            return show(options, administer.list_slots(), render.slot_lines)
        case "config":
            return show(options, administer.list_settings(), render.config_lines)
        case _:
            answer = administer.prune_jobs(options.keep_days, dry_run=options.dry_run)
            return show(options, answer, lambda a: [render.prune_line(a)])


def _doctor(options: Options) -> int:
    from pytest_valor_schedule.client import doctor

    answer = doctor.examine_home(repair=options.repair)
    code = show(options, answer, render.doctor_lines)
    return code or int(not all(each["repaired"] for each in answer["findings"]))


def _help(options: Options) -> int:
    from pytest_valor_schedule.cli import manual

    topic: str | None = options.topic
    if topic is None:
        print_lines(manual.topic_lines())
        return 0
    if topic not in COMMANDS and topic not in manual.topics():
        raise manual.unknown_topic(topic, COMMANDS)
    if topic in COMMANDS:
        parser.print_help(topic)
    if topic in manual.topics():
        print(manual.page(topic))
    return 0


COMMANDS: Mapping[str, Callable[[Options], int]] = {
    **{
        function.__name__.removeprefix("_"): function
        for function in (
            *(_run, _rerun, _list, _status, _watch, _wait, _follow, _logs, _results, _diff),
            *(_replay, _timeline, _doctor, _help),
        )
    },
    **dict.fromkeys(("cancel", "hold", "release", "priority", "pause", "resume"), _change),
    **dict.fromkeys(("slots", "config", "prune"), _administer),
}
"""By name; each returns an exit code."""
