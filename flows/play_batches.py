"""Hand batches in to the workers as there is room, and follow each to its end.

Two lines stand beside each other, so that neither holds the other up: batches of games with engines, each of which
takes a worker for itself, and batches of games that advance together in the hall.
"""

from __future__ import annotations

import contextlib
import queue
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from prefect.futures import PrefectFuture

from banzuke.errors import StorageError
from banzuke.progress import announce_plan, announce_problem
from banzuke.record import PlannedGame
from banzuke.workers.hall import AHEAD
from banzuke.workers.pool import WorkerPool
from storage.game_store import GameStore
from storage.ledger import Ledger
from tasks.in_play import shown_to_watchers
from tasks.play import BatchReport, play_games

COMPACT_EVERY = 8
"""Batches between two compactions while games are played: every batch reads the ledger, which costs by the file."""
TICK_SECONDS = 0.25
"""A task that was handed in has its games in the hall after less than that."""
MOST_BATCHES_PER_WORKER = 6
"""In the hall at a time; each holds a thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Todo:
    """What of one run is to be played now."""

    spec_json: str
    run_id: str
    planned: int
    at_tables: Sequence[Sequence[PlannedGame]]
    """Batches of games with engines."""
    in_hall: Sequence[Sequence[PlannedGame]]
    """Batches of games without."""
    lanes: int
    """How many of these advance together in a worker."""
    hosts: int = 1
    """How many machines play the run at the same time."""

    @property
    def batches(self) -> Sequence[Sequence[PlannedGame]]:
        """All of them."""
        return [*self.at_tables, *self.in_hall]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    todo: Todo
    number: int
    """From 1, among all of its run."""
    games: Sequence[PlannedGame]
    in_hall: bool


def play_batches(store: str, todos: Sequence[Todo], pool: WorkerPool) -> None:
    """Play every batch, or those that were begun when the run is stopped.

    Raises:
        StorageError: games could not be recorded. What cannot be kept need not be played: all batches are stopped.
    """
    with shown_to_watchers(store, {todo.run_id for todo in todos}, pool):
        _Follower(store, todos, pool).follow()


class _Follower:
    def __init__(self, store: str, todos: Sequence[Todo], pool: WorkerPool) -> None:
        self.store = store
        self.pool = pool
        self.at_tables: deque[_Batch] = deque()
        self.in_hall: deque[_Batch] = deque()
        for todo in todos:
            for number, games in enumerate(todo.batches, start=1):
                in_hall = number > len(todo.at_tables)
                line = self.in_hall if in_hall else self.at_tables
                line.append(_Batch(todo=todo, number=number, games=games, in_hall=in_hall))
        self.handed_in: dict[str, tuple[_Batch, PrefectFuture[BatchReport]]] = {}
        self.ended: queue.SimpleQueue[PrefectFuture[BatchReport]] = queue.SimpleQueue()
        self.finished: Counter[str] = Counter()
        self.hall_due = 0.0
        self.unkept: StorageError | None = None
        self.ended_by: set[str] = set()

    def follow(self) -> None:
        self._hand_in()
        while self.handed_in:
            with contextlib.suppress(queue.Empty):
                future = self.ended.get(timeout=TICK_SECONDS)
                future.wait()
                batch, _ = self.handed_in.pop(str(future.task_run_id))
                self._take_in(batch, future)
            self._hand_in()
        if self.unkept is not None:
            raise StorageError(
                f"games can no longer be recorded, so no more are played: {self.unkept}"
            ) from self.unkept

    def _hand_in(self) -> None:
        """As many batches as keep the workers busy beyond the next one's end."""
        while not self.pool.stop.is_set() and (batch := self._next()) is not None:
            todo = batch.todo
            ids = [game.game_id for game in batch.games]
            future = play_games.submit(todo.spec_json, self.store, todo.run_id, batch.number, len(todo.batches), ids)
            self.handed_in[str(future.task_run_id)] = (batch, future)
            future.add_done_callback(self.ended.put)

    def _next(self) -> _Batch | None:
        for line in (self.at_tables, self.in_hall):
            while line and self._is_spared(line[0]):
                line.popleft()
        out = [batch for batch, _ in self.handed_in.values()]
        if self.at_tables and sum(not batch.in_hall for batch in out) <= self.pool.size:
            return self.at_tables.popleft()
        if self.in_hall and self._hall_has_room([len(batch.games) for batch in out if batch.in_hall]):
            self.hall_due = time.monotonic() + TICK_SECONDS
            return self.in_hall.popleft()
        return None

    def _begin_nothing_more(self, reason: str) -> None:
        if reason not in self.ended_by:
            self.ended_by.add(reason)
            announce_problem(f"no more games are begun: {reason}")
        self.at_tables.clear()
        self.in_hall.clear()

    def _is_spared(self, batch: _Batch) -> bool:
        referee = self.pool.referee(batch.todo.run_id)
        return referee is not None and all(map(referee.spares, batch.games))

    def _hall_has_room(self, out: Sequence[int]) -> bool:
        """Whether another batch is wanted there, where those of these sizes are not over."""
        lanes = self.pool.size * (self.in_hall[0].todo.lanes + AHEAD)
        if sum(out) < 2 * lanes:
            return True
        if len(out) >= MOST_BATCHES_PER_WORKER * self.pool.size or time.monotonic() < self.hall_due:
            return False
        # A few long games keep a batch from ending. What counts is whether lanes could fall empty before the next look.
        return self.pool.hall.waiting < max(lanes, len(self.in_hall[0].games))

    def _take_in(self, batch: _Batch, future: PrefectFuture[BatchReport]) -> None:
        run_id = batch.todo.run_id
        self.finished[run_id] += 1
        if future.state.is_completed():
            if why := future.result().no_limit:
                self._begin_nothing_more(why)
        elif isinstance(failure := future.result(raise_on_failure=False), StorageError):
            self.unkept = self.unkept or failure
            self.pool.stop.set()
        else:
            announce_problem(f"a batch of {len(batch.games)} games failed: {future.state.message}")
        if self.unkept is None and self.finished[run_id] % COMPACT_EVERY == 0:
            GameStore(self.store).compact(run_id, thorough=False)
        if batch.todo.hosts > 1:
            counting = Ledger(GameStore(self.store), run_id).tallies().counting
            announce_plan(run_id, planned=batch.todo.planned, counting=counting)
