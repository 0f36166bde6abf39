"""Where things are in a store: names relative to its root, the same for every kind of filesystem.

A name that came from outside (a run's id) is checked here before it becomes part of a path.
"""

from __future__ import annotations

import re

from banzuke.errors import UnknownRunError

RUNS = "runs"
PLANS = "plans"
GAMES = "games"
AGENTS = "agents"
EVALUATIONS = "evaluations"
STANDINGS = "standings"
DATASETS = (RUNS, PLANS, GAMES, AGENTS, EVALUATIONS, STANDINGS)

DAMAGED = "damaged"
"""Files that were set aside, under the names they had."""
RACED = "raced"
"""Attempts with a result that lost a race against another attempt at the same game."""
SPRT = "sprt"
"""What sequential tests keep beside the games; small JSON documents, no dataset."""
WATCHED = "watched"
"""What is remembered of folders of checkpoints that are watched; small JSON documents, no dataset."""
TOP_FOLDERS = (*DATASETS, SPRT, DAMAGED, RACED, WATCHED)

PARQUET = ".parquet"
PART_PREFIX = "part-"
MERGED_PREFIX = "merged-"
"""Merged files sort, and are read, before parts."""

_PLAN_FILE = re.compile(rf"plan(?:-([0-9]{{5,9}}))?{re.escape(PARQUET)}")
_SHARE_LOCK = re.compile(r"\.share-[0-9]+\.lock")
WATCH_LOCK = re.compile(r"\.watch-[0-9]+\.lock")
"""What the plain name of a :func:`watch_lock` looks like."""
_RUN_ID = re.compile(r"(?!.*--)[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def is_run_id(text: str) -> bool:
    """Whether the text may name a run, and so become part of a path."""
    return _RUN_ID.fullmatch(text) is not None


def check_run_id(text: str) -> str:
    """The text itself, if it may name a run.

    Raises:
        UnknownRunError: it may not, so that there is no such run.
    """
    if is_run_id(text):
        return text
    shown = ascii(text if len(text) <= 80 else f"{text[:77]}...")
    raise UnknownRunError(
        f"{shown} cannot name a run: letters, digits, '.', '_' and '-' (no '--'), "
        "the first a letter or digit, at most 64"
    )


def run_document(run_id: str) -> str:
    """What the run is: effective spec, versions, host, created_at."""
    return f"{RUNS}/{check_run_id(run_id)}/run.json"


def compaction_lock(run_id: str) -> str:
    """Held while the run's parts are compacted; beside the run, where no reader of a dataset meets it."""
    return f"{RUNS}/{check_run_id(run_id)}/.compaction.lock"


def play_lock(run_id: str) -> str:
    """Held by the invocation that plays the run."""
    return f"{RUNS}/{check_run_id(run_id)}/.playing.lock"


def share_lock(run_id: str, share: int) -> str:
    """Held by whoever plays that share of the run's games."""
    return f"{RUNS}/{check_run_id(run_id)}/.share-{share:d}.lock"


def is_share_lock(name: str) -> bool:
    """Whether the plain name is that of :func:`share_lock`."""
    return _SHARE_LOCK.fullmatch(name) is not None


def watch_lock(run_id: str, number: int) -> str:
    """Held by whoever watches the run being played; beside its other locks, and each watcher has a number."""
    return f"{RUNS}/{check_run_id(run_id)}/.watch-{number:d}.lock"


def run_folder(run_id: str) -> str:
    """Where the run's document and its locks are, and what its players show to watchers (``storage/in_play.py``)."""
    return f"{RUNS}/{check_run_id(run_id)}"


def plan_file(run_id: str, step: int = 1) -> str:
    """The run's planned games; where the plan grows, those of one step, from 1."""
    return f"{plans_folder(run_id)}/plan{'' if step == 1 else f'-{step:05d}'}{PARQUET}"


def plans_folder(run_id: str) -> str:
    """The run's planned games, in a file for each step; of most runs there is one."""
    return f"{PLANS}/{check_run_id(run_id)}"


def plan_step(name: str) -> int | None:
    """Which step the file of that plain name holds; None if it is no such file."""
    found = _PLAN_FILE.fullmatch(name)
    return None if found is None else int(found[1] or 1)


def games_folder(run_id: str) -> str:
    """The run's attempts, in any number of files."""
    return f"{GAMES}/{check_run_id(run_id)}"


def raced_folder(run_id: str) -> str:
    """The run's results that lost a race, in any number of files with the columns of ``games``."""
    return f"{RACED}/{GAMES}/{check_run_id(run_id)}"


def agents_file(run_id: str) -> str:
    """The run's agents."""
    return f"{AGENTS}/{check_run_id(run_id)}/agents{PARQUET}"


def evaluations_folder(run_id: str) -> str:
    """What evaluate found, in any number of files."""
    return f"{EVALUATIONS}/{check_run_id(run_id)}"


def standings_file(run_id: str) -> str:
    """The run's standings."""
    return f"{STANDINGS}/{check_run_id(run_id)}/standings{PARQUET}"


def decision_document(run_id: str) -> str:
    """The verdict of the run's sequential test, and what it was reached on."""
    return f"{SPRT}/{check_run_id(run_id)}/decision.json"


def skipped_document(run_id: str) -> str:
    """Which pairs the run's sequential test passes over."""
    return f"{SPRT}/{check_run_id(run_id)}/skipped.json"


def watched_folder(folder: str) -> str:
    """What is remembered of a folder of checkpoints, by the name that it has in the catalogue.

    Raises:
        UnknownRunError: what can name no run can name no folder either.
    """
    return f"{WATCHED}/{check_run_id(folder)}"


def watching_lock(folder: str) -> str:
    """Held by whoever looks at the folder."""
    return f"{watched_folder(folder)}/.watching.lock"


def passed_over_document(folder: str) -> str:
    """The contents that the first look found and passed over."""
    return f"{watched_folder(folder)}/passed-over.json"


def seen_document(folder: str, sha256: str) -> str:
    """That a content was seen, and what was done about it."""
    return f"{watched_folder(folder)}/{sha256}.json"


def glimpses_document(folder: str, host: str) -> str:
    """How the folder's files looked to a machine last."""
    return f"{watched_folder(folder)}/look-{check_run_id(host)}.json"


def damaged_name(name: str, number: int = 1) -> str:
    """Where the file of that name is set aside; another number where that is taken."""
    stem, dot, ending = name.rpartition(".")
    return f"{DAMAGED}/{name if number == 1 else f'{stem}.{number}{dot}{ending}'}"


def folders_of(run_id: str) -> tuple[str, ...]:
    """Every folder that may hold something of the run."""
    check_run_id(run_id)
    kept = (*(f"{folder}/{run_id}" for folder in (*DATASETS, SPRT)), raced_folder(run_id))
    return (*kept, *(f"{DAMAGED}/{folder}" for folder in kept))
