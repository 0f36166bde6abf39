"""A circuit breaker: a broken agent costs the first few of its games, not the night."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from threading import Lock

from banzuke.outcome import Side, Status, Termination
from banzuke.record import GameRecord, PlannedGame


@dataclass(slots=True)
class _Failures:
    """What an agent has failed in before its first result."""

    games: set[str] = field(default_factory=set)
    causes: Counter[Termination] = field(default_factory=Counter)


class CircuitBreaker:
    """Puts off the games of an agent whose first games of an invocation are all void by its own fault.

    An agent with one result, a forfeit included, is never put off: what it fails in later is for retries and
    backfills. Attempts at one game count once, so that a game it cannot play does not put off the others. Safe to
    use from several threads.

    Args:
        threshold: so many different games; 0 for never.
    """

    def __init__(self, threshold: int) -> None:
        self._threshold = threshold
        self._failures: dict[str, _Failures] = {}
        self._sound: set[str] = set()
        self._put_off: dict[str, str] = {}
        self._lock = Lock()

    def note(self, record: GameRecord) -> tuple[str, str] | None:
        """Take in how an attempt ended; the agent and the reason if that is what puts it off."""
        agents = {Side.FIRST: record.first_agent, Side.SECOND: record.second_agent}
        with self._lock:
            if record.status is not Status.VOID:
                self._sound.update(agents.values())
                return None
            if record.fault is None or agents[record.fault] in self._sound:
                return None
            return self._blame(agents[record.fault], record)

    def _blame(self, agent: str, record: GameRecord) -> tuple[str, str] | None:
        failures = self._failures.setdefault(agent, _Failures())
        failures.games.add(record.game_id)
        failures.causes[record.termination] += 1
        if agent in self._put_off or not 0 < self._threshold <= len(failures.games):
            return None
        causes = ", ".join(f"{count} {cause}" for cause, count in failures.causes.most_common())
        last = f"; last: {record.detail}" if record.detail else ""
        self._put_off[agent] = (
            f"its first {len(failures.games)} games were void by its own fault ({causes}), so its others were put off"
            f"{last}"
        )
        return agent, self._put_off[agent]

    def in_the_way_of(self, game: PlannedGame) -> str | None:
        """The agent of the game that is put off, if one is."""
        with self._lock:
            return next((agent for agent in (game.first_agent, game.second_agent) if agent in self._put_off), None)

    @property
    def put_off(self) -> dict[str, str]:
        """The reason by agent."""
        with self._lock:
            return dict(self._put_off)
