"""Planning a further step of a run whose plan grows: written down whole before its first game is played."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from prefect import task

from banzuke.errors import RunChangedError
from banzuke.match.planning import plan_meetings
from banzuke.progress import announce_stage
from banzuke.record import PlannedGame
from storage.game_store import GameStore
from tasks.growing import Growth
from tasks.policies import ONCE
from tasks.runs import parse_spec

_PLACE = ("game_no", "encounter", "round", "slot")


@task(name="plan-step", task_run_name="plan the next step of {run_id}", **ONCE)
def plan_step(spec_json: str, store: str, run_id: str, able: Collection[str]) -> list[str]:
    """Plan the next games of an adaptive run from the results so far, and write them down.

    Args:
        spec_json: the effective spec.
        store: where the run is.
        run_id: which run.
        able: the agents that may play.

    Returns:
        Their ids; none where the run is at its end.

    Raises:
        RunChangedError: games are recorded that a lost step of the plan must have had, and this one has not.
    """
    spec = parse_spec(spec_json)
    games = GameStore(store)
    growth = Growth(games, run_id, spec)
    meetings = growth.next_meetings(able)
    if not meetings:
        return []
    step = games.plan_steps(run_id) + 1
    widest, error = next((name, error) for name, error in growth.errors.items() if error is not None)
    announce_stage(
        "plan",
        f"step {step}, {len(meetings)} pairs: the widest interval is ±{error:.0f} Elo, of {widest}, "
        f"the target ±{spec.tournament.target_error:g}",
    )
    planned = plan_meetings(
        spec,
        meetings,
        growth.pairs_planned,
        run_id=run_id,
        agent_ids={row.agent: row.agent_id for row in games.read_agents(run_id)},
    )
    _check_recorded(games, run_id, planned)
    games.write_plan(run_id, planned, step=step)
    return [game.game_id for game in planned]


def _check_recorded(games: GameStore, run_id: str, planned: Sequence[PlannedGame]) -> None:
    """Where a step of the plan was lost, its games may be there: a game's id must not come to mean another one."""
    recorded = games.games(run_id, _PLACE).table
    beyond = recorded.filter(pc.greater_equal(recorded["game_no"], pa.scalar(planned[0].game_no)))
    places = {game.game_no: (game.encounter, game.round, game.slot) for game in planned} if len(beyond) else {}
    for game_no, *place in zip(*(beyond[name].to_pylist() for name in _PLACE), strict=True):
        if game_no in places and places[game_no] != tuple(place):
            raise RunChangedError(
                f"run {run_id}: games are recorded that no step of its plan has, and what would be planned now is not "
                "what they were; restore the plan's files from a copy, or begin a run with another --run-id"
            )
