"""docs/datasets.md has every column of every dataset and view, as the code says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.dataset_page import column_texts, page
from storage.schemas import SCHEMA_OF

PAGE = Path(__file__).resolve().parent.parent / "docs" / "datasets.md"


def test_the_page_is_what_the_schemas_say() -> None:
    """``python -m storage.dataset_page > docs/datasets.md`` writes it anew."""
    assert page() == PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("row", SCHEMA_OF, ids=lambda row: row.__name__)
def test_every_column_is_described(row: type) -> None:
    """In a sentence below its field, and no field lacks a column."""
    texts = column_texts(row)

    assert set(SCHEMA_OF[row].names) == set(texts)
    assert all(text.strip().endswith(".") for text in texts.values())
    assert all(f"| `{name}` |" in page() for name in texts)
