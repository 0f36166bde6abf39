"""Brownian motion with drift between two absorbing barriers: how surely it ends lower than it was seen to.

A sequential test sees its log-likelihood ratio wander from 0 until it meets a bound. What it saw is a time and a
place; outcomes are ordered as D. Siegmund does (Sequential Analysis, 1985, chapter III): the earlier at the lower
barrier the lower, then what still wanders, by its place, then the later at the upper barrier the lower.

By the method of images: reflected at the barriers again and again, the start point becomes a row of sources, and the
paths from them together cancel at both barriers. The drift is a change of measure.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import log_ndtr

from banzuke.ratings.scores import Floats

_REACH = 9.0
"""Standard deviations that a source is heard over; what is beyond adds less than 1e-18."""

_SETTLED = 20.0
"""Squares of the width; by that time less than 1e-42 of the motion still wanders."""


def chance_of_lower(*, time: float, place: float, lower: float, upper: float, drift: float) -> float:
    """Chance, 0 to 1, of a lower outcome than being at ``place`` at ``time``.

    Args:
        time: in units in which the motion's variance is 1 a unit of time; above 0.
        place: from ``lower`` to ``upper``; at a barrier, the motion ended there at ``time``.
        lower: below 0, where the motion starts.
        upper: above 0.
        drift: per unit of time.
    """
    if time > _SETTLED * (upper - lower) ** 2:
        return _ends_at_lower(lower, upper, drift)
    chance = _ended_at_lower(time, lower, upper, drift) + _wanders_below(time, place, lower, upper, drift)
    return min(max(chance, 0.0), 1.0)


def _ends_at_lower(lower: float, upper: float, drift: float) -> float:
    """Chance of ever meeting the lower barrier before the upper one."""
    if drift == 0.0:
        return upper / (upper - lower)
    if drift < 0.0:
        return 1.0 - _ends_at_lower(-upper, -lower, -drift)
    return math.exp(2.0 * drift * lower) * math.expm1(-2.0 * drift * upper) / math.expm1(-2.0 * drift * (upper - lower))


def _ended_at_lower(time: float, lower: float, upper: float, drift: float) -> float:
    """Chance of having met the lower barrier, and not the upper one before, by ``time``."""
    images = _images(time, lower, upper)
    above, below = images - lower, images[1:] + lower
    arrived = _arrived(above, time, lower, drift).sum() - _arrived(below, time, lower, drift).sum()
    return float(arrived)


def _arrived(distance: Floats, time: float, lower: float, drift: float) -> Floats:
    """Chance of having fallen by ``distance`` within ``time``, in the measure of the motion that starts at 0."""
    speed, root = abs(drift), math.sqrt(time)
    toward = np.exp(drift * lower - speed * distance + log_ndtr((speed * time - distance) / root))
    against = np.exp(drift * lower + speed * distance + log_ndtr((-speed * time - distance) / root))
    return np.asarray(toward + against, dtype=np.float64)


def _wanders_below(time: float, place: float, lower: float, upper: float, drift: float) -> float:
    """Chance of having met no barrier by ``time`` and being below ``place``."""
    images = _images(time, lower, upper)
    like = np.concatenate([-images[:0:-1], images])
    unlike = 2.0 * upper - like
    return float(_within(like, time, lower, place, drift).sum() - _within(unlike, time, lower, place, drift).sum())


def _within(source: Floats, time: float, low: float, high: float, drift: float) -> Floats:
    """Chance of being between two places at ``time``, having started at ``source``, in the measure of a start at 0."""
    root = math.sqrt(time)
    start, end = (low - source - drift * time) / root, (high - source - drift * time) / root
    far = start > 0.0
    start, end = np.where(far, -end, start), np.where(far, -start, end)
    return np.asarray(
        np.exp(drift * source + log_ndtr(end)) - np.exp(drift * source + log_ndtr(start)), dtype=np.float64
    )


def _images(time: float, lower: float, upper: float) -> Floats:
    """0 and the distances of the start point's images that are no mirror images: multiples of twice the width."""
    period = 2.0 * (upper - lower)
    return np.asarray(period * np.arange(math.ceil(_REACH * math.sqrt(time) / period) + 3), dtype=np.float64)
