"""From counting games to the ranking sheet: rows, differences, crosstable, warnings.

A rating is a difference to something. It is the anchor's rating that is fixed, or, without a usable anchor,
the mean of the rated agents; every interval is of the difference to that, and the anchor's own interval is a
point.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from banzuke.errors import RatingError
from banzuke.ratings.bradley_terry import TRUSTED_PAIRS, BradleyTerryFit, fit
from banzuke.ratings.elo import likelihood_of_superiority, normal_quantile
from banzuke.ratings.existence import Booleans, connected_pools
from banzuke.ratings.scores import DRAW, LOSS, WIN, Floats, GameColumns, Integers, Tally, tally

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN = 3
"""Opponents that a reason names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """An agent to be listed, with or without games. ``GameColumns`` name it by its index in the list."""

    agent: str
    agent_id: str
    forfeits: int = 0
    """Games it lost by forfeit."""
    voids: int = 0
    """Void attempts it was at fault for."""
    remark: str | None = None
    """What was found out about it beside its games (unfit, put off), for its ``reason``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingRow:
    """One row of ``standings`` but for ``run_id`` and ``computed_at``, which only the caller knows.

    Fields mean what they mean in ``banzuke.record.Standing`` and have its names, in its order.
    """

    rank: int
    agent: str
    agent_id: str
    elo: float | None
    elo_low: float | None
    elo_high: float | None
    games: int
    wins: int
    draws: int
    losses: int
    score: float | None
    forfeits: int
    voids: int
    los_next: float | None
    rated: bool
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How much stronger one rated agent is than another, with the 95 % interval of that difference."""

    agent: str
    versus: str
    elo: float
    low: float
    high: float
    los: float
    """Chance of ``agent`` being the stronger one, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """Each against each of the m rated agents, in the order of the rows."""

    agents: tuple[str, ...]
    elo: Floats
    """[m] ratings."""
    errors: Floats
    """[m, m] standard errors in Elo of the differences; the diagonal is 0."""

    def superiority(self) -> Floats:
        """[m, m] chance, 0 to 1, of the row's agent being stronger than the column's; one half on the diagonal."""
        certain = np.where(self.errors > 0.0, self.errors, 1.0)
        return np.asarray(ndtr((self.elo[:, None] - self.elo) / certain))

    def between(self, agent: str, versus: str) -> Difference:
        """How much stronger one of them is than another.

        Raises:
            ValueError: one of them is not rated.
        """
        one, other = self.agents.index(agent), self.agents.index(versus)
        elo, error = float(self.elo[one] - self.elo[other]), float(self.errors[one, other])
        half_width = float(normal_quantile() * error)
        los = likelihood_of_superiority(elo, error)
        return Difference(agent=agent, versus=versus, elo=elo, low=elo - half_width, high=elo + half_width, los=los)

    def each(self) -> tuple[Difference, ...]:
        """Every two agents once, the one ranked higher first: half a million of a thousand agents."""
        above, below = np.triu_indices(len(self.agents), k=1)
        elo = self.elo[above] - self.elo[below]
        half_width = normal_quantile() * self.errors[above, below]
        los = self.superiority()[above, below]
        columns = (above, below, elo, elo - half_width, elo + half_width, los)
        return tuple(
            Difference(agent=self.agents[agent], versus=self.agents[versus], elo=elo, low=low, high=high, los=los)
            for agent, versus, elo, low, high, los in zip(*(column.tolist() for column in columns), strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Crosstable:
    """Each against each, n agents in the order of the rows."""

    agents: tuple[str, ...]
    points: Floats
    """[n, n] points that the agent of the row took from the agent of the column."""
    games: Integers
    """[n, n] games between the two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standings:
    """The ranking sheet."""

    rows: tuple[StandingRow, ...]
    """By rank; unrated agents last, by name."""
    matrix: Differences
    crosstable: Crosstable
    warnings: tuple[str, ...]
    """One line each. What this module cannot know (identical games, say) the caller adds."""
    first_move_elo: float | None
    """Elo that moving first is worth; None where the games cannot tell."""
    first_move_low: float | None
    """Lower end of its 95 % interval."""
    first_move_high: float | None
    draw_rate: float | None
    """Share of draws, 0 to 1, between equally strong agents; None without a rated game."""

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Every two rated agents once, the one ranked higher first; made when asked for."""
        return self.matrix.each()


def compute_standings(
    *,
    entrants: Sequence[Entrant],
    games: GameColumns,
    anchor: str | None = None,
    anchor_elo: float = 0.0,
) -> Standings:
    """Rates all agents jointly and ranks them.

    Only agents that a chain of games connects to the anchor are rated (without a usable anchor: those of the
    largest connected pool). To count void games against the side at fault, give them in ``games`` as losses
    of that side.

    Args:
        entrants: all agents to list; names are unique.
        games: the counting games, by index into ``entrants``.
        anchor: the agent whose rating is ``anchor_elo``. Without one, or if it has no counting game (a
            warning then
            says so), the mean of the rated agents is ``anchor_elo``.
        anchor_elo: Elo, finite.

    Raises:
        RatingError: two entrants have one name, ``anchor_elo`` is not finite, or ``games`` are malformed (see
            ``scores.tally``).
    """
    _check_entrants(entrants, anchor_elo)
    counts = tally(games, len(entrants))
    pools = connected_pools(counts)
    anchor_index, warnings = _usable_anchor(entrants, pools, anchor)
    if not pools:
        return _without_ratings(entrants, counts, warnings)

    members = pools[0] if anchor_index is None else next(pool for pool in pools if anchor_index in pool)
    rated = _RatedPool.of(entrants, counts.among(members), members, anchor_index, anchor_elo)
    ranked = [int(members[position]) for position in rated.order]
    unrated = _by_name(entrants, set(range(len(entrants))).difference(ranked))
    apart = _apart(entrants, anchor_index)
    figures = [_Figures.of(results) for results in counts.results_by_agent]
    rows = [
        *(_rated_row(rated, rank, entrants[ranked[rank]], figures[ranked[rank]]) for rank in range(len(ranked))),
        *(
            _unrated_row(rank, entrants[index], figures[index], apart)
            for rank, index in enumerate(unrated, start=len(ranked))
        ),
    ]
    first_move_low, first_move_high = rated.first_move_interval()
    return Standings(
        rows=tuple(rows),
        matrix=_differences(rated),
        crosstable=_crosstable(entrants, counts, ranked + unrated),
        warnings=(*warnings, *_warnings(rated, sum(len(pool) for pool in pools), apart)),
        first_move_elo=rated.fitted.first_move_elo,
        first_move_low=first_move_low,
        first_move_high=first_move_high,
        draw_rate=rated.fitted.draw_rate,
    )


def _check_entrants(entrants: Sequence[Entrant], anchor_elo: float) -> None:
    twice = [name for name, count in Counter(entrant.agent for entrant in entrants).items() if count > 1]
    if twice:
        raise RatingError(f"more than one entrant is called {twice[0]}")
    if not math.isfinite(anchor_elo):
        raise RatingError(f"an anchor's rating of {anchor_elo} is not finite")


def _usable_anchor(
    entrants: Sequence[Entrant], pools: list[Integers], anchor: str | None
) -> tuple[int | None, list[str]]:
    """The anchor's index if it played, and otherwise a warning that it did not."""
    if anchor is None:
        return None, []
    names = [entrant.agent for entrant in entrants]
    if anchor not in names:
        return None, [f"the anchor {anchor} is no entrant: ratings are relative to the mean of the pool"]
    index = names.index(anchor)
    if not any(index in pool for pool in pools):
        return None, [f"the anchor {anchor} has no counting game: ratings are relative to the mean of the pool"]
    return index, []


