"""What is known of a run on a server, and what can have happened to it between two looks. No Prefect, no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

Priority = Literal["high", "default", "low"]
"""Which of the waiting runs is begun first; the name of the work queue it waits in."""
Kind = Literal["tournament", "test", "backfill", "standings"]
RunState = Literal[
    "scheduled",
    "waiting",
    "running",
    "pausing",
    "paused",
    "cancelling",
    "cancelled",
    "completed",
    "degraded",
    "failed",
    "crashed",
]
"""``scheduled``: a worker takes it in its turn, or is starting it; ``waiting``: longer than it should, because no
worker is free or too many runs go on; ``pausing``, ``cancelling``: it still lets go of its games; ``degraded``: it
ended with void or missing games, or with unfit agents."""

OVER: frozenset[RunState] = frozenset({"cancelled", "completed", "degraded", "failed", "crashed"})
PAUSING_SECONDS = 10.0
"""Within which a run that is paused has let go of everything."""
CONFIRMED = "paused"
"""What the message of a paused run begins with once nothing of it is left running."""

_BY_TYPE: Mapping[str, RunState] = {
    "SCHEDULED": "scheduled",
    "PENDING": "scheduled",
    "RUNNING": "running",
    "PAUSED": "paused",
    "CANCELLING": "cancelling",
    "CANCELLED": "cancelled",
    "COMPLETED": "completed",
    "FAILED": "failed",
    "CRASHED": "crashed",
}
_BY_NAME: Mapping[str, RunState] = {"Late": "waiting", "AwaitingConcurrencySlot": "waiting", "Degraded": "degraded"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """What the server knows of a run at one moment."""

    id: str
    """Of the flow run; a UUID."""
    name: str
    kind: Kind
    run_id: str | None
    """In the store; None where the run is about several, or the server does not say what it is called."""
    state: RunState
    message: str
    planned: int | None
    """Games; None until the first are planned."""
    counting: int | None
    priority: Priority | None
    """None where the queue it waits in is none of ours."""
    started_at: datetime | None
    ended_at: datetime | None
    running_seconds: float
    """All the time it ran, pauses left out."""
    url: str
    """Of its page in Prefect's UI."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.state in OVER

    @property
    def games_per_minute(self) -> float | None:
        """Since the run began; None until a game counts."""
        return 60 * self.counting / self.running_seconds if self.counting and self.running_seconds > 1 else None

    @property
    def remaining_seconds(self) -> float | None:
        """If it goes on at that rate; None where there is none, or nothing is being played."""
        rate = self.games_per_minute
        if rate is None or self.planned is None or self.counting is None or self.state != "running":
            return None
        return 60 * (self.planned - self.counting) / rate


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChanged:
    """The run is in another state than before, or is looked at for the first time (``before`` is None then)."""

    before: RunState | None
    status: RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class GamesCounted:
    """More games count, or more are planned."""

    counting: int
    planned: int
    status: RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The run has ended; always the last event."""

    status: RunStatus


Event = StateChanged | GamesCounted | Ended


def differences(before: RunStatus | None, now: RunStatus) -> Iterator[Event]:
    """What has happened between two looks; ``before`` is None at the first."""
    if now.counting is not None and now.planned is not None:
        counts = None if before is None else (before.counting, before.planned)
        if counts != (now.counting, now.planned):
            yield GamesCounted(counting=now.counting, planned=now.planned, status=now)
    if before is None or before.state != now.state:
        yield StateChanged(before=None if before is None else before.state, status=now)
    if now.is_over:
        yield Ended(status=now)


def state_of(state: Mapping[str, Any], now: datetime) -> RunState:
    """What a state of Prefect's means for a run of ours.

    Args:
        state: as its API shows it.
        now: by the server's clock.
    """
    known = _BY_NAME.get(state["name"]) or _BY_TYPE[state["type"]]
    if known == "paused" and not str(state["message"] or "").startswith(CONFIRMED):
        since = moment(state["timestamp"])
        if since is not None and (now - since).total_seconds() < PAUSING_SECONDS:
            return "pausing"
    return known


def moment(text: str | None) -> datetime | None:
    """A time as the API writes it."""
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)
