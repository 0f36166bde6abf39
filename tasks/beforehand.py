"""What can be known to be wrong before anything is started or written. No Prefect here."""

from __future__ import annotations

from banzuke.errors import CorruptPartError, SpecError, StorageError, UnknownRunError
from banzuke.identity import identify
from banzuke.match.planning import plan_run
from banzuke.specs import Spec, is_name
from storage.game_store import GameStore
from storage.ledger import Ledger
from tasks.resuming import check_not_orphaned, check_same_test, check_unchanged, playing
from tasks.sequential import SequentialTest


def check_beforehand(
    spec: Spec, store: str, run_id: str, test: SequentialTest | None = None, *, patience: float = 0.0
) -> None:
    """Every fault that can be found before anything is started or written.

    Args:
        spec: what is to be played.
        store: local path or fsspec URL.
        run_id: as which run.
        test: as which sequential test; None for a tournament.
        patience: for how long another invocation is waited for; seconds.

    Raises:
        SpecError: the run id is none, the opening book or the suite is at fault.
        RunChangedError: there is a run of that id, planned from something else.
        RunBusyError: another invocation is playing it.
    """
    if not is_name(run_id):
        raise SpecError(
            f"--run-id: {run_id!r} is no run id: 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter "
            "or digit, without '--'"
        )
    identities = {agent.name: identify(agent) for agent in spec.agents}
    plan_run(spec, run_id=run_id, agent_ids={name: identity.agent_id for name, identity in identities.items()})
    games = GameStore(store)
    try:
        document = games.read_run(run_id)
    except UnknownRunError:
        check_not_orphaned(games, run_id)
        return
    except CorruptPartError:
        raise
    except StorageError as error:
        raise SpecError(f"--store: {error}") from error
    check_same_test(document, test)
    if games.has_plan(run_id):
        check_unchanged(document, spec, identities, Ledger(games, run_id))
    with playing(store, run_id, patience=patience):
        """Free now; whoever takes it before the flow does is met there."""
