"""Send the message about the end of a job through Apprise, as a process of its own."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_valor_schedule._util import clock
from pytest_valor_schedule._util.log import warning
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.daemon.notification import ADDRESS_VARIABLE, TOKEN_VARIABLE
from pytest_valor_schedule.errors import ScheduleError
from pytest_valor_schedule.model.job import Job
from pytest_valor_schedule.model.job_terms import Outcome
from pytest_valor_schedule.process import startup
from pytest_valor_schedule.queue import job_records, previous_runs
from pytest_valor_schedule.queue.store import JobStore
from pytest_valor_schedule.record import compare, record_file
from pytest_valor_schedule.text import render

_CHAT = re.compile(r"-?\d+|@\w+")
_PAUSES_SECONDS = (1.0, 4.0, 15.0)  # before each further try
_MOST_NAMED = 5  # tests of each kind in a message
_WARNING = 30  # as in the module logging, whose import few runs need
_KINDS: Mapping[Outcome | None, str] = {
    Outcome.PASSED: "success",
    Outcome.CANCELLED: "warning",
    Outcome.NO_TESTS: "warning",
}
_MISSING = "the package apprise is not installed; run: pip install 'pytest-valor-schedule[notify]'"


class NotifyError(ScheduleError):
    """A message cannot be sent; the text says why, without any token."""


def address_of(chat: str, token: str | None) -> str:
    """Return the Apprise address that a chat id or an address means.

    Args:
        chat: Digits, `-100...` or `@channel` for Telegram, or an address such as `json://host`.
        token: Of the Telegram bot.

    Raises:
        NotifyError: if it means none.
    """
    if "://" in chat:
        return chat
    if not _CHAT.fullmatch(chat):
        raise NotifyError(
            f"{chat!r} is neither a Telegram chat id (digits, -100..., @channel) nor an address "
            "that Apprise knows, such as slack://... or mailto://..."
        )
    if not token:
        raise NotifyError(
            f"there is no Telegram bot token; set {TOKEN_VARIABLE} or config.toml's telegram_token"
        )
    return f"tgram://{token}/{chat}/"


def token_of(home: Home, environment: Mapping[str, str]) -> str | None:
    """Return the token of the Telegram bot, if there is one."""
    token = environment.get(TOKEN_VARIABLE) or home.settings().get("telegram_token")
    return str(token) if token else None


def problem(home: Home, chat: str, environment: Mapping[str, str]) -> str | None:
    """Return why a message to chat could not be sent, as far as that can be told beforehand."""
    try:
        _checked(address_of(chat, token_of(home, environment)))
    except ScheduleError as error:
        return f"The end of this job will not be told to anybody: {error}."
    return None


def _checked(address: str) -> Any:
    """Return Apprise with the address in it."""
    apprise = _apprise()
    try:
        with _quiet():
            sender = apprise.Apprise()
            usable = sender.add(address)
    except Exception as error:  # whatever a plugin of it does must not end the run
        raise NotifyError(_without_secrets(f"Apprise failed ({error!r})", address)) from None
    if not usable:
        raise NotifyError(f"Apprise cannot use the address {address.partition('://')[0]}://...")
    return sender


def _apprise() -> Any:
    if importlib.util.find_spec("apprise") is None:
        raise NotifyError(_MISSING)
    try:
        with _quiet():
            return importlib.import_module("apprise")
    except Exception as error:
        raise NotifyError(f"the package apprise cannot be imported ({error!r})") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Apprise's modules warn of from failing a run of the user's under `-W error`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def message(now: Mapping[str, Any], before: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return title and body of the message about a job.

    Args:
        now: Its record.
        before: That of the run before of the same specification, if there is one.
    """
    title = render.job_line(now).partition(" ")[2]
    lines = [f"{now['specification']}  in {now['cwd']}"]
    lines += [now["explanation"]] if now.get("explanation") else []
    bad = [each for each in now["results"] if each["outcome"] in compare.BAD]
    if before is not None:
        changes = compare.compare(before["results"], now["results"])
        lines += _listed("newly failing", changes.newly_failing)
        lines += _listed("fixed", changes.fixed)
    lines += [f"{each['nodeid']}: {_first_line(each)}" for each in bad[:_MOST_NAMED]]
    lines.append(f"job {now['job_id']}")
    return title, "\n".join(map(render.one_line, lines))


def _listed(kind: str, nodeids: Sequence[str]) -> list[str]:
    if not nodeids:
        return []
    more = f" and {len(nodeids) - _MOST_NAMED} more" if len(nodeids) > _MOST_NAMED else ""
    return [f"{kind}: {', '.join(nodeids[:_MOST_NAMED])}{more}"]


def _first_line(result: Mapping[str, Any]) -> str:
    text = str(result.get("message") or result["outcome"])
    return (text.strip().splitlines() or [""])[0][:200]


def _send(address: str, title: str, body: str, kind: str) -> str | None:
    """Send one message; return why that was not possible, or None.

    The kind is as what Apprise shows it: "success", "failure" or "warning".
    """
    try:
        sender = _checked(address)
        with _quiet(), _apprise().LogCapture(level=_WARNING, fmt="%(message)s") as log:
            if sender.notify(title=title, body=body, notify_type=kind):
                return None
            why = " ".join(log.getvalue().split())
    except NotifyError as error:
        return str(error)
    except Exception as error:
        why = repr(error)
    return _without_secrets(why, address) or "Apprise could not send it"


def _without_secrets(text: str, address: str) -> str:
    """Return a text without any longer part of an address, each of which may be a secret."""
    for part in re.split(r"[/:@?&=]+", address)[1:]:
        if len(part) > 5:
            text = text.replace(part, "***")
    return text[:500]


def tell(
    store: JobStore,
    job: Job,
    environment: Mapping[str, str],
    sleep: Callable[[float], object] = time.sleep,
) -> dict[str, Any]:
    """Send the message about a job that has ended, and return the `notification` of its record.

    Returns:
        `sent` (bool), `at` (ISO 8601), `attempts`, and `reason` where it was not sent.
    """
    attempts, reason = 0, None
    try:
        words = _message_to_send(store, job, environment)
        for pause in (0.0, *_PAUSES_SECONDS):
            sleep(pause)
            attempts += 1
            if (reason := _send(*words)) is None:
                break
    except ScheduleError as error:
        reason = str(error)
    notification = {"sent": not reason, "at": clock.to_text(time.time()), "attempts": attempts}
    return {**notification, "reason": reason} if reason else notification


def _message_to_send(
    store: JobStore, job: Job, environment: Mapping[str, str]
) -> tuple[str, str, str, str]:
    """Return what `_send` needs."""
    chat = environment.get(ADDRESS_VARIABLE) or str(job.notification_chat_id)
    address = address_of(chat, token_of(store.home, environment))
    _checked(address)
    record = job_records.record_of(store, job)
    previous = next(previous_runs.earlier_records(store, job, 1), None)
    return address, *message(record, previous), _KINDS.get(job.outcome, "failure")


def main() -> None:
    """Tell of the job in the home that the command line names."""
    startup.ignore_interrupts()
    root, job_id = sys.argv[1:]
    with JobStore(Home(Path(root))) as store:
        job = store.get(job_id)
        notification = tell(store, job, os.environ)
        if not notification["sent"]:
            warning(f"{job_id}: The end was not told: {notification['reason']}")
        document = record_file.read(store.home.record(job_id))
        if document is not None:
            results = document.pop("results", [])
            document["notification"] = notification
            record_file.write(store.home.record(job_id), document, results)


if __name__ == "__main__":
    main()
