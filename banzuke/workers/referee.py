"""The referee of a sequential test: hears of every recorded game, and ends the playing once there is a verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from banzuke.outcome import Side, Status, Termination
from banzuke.progress import announce_test
from banzuke.ratings.sequential import Course, Standpoint
from banzuke.record import GameRecord, PlannedGame


class Referee:
    """Takes in games in the order in which they are recorded, and lets the test take them in planned order.

    A pair one of whose games stayed void after all its attempts is skipped, for good: that is kept before the test
    passes the pair, so that nothing that is played later can change a verdict. Safe to use from several threads.

    Args:
        course: of the test, with all that was recorded before.
        agent: whose points are counted.
        attempts: at a void game, in this invocation; then it is exhausted.
        keep_skipped: told the numbers of all skipped pairs; returns when they are durable.
        keep_decision: told the verdict; returns when it is durable.
    """

    def __init__(
        self,
        course: Course,
        *,
        agent: str,
        attempts: int,
        keep_skipped: Callable[[Sequence[int]], None],
        keep_decision: Callable[[Standpoint], None],
    ) -> None:
        self._course = course
        self.agent = agent
        self._attempts = attempts
        self._keep_skipped = keep_skipped
        self._keep_decision = keep_decision
        self._failures: Counter[str] = Counter()
        self._told = -1
        self._lock = Lock()
        with self._lock:
            self._tell()

    def spares(self, game: PlannedGame) -> bool:
        """Whether the game need not be played, because it lies behind the verdict."""
        last = self._course.last_pair
        return last is not None and game.pair_no > last

    def note(self, records: Iterable[GameRecord]) -> None:
        """Take in attempts that are on disk.

        Raises:
            StorageError: what was found could not be kept. A verdict that was not kept is found again by whoever
                looks at the games; a pair that could not be noted as skipped is not skipped.
        """
        exhausted: set[int] = set()
        with self._lock:
            for record in records:
                if record.status is not Status.VOID:
                    self._course.learn(record.pair_no, record.slot, half_points(record, self.agent))
                elif record.termination is not Termination.CANCELLED:
                    self._failures[record.game_id] += 1
                    if self._failures[record.game_id] >= self._attempts:
                        exhausted.add(record.pair_no)
            skipped = set(filter(self._course.may_skip, exhausted))
            if skipped:
                self._keep_skipped(sorted(skipped.union(self._course.skipped)))
                self._course.skip(skipped)
            self._course.go_on()
            self._tell()

    def look_at(self, half_points: NDArray[np.int8]) -> None:
        """Take in what the store has, in case a record was kept but could not be said to be.

        Args:
            half_points: as for :class:`Course`.
        """
        with self._lock:
            self._course.look_at(half_points)
            self._tell()

    def _tell(self) -> None:
        if self._course.reached == self._told:
            return
        standpoint = self._course.standpoint
        announce_test(
            llr=standpoint.result.llr,
            lower=standpoint.result.lower,
            upper=standpoint.result.upper,
            pairs=standpoint.pairs,
            verdict=standpoint.result.verdict.value if standpoint.is_decided else None,
        )
        if standpoint.is_decided:
            self._keep_decision(standpoint)
        self._told = self._course.reached


def half_points(record: GameRecord, agent: str) -> int:
    """What a counting game is worth to the agent: 0, 1 or 2."""
    if record.winner is None:
        return 1
    side = Side.FIRST if record.first_agent == agent else Side.SECOND
    return 2 if record.winner is side else 0
