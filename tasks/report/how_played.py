"""How the games of a run went, counted by the database: only sums come out of it, however many games there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb

from banzuke.errors import CorruptPartError, SpecError, StorageError, UnknownRunError
from banzuke.ratings.elo import normal_quantile
from storage.queries import ask

MOST_BINS = 40
"""Of the histogram of lengths."""
_NICE = (1, 2, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Games that ended for one reason."""

    termination: str
    status: str
    games: int
    first_won: int
    drawn: int
    second_won: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEnding:
    """Games of one agent that ended for one reason."""

    agent: str
    termination: str
    wins: int
    draws: int
    losses: int

    @property
    def games(self) -> int:
        """Won, drawn and lost."""
        return self.wins + self.draws + self.losses


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How long the games were, in plies, those of the opening book included."""

    shortest: int
    median: int
    mean: float
    longest: int
    width: int
    """Plies in a bin."""
    bins: tuple[tuple[int, int, int, int], ...]
    """The first number of plies of a bin, and its games: won by who moved first, drawn, won by the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstMove:
    """What moving first was worth, as the bare scores say it."""

    wins: int
    draws: int
    losses: int
    score: float
    """Points per game of who moved first, 0 to 1."""
    low: float | None
    """Lower end of the 95 % interval, by how much opening pairs differ; None with fewer than two pairs."""
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """How long an agent thought, in milliseconds a move; moves of the book are none of its own."""

    agent: str
    moves: int
    mean_ms: float
    longest_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forfeits:
    """Games that an agent lost by its own play, for one reason."""

    agent: str
    termination: str
    games: int
    detail: str | None
    """What one of them says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """How many positions of the suite an agent answered rightly."""

    passed: int
    positions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HowPlayed:
    """A run's games in sums."""

    endings: tuple[Ending, ...]
    """The most frequent first."""
    by_agent: tuple[AgentEnding, ...]
    lengths: Lengths | None
    """None without a game, as is ``first_move``."""
    first_move: FirstMove | None
    thinking: dict[str, Thinking]
    """By agent; who made no move of its own is not in it."""
    forfeits: tuple[Forfeits, ...]
    void_attempts: dict[tuple[str, str | None], int]
    """By termination and name of the agent at fault (None: nobody's fault)."""
    suites: dict[str, Suite]
    """By agent."""
    last_end: datetime | None
    """When the last attempt ended, UTC."""
    hosts: tuple[str, ...]
    devices: tuple[str, ...]


def how_played(store: str, run_id: str) -> HowPlayed:
    """Count what the games of a run say beside their results.

    Args:
        store: local path or fsspec URL.
        run_id: which run.

    Raises:
        UnknownRunError: it is not in the store.
        CorruptPartError: a file of its games is damaged.
    """
    try:
        return ask(store, [run_id], _counted)
    except UnknownRunError:
        raise
    except (SpecError, StorageError) as error:
        raise CorruptPartError(
            f"run {run_id}: not all of it can be read ({' '.join(str(error).split())}); `banzuke show` names "
            "what is damaged, and a backfill sets that aside and plays its games again"
        ) from error


def _counted(database: duckdb.DuckDBPyConnection) -> HowPlayed:
    last_end, hosts, devices = _one(
        database,
        """select max(finished_at) at time zone 'UTC', list(distinct host order by host),
            list(distinct device order by device) from games""",
    )
    return HowPlayed(
        endings=tuple(
            Ending(termination=word, status=status, games=games, first_won=first, drawn=drawn, second_won=second)
            for word, status, games, first, drawn, second in _all(
                database,
                """select termination, status, count(*), count_if(first_score = 1), count_if(first_score = 0.5),
                    count_if(first_score = 0) from results group by all order by 3 desc, 1""",
            )
        ),
        by_agent=tuple(
            AgentEnding(agent=agent, termination=word, wins=wins, draws=draws, losses=losses)
            for agent, word, wins, draws, losses in _all(
                database,
                """select agent, termination, count_if(score = 1), count_if(score = 0.5), count_if(score = 0)
                from seats group by all order by 1, 2""",
            )
        ),
        lengths=_lengths(database),
        first_move=_first_move(database),
        thinking={
            agent: Thinking(agent=agent, moves=moves, mean_ms=total / moves, longest_ms=longest)
            for agent, moves, total, longest in _all(database, _THINKING)
        },
        forfeits=tuple(
            Forfeits(agent=agent, termination=word, games=games, detail=detail)
            for agent, word, games, detail in _all(
                database,
                """select case fault when 'first' then first_agent else second_agent end, termination, count(*),
                    min(detail) from results where status = 'forfeit' group by 1, 2 order by 3 desc, 1, 2""",
            )
        ),
        void_attempts={
            (word, culprit): attempts
            for word, culprit, attempts in _all(
                database, "select termination, culprit, count(*) from voids group by all order by 1, 2"
            )
        },
        suites={
            agent: Suite(passed=passed, positions=positions)
            for agent, passed, positions in _all(
                database,
                """select agent, count(distinct position_id) filter (passed), count(distinct position_id)
                from evaluations where probe = 'suite' group by agent order by agent""",
            )
        },
        last_end=last_end,
        hosts=tuple(hosts or ()),
        devices=tuple(devices or ()),
    )


