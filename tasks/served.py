"""What a run means that was asked for by names: the agents of this machine's catalogue, in this machine's store.

No Prefect here. What a server sends is a wish, made of names and numbers; it becomes a spec here or is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from banzuke.catalogue import Catalogue, load_catalogue
from banzuke.composing import compose, compose_test
from banzuke.errors import RunChangedError, SpecError, UnknownRunError
from banzuke.settings import settings
from banzuke.specs import SPEC, Spec
from storage.game_store import GameStore
from tasks.sequential import recorded_test, sparing

WISH = "served"
"""The key of ``run.json`` that keeps what was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A wish, and what it means here."""

    store: str
    run_id: str
    spec: Spec
    wish: Mapping[str, Any]
    """What was asked for, with the agents' names in the place of patterns: the newest of then are not those of now."""
    notes: tuple[str, ...]
    """What of the catalogue's folders is no agent, and why: a line each."""

    @property
    def spec_json(self) -> str:
        """The effective spec."""
        return SPEC.dump_json(self.spec).decode()


def served_store() -> str:
    """Where runs of a server are kept.

    Raises:
        SpecError: this machine does not say.
    """
    store = settings().store
    if store is None:
        raise SpecError("BANZUKE_STORE is not set in the worker's environment: it says where the games are kept")
    return store


def served_catalogue() -> Catalogue:
    """The agents of this machine, as its catalogue is now.

    Raises:
        SpecError: this machine does not say where it is, or it is at fault.
    """
    path = settings().catalogue
    if path is None:
        raise SpecError("BANZUKE_CATALOGUE is not set in the worker's environment: it names the file of the agents")
    return load_catalogue(path)


def take_order(run_id: str, wish: Mapping[str, Any], *, again: bool) -> Order:
    """Make a spec of what was asked for; of a run that was begun before, of what was asked for then.

    Args:
        run_id: which run.
        wish: the parameters of the flow, of a tournament or of a test.
        again: whether it is this flow run that began it, if it was begun.

    Raises:
        SpecError, RunChangedError: it makes no sense, or not here; a line for every fault.
    """
    store = served_store()
    if again:
        try:
            return renewed_order(store, run_id)
        except UnknownRunError:
            """It ended before it began: what is asked for now is what was asked for then."""
    catalogue = served_catalogue()
    spec = _spec_of(wish, catalogue)
    kept = dict(wish) if _is_test(wish) else {**wish, "agents": [agent.name for agent in spec.agents], "newest": 0}
    return Order(store=store, run_id=run_id, spec=spec, wish=kept, notes=catalogue.notes)


def _spec_of(wish: Mapping[str, Any], catalogue: Catalogue) -> Spec:
    return compose_test(catalogue, **wish) if _is_test(wish) else compose(catalogue, **wish)


def _is_test(wish: Mapping[str, Any]) -> bool:
    return "versus" in wish


def renewed_order(store: str, run_id: str, *, concurrency: int | None = None) -> Order:
    """What a run of the store means on this machine.

    Args:
        store: where it is.
        run_id: which run.
        concurrency: worker processes at once; 0 for what the machine allows, None for what was asked for.

    Raises:
        UnknownRunError: it is not in the store.
        RunChangedError: it was not begun from a server.
        SpecError: this machine lacks an agent, a suite or a book of it.
    """
    document = GameStore(store).read_run(run_id)
    wish = document.get(WISH)
    if not isinstance(wish, Mapping):
        raise RunChangedError(
            f"run {run_id} was begun by the command, with files of its own; go on with it there: "
            f"banzuke backfill --run {run_id}"
        )
    catalogue = served_catalogue()
    spec = _spec_of({**wish, **({} if concurrency is None else {"concurrency": concurrency})}, catalogue)
    if recorded_test(document) is not None:
        spec = sparing(spec)
    return Order(store=store, run_id=run_id, spec=spec, wish=wish, notes=catalogue.notes)
