"""Whole numbers as keys of groups. Dense ones are told apart by counting, many times faster than by sorting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from banzuke.ratings.scores import Integers

Numbers: TypeAlias = NDArray[np.integer[Any]]
"""Of 32 or 64 bits: of ten million games that makes forty megabytes of difference a column."""

_SPARSE: Final = 4
"""Keys are counted in a table of at most so many places per entry, and sorted otherwise."""


def joined(major: Numbers, minors: int, minor: Numbers | NDArray[np.bool_]) -> Numbers:
    """(entries,) keys that are equal where both numbers are.

    Args:
        major: not negative.
        minors: above every ``minor``; at least 1.
        minor: not negative.
    """
    is_small = (1 + int(major.max(initial=0))) * minors <= np.iinfo(np.int32).max
    keys: Numbers = major.astype(np.int32 if is_small else np.int64)
    keys *= minors
    keys += minor
    return keys


def joined_either_way(one: Numbers, other: Numbers, many: int) -> Numbers:
    """(entries,) keys that are equal for the same two numbers, whichever comes first: the lower one is the major.

    Args:
        one: not negative.
        other: not negative.
        many: above all of them.
    """
    return joined(np.minimum(one, other), many, np.maximum(one, other))


def distinct(keys: Numbers) -> tuple[Integers, NDArray[np.int32]]:
    """The keys that occur, ascending, and (entries,) the index of each entry's among them."""
    if not _are_dense(keys):
        return _distinct_by_sorting(keys)
    is_met = np.zeros(1 + int(keys.max(initial=-1)), dtype=bool)
    is_met[keys] = True
    return np.flatnonzero(is_met), (np.cumsum(is_met, dtype=np.int32) - 1)[keys]


def _distinct_by_sorting(keys: Numbers) -> tuple[Integers, NDArray[np.int32]]:
    """``np.unique`` with the inverse, which takes twice the memory: of ten million games 200 megabytes more."""
    order = np.argsort(keys)
    ordered = keys[order]
    is_new = np.ones(len(keys), dtype=bool)
    is_new[1:] = ordered[1:] != ordered[:-1]
    met = ordered[is_new].astype(np.int64)
    del ordered
    place = np.empty(len(keys), dtype=np.int32)
    place[order] = np.cumsum(is_new, dtype=np.int32)
    place -= 1
    return met, place


def codes(keys: Numbers) -> NDArray[np.int32]:
    """(entries,) equal where the keys are, ascending as they do, from 0 on without a gap."""
    return distinct(keys)[1]


def counted(keys: Numbers) -> tuple[Integers, Integers]:
    """The keys that occur, ascending, and how often each does."""
    if not _are_dense(keys):
        met, occurrences = np.unique(keys, return_counts=True)
        return met.astype(np.int64), occurrences
    occurrences = np.bincount(keys)
    met = np.flatnonzero(occurrences)
    return met, occurrences[met]


def _are_dense(keys: Numbers) -> bool:
    return bool(keys.min(initial=0) >= 0 and keys.max(initial=0) <= _SPARSE * len(keys))
