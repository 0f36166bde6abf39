"""What became of a run, read from the store. No Prefect here: the command shows it without a server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from banzuke.errors import StorageError
from banzuke.outcome import Side
from banzuke.record import Standing
from storage.game_store import GameStore
from storage.ledger import Ledger, Tallies
from tasks.growing import Precision, precision_of
from tasks.sequential import SprtReport, recorded_test, report_test


@dataclass(frozen=True, slots=True, kw_only=True)
class VoidGames:
    """Void games of one cause that are one agent's fault."""

    termination: str
    agent: str | None
    """None: nobody's fault."""
    games: int
    detail: str | None
    """What one of them says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A run in numbers."""

    run_id: str
    planned: int
    counting: int
    forfeits: int
    """Counting games that were lost by forfeit."""
    voids: int
    """Games whose every attempt is void."""
    missing: int
    """Games without any attempt."""
    spared: int
    """Games that need not be played, because they lie behind the verdict of a sequential test."""
    unfit: tuple[tuple[str, str], ...]
    """Agent and reason."""
    put_off: tuple[tuple[str, str], ...]
    """Fit agents whose games were put off because the first ones were void, and the reason."""
    void_causes: tuple[VoidGames, ...]
    """Of the void games, the most frequent first."""
    standings: tuple[Standing, ...]
    sprt: SprtReport | None
    """None where the run is a tournament."""
    precision: Precision | None
    """Of an adaptive run, how near it is to its target."""

    @property
    def tallies(self) -> Tallies:
        """How many games are in which state."""
        return Tallies(
            planned=self.planned,
            counting=self.counting,
            forfeits=self.forfeits,
            void=self.voids,
            missing=self.missing,
            spared=self.spared,
        )

    @property
    def outstanding(self) -> int:
        """Games that a backfill would play."""
        return self.voids + self.missing

    @property
    def has_more(self) -> bool:
        """Whether going on would play something."""
        return self.outstanding > 0 or (self.precision is not None and self.precision.goes_on)

    @property
    def is_complete(self) -> bool:
        """Every agent was fit and every game that is needed has a counting result; a run without games never is."""
        return self.counting > 0 and not self.outstanding and not self.unfit

    @property
    def has_ended(self) -> bool:
        """Complete and, where the plan grows, at its last step; or a verdict, which no void game can take back."""
        return (self.is_complete and not self.has_more) or (self.sprt is not None and self.sprt.is_decided)


def summarise(games: GameStore, run_id: str) -> Summary:
    """The summary of one run.

    Raises:
        UnknownRunError: it is not in the store.
    """
    ledger = Ledger(games, run_id)
    test = recorded_test(games.read_run(run_id))
    tallies = ledger.tallies()
    agents = games.read_agents(run_id)
    return Summary(
        run_id=run_id,
        planned=tallies.planned,
        counting=tallies.counting,
        forfeits=tallies.forfeits,
        voids=tallies.void,
        missing=tallies.missing,
        spared=tallies.spared,
        unfit=tuple((row.agent, row.reason or "no reason recorded") for row in agents if row.fit is False),
        void_causes=_void_causes(games, run_id, ledger),
        put_off=tuple((row.agent, row.reason) for row in agents if row.fit and row.reason is not None),
        standings=tuple(games.read_standings(run_id)),
        sprt=None if test is None else report_test(games, run_id, test),
        precision=precision_of(games, run_id),
    )


def incomplete(games: GameStore, run_ids: Sequence[str]) -> dict[str, Tallies]:
    """Of the runs those whose planned games do not all count, as far as they can be read, and how many do."""
    found = {}
    for run_id in run_ids:
        with suppress(StorageError):
            tallies = Ledger(games, run_id).tallies()
            if tallies.void or tallies.missing:
                found[run_id] = tallies
    return found


def _void_causes(games: GameStore, run_id: str, ledger: Ledger) -> tuple[VoidGames, ...]:
    last_void = ledger.last_void()
    if not last_void:
        return ()
    plan = games.plan_table(run_id, ["game_id", "first_agent", "second_agent"])
    plan = plan.filter(pc.is_in(plan["game_id"], value_set=pa.array(list(last_void), pa.string())))
    seats = {game_id: seat for game_id, *seat in zip(*(column.to_pylist() for column in plan.columns), strict=True)}
    counts: Counter[tuple[str, str | None]] = Counter()
    details: dict[tuple[str, str | None], str | None] = {}
    for game_id, cause in last_void.items():
        agent = None if cause.fault is None else seats[game_id][cause.fault is Side.SECOND]
        counts[cause.termination, agent] += 1
        details[cause.termination, agent] = cause.detail
    return tuple(
        VoidGames(termination=key[0], agent=key[1], games=count, detail=details[key])
        for key, count in counts.most_common()
    )


def health(games: GameStore, summary: Summary, warnings: Sequence[str]) -> dict[str, Any]:
    """Void games by cause and by agent, attempts beyond the first, files that cannot be read, and the warnings."""
    by_cause: Counter[str] = Counter()
    by_agent: Counter[str] = Counter()
    for void in summary.void_causes:
        by_cause[void.termination] += void.games
        if void.agent is not None:
            by_agent[void.agent] += void.games
    return {
        "voids_by_cause": by_cause,
        "voids_by_agent": by_agent,
        "retries": Ledger(games, summary.run_id).repeated_attempts(),
        "damaged": [
            {"path": part.path, "reason": part.reason, "advice": part.advice} for part in games.damaged(summary.run_id)
        ],
        "warnings": list(warnings),
    }


def describe_runs(games: GameStore) -> list[Mapping[str, Any]]:
    """One line's worth of facts per run, newest first."""
    found: list[Mapping[str, Any]] = []
    for run_id in games.run_ids():
        try:
            found.append(_described(games, run_id))
        except (StorageError, KeyError, TypeError) as error:
            # One damaged run must not hide the others.
            found.append({"run_id": run_id, "damaged": f"{type(error).__name__}: {error}"})
    return found


def _described(games: GameStore, run_id: str) -> Mapping[str, Any]:
    document = games.read_run(run_id)
    tallies = Ledger(games, run_id).tallies()
    return {
        "run_id": run_id,
        "created_at": document["created_at"],
        "agents": len(document["spec"]["agents"]),
        "planned": tallies.planned,
        "counting": tallies.counting,
        "forfeits": tallies.forfeits,
        "voids": tallies.void,
        "missing": tallies.missing,
        "spared": tallies.spared,
    }
