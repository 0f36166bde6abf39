"""The referee of a run that is a sequential test: called before the first game; what is left to write at the end."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from prefect import task

from banzuke.errors import GameAlreadyRecordedError
from banzuke.ratings.sequential import Standpoint
from banzuke.workers.pool import WorkerPool
from banzuke.workers.referee import Referee
from storage.game_store import GameStore
from tasks.policies import MACHINERY
from tasks.runs import parse_spec
from tasks.sequential import course_of, decision_document, final_document, recorded_test


def call_referee(store: str, run_id: str, spec_json: str, pool: WorkerPool) -> None:
    """Have the games of the run watched, if it is a test without a verdict.

    A verdict that the recorded games hold already, because whoever played them was killed before it was kept, is kept
    now.
    """
    games = GameStore(store)
    test = recorded_test(games.read_run(run_id))
    if test is None or games.read_decision(run_id) is not None:
        return

    def keep_decision(standpoint: Standpoint) -> None:
        # There already: kept by an attempt that was told it had failed.
        with suppress(GameAlreadyRecordedError):
            games.write_decision(run_id, decision_document(test, standpoint))

    def keep_skipped(pairs: Sequence[int]) -> None:
        games.write_skipped(run_id, pairs)

    referee = Referee(
        course_of(games, run_id, test),
        agent=test.agent,
        attempts=1 + parse_spec(spec_json).limits.retries,
        keep_skipped=keep_skipped,
        keep_decision=keep_decision,
    )
    pool.appoint(run_id, referee)


@task(name="close-test", task_run_name="close the test of {run_id}", **MACHINERY)
def close_test(store: str, run_id: str) -> None:
    """Write down what all games say, now that those in flight at the verdict are over, if the run is a decided test."""
    games = GameStore(store)
    test = recorded_test(games.read_run(run_id))
    decision = games.read_decision(run_id)
    if test is None or decision is None or decision.get("final") is not None:
        return
    games.write_decision(run_id, decision | {"final": final_document(course_of(games, run_id, test))}, replace=True)
