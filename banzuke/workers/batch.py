"""Play a batch: every game until it has a counting result or its attempts are used up."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from banzuke.match.recording import Attempt
from banzuke.outcome import Status, Termination
from banzuke.record import GameRecord, PlannedGame
from banzuke.specs import LimitsSpec, Spec
from banzuke.workers.hall import Hall, HallAnswer, HallGame
from banzuke.workers.supervisor import START_SECONDS, TICK_SECONDS, Supervisor, play_seconds


def play_batch(
    games: Sequence[PlannedGame],
    spec: Spec,
    supervisor: Supervisor,
    *,
    attempts_before: Mapping[str, int],
    on_tick: Callable[[], None],
    put_off: Callable[[PlannedGame], bool] = lambda _game: False,
) -> Iterator[GameRecord]:
    """Play games one after the other; a void one is put back and tried again after the others.

    Args:
        games: what to play.
        spec: whose agents and limits; a game gets ``1 + retries`` attempts.
        supervisor: whose worker plays.
        attempts_before: the highest attempt recorded so far, by game id; none for a game never tried.
        on_tick: called about ten times a second while a game is going on.
        put_off: asked before every attempt; a game that is put off is skipped, without a record.

    Yields:
        One record per attempt, as it ends. A stopped run ends the iteration; the game it interrupted is
        ``cancelled``, which uses up no attempt. So does the batch's own deadline, which is as late as its games'
        limits allow; the game it interrupts is void (``batch_timeout``), those after it are left.
    """
    deadline = time.monotonic() + batch_seconds(len(games), spec.limits)
    waiting = deque((game, spec.limits.retries) for game in games)
    numbers = dict(attempts_before)
    while waiting and not supervisor.stop.is_set() and time.monotonic() < deadline:
        game, retries = waiting.popleft()
        if put_off(game):
            continue
        numbers[game.game_id] = numbers.get(game.game_id, 0) + 1
        attempt = Attempt.at(game, numbers[game.game_id])
        record = supervisor.play(attempt, spec, on_tick=on_tick, deadline=deadline)
        if record.status is Status.VOID and record.termination is not Termination.CANCELLED and retries:
            waiting.append((game, retries - 1))
        yield record


def play_together(
    games: Sequence[PlannedGame],
    spec: Spec,
    hall: Hall,
    *,
    attempts_before: Mapping[str, int],
    on_tick: Callable[[], None],
    put_off: Callable[[PlannedGame], bool] = lambda _game: False,
) -> Iterator[GameRecord]:
    """Play games without engines in the hall, beside whatever else is played there; arguments as :func:`play_batch`.

    Yields:
        One record per attempt, as it ends; games that a stop interrupted are ``cancelled``.

    Raises:
        WorkerError: no worker could be started; after every game in play has been yielded.
    """
    answers: queue.SimpleQueue[HallAnswer] = queue.SimpleQueue()
    retries = dict.fromkeys((game.game_id for game in games), spec.limits.retries)
    numbers = dict(attempts_before)

    def hand_in(wanted: Iterable[PlannedGame]) -> None:
        handed = []
        for game in wanted:
            numbers[game.game_id] = numbers.get(game.game_id, 0) + 1
            attempt = Attempt.at(game, numbers[game.game_id])
            handed.append(HallGame(attempt=attempt, spec=spec, is_put_off=put_off, answers=answers))
        hall.submit(handed)

    hand_in(games)
    failure: BaseException | None = None
    left = len(games)
    while left:
        try:
            answer = answers.get(timeout=TICK_SECONDS)
        except queue.Empty:
            on_tick()
            continue
        left -= 1
        failure = failure or answer.error
        record, game = answer.record, answer.game.attempt.planned
        if record is None:
            continue
        if record.status is Status.VOID and record.termination is not Termination.CANCELLED and retries[game.game_id]:
            retries[game.game_id] -= 1
            left += 1
            hand_in([game])
        yield record
    if failure is not None:
        raise failure


def batch_seconds(games: int, limits: LimitsSpec) -> float:
    """The longest that so many games may take: every attempt at each needs all of its time, and a new worker."""
    return games * (1 + limits.retries) * (START_SECONDS + play_seconds(limits))
