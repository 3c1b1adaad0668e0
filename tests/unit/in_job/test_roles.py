"""What a pytest of a job sets before its session begins."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from pytest_valor_schedule.in_job import roles
from pytest_valor_schedule.in_job.selected_tests import Selection
from pytest_valor_schedule.model.round import Round, RoundKind
from pytest_valor_schedule.model.run_config import RunConfig


@pytest.mark.parametrize("options", [["--lf"], ["--ff"], [], ["--lf", "--sw"], ["--sw-skip", "-x"]])
@pytest.mark.parametrize(
    "kind", [RoundKind.FIRST, RoundKind.RERUN_MISSING, RoundKind.RERUN_FAILURES]
)
def test_a_chosen_set_is_not_chosen_from(
    pytester: pytest.Pytester, options: list[str], kind: RoundKind
) -> None:
    """Nor does it stop where nobody asked for it, nor anything that is only run again."""
    options = [*options, "-p", "no:unraisableexception"]  # which looks for garbage five times
    asked = pytester.parseconfigure(*options)
    config = pytester.parseconfig(*options)
    told = RunConfig(
        folder="", prefix=Round(1, kind).prefix, workers=2, digest="", only="only.json"
    )
    roles.prepare_worker(config, told)
    config._do_configure()  # in which one option switches on another
    assert (config.option.lf, config.option.failedfirst) == (False, False)
    may_stop = not told.is_repetition
    assert config.pluginmanager.has_plugin("stepwiseplugin") == (
        may_stop and asked.pluginmanager.has_plugin("stepwiseplugin")
    )
    assert config.option.maxfail == (asked.option.maxfail if may_stop else 0)
    config._ensure_unconfigure()


@pytest.mark.parametrize(("left", "run"), [("dcba", "dc"), ("da", "cd"), ("", "cd")])
def test_what_was_chosen_is_run_whatever_a_plugin_remembers(
    pytester: pytest.Pytester, tmp_path: Path, left: str, run: str
) -> None:
    """What it leaves out is put back in its place; else the order is left to it."""
    items = pytester.getitems("".join(f"def test_{name}(): pass\n" for name in "abcd"))
    named = {item.name[-1]: item for item in items}
    only = tmp_path / "only.json"
    only.write_text(json.dumps([named[name].nodeid for name in "cd"]))
    around = Selection(str(only)).pytest_collection_modifyitems(items[0].config, items)
    next(around)
    items[:] = [named[name] for name in left]
    with contextlib.suppress(StopIteration):
        next(around)
    assert [item.name[-1] for item in items] == list(run)
