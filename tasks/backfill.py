"""Which games a backfill plays. No Prefect here: ``--dry-run`` needs no server."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from banzuke.errors import SpecError, StorageError
from banzuke.identity import identify
from banzuke.outcome import VOIDS
from banzuke.specs import SPEC
from storage.game_store import GameStore
from storage.ledger import Ledger
from tasks.resuming import check_agents_unchanged

MISSING = "missing"


def parse_causes(text: str) -> tuple[str, ...]:
    """Causes from the command line; empty for all.

    Raises:
        SpecError: a word is no void termination and not ``missing``.
    """
    known = {MISSING, *(termination.value for termination in VOIDS)}
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    unknown = [word for word in words if word not in known]
    if unknown:
        raise SpecError(f"--cause: {unknown[0]!r} is no cause; known: {', '.join(sorted(known))}")
    return words


def choose_runs(games: GameStore, run_ids: Sequence[str], since: datetime | None) -> list[str]:
    """The runs asked for, or all of the store, newest first; only those begun after ``since``.

    Raises:
        UnknownRunError: a run that was asked for is not in the store.
        SpecError: no run is left.
    """
    # Of those nobody asked for by name, one that was interrupted before its plan was written, or is damaged, must not
    # stand in the way of the others; `banzuke runs` names it.
    chosen = list(run_ids) or [run_id for run_id in games.run_ids() if _is_whole(games, run_id)]
    documents = {run_id: games.read_run(run_id) for run_id in chosen}
    if since is not None:
        chosen = [run for run in chosen if datetime.fromisoformat(documents[run]["created_at"]) >= since]
    if not chosen:
        raise SpecError("backfill: no such run in the store")
    return chosen


def _is_whole(games: GameStore, run_id: str) -> bool:
    try:
        return "spec" in games.read_run(run_id) and games.has_plan(run_id)
    except StorageError:
        return False


def games_to_backfill(store: str, run_id: str, causes: Collection[str]) -> set[str]:
    """Ids of the games without a counting result, of those causes (none given: of any)."""
    ledger = Ledger(GameStore(store), run_id)
    last_void = ledger.last_void()
    return {
        game_id
        for game_id in ledger.missing_ids()
        if not causes or (last_void[game_id].termination if game_id in last_void else MISSING) in causes
    }


def spec_of_run(store: str, run_id: str, parallel: int | None) -> str:
    """The effective spec of a run as JSON, with as many workers as asked for.

    Raises:
        UnknownRunError: it is not in the store.
        RunChangedError: an agent with counting games is no longer what it was.
    """
    games = GameStore(store)
    spec = SPEC.validate_python(games.read_run(run_id)["spec"])
    check_agents_unchanged(run_id, {agent.name: identify(agent) for agent in spec.agents}, Ledger(games, run_id))
    if parallel is not None:
        spec = spec.model_copy(update={"limits": spec.limits.model_copy(update={"concurrency": parallel})})
    return SPEC.dump_json(spec).decode()
