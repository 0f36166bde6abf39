"""One run on several machines: shares of its games are played by flow runs of their own, wherever there is a worker.

The flow that plays the run deals the shares and plays the first one itself. Then it takes the others back one by one:
a share that is over, that nobody has begun, or whose process is gone is free to be held; one that is being played is
waited for. Whatever is missing afterwards is played here.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import cast
from uuid import UUID

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound

from banzuke.progress import announce_plan
from banzuke.settings import settings
from banzuke.workers.pool import WorkerPool
from banzuke.workers.supervisor import START_SECONDS, play_seconds
from flows.stages import plan_batches, play_missing
from storage.game_store import GameStore
from storage.ledger import Ledger
from tasks.evaluate import Fitness
from tasks.leases import one_try
from tasks.runs import parse_spec
from tasks.shares import games_of_share, sharing

DEPLOYMENT = "play-share/share"
BEGIN_SECONDS = 60.0
"""For a worker to take up a share and begin; one that is begun later finds that it was taken back."""
LOOK_SECONDS = 1.0
STOP_LOOK_SECONDS = 0.1
COUNT_SECONDS = 5.0
"""Between two counts of what others have recorded, at least; reading takes time in proportion to the run."""
LEAVE_SECONDS = 20.0
"""For a share that is told to end."""
DISMISS_SECONDS = 3.0
"""For telling all of them; each sees for itself, too, that its run is no longer played."""
TALK_SECONDS = 2.0


@contextmanager
def other_hosts(
    spec_json: str,
    store: str,
    run_id: str,
    pool: WorkerPool,
    fitness: Mapping[str, Fitness],
    *,
    hosts: int,
    claim: str,
) -> Iterator[Collection[str] | None]:
    """Have other machines play shares of the run's games, and play one here; the block plays what is left.

    Args:
        spec_json: the effective spec.
        store: where the run is.
        run_id: which run; it is held by us while the block lasts.
        pool: whose workers play here; its stop event ends all shares.
        fitness: of the agents.
        hosts: how many machines in all; of 1 nothing is dealt.
        claim: what the holding is known by.

    Yields:
        Ids of the games that may be played here; None for all that are missing.
    """
    if hosts == 1 or pool.stop.is_set():
        yield None
        return
    dealt = _Dealt(spec_json, store, run_id, pool, hosts)
    with ExitStack() as mine, held_until_stopped(sharing(store, run_id, 0, claim), pool.stop):
        try:
            dealt.start(claim)
            here = [game.game_id for game in games_of_share(store, run_id, 0, hosts)]
            todo = plan_batches(spec_json, store, run_id, pool, fitness, only=here, hosts=hosts)
            play_missing(store, [todo], pool)
            yield dealt.take_back(mine)
        finally:
            dealt.dismiss()


@contextmanager
def held_until_stopped(share: AbstractContextManager[None], stop: threading.Event) -> Iterator[None]:
    """Hold our share while the block lasts, or until we are stopped: the others see that, and stop with us."""
    over = threading.Event()

    def let_go() -> None:
        while not (over.wait(STOP_LOOK_SECONDS) or stop.is_set()):
            pass
        held.close()

    with ExitStack() as held:
        held.enter_context(share)
        watcher = threading.Thread(target=let_go, name="share-holder", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


class _Dealt:
    """The shares that are played elsewhere."""

    def __init__(self, spec_json: str, store: str, run_id: str, pool: WorkerPool, hosts: int) -> None:
        self.games = GameStore(store)
        self.run_id = run_id
        self.pool = pool
        self.hosts = hosts
        # Everything that a game may take, and a second one before it in the same lane.
        self.patience = START_SECONDS + 2 * play_seconds(parse_spec(spec_json).limits)
        self.runs: dict[int, UUID] = {}
        """The flow run of each share."""
        self._begin_by = 0.0
        self._counting = self._count_due = self._news_at = 0.0

    def start(self, claim: str) -> None:
        """A flow run for each share but ours."""
        self._begin_by = time.monotonic() + BEGIN_SECONDS
        for share in range(1, self.hosts):
            parameters = {"run_id": self.run_id, "share": share, "of": self.hosts, "claim": claim}
            try:
                run = run_deployment(
                    DEPLOYMENT, parameters=parameters, timeout=0, as_subflow=False, idempotency_key=f"{claim}-{share}"
                )
            except ObjectNotFound:
                get_run_logger().error(
                    "the server knows no %s, so all games are played here: `banzuke deploy` makes it", DEPLOYMENT
                )
                return
            self.runs[share] = cast("FlowRun", run).id

    def take_back(self, mine: ExitStack) -> Collection[str] | None:
        """Hold every share, each as soon as nobody else does.

        Args:
            mine: keeps what is held.

        Returns:
            Ids of the games of all shares that are held; None for all games.
        """
        left = dict(self.runs)
        self._news_at = time.monotonic()
        while left and not self.pool.stop.is_set():
            for share in list(left):
                if self._is_about_to_begin(share) or not self._take(share, mine):
                    continue
                self._dismiss(left.pop(share))
            self._count()
            silence = time.monotonic() - self._news_at
            if silence > self.patience + LEAVE_SECONDS:
                break
            if silence > self.patience:
                self.dismiss()
            if left:
                self.pool.stop.wait(LOOK_SECONDS)
        if not left:
            return None
        if not self.pool.stop.is_set():
            get_run_logger().error(
                "shares %s have recorded nothing for too long and cannot be ended; a backfill plays their games",
                ", ".join(map(str, left)),
            )
        held = set(range(self.hosts)).difference(left)
        return [game.game_id for game in Ledger(self.games, self.run_id).plan if game.pair_no % self.hosts in held]

    def _take(self, share: int, mine: ExitStack) -> bool:
        with ExitStack() as trying:
            if trying.enter_context(self.games.playing_share(self.run_id, share, settings().host)) is not None:
                return False
            mine.push(trying.pop_all())
            return True

    def _is_about_to_begin(self, share: int) -> bool:
        if time.monotonic() > self._begin_by:
            return False
        state = self._state(self.runs[share])
        return state is None or not (state.is_final() or state.is_running())

    def _count(self) -> None:
        """Whether anybody has recorded anything, and how far the run is."""
        now = time.monotonic()
        if now < self._count_due:
            return
        ledger = Ledger(self.games, self.run_id)
        counting, planned = ledger.tallies().counting, len(ledger.plan)
        if counting != self._counting:
            self._counting, self._news_at = counting, now
            announce_plan(self.run_id, planned=planned, counting=counting)
        self._count_due = now + max(COUNT_SECONDS, 10 * (time.monotonic() - now))

    def dismiss(self) -> None:
        """Tell every share that is not over to end."""
        deadline = time.monotonic() + DISMISS_SECONDS
        for run in self.runs.values():
            if time.monotonic() < deadline:
                self._dismiss(run)

    def _dismiss(self, run: UUID) -> None:
        state = self._state(run)
        if state is None or state.is_final() or state.type is StateType.CANCELLING:
            return
        kind = StateType.CANCELLED if state.is_scheduled() else StateType.CANCELLING
        with contextlib.suppress(Exception), one_try(), get_client(sync_client=True, httpx_settings=_QUICK) as client:
            client.set_flow_run_state(run, State(type=kind, message="its tournament needs it no more"))

    def _state(self, run: UUID) -> State[object] | None:
        """None where the server does not say."""
        with contextlib.suppress(Exception), one_try(), get_client(sync_client=True, httpx_settings=_QUICK) as client:
            return client.read_flow_run(run).state
        return None


_QUICK = {"timeout": TALK_SECONDS}
