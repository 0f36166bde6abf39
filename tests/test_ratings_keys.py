"""Keys of groups, told apart by counting or by sorting."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from banzuke.ratings.keys import codes, counted, distinct, joined

KEYS = st.lists(st.one_of(st.integers(0, 5), st.integers(-3, 40), st.integers(0, 2**62)), max_size=20)


@given(KEYS, st.sampled_from([np.int32, np.int64]))
def test_keys_are_told_apart_however_sparse_they_are(values: list[int], kind: type[np.signedinteger]) -> None:
    """Dense or sparse, negative or none at all: what occurs, where, and how often is what sorting says."""
    keys = np.array([value if kind is np.int64 else value % 1000 - 3 for value in values], dtype=kind)

    met, place = distinct(keys)
    times = counted(keys)[1]

    assert sorted(set(keys.tolist())) == met.tolist() == counted(keys)[0].tolist()
    assert keys.tolist() == met[place].tolist()
    assert place.tolist() == codes(keys).tolist()
    assert [keys.tolist().count(key) for key in met.tolist()] == times.tolist()


@given(st.lists(st.tuples(st.integers(0, 2**31 - 2), st.integers(0, 3)), max_size=10), st.integers(4, 2**31))
def test_two_numbers_make_one_key_beyond_32_bits(both: list[tuple[int, int]], minors: int) -> None:
    """Keys of numbers of 32 bits do not run over, and are equal where both numbers are."""
    major, minor = (np.array([pair[side] for pair in both], dtype=np.int32) for side in (0, 1))

    keys = joined(major, minors, minor)

    assert [one * minors + other for one, other in both] == keys.tolist()
