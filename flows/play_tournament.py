"""The pipeline as a server starts it: by a schedule, by hand, or by a program.

In go names and numbers, which this machine's catalogue turns into a spec; everything else is ``run_pipeline``. Started
again after a crash, a pause or by "Retry", it goes on with its run and plays exactly what is missing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from pydantic import Field

from banzuke.errors import SpecError
from flows import naming
from flows.run_pipeline import run_pipeline
from flows.serving import answered, patience, which_run
from flows.task_runner import threads
from tasks.beforehand import check_beforehand
from tasks.served import take_order
from tasks.summary import Summary


# What the server lets through is checked with everything else, and refused in one line.
@flow(name="play-tournament", flow_run_name=naming.of_tournament, task_runner=threads(), validate_parameters=False)
def play_tournament(
    name: Annotated[str, Field(max_length=39)] = "tournament",
    agents: list[str] = ["*"],  # noqa: B006 - a form shows it; nobody changes it
    newest: Annotated[int, Field(ge=0, le=10_000)] = 0,
    format: Literal["round-robin", "gauntlet", "adaptive"] = "round-robin",  # noqa: A002 - as in a spec
    challengers: list[str] = [],  # noqa: B006 - likewise
    games_per_encounter: Annotated[int, Field(ge=2, le=1_000_000, multiple_of=2)] = 20,
    target_error: Annotated[float, Field(ge=0.1, le=10_000)] = 20.0,
    openings: str = "",
    rules: Literal["csa", "keisei"] = "csa",
    max_plies: Annotated[int, Field(ge=2, le=10_000)] = 320,
    suite: str = "",
    anchor: str = "",
    anchor_elo: Annotated[float, Field(ge=-100_000, le=100_000)] = 0.0,
    seed: Annotated[int, Field(ge=0, le=2**53 - 1)] = 1,
    concurrency: Annotated[int, Field(ge=0, le=1024)] = 0,
    hosts: Annotated[int, Field(ge=1, le=1024)] = 1,
    regression_margin: Annotated[float, Field(ge=0, le=10_000)] = 50.0,
    run_id: str = "",
) -> State[Summary]:
    """Play the agents of the catalogue against each other, rate them, and keep every game.

    Args:
        name: What the tournament is called; its run id begins with it. Letters, digits, dots, underscores, hyphens.
        agents: Names of the catalogue's agents, or patterns such as epoch-*; * is everybody.
        newest: Of the checkpoints that a pattern names, only the newest so many; 0 for all.
        format: round-robin: everybody against everybody; gauntlet: the challengers against all others;
            adaptive: whoever's rating is least certain.
        challengers: Of a gauntlet, who of the agents meets all others; names or patterns.
        games_per_encounter: Even, since every opening is played twice with sides swapped; at most so many if adaptive.
        target_error: Of an adaptive tournament, half the width in Elo that every 95 % interval shall have.
        openings: Name of an opening book of the catalogue; leave empty for the one that comes with Banzuke.
        rules: csa: those of the Computer Shogi Association; keisei: those that Keisei trains under.
        max_plies: A game is drawn after so many.
        suite: Name of a position suite of the catalogue that agents are scored on first; leave empty for none.
        anchor: The agent whose rating is fixed; leave empty for the mean of all.
        anchor_elo: The rating it is fixed at.
        seed: Decides openings and every random choice.
        concurrency: Worker processes at once; 0 for what the machine allows.
        hosts: On how many machines its games are played at once.
        regression_margin: How many Elo the newest checkpoint may lose before somebody is told.
        run_id: Leave empty for a new run; the id of an earlier one of the same parameters goes on with it.
    """
    wish: dict[str, Any] = {
        "name": name,
        "agents": agents,
        "newest": newest,
        "format": format,
        "challengers": challengers,
        "games_per_encounter": games_per_encounter,
        "target_error": target_error,
        "openings": openings,
        "suite": suite,
        "rules": rules,
        "max_plies": max_plies,
        "seed": seed,
        "anchor": anchor,
        "anchor_elo": anchor_elo,
        "concurrency": concurrency,
        "hosts": hosts,
        "regression_margin": regression_margin,
        "run_id": run_id,
    }

    def play() -> State[Summary]:
        chosen, again = which_run(name, run_id)
        order = take_order(chosen, wish, again=again)
        if hosts > 1 and order.spec.tournament.format == "adaptive":
            raise SpecError(f"hosts: an adaptive tournament is played on one machine, not on {hosts}")
        for note in order.notes:
            get_run_logger().info(note)
        check_beforehand(order.spec, order.store, chosen, patience=patience())
        return run_pipeline.fn(order.spec_json, order.store, order.run_id, order.wish, hosts)

    return answered(play)
