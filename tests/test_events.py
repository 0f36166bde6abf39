"""What a run tells the server at its end, when a checkpoint has become weaker, and what a silent server costs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from several_runs import play
from test_pages import COMPLETE, HOSTILE

from banzuke.ratings.regression import has_regressed
from banzuke.ratings.standings import Difference
from storage.game_store import GameStore
from tasks.events import MOST_UNFIT, News, news_of
from tasks.rating import rated_now

WEAK, MIDDLING, STRONG = "a" * 16, "m" * 16, "z" * 16
"""Contents: of two agents the one later in the alphabet is the stronger one."""
OPENINGS = range(40)


def told(**changes: object) -> list[News]:
    """The events of a run's end, and what happens in an ordinary one."""
    terms = {"summary": COMPLETE, "step": None, "margin": 50.0, "attempt": 0, "backfills": 3, **changes}
    return list(news_of(**terms))  # type: ignore[arg-type] - as the tests name them


def step(elo: float, low: float, high: float) -> Difference:
    return Difference(agent="epoch-2", versus="epoch-1", elo=elo, low=low, high=high, los=0.0)


def test_a_complete_run_tells_its_counts() -> None:
    """One event, with everything that an automation may want to compare."""
    (news,) = told()

    assert "banzuke.run.completed" == news.event
    assert {"run_id": "night-7", "planned": 12, "counting": 12, "voids": 0, "missing": 0, "attempt": 0}.items() <= (
        news.payload.items()
    )


def test_a_degraded_run_asks_for_the_next_backfill_until_there_were_enough() -> None:
    """Each automatic backfill asks for one more, up to the number that the machine allows."""
    degraded = replace(COMPLETE, counting=9, voids=1, missing=2)

    asked = [told(summary=degraded, attempt=attempt) for attempt in range(5)]

    assert [["banzuke.run.degraded", "banzuke.backfill.due"]] * 3 + [["banzuke.run.degraded"]] * 2 == [
        [news.event for news in events] for events in asked
    ]
    assert {"run_id": "night-7", "attempt": 3, "voids": 1, "missing": 2} == asked[2][1].payload
    assert [] == [news for news in told(summary=degraded, backfills=0) if news.event == "banzuke.backfill.due"]


def test_each_unfit_agent_is_told_within_bounds() -> None:
    """Its reason is one short line; of a thousand unfit agents a hundred have an event of their own."""
    unfit = tuple((f"agent-{number}", HOSTILE) for number in range(1000))

    news = told(summary=replace(COMPLETE, unfit=unfit))

    named = [item.payload for item in news if item.event == "banzuke.agent.unfit"]
    assert MOST_UNFIT == len(named)
    assert ("night-7", "agent-0") == (named[0]["run_id"], named[0]["agent"])
    assert len(str(named[0]["reason"])) <= 500
    assert str(named[0]["reason"]).isprintable()
    assert 1000 == news[0].payload["unfit"]


@pytest.mark.parametrize(
    ("loss", "is_told"),
    [
        (step(-80, -110, -50), True),
        (step(-80, -170, 10), False),  # it may be chance
        (step(-49, -60, -38), False),  # certain, and within the margin
        (step(80, 50, 110), False),
    ],
)
def test_a_regression_is_a_loss_beyond_the_margin_that_is_no_chance(loss: Difference, is_told: bool) -> None:
    """More than the margin is lost, and the whole interval of the difference is a loss."""
    assert is_told == has_regressed(loss, 50.0)
    told_of = [news for news in told(step=loss) if news.event == "banzuke.rating.regressed"]
    assert is_told == bool(told_of)
    assert not told_of or {"agent": "epoch-2", "versus": "epoch-1", "elo": -80, "margin": 50.0}.items() <= (
        told_of[0].payload.items()
    )


