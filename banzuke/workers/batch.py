"""Play a batch: every game until it has a counting result or its attempts are used up."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

from banzuke.match.recording import Attempt
from banzuke.outcome import Status, Termination
from banzuke.record import GameRecord, PlannedGame
from banzuke.specs import LimitsSpec, Spec
from banzuke.workers.supervisor import START_SECONDS, Supervisor, play_seconds


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


def batch_seconds(games: int, limits: LimitsSpec) -> float:
    """The longest that so many games may take: every attempt at each needs all of its time, and a new worker."""
    return games * (1 + limits.retries) * (START_SECONDS + play_seconds(limits))