def _without_ratings(entrants: Sequence[Entrant], counts: Tally, warnings: list[str]) -> Standings:
    listed = _by_name(entrants, set(range(len(entrants))))
    nothing = _Figures.of(np.zeros(3, dtype=np.int64))
    return Standings(
        rows=tuple(_unrated_row(rank, entrants[index], nothing, "") for rank, index in enumerate(listed)),
        matrix=Differences(agents=(), elo=np.zeros(0), errors=np.zeros((0, 0))),
        crosstable=_crosstable(entrants, counts, listed),
        warnings=tuple(warnings),
        first_move_elo=None,
        first_move_low=None,
        first_move_high=None,
        draw_rate=None,
    )


def _by_name(entrants: Sequence[Entrant], indices: set[int]) -> list[int]:
    return sorted(indices, key=lambda index: entrants[index].agent)


def _apart(entrants: Sequence[Entrant], anchor_index: int | None) -> str:
    return "the largest pool" if anchor_index is None else f"the anchor {entrants[anchor_index].agent}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _RatedPool:
    """The m rated agents on the published scale, by their position in the fit."""

    names: list[str]
    fitted: BradleyTerryFit
    elo: Floats
    errors: Floats
    """[m] standard errors of the differences to the reference; 0 for the anchor itself."""
    difference_errors: Floats
    """[m, m]"""
    order: list[int]
    """Positions by rank."""
    reasons: list[str | None]

    @classmethod
    def of(
        cls,
        entrants: Sequence[Entrant],
        counts: Tally,
        members: Integers,
        anchor_index: int | None,
        anchor_elo: float,
    ) -> _RatedPool:
        fitted = fit(counts)
        names = [entrants[index].agent for index in members]
        difference_errors = fitted.difference_errors()
        held = int(np.argmax(np.bincount(fitted.group)))
        if anchor_index is None:
            elo = fitted.elo + anchor_elo
            errors, widened, pairs = fitted.mean_errors(), fitted.mean_is_widened(), fitted.pairs
        else:
            anchor = int(np.searchsorted(members, anchor_index))
            held = int(fitted.group[anchor])
            elo = fitted.elo - fitted.elo[anchor] + anchor_elo
            errors, widened = difference_errors[anchor], fitted.difference_is_widened()[anchor]
            pairs = np.minimum(fitted.pairs, fitted.pairs[anchor])
        return cls(
            names=names,
            fitted=fitted,
            elo=elo,
            errors=errors,
            difference_errors=difference_errors,
            # Rounded, so that what is equal but for the order of summation is ranked by name.
            order=sorted(range(len(names)), key=lambda k: (-round(float(fitted.elo[k]), 6), names[k])),
            reasons=[
                "; ".join(part for part in parts if part is not None) or None
                for parts in zip(
                    _virtual_draw_reasons(names, counts, fitted, held),
                    _widening_reasons(pairs, widened, errors),
                    (entrants[index].remark for index in members),
                    strict=True,
                )
            ],
        )

    def first_move_interval(self) -> tuple[float | None, float | None]:
        """The 95 % interval of the first-move advantage in Elo, if there is one."""
        if self.fitted.first_move_elo is None or self.fitted.first_move_error is None:
            return None, None
        half_width = normal_quantile() * self.fitted.first_move_error
        return self.fitted.first_move_elo - half_width, self.fitted.first_move_elo + half_width