def test_the_newest_checkpoint_is_compared_with_the_one_before_by_epoch(tmp_path: Path) -> None:
    """Not by name or rank: epoch 9 is before epoch 10, and the difference has the interval of the joint model."""
    store = GameStore(str(tmp_path))
    epochs = {"epoch-10": 10, "epoch-8": 8, "epoch-9": 9}
    play(store, "r", {"epoch-10": WEAK, "epoch-8": MIDDLING, "epoch-9": STRONG}, epochs=epochs, openings=OPENINGS)

    found = rated_now(store, "r").step

    assert found is not None
    assert ("epoch-10", "epoch-9") == (found.agent, found.versus)
    assert found.low < found.elo < found.high < 0
    elo = {row.agent: row.elo for row in rated_now(store, "r").rows}
    assert found.elo == pytest.approx((elo["epoch-10"] or 0) - (elo["epoch-9"] or 0))
    assert has_regressed(found, 50.0)


def test_files_of_the_same_moment_are_not_compared(tmp_path: Path) -> None:
    """The best so far is often a copy with another name: the newest is compared with what is older."""
    store = GameStore(str(tmp_path))
    agents = {"best": WEAK, "epoch-1": STRONG, "epoch-2": MIDDLING}
    play(store, "r", agents, epochs={"best": 2, "epoch-1": 1, "epoch-2": 2})

    found = rated_now(store, "r").step

    assert found is not None
    assert ("epoch-2", "epoch-1") == (found.agent, found.versus)


def test_checkpoints_that_know_no_epoch_stand_in_the_order_of_the_catalogue(tmp_path: Path) -> None:
    """The last one is the newest; agents that are no checkpoints are not asked."""
    store = GameStore(str(tmp_path))
    play(store, "r", {"yesterday": STRONG, "today": WEAK, "anchor": MIDDLING})
    rows = [replace(row, kind="material") if row.agent == "anchor" else row for row in store.read_agents("r")]
    store.write_agents("r", rows)

    found = rated_now(store, "r").step

    assert found is not None
    assert ("today", "yesterday") == (found.agent, found.versus)


def test_one_checkpoint_is_compared_with_nobody(tmp_path: Path) -> None:
    """There is nothing before it in the run."""
    store = GameStore(str(tmp_path))
    play(store, "r", {"epoch-1": STRONG, "anchor": WEAK})
    rows = [replace(row, kind="material") if row.agent == "anchor" else row for row in store.read_agents("r")]
    store.write_agents("r", rows)

    assert rated_now(store, "r").step is None


TELLING = """
import sys, time
import tasks.artifacts, tasks.events
from test_pages import COMPLETE
from several_runs import play
from storage.game_store import GameStore
tasks.events.EMIT_SECONDS = 1.0
play(GameStore(sys.argv[1]), "night-7", {"a": "a" * 16, "b": "b" * 16})
began = time.monotonic()
tasks.events.tell(sys.argv[1], "night-7", COMPLETE)
print(time.monotonic() - began)
"""


def test_a_server_that_does_not_answer_holds_nobody_up(tmp_path: Path) -> None:
    """Telling it takes the time that was allowed, ends in one line of log, and the process can end."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment = os.environ | {
            "PREFECT_API_URL": f"http://127.0.0.1:{silent.getsockname()[1]}/api",
            "PREFECT_HOME": str(tmp_path / "prefect"),
            "PREFECT__RUNTIME__DEPLOYMENT__ID": str(uuid4()),
            "PREFECT__RUNTIME__FLOW_RUN__ID": str(uuid4()),
            "PREFECT__RUNTIME__FLOW_RUN__NAME": "night",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parent.parent)]),
        }
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", TELLING, str(tmp_path / "store")],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert 0 == done.returncode, done.stderr
    assert 1.0 <= float(done.stdout) < 10.0
    assert time.monotonic() - began < 50.0
    (line,) = done.stderr.splitlines()
    assert line.endswith("the server was not told how night-7 ended: no answer within 1 s")
