"""Simulated tournaments in which nothing is wrong, and the quality of whose games is looked at."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import expit

from banzuke.ratings.elo import ELO_PER_NAT
from banzuke.ratings.quality import Failures, GamesLookedAt, Ratings, quality_warnings
from banzuke.ratings.scores import GameColumns
from banzuke.ratings.standings import Entrant, compute_standings


@dataclass(frozen=True, kw_only=True)
class Tournament:
    """A tournament's games and what is known of them."""

    names: list[str]
    openings: list[str]
    games: GamesLookedAt
    failures: Failures
    attempts: np.ndarray[Any, Any]

    def warnings(self) -> list[str]:
        """What is found, with the ratings that the games give."""
        games = self.games
        rated = compute_standings(
            entrants=[Entrant(agent=name, agent_id=name) for name in self.names],
            games=GameColumns(
                first_agent=games.first, second_agent=games.second, first_score=games.first_score, pair=games.pair
            ),
        )
        return quality_warnings(
            agents=self.names,
            openings=self.openings,
            ratings=lambda: Ratings.of(rated, self.names),
            games=games,
            failures=self.failures,
            attempts=self.attempts,
        )

    def with_games(self, **columns: Any) -> Tournament:
        """The same with other columns of its games."""
        return replace(self, games=replace(self.games, **columns))

    def without(self, is_gone: np.ndarray[Any, Any]) -> Tournament:
        """The same without some of the games."""
        names = ("run", "pair", "opening", "first", "second", "first_score", "is_time_forfeit")
        return self.with_games(**{name: getattr(self.games, name)[~is_gone] for name in names})


def fair(
    seed: int,
    *,
    agents: int = 8,
    pairs: int = 10,
    book: int = 240,
    spread: float = 150.0,
    first_move: float = 30.0,
    draws: float = 0.1,
    void_rate: float = 0.02,
    on_time: float = 0.001,
    gauntlet: bool = False,
) -> Tournament:
    """A round-robin (or a gauntlet of the first agent) with openings that favour a side, by 60 Elo more or less.

    Any game may fail by any agent's fault at any moment, and now and then someone oversteps the clock.
    """
    chance = np.random.default_rng(seed)
    elo = chance.normal(0.0, spread, agents)
    favour = chance.normal(0.0, 60.0, book)
    met = [(low, high) for low, high in itertools.combinations(range(agents), 2) if not gauntlet or low == 0]
    opening = np.concatenate([chance.permutation(book)[:pairs] for _ in met]).repeat(2)
    low, high = np.array(met).repeat(2 * pairs, axis=0).T
    is_turned = np.arange(len(low)) % 2 == 1
    first, second = np.where(is_turned, high, low), np.where(is_turned, low, high)
    expected = expit((elo[first] - elo[second] + first_move + favour[opening]) / ELO_PER_NAT)
    drawn = 2 * draws * np.minimum(expected, 1 - expected)
    thrown = chance.random(len(low))
    score = np.where(thrown < expected - drawn / 2, 1.0, np.where(thrown < expected + drawn / 2, 0.5, 0.0))
    loser = chance.random(len(low)) < 0.5
    is_late = chance.random(len(low)) < on_time
    score = np.where(is_late, np.where(loser, 0.0, 1.0), score)

    failed = np.flatnonzero(chance.random(len(low)) < void_rate)
    by_first = chance.random(len(failed)) < 0.5
    progress = chance.random(len(failed))
    # Half of the failed games had a score: it drifts to where the game would have gone.
    drift = 1500.0 * (2.0 * score[failed] - 1.0) * progress + chance.normal(0.0, 150.0, len(failed))
    own = np.where(chance.random(len(failed)) < 0.5, np.where(by_first, drift, -drift), np.nan)
    return Tournament(
        names=[f"agent-{number}" for number in range(agents)],
        openings=[f"o-{number}" for number in range(book)],
        games=GamesLookedAt(
            run=np.zeros(len(low), dtype=np.int64),
            pair=np.arange(len(low)) // 2,
            opening=opening,
            first=first,
            second=second,
            first_score=score,
            is_time_forfeit=is_late,
        ),
        failures=Failures(agent=np.where(by_first, first[failed], second[failed]), eval_cp=own),
        attempts=np.bincount(np.concatenate([first, second, first[failed], second[failed]]), minlength=agents),
    )
