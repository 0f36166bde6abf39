"""What flow runs of the server are called: by what they are about, whatever it is that was asked for."""

from __future__ import annotations

from typing import Any

from prefect.runtime import flow_run

from flows.serving import which_run
from tasks.pages import one_line

LONGEST = 120


def of_tournament() -> str:
    """``play night-20261125-031500-ab12cd34``."""
    return _clean(f"play {_run('tournament')}")


def of_test() -> str:
    """``test new against old: test-20261125-031500-ab12cd34``."""
    return _clean(f"test {_asked('agent')} against {_asked('versus')}: {_run('test')}")


def of_backfill() -> str:
    """``backfill night-*, weekly-*``, and the how many-th it is of those that start by themselves."""
    attempt = _asked("attempt")
    return _clean(f"backfill {_several()}{f' (automatic, no. {attempt})' if attempt else ''}")


def of_standings() -> str:
    """``standings of night-*``."""
    return _clean(f"standings of {_several()}")


def _run(name: str) -> str:
    """The run of the store, whose id this flow run decides unless it was given."""
    return which_run(str(_asked("name") or name), str(_asked("run_id") or ""))[0]


def _several() -> str:
    runs = _asked("runs")
    return ", ".join(map(str, runs)) if isinstance(runs, list) and runs else "all runs"


def _asked(parameter: str) -> Any:  # noqa: ANN401 - nothing was checked yet
    return flow_run.parameters.get(parameter)


def _clean(text: str) -> str:
    return one_line(text, LONGEST)