def _virtual_draw_reasons(names: list[str], counts: Tally, fitted: BradleyTerryFit, held: int) -> list[str | None]:
    """What virtual draws did to each agent; ``held`` is the group that the scale hangs on."""
    opponents: list[list[str]] = [[] for _ in names]
    divided = np.zeros(len(names), dtype=bool)
    for encounter in np.flatnonzero(fitted.virtual_draws):
        low, high = counts.low[encounter], counts.high[encounter]
        opponents[low].append(names[high])
        opponents[high].append(names[low])
        divided[[low, high]] |= fitted.divided[encounter]
    return [
        f"{_lack(results, apart=apart)}: one virtual draw added against {_few(against)}"
        if against
        else None
        if group == held
        else "its distance to others rests on virtual draws of agents it is in a group with"
        for against, results, apart, group in zip(
            opponents, counts.results_by_agent.tolist(), divided.tolist(), fitted.group.tolist(), strict=True
        )
    ]


def _lack(results: list[int], *, apart: bool) -> str:
    games = sum(results)
    if results[WIN] == games:
        return "no finite estimate (it won every game)"
    if results[LOSS] == games:
        return "no finite estimate (it lost every game)"
    if apart:
        return "no finite distance to others (all points between groups of agents went one way)"
    return "no finite estimate (the results do not bound the first-move advantage)"


