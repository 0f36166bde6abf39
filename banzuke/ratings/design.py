"""Which games would tell most: the design of an experiment, one opening pair after the other.

A pair of games between ``i`` and ``j`` adds ``w b b'`` to the information on the ratings, where ``b`` is 1 at ``i`` and
-1 at ``j`` and ``w`` is the model's information in the pair: most between equals, next to none where one side wins
anyway. The inverse information ``S`` then becomes ``S - w S b b' S / (1 + w b' S b)`` (J. Sherman and W. J. Morrison,
Annals of Mathematical Statistics 21, 1950), so that the worth of any pair can be told without a fit. Adding the best
one again and again is the sequential construction of optimal designs (V. V. Fedorov, "Theory of Optimal Experiments",
1972; H. P. Wynn, Annals of Mathematical Statistics 41, 1970).

What is made small is the sum of the variances *that are still too large*. To look at the widest interval alone costs
more games, for a pair that serves several agents is then worth no more than one that serves one; to look at all of them
goes on measuring what is known well enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from banzuke.ratings.elo import ELO_PER_NAT
from banzuke.ratings.scores import Floats, Integers

_MOST_LOOKS = 512
"""A look at all encounters costs as much as multiplying two matrices of agents; so many are taken at most."""

_DIGITS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What is known of n agents, and the encounters that could be played. E encounters."""

    covariance: Floats
    """[n, n] Elo squared: the inverse information of the ratings, in which adding to all of them alike is left out."""
    reference: int | None
    """The agent that the others are measured against; None: the mean of all."""
    scale: Floats
    """[n] by how much the variances that count are larger than those of ``covariance`` say."""
    pairs: Integers
    """[n] opening pairs of each agent so far."""
    judged: NDArray[np.bool_]
    """[n] whose intervals are to become short: not that of who cannot play, for others' games tell little of it."""
    low: Integers
    """[E] one agent of the encounter."""
    high: Integers
    """[E] the other."""
    information: Floats
    """[E] in one pair, per Elo squared."""
    room: Integers
    """[E] how many pairs of the encounter may still be played."""


def pair_information(difference: Floats, first_move_elo: float) -> Floats:
    """The model's information, per Elo squared, in a pair of games between agents so many Elo apart.

    Args:
        difference: [E] Elo.
        first_move_elo: what moving first is worth.
    """
    scores = expit((first_move_elo + np.stack((difference, -difference))) / ELO_PER_NAT)
    return np.asarray((scores * (1.0 - scores)).sum(axis=0) / ELO_PER_NAT**2)


def most_telling_pairs(design: Design, *, largest_variance: float, fewest_pairs: int, most: int) -> Integers:
    """How many pairs of each encounter to play next, so that every agent is measured well enough.

    Args:
        design: what is known.
        largest_variance: Elo squared: an agent with more, in its difference to the reference, needs further pairs.
        fewest_pairs: so does one with fewer pairs than this.
        most: pairs in all; fewer are returned where fewer will do by what is known now.

    Returns:
        [E] pairs; all 0 where nobody needs any, or no encounter has room.
    """
    low, high, covariance = design.low, design.high, design.covariance
    chosen = np.zeros(len(low), dtype=np.int64)
    pairs = design.pairs.copy()
    at_once = -(-most // _MOST_LOOKS)
    while (left := most - int(chosen.sum())) > 0:
        to_reference = _to_reference(covariance, design.reference)
        variances = design.scale * _own(to_reference, design.reference)
        needy = ((variances > largest_variance) | (pairs < fewest_pairs)) & design.judged
        count = np.minimum(np.minimum(at_once, left), design.room - chosen)
        if not needy.any() or not (count > 0).any():
            break
        serves = (to_reference * (needy * design.scale)) @ to_reference.T
        told = count * design.information / (1.0 + count * design.information * _between(covariance, low, high))
        # Per pair: where an encounter has less room than others, it is not worth less.
        worth = np.where(count > 0, told * _between(serves, low, high) / np.maximum(count, 1), -1.0)
        # Rounded, so that among equals the first is taken, whatever the order in which a machine adds up.
        if worth.max() <= 0.0:
            break
        best = int(np.round(worth / worth.max(), _DIGITS).argmax())
        shift = covariance[low[best]] - covariance[high[best]]
        covariance = covariance - told[best] * np.outer(shift, shift)
        chosen[best] += count[best]
        pairs[[low[best], high[best]]] += count[best]
    return chosen


def _to_reference(covariance: Floats, reference: int | None) -> Floats:
    """[n, n] covariance of each rating (row) with each agent's difference to the reference (column)."""
    return covariance if reference is None else covariance - covariance[:, [reference]]


def _own(to_reference: Floats, reference: int | None) -> Floats:
    """[n] variances of the differences to the reference."""
    own = np.diagonal(to_reference)
    return own if reference is None else own - to_reference[reference]


def _between(matrix: Floats, low: Integers, high: Integers) -> Floats:
    """[E] ``b' matrix b`` of every encounter, for a symmetric matrix."""
    return np.asarray(matrix[low, low] + matrix[high, high] - 2.0 * matrix[low, high])
