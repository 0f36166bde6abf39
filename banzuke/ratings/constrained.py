"""Most likely distributions of outcomes under a hypothesis on their mean, or on their mean in standard deviations.

An outcome has probability ``p`` in the sample. Of all distributions ``q`` with ``sum q phi = 0`` the most likely
one is ``q = p / (1 + x phi)`` for the ``x`` that meets the constraint (A. Owen, Empirical Likelihood, 2001, section
2.9). Here ``phi`` is the score less the mean that the hypothesis asks for. Where it asks for a mean in standard
deviations (normalised Elo) the constraint is curved, and ``phi`` its tangent at the solution, which is searched for.

Arrays are [outcomes, rows]: each row is a problem of its own.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from banzuke.ratings.scores import Floats

_NEWTON_ROUNDS = 10
"""Afterwards every other step halves the bracket, so that the number of rounds is bounded."""
_MOST_ROUNDS = 140
_MOST_TANGENTS = 100
_CLOSE = 1e-13
_CLOSE_TANGENT = 1e-10
"""Of the tangent's position, relative; the likelihood's error is of second order in it."""


def log_ratio_at_mean(p: Floats, phi: Floats) -> Floats:
    """[outcomes, rows] ``ln(p / q)``, where ``q`` is the most likely distribution with ``sum q phi = 0``.

    NaN where no distribution meets the constraint, as ``phi`` has no positive or no negative value.

    Args:
        p: [outcomes, rows] all above zero, each row's sum 1.
        phi: [outcomes, rows]
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.log(_tilt(p, phi)), dtype=np.float64)


def log_ratio_at_normalized_mean(p: Floats, g: Floats, t: float) -> Floats:
    """[outcomes, rows] ``ln(p / q)``, where ``q`` is the most likely distribution of mean ``t`` standard deviations.

    For t > 0 the set of distributions with a mean of at most ``t`` sigma is convex, because sigma is concave, and the
    tangents are half-spaces that contain it. So:

    * From above ``t`` down to it, the solution is unique: the tangent whose best ``q`` is least likely.
    * From below ``t`` up to it, the solution is the tangent whose best ``q`` is most likely. Each step to
      the tangent at the last ``q`` raises the likelihood. There may be one local optimum for each outcome above the
      middle (most games drawn, a few wins or a few half wins): each is climbed, the highest is taken.

    Args:
        p: [outcomes, rows] all above zero, each row's sum 1.
        g: [outcomes] scores less 1/2, ascending and symmetric about 0.
        t: mean score less 1/2, in standard deviations of one outcome.
    """
    if t < 0.0:
        return log_ratio_at_normalized_mean(p[::-1], g, -t)[::-1]
    if t == 0.0:
        return log_ratio_at_mean(p, np.broadcast_to(g[:, None], p.shape))
    stretch = 1.0 + t * t
    spread = np.sqrt(np.square(g) @ p / stretch)
    from_above = g @ p > t * spread
    top, *others = np.sqrt(np.square(g[g > 0.0][::-1]) / stretch)
    best = _climb(p, g, t, np.where(from_above, spread, top))
    below = np.flatnonzero(~from_above)
    for start in others:
        found = _climb(p[:, below], g, t, np.full(len(below), start))
        likelier = (p[:, below] * (found - best[:, below])).sum(axis=0) < 0.0
        best[:, below[likelier]] = found[:, likelier]
    return best


def _climb(p: Floats, g: Floats, t: float, start: Floats) -> Floats:
    """``ln(p / q)`` at the tangent that touches at its own solution, from that at ``start`` standard deviations."""
    s, square, stretch = start.copy(), np.square(g)[:, None], 1.0 + t * t
    ratios = np.ones_like(p)
    active = np.arange(len(s))
    for _ in range(_MOST_TANGENTS):
        ours, at = p[:, active], s[active]
        phi = g[:, None] - 0.5 * t * at - (0.5 * t / stretch) * square / at
        ratios[:, active] = _tilt(ours, phi)
        following = np.sqrt((ours * square / ratios[:, active]).sum(axis=0) / stretch)
        s[active] = following
        active = active[np.abs(following - at) > _CLOSE_TANGENT * at]
        if not len(active):
            break
    return np.asarray(np.log(ratios), dtype=np.float64)


def _tilt(p: Floats, phi: Floats) -> Floats:
    """[outcomes, rows] ``1 + x phi`` at the root of ``sum p phi / (1 + x phi)``; NaN where there is none.

    ``x`` lies between ``-1 / max phi`` and ``-1 / min phi``. With ``y`` the log-odds of its place in between,
    ``1 + x phi`` is a sum of positive terms, exact also when x is within 1e-16 of an end (a perfect score of 10^9
    games), and the logarithm of the positive against the negative part of the sum is nearly linear in ``y``.
    """
    above, below = phi.max(axis=0), -phi.min(axis=0)
    feasible = (above > 0.0) & (below > 0.0)
    above, below = np.where(feasible, above, 1.0), np.where(feasible, below, 1.0)
    at_low_end, at_high_end = (above - phi) / above, (phi + below) / below
    slope = at_high_end - at_low_end
    gain, loss = p * np.maximum(phi, 0.0), p * np.maximum(-phi, 0.0)
    # No probability of q exceeds 1, neither that of the highest phi nor that of the lowest.
    p_top = np.take_along_axis(p, phi.argmax(axis=0)[None], axis=0)[0]
    p_bottom = np.take_along_axis(p, phi.argmin(axis=0)[None], axis=0)[0]
    low = np.log(p_top) - np.log1p(above / below)
    high = np.log1p(below / above) - np.log(p_bottom)
    y = np.log(above) - np.log(below)
    for turn in range(_MOST_ROUNDS):
        upper, lower = expit(y), expit(-y)
        tilt = lower * at_low_end + upper * at_high_end
        gains, losses = gain / tilt, loss / tilt
        relative = slope / tilt
        total_gain, total_loss = gains.sum(axis=0), losses.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            balance = np.log(total_gain / total_loss)
            change = (losses * relative).sum(axis=0) / total_loss - (gains * relative).sum(axis=0) / total_gain
            newton = y - balance / (change * upper * lower)
        low, high = np.where(balance > 0.0, y, low), np.where(balance < 0.0, y, high)
        trusted = (newton > low) & (newton < high) & (turn < _NEWTON_ROUNDS or turn % 2 == 0)
        following = np.where(balance == 0.0, y, np.where(trusted, newton, 0.5 * (low + high)))
        moved = np.abs(following - y) > _CLOSE * (1.0 + np.abs(y))
        y = following
        if not np.any(moved & feasible):
            break
    return np.where(feasible, expit(-y) * at_low_end + expit(y) * at_high_end, np.nan)
