"""Where things are in a store: names relative to its root, the same for every kind of filesystem.

A name that came from outside (a run's id) is checked here before it becomes part of a path.
"""

from __future__ import annotations

import re

from banzuke.errors import StorageError

RUNS = "runs"
PLANS = "plans"
GAMES = "games"
AGENTS = "agents"
EVALUATIONS = "evaluations"
STANDINGS = "standings"

PARQUET = ".parquet"
PART_PREFIX = "part-"
MERGED_PREFIX = "merged-"
"""Merged files sort, and are read, before parts."""

_RUN_ID = re.compile(r"(?!.*--)[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def is_run_id(text: str) -> bool:
    """Whether the text may name a run, and so become part of a path."""
    return _RUN_ID.fullmatch(text) is not None


def check_run_id(text: str) -> str:
    """The text itself, if it may name a run.

    Raises:
        StorageError: it may not.
    """
    if is_run_id(text):
        return text
    shown = ascii(text if len(text) <= 80 else f"{text[:77]}...")
    raise StorageError(
        f"{shown} cannot name a run: letters, digits, '.', '_' and '-' (no '--'), "
        "the first a letter or digit, at most 64"
    )


def run_document(run_id: str) -> str:
    """What the run is: effective spec, versions, host, created_at."""
    return f"{RUNS}/{check_run_id(run_id)}/run.json"


def compaction_lock(run_id: str) -> str:
    """Held while the run's parts are compacted; beside the run, where no reader of a dataset meets it."""
    return f"{RUNS}/{check_run_id(run_id)}/.compaction.lock"


def plan_file(run_id: str) -> str:
    """The run's planned games."""
    return f"{PLANS}/{check_run_id(run_id)}/plan{PARQUET}"


def games_folder(run_id: str) -> str:
    """The run's attempts, in any number of files."""
    return f"{GAMES}/{check_run_id(run_id)}"


def agents_file(run_id: str) -> str:
    """The run's agents."""
    return f"{AGENTS}/{check_run_id(run_id)}/agents{PARQUET}"


def evaluations_folder(run_id: str) -> str:
    """What evaluate found, in any number of files."""
    return f"{EVALUATIONS}/{check_run_id(run_id)}"


def standings_file(run_id: str) -> str:
    """The run's standings."""
    return f"{STANDINGS}/{check_run_id(run_id)}/standings{PARQUET}"
