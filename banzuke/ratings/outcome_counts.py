"""Counts of what happened between two agents: of games (three outcomes) or of opening pairs (five).

Counts ascend by score: ``(L, D, W)`` of games, ``(LL, LD, DD+WL, WD, WW)`` of pairs, from one agent's view. Two
games of a pair share their opening and so depend on each other; five counts keep what three cannot show.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from banzuke.errors import RatingError
from banzuke.ratings.scores import Floats, Integers

Counts: TypeAlias = NDArray[np.integer[Any]] | Sequence[int]

OF_GAMES: Final = 3
OF_PAIRS: Final = 5

MOST: Final = 10**15
"""Of one outcome; sums of more would no longer be exact."""


def checked_counts(counts: Counts) -> Integers:
    """[..., 3 or 5] the counts as they came, if they are counts.

    Raises:
        RatingError: there are neither three nor five of them, or one is no whole number from 0 to 10^15.
    """
    try:
        array = np.asarray(counts)
    except ValueError as error:
        raise RatingError("rows of counts differ in length") from error
    outcomes = array.shape[-1] if array.ndim else 0
    if outcomes not in {OF_GAMES, OF_PAIRS}:
        raise RatingError(f"{outcomes} counts: three are of games (L, D, W), five of pairs (LL, LD, DD+WL, WD, WW)")
    if array.size and (array.dtype.kind not in "iu" or array.min() < 0 or array.max() > MOST):
        raise RatingError(f"counts are whole numbers from 0 to {MOST}, not {np.array2string(array, threshold=5)}")
    return array.astype(np.int64)


def outcome_scores(outcomes: int) -> Floats:
    """[outcomes] points per game of each outcome, 0 to 1."""
    return np.linspace(0.0, 1.0, outcomes)
