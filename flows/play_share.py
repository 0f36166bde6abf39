"""One share of a tournament's games, played for whoever plays the tournament on another machine.

It plans, rates and publishes nothing: it plays its games and ends, at once when that tournament is no longer played.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, NoReturn
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import Pause
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Scheduled
from pydantic import Field

from banzuke.errors import StorageError
from banzuke.workers.pool import WorkerPool
from flows.play_batches import play_batches
from flows.reporting import reported
from flows.serving import answered, obey_server
from flows.stages import plan_batches, probe
from flows.stopping import stop_on_signals
from flows.task_runner import threads
from storage.game_store import GameStore
from tasks.served import Order
from tasks.shares import HostTakenError, games_of_share, is_wanted, sharing, take_share
from tasks.slots import limited_pool

LOOK_SECONDS = 1.0
MOST_HOSTS_TRIED = 24
"""Workers take what they find; one whose machine is at the run already leaves its share to another."""
ELSEWHERE_SECONDS = (2.0, 6.0)
"""For another worker to be quicker; each try costs its machine the start of a process, so later ones wait longer."""


@flow(name="play-share", flow_run_name="share {share} of {of} of {run_id}", task_runner=threads())
def play_share(
    run_id: str = "",
    share: Annotated[int, Field(ge=0, le=1024)] = 0,
    of: Annotated[int, Field(ge=0, le=1024)] = 0,
    claim: str = "",
) -> State[None]:
    """Play a share of a tournament's games. A tournament that is to be played on several hosts starts this itself.

    Args:
        run_id: Which run.
        share: Which of its shares; the tournament itself plays number 0.
        of: How many shares there are.
        claim: What the tournament is known by that has dealt it.
    """

    def play() -> State[None]:
        order = take_share(run_id, share, of)
        try:
            with sharing(order.store, run_id, share, claim):
                return _play(order, share, of, claim)
        except HostTakenError as taken:
            if flow_run.run_count >= MOST_HOSTS_TRIED:
                return Completed(message=f"{taken}, and no other took it; it is played there at the end")
            _leave_to_another(str(taken))

    return answered(play)


def _play(order: Order, share: int, of: int, claim: str) -> State[None]:
    with (
        limited_pool(order.spec) as pool,
        reported(bars=False),
        stop_on_signals(pool),
        obey_server(pool),
        _while_dealt(order, claim, pool) as dealt,
    ):
        games = games_of_share(order.store, order.run_id, share, of)
        agents = dict.fromkeys(name for game in games for name in (game.first_agent, game.second_agent))
        fitness = probe(order.spec_json, order.store, order.run_id, pool, agents)
        if not pool.stop.is_set():
            only = [game.game_id for game in games]
            todo = plan_batches(order.spec_json, order.store, order.run_id, pool, fitness, only=only, hosts=of)
            play_batches(order.store, [todo], pool)
    left = len(games_of_share(order.store, order.run_id, share, of))
    message = f"{len(games) - left} of {len(games)} games played"
    if not dealt.is_set():
        return Cancelled(name="Dismissed", message=f"{message}; its tournament has ended")
    if pool.stop.is_set():
        return Cancelled(name="Stopped", message=message)
    return Completed(message=message)


@contextmanager
def _while_dealt(order: Order, claim: str, pool: WorkerPool) -> Iterator[threading.Event]:
    """Stop the pool when whoever has dealt the share no longer plays the tournament, or is stopped; cleared then."""
    dealt, done = threading.Event(), threading.Event()
    dealt.set()

    def watch() -> None:
        while not done.wait(LOOK_SECONDS):
            # A store that does not answer says nothing of the tournament.
            with contextlib.suppress(StorageError):
                if not is_wanted(GameStore(order.store), order.run_id, claim):
                    dealt.clear()
                    pool.stop.set()
                    return

    watcher = threading.Thread(target=watch, name="tournament-watcher", daemon=True)
    watcher.start()
    try:
        yield dealt
    finally:
        done.set()
        watcher.join()


def _leave_to_another(reason: str) -> NoReturn:
    """End this attempt; the same flow run is there to be taken by another worker in a moment.

    Raises:
        Pause: always; the engine says nothing to the server then.
    """
    get_run_logger().info("%s; left to another", reason)
    patience = random.uniform(*ELSEWHERE_SECONDS) * (1 + flow_run.run_count // 6)  # noqa: S311 - no secret
    when = datetime.now(UTC) + timedelta(seconds=patience)
    state: State[None] = Scheduled(name="AwaitingHost", scheduled_time=when, message=reason)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(flow_run.id), state, force=True)
    raise Pause(state=state)
