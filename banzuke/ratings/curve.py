"""A training run as its ratings see it: the checkpoints in the order in which they were made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from banzuke.ratings.standings import StandingRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far training was when a checkpoint was written, as its file says."""

    epoch: int | None
    step: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One checkpoint. Ratings are on the scale of the standings, None where it is unrated."""

    agent: str
    agent_id: str
    epoch: int | None
    step: int | None
    elo: float | None
    low: float | None
    """Lower end of the 95 % interval of the difference to the anchor."""
    high: float | None
    games: int


def training_curve(rows: Sequence[StandingRow], progress: Mapping[str, Progress]) -> tuple[CurvePoint, ...]:
    """The rows whose agent knows its epoch or step, by epoch, then step, then name.

    Where some know their epoch only and others their step only, the former come first.

    Args:
        rows: of the standings.
        progress: by name of the agent.
    """
    points = [
        CurvePoint(
            agent=row.agent,
            agent_id=row.agent_id,
            epoch=progress[row.agent].epoch,
            step=progress[row.agent].step,
            elo=row.elo,
            low=row.elo_low,
            high=row.elo_high,
            games=row.games,
        )
        for row in rows
        if row.agent in progress
    ]
    known = [point for point in points if point.epoch is not None or point.step is not None]
    return tuple(sorted(known, key=lambda point: (*moment(point), point.agent)))


def moment(made: Progress | CurvePoint) -> tuple[bool, int, bool, int]:
    """A key that sorts checkpoints by when they were written."""
    return made.epoch is None, made.epoch or 0, made.step is None, made.step or 0
