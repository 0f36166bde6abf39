"""How many games adaptive scheduling needs, and round-robin, until every interval is as short as asked for.

Results are drawn from the model: every pair has one opening, played both ways, and its two games are correlated. Both
schedules stop by the same criterion, on the same fit; round-robin plays whole rounds, one pair of every encounter.
Both stop because an interval looks short, so it is also counted how often the intervals hold the truth.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr

from banzuke.ratings.elo import ELO_PER_NAT
from banzuke.ratings.scores import Floats, GameColumns, Integers
from banzuke.schedule.adaptive import FEWEST_PAIRS, Goal, Meeting, first_step, measure, next_step

FIRST_MOVE_ELO = 20.0
DRAWS_BETWEEN_EQUALS = 0.3
LIKENESS = 0.4
"""Correlation, before rounding to results, of what the side moving first gets in a pair's two games: the opening's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Agents and what is true of them."""

    elo: Floats
    draws: float

    def play(self, meetings: list[Meeting], chance: np.random.Generator) -> Floats:
        """[pairs, 2] points of the side moving first; the lower number moves first in the first game."""
        low, high = np.array(meetings).T
        difference = self.elo[low] - self.elo[high]
        score = expit((FIRST_MOVE_ELO + np.stack((difference, -difference), axis=1)) / ELO_PER_NAT)
        # Davidson's law, with the share of draws between equals as given.
        product, inverse_nu = score * (1 - score), (1 - self.draws) / (2 * self.draws)
        draw = 2 * product / (0.5 + np.sqrt(0.25 - product + 4 * product * inverse_nu**2))
        common, own = chance.standard_normal((len(low), 1)), chance.standard_normal((len(low), 2))
        luck = ndtr(np.sqrt(LIKENESS) * common + np.sqrt(1 - LIKENESS) * own)
        lost = 1 - score - draw / 2
        return np.where(luck < lost, 0.0, np.where(luck < lost + draw, 0.5, 1.0))


class Played:
    """The games so far."""

    def __init__(self, pool: Pool, chance: np.random.Generator) -> None:
        self.pool = pool
        self.chance = chance
        self.meetings: list[Meeting] = []
        self.points = np.zeros((0, 2))

    def play(self, meetings: list[Meeting]) -> None:
        """Play a pair for each meeting."""
        self.points = np.concatenate((self.points, self.pool.play(meetings, self.chance)))
        self.meetings += meetings

    def games(self) -> GameColumns:
        """As the ratings take them."""
        low, high = np.array(self.meetings).T
        return GameColumns(
            first_agent=np.concatenate((low, high)),
            second_agent=np.concatenate((high, low)),
            first_score=self.points.T.ravel(),
            pair=np.tile(np.arange(len(low)), 2),
        )

    def planned(self) -> Integers:
        """[n, n] pairs."""
        planned = np.zeros((len(self.pool.elo),) * 2, dtype=np.int64)
        np.add.at(planned, tuple(np.array(self.meetings).T), 1)
        return planned


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a schedule ended with."""

    games: int
    steps: int
    widest: float
    within: NDArray[np.bool_]
    """By agent but the anchor: whether the interval holds the truth."""


def adaptive(goal: Goal, pool: Pool, chance: np.random.Generator) -> Ended:
    """Steps until none follows."""
    played = Played(pool, chance)
    able = np.ones(goal.agents, dtype=bool)
    step, steps = first_step(goal), 0
    while step:
        played.play(step)
        steps += 1
        step = next_step(goal, games=played.games(), planned=played.planned(), able=able)
    return _ended(goal, played, steps)


def round_robin(goal: Goal, pool: Pool, chance: np.random.Generator) -> Ended:
    """Whole rounds until every interval is short enough."""
    played = Played(pool, chance)
    rounds = 0
    while rounds < goal.pairs_per_encounter:
        played.play(list(combinations(range(goal.agents), 2)))
        rounds += 1
        known = measure(goal, played.games())
        if known.errors.max() <= goal.target_error and known.fitted.pairs.min() >= FEWEST_PAIRS:
            break
    return _ended(goal, played, rounds)