def _lengths(database: duckdb.DuckDBPyConnection) -> Lengths | None:
    shortest, median, mean, longest = _one(
        database, "select min(plies), quantile_disc(plies, 0.5), sum(plies) / count(*), max(plies) from results"
    )
    if longest is None:
        return None
    width = nice_width(longest - shortest + 1)
    bins = _all(
        database,
        """select plies // $width * $width, count_if(first_score = 1), count_if(first_score = 0.5),
            count_if(first_score = 0) from results group by 1 order by 1""",
        {"width": width},
    )
    return Lengths(
        shortest=shortest, median=median, mean=mean, longest=longest, width=width, bins=tuple(map(tuple, bins))
    )


def nice_width(span: int) -> int:
    """The narrowest width of 1, 2, 5, 10, 20, 50 … that needs no more than :data:`MOST_BINS` bins."""
    magnitude = 1
    while True:
        for step in _NICE:
            if span <= MOST_BINS * step * magnitude:
                return step * magnitude
        magnitude *= 10


def _first_move(database: duckdb.DuckDBPyConnection) -> FirstMove | None:
    """The score with its interval: the two games of a pair have their opening in common, so the pair is one sample."""
    wins, draws, losses, pairs, points_squared, mixed, games_squared = _one(
        database,
        """with pairs as (
            select cast(sum(2 * first_score) as bigint) as points, count(*) as games, count_if(first_score = 1) as won,
                count_if(first_score = 0.5) as drawn
            from results group by run_id, pair_no
        ) select sum(won), sum(drawn), sum(games) - sum(won) - sum(drawn), count(*), sum(points * points),
            sum(points * games), sum(games * games) from pairs""",
    )
    if not pairs:
        return None
    games = int(wins + draws + losses)
    score = float(wins + draws / 2) / games
    low = high = None
    if pairs > 1:
        # The sum over pairs of (points - score * games) ** 2, points being counted in halves.
        scatter = points_squared / 4 - score * float(mixed) + score * score * float(games_squared)
        error = (max(0.0, scatter) * pairs / (pairs - 1)) ** 0.5 / games
        low = max(0.0, score - normal_quantile() * error)
        high = min(1.0, score + normal_quantile() * error)
    return FirstMove(wins=int(wins), draws=int(draws), losses=int(losses), score=score, low=low, high=high)


_THINKING = """
    with sat as (
        select first_agent as agent, (plies + 1) // 2 - (least(opening_plies, plies) + 1) // 2 as moves,
            first_time_ms as time_ms, first_max_move_ms as longest_ms from results
        union all
        select second_agent, plies // 2 - least(opening_plies, plies) // 2, second_time_ms, second_max_move_ms
        from results
    )
    select agent, cast(sum(moves) as bigint), cast(sum(time_ms) as bigint), max(longest_ms) from sat
    group by agent having sum(moves) > 0 order by agent
"""


def _one(database: duckdb.DuckDBPyConnection, question: str) -> Any:  # noqa: ANN401 - a row of whatever was asked for
    [row] = _all(database, question)
    return row


def _all(
    database: duckdb.DuckDBPyConnection, question: str, values: dict[str, int] | None = None
) -> Sequence[tuple[Any, ...]]:
    return database.execute(question, values or {}).fetchall()
