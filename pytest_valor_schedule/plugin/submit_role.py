"""Make the plugin object of a pytest whose tests another process runs, and prepare its session."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import pytest

from pytest_valor_schedule.compat import other_plugins
from pytest_valor_schedule.config.home import Home
from pytest_valor_schedule.errors import ScheduleError
from pytest_valor_schedule.model.run_request import request_of_pytest
from pytest_valor_schedule.plugin.collect_role import keep_from_running
from pytest_valor_schedule.plugin.output_buffer import NAME, BufferedOutput
from pytest_valor_schedule.plugin.run_settings import RunSettings
from pytest_valor_schedule.plugin.submit_plugin import SubmitPlugin


def submitter(config: pytest.Config, environment: Mapping[str, str], *, waits: bool) -> object:
    """Return the plugin object that hands the run over.

    Raises:
        pytest.UsageError: if an option or setting cannot be used.
    """
    try:
        settings = RunSettings(config, environment)
        options, limits = settings.run_options(), settings.limits()
        home = Home.find(environment)
    except ScheduleError as error:
        raise pytest.UsageError(str(error)) from None
    limits["shows_workers"] = keep_from_running(config)
    other_plugins.leave_streams(config)  # where a conftest.py asks late for the queue
    invocation = config.invocation_params
    request = request_of_pytest(invocation.args, invocation.dir, environment)
    return SubmitPlugin(home, request, options, limits, waits)


@contextlib.contextmanager
def leave_to_job(config: pytest.Config, *, output: bool) -> Iterator[None]:
    """Before others open their reports, or print: leave the reports to the job.

    Args:
        config: pytest's.
        output: Whether the output is left to it too; what is printed here is kept until then.
    """
    other_plugins.leave_streams(config)
    if not output:
        yield
        return
    buffer = BufferedOutput()
    config.pluginmanager.register(buffer, NAME)
    try:
        yield
    finally:
        buffer.end()
