"""What the games say against the ratings that come of them. Each finding is one line: who, how much, what to do.

Findings that could be chance are tested. Every kind of test is wrong about a fair tournament at most once in
``1 / ALPHA`` tournaments, over all agents and openings together (Bonferroni), so that all kinds together cry wolf less
than once in 150; most also ask for an effect that is worth a person's time. What is tested against what is said where
it is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import betainc, expit, ndtr, stdtr

from banzuke.ratings.connections import connection_warnings
from banzuke.ratings.elo import ELO_PER_NAT, normal_quantile
from banzuke.ratings.keys import codes, counted, distinct, joined, joined_either_way

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from numpy.typing import NDArray

    from banzuke.ratings.existence import Booleans
    from banzuke.ratings.keys import Numbers
    from banzuke.ratings.scores import Floats, Integers
    from banzuke.ratings.standings import Standings

ALPHA: Final = 0.001
"""Chance that one kind of test speaks up about a fair tournament."""

MOST_LINES: Final = 3
"""Of one kind; how many more there are is said with the last of them."""

_ONE_SIDED_SHARE = 0.02
"""Opening pairs that may have a result on one side only: some always do while games are being played."""
_FEWEST_FAILURES = 3
_OPENING_OVERUSE = 2.0
"""Times as many encounters as expected, from which on an opening's use is worth a line."""
_LARGEST_FIRST_MOVE_ELO = 70.0
"""What moving first may be worth (60 % of the points between equals) before the openings are doubted."""
_SIDE_GAP = 0.15
"""Points per game by which an agent's sides may differ more than the pool's before it is worth a line."""
_FEWEST_OPENINGS = 10
"""Below, an agent's sides are not compared."""
_MOST_CLUSTERS = 4096
"""Of an agent's games."""
_AT_A_TIME = 1 << 18
"""Games: columns of so many are still in the processor's cache when the next step needs them."""
_TIME_FORFEIT_SHARE = 0.01
"""Of an agent's games that may be lost on time."""
_BEHIND_CP = -300.0
"""An agent that stands so or worse is behind."""
_LEAST_BEHIND_SHARE = 0.25
"""An honest agent's failures are taken to meet it behind at least so often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GamesLookedAt:
    """The counting games, one entry per game; shapes (games,). Numbers may be of 32 bits: there may be many."""

    run: Numbers
    """Number of the run."""
    pair: Numbers
    """Number of the opening pair, different across runs."""
    opening: Numbers
    """Index into the openings' names."""
    first: Numbers
    """Index of the agent that had the move at the start position."""
    second: Numbers
    first_score: Floats
    """0, 0.5 or 1."""
    is_time_forfeit: Booleans


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Games that an agent was at fault for failing, at least once; shapes (failures,)."""

    agent: Numbers
    """Index of the agent at fault."""
    eval_cp: Floats
    """How it stood then, in centipawns from its own point of view; NaN where nobody said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstMove:
    """What moving first is worth, by the ratings' model."""

    elo: float
    low: float
    """Of the 95 % interval."""
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratings:
    """What came of the games."""

    elo: Floats
    """(agents,) NaN for the unrated."""
    first_move: FirstMove | None
    """None where the games cannot tell."""

    @classmethod
    def of(cls, standings: Standings, agents: Sequence[str]) -> Ratings:
        """Those of a ranking sheet that lists all of these agents."""
        elo = {row.agent: row.elo for row in standings.rows}
        move, low, high = standings.first_move_elo, standings.first_move_low, standings.first_move_high
        return cls(
            elo=np.array([np.nan if elo[agent] is None else elo[agent] for agent in agents], dtype=np.float64),
            first_move=None if move is None or low is None or high is None else FirstMove(elo=move, low=low, high=high),
        )


def quality_warnings(
    *,
    agents: Sequence[str],
    openings: Sequence[str],
    ratings: Callable[[], Ratings],
    games: GamesLookedAt,
    failures: Failures,
    attempts: Integers,
    unpaired: Collection[int] = (),
) -> list[str]:
    """Everything that is found, the most mechanical first.

    Args:
        agents: their names.
        openings: their ids.
        ratings: asked for once what needs none has been found: somebody else may be at work on them meanwhile.
        games: the counting games.
        failures: void games by fault.
        attempts: (agents,) how often a game of the agent was begun, with or without a result.
        unpaired: numbers of runs whose openings were never to be played from both sides.
    """
    uses = _Uses.of(games, len(agents), len(openings))
    of_openings = [
        *_one_sided_pairs(agents, openings, games, unpaired),
        *_repeated_openings(agents, openings, games, uses),
        *_overused_openings(openings, uses),
    ]
    of_agents = [
        *_concentrated_failures(agents, failures, attempts),
        *_failures_when_behind(agents, games, failures),
        *_time_forfeits(agents, games),
    ]
    rated = ratings()
    return [
        *of_openings,
        *_first_move_out_of_line(rated.first_move),
        *_sides_out_of_line(agents, rated.elo, rated.first_move, games),
        *of_agents,
        *connection_warnings(agents, np.isfinite(rated.elo), games.first, games.second),
    ]


