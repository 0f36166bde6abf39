"""What a run tells the server when it has ended, for automations: events named ``banzuke.*``.

They are sent at once and waited for, though not long: who ends right afterwards would take along what Prefect keeps in
a queue. A server that is away costs a line in the log and a few seconds, never the run. Only runs of a deployment tell
anything: nobody automates what is played at a terminal.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from prefect.client.orchestration import get_client
from prefect.runtime import deployment, flow_run

from banzuke.ratings.regression import has_regressed
from banzuke.ratings.standings import Difference
from banzuke.settings import settings
from storage.game_store import GameStore
from tasks.artifacts import run_log
from tasks.pages import one_line
from tasks.served import WISH
from tasks.summary import Summary

MARGIN = 50.0
"""Elo that the newest checkpoint may lose where the run does not say."""
EMIT_SECONDS = 20.0
"""For the server to take the events."""
MOST_UNFIT = 100
"""Agents that have an event of their own."""
LONGEST_REASON = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """One event: what happened, and what an automation may want to know of it."""

    event: str
    payload: Mapping[str, str | int | float]


def tell(store: str, run_id: str, summary: Summary, *, step: Difference | None = None, attempt: int = 0) -> None:
    """Tell the server how a run has ended, where it plays a run of a deployment. It never fails the flow.

    To be called when nobody holds the run any more: a backfill may start at once.

    Args:
        store: where the run is.
        run_id: which run.
        summary: what became of it.
        step: how much stronger its newest checkpoint is than the one before.
        attempt: 0, or the how many-th automatic backfill has just ended.
    """
    if not deployment.id:
        return
    try:
        wish = GameStore(store).read_run(run_id).get(WISH)
        margin = wish.get("regression_margin", MARGIN) if isinstance(wish, Mapping) else MARGIN
        news = list(news_of(summary, step=step, margin=margin, attempt=attempt, backfills=settings().backfills))
        emit(run_id, news)
    except Exception as error:  # noqa: BLE001 - the run is what it is, whoever hears of it
        run_log().warning("the server was not told how %s ended: %s", run_id, one_line(str(error), 300))


def news_of(
    summary: Summary, *, step: Difference | None, margin: float, attempt: int, backfills: int
) -> Iterator[News]:
    """The events of a run's end.

    Args:
        summary: what became of it.
        step: how much stronger its newest checkpoint is than the one before.
        margin: Elo that it may lose.
        attempt: 0, or the how many-th automatic backfill has just ended.
        backfills: how many of them there are at most.
    """
    counts: dict[str, str | int | float] = {
        "run_id": summary.run_id,
        "planned": summary.planned,
        "counting": summary.counting,
        "forfeits": summary.forfeits,
        "voids": summary.voids,
        "missing": summary.missing,
        "unfit": len(summary.unfit),
        "put_off": len(summary.put_off),
        "attempt": attempt,
    }
    yield News(event="banzuke.run.completed" if summary.has_ended else "banzuke.run.degraded", payload=counts)
    for agent, reason in summary.unfit[:MOST_UNFIT]:
        said = one_line(reason, LONGEST_REASON)
        yield News(event="banzuke.agent.unfit", payload={"run_id": summary.run_id, "agent": agent, "reason": said})
    if step is not None and has_regressed(step, margin):
        yield News(
            event="banzuke.rating.regressed",
            payload={
                "run_id": summary.run_id,
                "agent": step.agent,
                "versus": step.versus,
                "elo": round(step.elo, 1),
                "low": round(step.low, 1),
                "high": round(step.high, 1),
                "margin": margin,
            },
        )
    if not summary.has_ended and attempt < backfills:
        due: dict[str, str | int | float] = {
            "run_id": summary.run_id,
            "attempt": attempt + 1,
            "voids": summary.voids,
            "missing": summary.missing,
        }
        yield News(event="banzuke.backfill.due", payload=due)


def emit(run_id: str, news: Sequence[News]) -> None:
    """Send events about a run, in this order.

    Raises:
        TimeoutError: the server does not answer in time.
    """
    moment = datetime.now(UTC)
    events = [_event(run_id, item, moment) for item in news]
    failures: list[Exception] = []

    def send() -> None:
        try:
            with get_client(sync_client=True) as client:
                client.request("POST", "/events", json=events)
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            failures.append(error)

    # Prefect's client tries again for minutes, and nothing stops it.
    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    sender.join(EMIT_SECONDS)
    if failures:
        raise failures[0]
    if sender.is_alive():
        raise TimeoutError(f"no answer within {EMIT_SECONDS:.0f} s")


def _event(run_id: str, item: News, moment: datetime) -> dict[str, Any]:
    return {
        "id": str(uuid4()),
        "event": item.event,
        "occurred": moment.isoformat(),
        "resource": {"prefect.resource.id": f"banzuke.run.{run_id}", "prefect.resource.name": run_id},
        "related": [
            {
                "prefect.resource.id": f"prefect.flow-run.{flow_run.id}",
                "prefect.resource.role": "flow-run",
                "prefect.resource.name": flow_run.name,
            },
            {"prefect.resource.id": f"prefect.deployment.{deployment.id}", "prefect.resource.role": "deployment"},
        ],
        "payload": dict(item.payload),
    }
