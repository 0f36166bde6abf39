"""How often games are drawn: Davidson's law, on the expected score (why, is said in ``bradley_terry.py``)."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from banzuke.ratings.scores import DRAW, Floats, Tally


def draw_rate(tally: Tally, scores: Floats) -> float:
    """The most likely share of draws between equals, given the expected scores; real games only."""
    draws = tally.counts[:, :, DRAW]
    if draws.sum() == 0:
        return 0.0
    if draws.sum() == tally.counts.sum():
        return 1.0

    def surprise(rate: float) -> float:
        draw = _davidson_draws(scores, rate)
        win = np.maximum(scores - draw / 2.0, np.finfo(np.float64).tiny)
        loss = np.maximum(1.0 - scores - draw / 2.0, np.finfo(np.float64).tiny)
        chances = np.stack((loss, draw, win), axis=2)
        return -float(np.sum(tally.counts * np.log(np.maximum(chances, np.finfo(np.float64).tiny))))

    return float(minimize_scalar(surprise, bounds=(0.0, 1.0), method="bounded", options={"xatol": 1e-6}).x)


def _davidson_draws(scores: Floats, rate: float) -> Floats:
    """P(draw) with ``P(draw) = nu * sqrt(P(win) * P(loss))`` and ``P(win) + P(draw) / 2 = score``.

    ``nu`` is given by the rate of draws at a score of one half, ``nu = 2 * rate / (1 - rate)``, 0 < rate < 1.
    The two equations make a quadratic one, solved here in the form that does not cancel.
    """
    product = scores * (1.0 - scores)
    inverse_nu = (1.0 - rate) / (2.0 * rate)
    return np.asarray(2.0 * product / (0.5 + np.sqrt(0.25 - product + 4.0 * product * inverse_nu**2)))