def _few(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _widening_reasons(pairs: Integers, widened: Booleans, errors: Floats) -> list[str | None]:
    lone = "interval by the model alone: one opening pair shows no spread"
    few = "interval widened: it rests on few opening pairs ({})"
    alike = "interval widened: the {} opening pairs it rests on hardly differ"
    return [
        (few if count <= TRUSTED_PAIRS else alike).format(count) if wide else lone if count == 1 and error > 0 else None
        for count, wide, error in zip(pairs.tolist(), widened.tolist(), errors.tolist(), strict=True)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Figures:
    """What the games say without a model."""

    games: int
    wins: int
    draws: int
    losses: int
    score: float | None

    @classmethod
    def of(cls, results: Integers) -> _Figures:
        games = int(results.sum())
        points = results[WIN] + results[DRAW] / 2.0
        return cls(
            games=games,
            wins=int(results[WIN]),
            draws=int(results[DRAW]),
            losses=int(results[LOSS]),
            score=float(points / games) if games else None,
        )


def _rated_row(rated: _RatedPool, rank: int, entrant: Entrant, figures: _Figures) -> StandingRow:
    position = rated.order[rank]
    elo = float(rated.elo[position])
    half_width = float(normal_quantile() * rated.errors[position])
    los_next = None
    if rank + 1 < len(rated.order):
        below = rated.order[rank + 1]
        los_next = likelihood_of_superiority(
            elo - float(rated.elo[below]), float(rated.difference_errors[position, below])
        )
    return StandingRow(
        rank=rank + 1,
        agent=entrant.agent,
        agent_id=entrant.agent_id,
        elo=elo,
        elo_low=elo - half_width,
        elo_high=elo + half_width,
        games=figures.games,
        wins=figures.wins,
        draws=figures.draws,
        losses=figures.losses,
        score=figures.score,
        forfeits=entrant.forfeits,
        voids=entrant.voids,
        los_next=los_next,
        rated=True,
        reason=rated.reasons[position],
    )


def _unrated_row(rank: int, entrant: Entrant, figures: _Figures, apart: str) -> StandingRow:
    reason = f"no chain of games connects it to {apart}" if figures.games else "no counting game"
    return StandingRow(
        rank=rank + 1,
        agent=entrant.agent,
        agent_id=entrant.agent_id,
        elo=None,
        elo_low=None,
        elo_high=None,
        games=figures.games,
        wins=figures.wins,
        draws=figures.draws,
        losses=figures.losses,
        score=figures.score,
        forfeits=entrant.forfeits,
        voids=entrant.voids,
        los_next=None,
        rated=False,
        reason=reason if entrant.remark is None else f"{reason}; {entrant.remark}",
    )


def _differences(rated: _RatedPool) -> Differences:
    order = np.array(rated.order)
    return Differences(
        agents=tuple(rated.names[position] for position in rated.order),
        elo=rated.elo[order],
        errors=rated.difference_errors[np.ix_(order, order)],
    )


def _crosstable(entrants: Sequence[Entrant], counts: Tally, listed: list[int]) -> Crosstable:
    points = np.zeros((len(entrants), len(entrants)))
    games = np.zeros((len(entrants), len(entrants)), dtype=np.int64)
    points_of_low = counts.low_results @ np.array([0.0, 0.5, 1.0])
    games_played = counts.games_by_encounter
    points[counts.low, counts.high] = points_of_low
    points[counts.high, counts.low] = games_played - points_of_low
    games[counts.low, counts.high] = games_played
    games[counts.high, counts.low] = games_played
    return Crosstable(
        agents=tuple(entrants[index].agent for index in listed),
        points=points[np.ix_(listed, listed)],
        games=games[np.ix_(listed, listed)],
    )


def _warnings(rated: _RatedPool, playing: int, apart: str) -> list[str]:
    warnings = []
    if playing > len(rated.names):
        warnings.append(f"{playing - len(rated.names)} agents played but no chain of games connects them to {apart}")
    if rated.fitted.first_move_elo is None:
        among = " among agents that took points from each other" if rated.fitted.divided.any() else ""
        warnings.append(
            f"sides were never swapped{among}, so that a first-move advantage cannot be told from the ratings: "
            "none is assumed"
        )
    if rated.fitted.virtual_draws.any():
        warnings.append(f"{int(rated.fitted.virtual_draws.sum())} encounters were given one virtual draw (see reason)")
    return warnings
