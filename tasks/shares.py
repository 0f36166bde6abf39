"""Shares of a run's games, each played on a machine of its own. No Prefect here.

Whoever plays a run may deal shares of it. A share is played only as long as that invocation holds the run, and by
nobody but the holder of the share's own lock; so it ends when the invocation ends, however that ends.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from banzuke.errors import BanzukeError, RunBusyError, RunChangedError, SpecError
from banzuke.identity import identify
from banzuke.record import PlannedGame
from banzuke.settings import settings
from banzuke.specs import is_name
from storage.game_store import GameStore
from storage.ledger import Ledger
from tasks.resuming import held
from tasks.served import Order, renewed_order, served_store

PATIENCE_SECONDS = 5.0
"""Whoever looks at a lock has it for a moment."""


class HostTakenError(BanzukeError):
    """This machine is at another share of the same run."""


def new_claim() -> str:
    """What an invocation is known by to those who play its shares, and to nobody else."""
    return secrets.token_hex(8)


def games_of_share(store: str, run_id: str, share: int, of: int) -> list[PlannedGame]:
    """The missing games of a share: whole pairs, every so-many-th of them.

    Args:
        store: where the run is.
        run_id: which run.
        share: from 0.
        of: how many shares there are.
    """
    ledger = Ledger(GameStore(store), run_id)
    missing = set(ledger.missing_ids())
    return [game for game in ledger.plan if game.pair_no % of == share and game.game_id in missing]


def take_share(run_id: str, share: int, of: int) -> Order:
    """The run as this machine's catalogue has its agents.

    Raises:
        SpecError: there is no such share, or this machine lacks an agent.
        UnknownRunError: this machine's store has no such run.
        RunChangedError: an agent of this machine is another one than that of the run.
    """
    if not is_name(run_id):
        raise SpecError(f"run_id: {run_id!r} is no run id")
    if not 0 < share < of:
        raise SpecError(f"share: of {of} shares there is none of number {share} to be played for somebody else")
    order = renewed_order(served_store(), run_id)
    known = {row.agent: row.agent_id for row in GameStore(order.store).read_agents(run_id)}
    others = [
        f"{agent.name} ({known.get(agent.name, 'unknown')} there, {here or 'unreadable'} here)"
        for agent in order.spec.agents
        if (here := identify(agent).agent_id) != known.get(agent.name)
    ]
    if others:
        raise RunChangedError(
            f"run {run_id}: in the catalogue of {settings().host} these are not the agents of the run: "
            f"{', '.join(others)}; give this machine the same files"
        )
    return order


@contextmanager
def sharing(store: str, run_id: str, share: int, claim: str) -> Iterator[None]:
    """Hold the right to play a share while the block lasts.

    Args:
        store: where the run is.
        run_id: which run.
        share: from 0.
        claim: of the invocation that has dealt it.

    Raises:
        RunBusyError: somebody else plays this share, or the run without having dealt it; or nobody plays the run.
        HostTakenError: this machine plays another share of it.
    """
    games, host = GameStore(store), settings().host
    what = f"share {share} of run {run_id}"
    with held(lambda: games.playing_share(run_id, share, host), what, patience=PATIENCE_SECONDS):
        if not is_dealt(games, run_id, claim):
            raise RunBusyError(
                f"{what} is not to be played: whoever dealt it no longer plays the run; "
                "start the tournament, which deals its shares itself"
            )
        if [holder.mark for holder in games.sharers(run_id)].count(host) > 1:
            raise HostTakenError(f"{host} is at another share of run {run_id}")
        yield


def is_dealt(games: GameStore, run_id: str, claim: str) -> bool:
    """Whether the invocation of that claim plays the run now."""
    player = games.player(run_id)
    return bool(claim) and player is not None and player.mark == claim


def is_wanted(games: GameStore, run_id: str, claim: str) -> bool:
    """Whether that invocation still wants its shares played: it lets go of share 0 as soon as it is stopped."""
    return is_dealt(games, run_id, claim) and games.is_shared(run_id, 0)
