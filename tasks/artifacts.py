"""What a run shows on a Prefect server.

It is for the eye: the results are in the store, and nothing that goes wrong here fails a task.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.exceptions import MissingContextError

from tasks.pages import one_line

LONGEST_CELL = 500
"""Characters."""


def artifact_key(kind: str, run_id: str) -> str:
    """The key of a run's artifact: lower-case letters, digits and dashes, and another one for every other run.

    Args:
        kind: ``standings``, for example.
        run_id: where it is made of other characters too, its hash follows; no run id has two dashes in a row.
    """
    plain = "".join(char if char.isascii() and char.isalnum() else "-" for char in run_id.lower())
    return f"{kind}-{plain}" + ("" if plain == run_id else f"--{hashlib.sha256(run_id.encode()).hexdigest()[:8]}")


def show_table(key: str, rows: Sequence[Mapping[str, object]], description: str) -> None:
    """Publish a table.

    Args:
        key: see :func:`artifact_key`.
        rows: of the same columns; whatever they hold, what is shown is text, finite numbers or nothing.
        description: beside it.
    """
    table = [{name: shown(value) for name, value in row.items()} for row in rows]
    _try(key, lambda: create_table_artifact(table, key=key, description=description))


def show_page(key: str, markdown: str, description: str) -> None:
    """Publish a page of Markdown."""
    _try(key, lambda: create_markdown_artifact(markdown, key=key, description=description))


def show_progress(key: str, percent: float, description: str, artifact: UUID | None = None) -> UUID | None:
    """Make a progress bar, or move the one that was made before.

    Args:
        key: see :func:`artifact_key`.
        percent: 0 to 100.
        description: beside it.
        artifact: as returned the last time; None for a new one.

    Returns:
        What to give the next time; None where none could be made.
    """
    if artifact is None:
        made = _try(key, lambda: create_progress_artifact(percent, key=key, description=description))
        return made if isinstance(made, UUID) else None
    _try(key, lambda: update_progress_artifact(artifact, percent, description=description))
    return artifact


def shown(value: object) -> str | int | float | None:
    """A value as the page of a table can show it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return round(float(value), 3) if math.isfinite(value) else None
    return one_line(str(value), LONGEST_CELL)


def _try(key: str, make: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever Prefect returns
    try:
        return make()
    except Exception as error:  # noqa: BLE001 - see the top of the file
        run_log().warning("the artifact %s could not be made: %s", key, one_line(str(error), LONGEST_CELL))
        return None


def run_log() -> logging.Logger | logging.LoggerAdapter[Any]:
    """The log of the task run or the flow run; outside of both Python's own."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger(__name__)