def _one_sided_pairs(
    agents: Sequence[str], openings: Sequence[str], games: GamesLookedAt, unpaired: Collection[int]
) -> Iterator[str]:
    """No test: it is so or it is not."""
    is_turned = games.first > games.second
    is_paired = ~np.isin(games.run, list(unpaired)) if unpaired else np.True_
    many = 1 + int(games.pair.max(initial=-1))
    straight, turned = (
        np.bincount(games.pair[side & is_paired], minlength=many) > 0 for side in (~is_turned, is_turned)
    )
    count, pairs = int((straight ^ turned).sum()), int((straight | turned).sum())
    if count <= _ONE_SIDED_SHARE * pairs:
        return
    lonely = np.flatnonzero((straight ^ turned)[games.pair])
    by_agent = _counts(np.concatenate([games.first[lonely], games.second[lonely]]), len(agents))
    by_opening = _counts(games.opening[lonely], len(openings))
    agent, opening = int(by_agent.argmax()), int(by_opening.argmax())
    yield (
        f"{count} of {pairs} opening pairs have results on one side only ({by_agent[agent]} of them of "
        f"{agents[agent]}, {by_opening[opening]} from opening {openings[opening]}): who had the better side there "
        "gained by it; banzuke backfill plays the other games"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Uses:
    """Openings that the encounters of the runs used, one entry per run, encounter and opening; shapes (uses,)."""

    run: Numbers
    meeting: Integers
    """Number of the encounter of the run."""
    opening: Integers
    pairs: Integers
    """How often it was used there."""
    game: Integers
    """Index of one game of it."""

    @classmethod
    def of(cls, games: GamesLookedAt, agents: int, openings: int) -> _Uses:
        """Worked out from one game of each pair."""
        one_of = np.full(1 + int(games.pair.max(initial=-1)), -1, dtype=np.int64)
        one_of[games.pair] = np.arange(len(games.pair))
        game = one_of[one_of >= 0]
        run, first, second = (side[game] for side in (games.run, games.first, games.second))
        encounter = codes(joined_either_way(first, second, agents))
        meeting = codes(joined(run, 1 + int(encounter.max(initial=0)), encounter))
        used, use = distinct(joined(meeting, max(openings, 1), games.opening[game]))
        example = np.empty(len(used), dtype=np.int64)
        example[use] = game
        meetings, openings_used = np.divmod(used, max(openings, 1))
        return cls(
            run=games.run[example],
            meeting=meetings,
            opening=openings_used,
            pairs=np.bincount(use, minlength=len(used)),
            game=example,
        )


def _repeated_openings(
    agents: Sequence[str], openings: Sequence[str], games: GamesLookedAt, uses: _Uses
) -> Iterator[str]:
    """No test: within one run and encounter, uses of two openings differ by one at most, unless a plan says so."""
    if not len(uses.pairs):
        return
    least = np.full(1 + int(uses.meeting.max()), np.iinfo(np.int64).max)
    np.minimum.at(least, uses.meeting, uses.pairs)
    excess = uses.pairs - least[uses.meeting]
    worst = int(excess.argmax())
    if excess[worst] < 2:
        return
    first, second = sorted(agents[side[uses.game[worst]]] for side in (games.first, games.second))
    others = int((excess >= 2).sum()) - 1
    yield (
        f"{first} and {second} began {uses.pairs[worst]} pairs of one run with opening "
        f"{openings[uses.opening[worst]]} and only {least[uses.meeting[worst]]} with another"
        f"{_and_more(others, 'opening is', 'openings are', 'used like that')}: what is special about it counts as "
        "often; give the book more openings"
    )


def _overused_openings(openings: Sequence[str], uses: _Uses) -> Iterator[str]:
    """Null: each encounter of a run draws its openings evenly from those that the run uses.

    How many encounters use one is then a sum of independent chances, whose tail is at most the binomial's with the
    mean of them (W. Hoeffding, Ann. Math. Stat. 27, 1956). Openings of the book that nobody drew are not known; the
    chances are therefore taken a little too high, and the test speaks up a little too rarely.
    """
    if not len(uses.pairs):
        return
    many = len(openings)
    used, encounters = counted(joined(uses.run, many, uses.opening))
    run = used // many
    one_each = np.flatnonzero(np.diff(uses.meeting, prepend=-1))
    meetings = np.bincount(uses.run[one_each])[run]
    chance = np.bincount(uses.run)[run] / (meetings * np.bincount(run)[run])
    tail = _binomial_tail(encounters, meetings, np.minimum(chance, 1.0))
    is_overused = (tail * len(used) < ALPHA) & (encounters >= _OPENING_OVERUSE * meetings * chance)
    found = np.flatnonzero(is_overused)
    if not len(found):
        return
    worst = int(found[tail[found].argmin()])
    yield (
        f"opening {openings[used[worst] % many]} was used in {encounters[worst]} of {meetings[worst]} encounters of a "
        f"run, where {meetings[worst] * chance[worst]:.0f} would be even"
        f"{_and_more(len(found) - 1, 'opening is', 'openings are', 'used too much')}: what is special about it "
        "counts as often; see how the plan was made"
    )


def _first_move_out_of_line(first_move: FirstMove | None) -> Iterator[str]:
    """Null: moving first is worth at most 70 Elo to either side."""
    if first_move is None:
        return
    error = (first_move.high - first_move.low) / (2.0 * normal_quantile())
    if not error > 0.0 or ndtr((_LARGEST_FIRST_MOVE_ELO - abs(first_move.elo)) / error) * 2.0 >= ALPHA:
        return
    share = 100.0 * float(expit(first_move.elo / ELO_PER_NAT))
    yield (
        f"between equals, who moves first takes {share:.0f} % of the points ({first_move.elo:.0f} Elo, "
        f"{first_move.low:.0f} … {first_move.high:.0f}): the openings favour one side, or agents play one side badly; "
        "the ratings allow for it, but pairs say less: try another book"
    )


def _sides_out_of_line(
    agents: Sequence[str], elo: Floats, first_move: FirstMove | None, games: GamesLookedAt
) -> Iterator[str]:
    """Null: moving first is worth to the agent what it is worth to the pool.

    In every game of the agent, whichever its side, the first side's points less those that the ratings expect have
    then the mean 0. Their sum is judged by its own spread between openings (games from one opening may agree), or by
    the model's where that is wider, by Student's t.
    """
    if first_move is None or not len(games.first):
        return
    n, many = len(agents), 1 + min(int(games.opening.max()), _MOST_CLUSTERS - 1)
    # An agent's games from one opening, whichever its side: few enough to be counted without sorting the games.
    in_cell, is_met = np.zeros(n * many), np.zeros(n * many, dtype=bool)
    games_of, model = np.zeros(n), np.zeros(n)
    for start in range(0, len(games.first), _AT_A_TIME):
        some = slice(start, start + _AT_A_TIME)
        first, second = games.first[some], games.second[some]
        # Of more openings than that some share a cluster, which does no harm.
        opening = games.opening[some] % _MOST_CLUSTERS
        expected = expit((elo[first] + first_move.elo - elo[second]) / ELO_PER_NAT)
        is_rated = np.isfinite(expected)
        residual = np.where(is_rated, games.first_score[some] - expected, 0.0)
        spread = np.where(is_rated, expected * (1.0 - expected), 0.0)
        for side in (first, second):
            cell = joined(side, many, opening)
            np.add.at(in_cell, cell, residual)
            is_met[cell[is_rated]] = True
            games_of += np.bincount(side, weights=is_rated, minlength=n)
            model += np.bincount(side, weights=spread, minlength=n)
    by_agent = in_cell.reshape(n, many)
    total, own, openings_of = by_agent.sum(axis=1), (by_agent**2).sum(axis=1), is_met.reshape(n, many).sum(axis=1)
    is_judged = openings_of >= _FEWEST_OPENINGS
    with np.errstate(invalid="ignore", divide="ignore"):
        gap: Floats = np.asarray(2.0 * total / games_of)
        tail = 2.0 * stdtr(np.maximum(openings_of - 1, 1), -np.abs(total) / np.sqrt(np.maximum(own, model)))
    is_clear = np.asarray(tail * n < ALPHA)
    found = np.flatnonzero(is_judged & is_clear & (np.abs(gap) > _SIDE_GAP))
    worst_first = found[np.argsort(-np.abs(gap[found]))]
    yield from _few(
        [
            f"{agents[index]} takes {abs(gap[index]):.2f} points a game {'more' if gap[index] > 0 else 'less'} moving "
            f"first than moving second, beyond what its opponents make of it ({games_of[index]:.0f} games): it may "
            "misread one side (a board that is not turned); look at its games"
            for index in worst_first.tolist()
        ]
    )


def _concentrated_failures(agents: Sequence[str], failures: Failures, attempts: Integers) -> Iterator[str]:
    """Null: an agent is at fault for as large a part of the failures as it has of the games begun (binomial)."""
    counts = _counts(failures.agent, len(agents))
    total = int(counts.sum())
    if total < _FEWEST_FAILURES:
        return
    share = attempts / attempts.sum()
    tail = _binomial_tail(counts, total, share)
    found = np.flatnonzero((tail * len(agents) < ALPHA) & (counts >= _FEWEST_FAILURES))
    yield from _few(
        [
            f"{agents[index]} was at fault for {counts[index]} of {total} games that failed, with "
            f"{100.0 * share[index]:.0f} % of the seats: its rating is that of the games it survived; banzuke show "
            "says what it died of, standings --count-faults counts what is still void as lost"
            for index in found[np.argsort(-counts[found])].tolist()
        ]
    )


def _failures_when_behind(agents: Sequence[str], games: GamesLookedAt, failures: Failures) -> Iterator[str]:
    """Null: the agent fails at any moment, so behind as often as it loses points, or a quarter of the time (binomial).

    At a moment taken at random it stands at -300 more rarely than that, since games begin even: the test errs to the
    side of silence.
    """
    is_known = ~np.isnan(failures.eval_cp)
    known = _counts(failures.agent[is_known], len(agents))
    behind = _counts(failures.agent[is_known & (failures.eval_cp <= _BEHIND_CP)], len(agents))
    if behind.max(initial=0) < _FEWEST_FAILURES:
        return
    played = _games_of(games, len(agents))
    points = np.bincount(games.first, weights=games.first_score, minlength=len(agents))
    points += _counts(games.second, len(agents))
    points -= np.bincount(games.second, weights=games.first_score, minlength=len(agents))
    chance = np.maximum(1.0 - points / np.maximum(played, 1), _LEAST_BEHIND_SHARE)
    tail = _binomial_tail(behind, known, chance)
    found = np.flatnonzero((tail * len(agents) < ALPHA) & (behind >= _FEWEST_FAILURES))
    yield from _few(
        [
            f"{agents[index]} was behind in {behind[index]} of the {known[index]} games that failed by its fault and "
            f"had a score, but loses at most {100.0 * chance[index]:.0f} % of the points otherwise: it would gain by "
            "having them played again; read the standings with --count-faults too"
            for index in found[np.argsort(tail[found])].tolist()
        ]
    )


def _time_forfeits(agents: Sequence[str], games: GamesLookedAt) -> Iterator[str]:
    """Null: at most 1 % of an agent's games are lost on time (binomial)."""
    late = np.flatnonzero(games.is_time_forfeit)
    if not len(late):
        return
    lost = _counts(np.where(games.first_score[late] > 0.5, games.second[late], games.first[late]), len(agents))
    played = _games_of(games, len(agents))
    tail = _binomial_tail(lost, played, _TIME_FORFEIT_SHARE)
    found = np.flatnonzero((tail * len(agents) < ALPHA) & (lost > 0))
    yield from _few(
        [
            f"{agents[index]} lost {lost[index]} of {played[index]} games on time "
            f"({100.0 * lost[index] / played[index]:.0f} %): its rating is that of its clock; raise its margin_ms or "
            "its limit, or lower [limits] concurrency"
            for index in found[np.argsort(-lost[found])].tolist()
        ]
    )


def _binomial_tail(at_least: Integers, tries: Integers | int, chance: Floats | float) -> Floats:
    """Chance of so many successes or more."""
    tail = betainc(np.maximum(at_least, 1), tries - at_least + 1, chance)
    return np.where(at_least > 0, tail, 1.0)


def _counts(indices: Numbers, many: int) -> NDArray[np.int64]:
    return np.bincount(indices, minlength=many).astype(np.int64)


def _games_of(games: GamesLookedAt, many: int) -> NDArray[np.int64]:
    return _counts(games.first, many) + _counts(games.second, many)


def _few(lines: list[str]) -> list[str]:
    """The first lines, the last of them with how many more there are."""
    if len(lines) <= MOST_LINES:
        return lines
    return [*lines[: MOST_LINES - 1], f"{lines[MOST_LINES - 1]} (and {len(lines) - MOST_LINES} more agents like it)"]


def _and_more(others: int, one: str, many: str, what: str) -> str:
    if not others:
        return ""
    return f" ({others} more {one if others == 1 else many} {what})"
