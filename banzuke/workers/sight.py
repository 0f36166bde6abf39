"""What is seen of the games in play by the process that has them played, without a word to their workers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from banzuke.in_play import GameInPlay, Phase
from banzuke.workers.deadline_board import Phase as Doing

if TYPE_CHECKING:
    from banzuke.match.recording import Attempt
    from banzuke.specs import Spec
    from banzuke.workers.deadline_board import Notice
    from banzuke.workers.games_board import Seen
    from banzuke.workers.process import WorkerProcess


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A game that a worker was given."""

    attempt: Attempt
    spec: Spec
    since: float
    """On the monotonic clock."""


def at_table(worker: WorkerProcess, given: Given) -> list[GameInPlay]:
    """The one game of a worker; nothing where the worker is going."""
    found = _look(worker)
    if found is None:
        return []
    notice, seen, pid = found
    # What its worker wrote before is of another game.
    now, present = time.monotonic(), next((one for one in seen if one.since >= given.since), None)
    if notice.phase is not Doing.THINKING or present is None:
        return [_game(given, pid, lane=None, phase="opening", seen=None)]
    since = present.since
    return [
        _game(given, pid, lane=None, phase="thinking", seen=present, seconds=now - since, limit=notice.deadline - since)
    ]


def on_lanes(worker: WorkerProcess, given: Mapping[int, Given]) -> list[GameInPlay]:
    """The games that advance together in a worker, by their entries, those first whose position is known."""
    found = _look(worker)
    if found is None:
        return []
    notice, seen, pid = found
    known = {one.entry: one for one in seen if one.entry in given}
    movers = {mover // 2 for mover in notice.movers}
    now = time.monotonic()
    games: list[GameInPlay] = []
    for lane, entry in enumerate([*known, *(entry for entry in given if entry not in known)], start=1):
        one = given[entry]
        limit = one.spec.limits.move_seconds
        is_moving = entry in movers
        phase: Phase = "waiting" if entry in known else "queued"
        if is_moving:
            phase = "thinking" if notice.phase is Doing.THINKING else "opening"
        is_timed = phase == "thinking"
        games.append(
            _game(
                one,
                pid,
                lane=lane,
                phase=phase,
                seen=known.get(entry),
                seconds=limit - (notice.deadline - now) if is_timed else None,
                limit=limit if is_timed else None,
            )
        )
    return games


def _look(worker: WorkerProcess) -> tuple[Notice, Sequence[Seen], int] | None:
    """Its two boards; None where whoever owns the worker is ending it this moment."""
    with contextlib.suppress(ValueError):
        return worker.board.read(), worker.games_board.read(), worker.pid
    return None


def _game(
    given: Given,
    pid: int,
    *,
    lane: int | None,
    phase: Phase,
    seen: Seen | None,
    seconds: float | None = None,
    limit: float | None = None,
) -> GameInPlay:
    planned = given.attempt.planned
    return GameInPlay(
        run_id=planned.run_id,
        game_id=planned.game_id,
        attempt=given.attempt.number,
        game=planned.game,
        rules=planned.rules,
        first_agent=planned.first_agent,
        second_agent=planned.second_agent,
        worker=pid,
        lane=lane,
        phase=phase,
        plies=None if seen is None else seen.plies,
        last_move="" if seen is None else seen.last_move,
        position="" if seen is None else seen.position,
        seconds=None if seconds is None else round(max(0.0, seconds), 2),
        limit_seconds=None if limit is None else round(limit, 2),
    )
