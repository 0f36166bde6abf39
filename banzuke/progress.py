"""News of a running tournament for whoever watches in the same process. Nobody listening costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from banzuke.record import GameRecord


class Listener(Protocol):
    """Told what happens, from whatever thread it happens in. Must return at once and never raise."""

    def on_stage(self, stage: str, detail: str) -> None:
        """A stage of the pipeline has begun."""
        ...

    def on_plan(self, run_id: str, *, planned: int, counting: int) -> None:
        """Playing begins, or a plan has grown: so many games in all, so many of them already have a counting result."""
        ...

    def on_records(self, records: Sequence[GameRecord]) -> None:
        """These attempts are recorded."""
        ...

    def on_skipped(self, game_id: str, reason: str) -> None:
        """A game that was to be played is left for another invocation."""
        ...

    def on_test(self, *, llr: float | None, lower: float, upper: float, pairs: int, verdict: str | None) -> None:
        """A sequential test has taken so many pairs; ``verdict`` is None as long as there is none."""
        ...

    def on_problem(self, text: str) -> None:
        """Something went wrong that the run survives: one line."""
        ...


listeners: list[Listener] = []


def announce_stage(stage: str, detail: str = "") -> None:
    """Tell everybody that a stage begins."""
    for listener in listeners:
        listener.on_stage(stage, detail)


def announce_plan(run_id: str, *, planned: int, counting: int) -> None:
    """Tell everybody how much there is to play of a run."""
    for listener in listeners:
        listener.on_plan(run_id, planned=planned, counting=counting)


def announce_records(records: Sequence[GameRecord]) -> None:
    """Tell everybody what was just recorded."""
    for listener in listeners:
        listener.on_records(records)


def announce_skipped(game_id: str, reason: str) -> None:
    """Tell everybody of a game that will not be played now."""
    for listener in listeners:
        listener.on_skipped(game_id, reason)


def announce_test(*, llr: float | None, lower: float, upper: float, pairs: int, verdict: str | None) -> None:
    """Tell everybody how far a sequential test is."""
    for listener in listeners:
        listener.on_test(llr=llr, lower=lower, upper=upper, pairs=pairs, verdict=verdict)


def announce_problem(text: str) -> None:
    """Tell everybody of something that went wrong and that the run survives."""
    for listener in listeners:
        listener.on_problem(text)
