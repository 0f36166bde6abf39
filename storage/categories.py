"""Text columns as whole numbers, so that rows are compared without a Python object each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


def with_categories(table: pa.Table, columns: Iterable[str]) -> pa.Table:
    """The table with these text columns dictionary-encoded: every distinct text is held once."""
    for name in columns:
        encoded = pc.dictionary_encode(table[name])
        table = table.set_column(table.column_names.index(name), name, encoded)
    return table


def category_codes(column: pa.ChunkedArray[Any]) -> NDArray[np.int32]:
    """Numbers that are equal where the column's texts are; shape (rows,)."""
    codes, _ = categories(column)
    return codes


def categories(column: pa.ChunkedArray[Any]) -> tuple[NDArray[np.int32], list[str]]:
    """The column's texts as indices, shape (rows,), into the list of the distinct ones; -1 where there is none."""
    encoded: Any = column.unify_dictionaries() if pa.types.is_dictionary(column.type) else pc.dictionary_encode(column)
    if not encoded.chunks:
        return np.empty(0, dtype=np.int32), []
    indices = [chunk.indices.fill_null(-1) if chunk.null_count else chunk.indices for chunk in encoded.chunks]
    codes = np.concatenate([chunk.to_numpy(zero_copy_only=False) for chunk in indices])
    return codes.astype(np.int32, copy=False), encoded.chunks[0].dictionary.to_pylist()
