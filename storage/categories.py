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
    """Numbers that are equal where the column's texts are; shape (rows,). No text becomes a Python object."""
    return _codes(_encoded(column))


def categories(column: pa.ChunkedArray[Any]) -> tuple[NDArray[np.int32], list[str]]:
    """The column's texts as indices, shape (rows,), into the list of the distinct ones; -1 where there is none."""
    encoded = _encoded(column)
    return _codes(encoded), encoded.chunks[0].dictionary.to_pylist() if encoded.chunks else []


def _encoded(column: pa.ChunkedArray[Any]) -> Any:  # noqa: ANN401 - pyarrow's types do not know chunked dictionaries
    return column.unify_dictionaries() if pa.types.is_dictionary(column.type) else pc.dictionary_encode(column)


def _codes(encoded: Any) -> NDArray[np.int32]:  # noqa: ANN401 - see _encoded
    indices = [chunk.indices.fill_null(-1) if chunk.null_count else chunk.indices for chunk in encoded.chunks]
    codes = [chunk.to_numpy(zero_copy_only=False) for chunk in indices]
    return np.concatenate([np.empty(0, dtype=np.int32), *codes]).astype(np.int32, copy=False)
