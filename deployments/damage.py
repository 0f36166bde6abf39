"""What is stored of a run is not what a run has: said in a line, whichever command meets it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

from banzuke.errors import CorruptPartError

LONGEST_FAULT = 400


@contextlib.contextmanager
def damage_named(run_ids: Sequence[str]) -> Iterator[None]:
    """What the store's documents hold is what somebody wrote there: where it is not what a run has, say so."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        if os.environ.get("BANZUKE_TRACEBACK"):
            raise
        raise CorruptPartError(
            f"run {', '.join(run_ids)}: what is stored of it is not what a run has ({one_line(error)})"
        ) from error


def one_line(error: Exception) -> str:
    """Its kind and its words, cut."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= LONGEST_FAULT else f"{text[:LONGEST_FAULT]}…"
