"""Ordo's ratings, solved here by other means than Ordo's or ours: the program itself is not to be had everywhere.

Its model (main.c, rating.c): a draw is half a point; the expected points of the side with White are
``1 / (1 + exp(-beta * (r_white + w - r_black)))``, and ``beta`` makes 202 points worth 76 %. Ratings and ``w`` (option
``-W``) are those at which everybody's expected points, and White's, are the points obtained. They are found by
minorisation and maximisation (D. R. Hunter, Annals of Statistics 32, 2004, with its home-field advantage), a
fixed-point iteration that needs neither derivatives nor a step size.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

POINTS_PER_NAT: Final = 202.0 / math.log(0.76 / 0.24)
"""175.24, where the usual logistic scale has 173.72: Ordo's Elo are 0.88 % wider."""
_MOST_ROUNDS = 100_000


def ordo_ratings(white: NDArray[np.int64], black: NDArray[np.int64], score: Floats, players: int) -> Floats:
    """[players] ratings on Ordo's own scale, their mean being 0.

    Args:
        white: [games] who had the first move.
        black: [games] its opponent.
        score: [games] White's points.
        players: how many there are; all scored and lost points.
    """
    games, points = np.zeros((players, players)), np.zeros((players, players))
    np.add.at(games, (white, black), 1.0)
    np.add.at(points, (white, black), score)
    obtained = points.sum(axis=1) + (games - points).sum(axis=0)
    strength, advantage = np.ones(players), 1.0
    for _ in range(_MOST_ROUNDS):
        before = np.log(strength)
        share = games / (advantage * strength[:, None] + strength)
        advantage = points.sum() / (share * strength[:, None]).sum()
        share = games / (advantage * strength[:, None] + strength)
        strength = obtained / (advantage * share.sum(axis=1) + share.sum(axis=0))
        strength /= np.exp(np.log(strength).mean())
        if np.max(np.abs(np.log(strength) - before)) < 1e-12:
            return POINTS_PER_NAT * np.log(strength)
    raise ArithmeticError(f"no fixed point in {_MOST_ROUNDS} rounds")