def _ended(goal: Goal, played: Played, steps: int) -> Ended:
    known = measure(goal, played.games())
    zero = (lambda elo: elo - elo.mean()) if goal.anchor is None else (lambda elo: elo - elo[goal.anchor])
    off = np.abs(zero(known.fitted.elo) - zero(played.pool.elo))
    counted = np.arange(goal.agents) != goal.anchor
    return Ended(
        games=2 * len(played.meetings),
        steps=steps,
        widest=float(known.errors.max()),
        within=(off <= known.errors)[counted],
    )


def _ladder(agents: int, chance: np.random.Generator) -> Floats:
    return 800 * np.arange(agents) / (agents - 1) + chance.normal(0, 20, agents)


def _training(agents: int, chance: np.random.Generator) -> Floats:
    return 800 * (1 - np.exp(-3 * np.arange(agents) / (agents - 1))) + chance.normal(0, 20, agents)


def _equals(agents: int, chance: np.random.Generator) -> Floats:
    return chance.normal(0, 50, agents)


POOLS: dict[str, Callable[[int, np.random.Generator], Floats]] = {
    "ladder": _ladder,
    "training": _training,
    "equals": _equals,
}
"""Checkpoints that gain evenly, over 800 Elo; that gain fast at first; that hardly differ."""
ANCHORS = ("first", "middle", "mean")


def main() -> None:
    """Print a line for every pool and anchor."""
    options = _options()
    print("pool / anchor: games adaptive, round-robin, ratio median (range), steps, intervals that hold the truth")
    for name, anchor in ((name, anchor) for name in options.pools for anchor in options.anchors):
        ratios, games, held, steps = [], [], [], []
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            pool = Pool(elo=POOLS[name](options.agents, np.random.default_rng([seed, 1])), draws=DRAWS_BETWEEN_EQUALS)
            goal = _goal(options, anchor, pool)
            ended = adaptive(goal, pool, np.random.default_rng([seed, 2]))
            other = ended if options.alone else round_robin(goal, pool, np.random.default_rng([seed, 3]))
            ratios.append(ended.games / other.games)
            games.append((ended.games, other.games))
            held.append((ended.within.mean(), other.within.mean()))
            steps.append(ended.steps)
        few, many = np.median(games, axis=0)
        holds, others = 100 * np.mean(held, axis=0)
        if options.alone:
            print(f"{name} / {anchor}: {few:.0f} games, {np.median(steps):.0f} steps, {holds:.1f} %", flush=True)
            continue
        print(
            f"{name} / {anchor}: {few:.0f}, {many:.0f}, {np.median(ratios):.3f} ({min(ratios):.3f} to "
            f"{max(ratios):.3f}), {np.median(steps):.0f}, {holds:.1f} % and {others:.1f} %",
            flush=True,
        )


def _goal(options: argparse.Namespace, anchor: str, pool: Pool) -> Goal:
    order = np.argsort(pool.elo)
    places = {"first": int(order[0]), "middle": int(order[len(order) // 2]), "mean": None}
    encounters = options.agents * (options.agents - 1) // 2
    return Goal(
        agents=options.agents,
        anchor=places[anchor],
        target_error=options.target,
        pairs_per_encounter=options.games_per_encounter // 2,
        pairs=encounters * options.games_per_encounter // 2,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=20)
    parser.add_argument("--target", type=float, default=20.0, help="half width of the 95 %% intervals, Elo")
    parser.add_argument(
        "--games-per-encounter", type=int, default=480, help="at most; the package's book has 240 lines"
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--pools", type=_words, default=list(POOLS))
    parser.add_argument("--anchors", type=_words, default=list(ANCHORS))
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--alone", action="store_true", help="without round-robin, which takes most of the time")
    parser.add_argument("--quick", action="store_true", help="6 agents, a target of 60, 2 seeds")
    options = parser.parse_args()
    if options.quick:
        options.agents, options.target, options.seeds = 6, 60.0, 2
    return options


def _words(text: str) -> list[str]:
    return text.split(",")


if __name__ == "__main__":
    main()
