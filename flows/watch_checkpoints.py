"""New checkpoints of a training run are rated by themselves: each gets one gauntlet, once, under whatever file name.

In goes the name of a folder of the catalogue, out come runs of ``play-tournament`` that a worker begins in their turn;
nothing is played here. What was seen is remembered in the store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from prefect import flow, get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed
from pydantic import Field

from banzuke.composing import compose
from banzuke.errors import SpecError
from banzuke.settings import settings
from flows.serving import answered
from tasks.served import served_catalogue, served_store
from tasks.watching import NewCheckpoint, gauntlet_of, look_at

PIPELINE = "play-tournament/pipeline"


@flow(name="watch-checkpoints", flow_run_name="watch checkpoints")
def watch_checkpoints(
    folder: str = "",
    opponents: list[str] = ["*"],  # noqa: B006 - a form shows it; nobody changes it
    newest: Annotated[int, Field(ge=0, le=9_999)] = 3,
    games_per_encounter: Annotated[int, Field(ge=2, le=1_000_000)] = 20,
    openings: str = "",
    suite: str = "",
    rules: Literal["csa", "keisei"] = "csa",
    max_plies: Annotated[int, Field(ge=2, le=10_000)] = 320,
    anchor: str = "",
    anchor_elo: Annotated[float, Field(ge=-100_000, le=100_000)] = 0.0,
    regression_margin: Annotated[float, Field(ge=0, le=10_000)] = 50.0,
    priority: Literal["high", "default", "low"] = "default",
    rate_existing: Literal["none", "newest", "all"] = "newest",
    most_at_once: Annotated[int, Field(ge=1, le=1000)] = 5,
    settle_seconds: Annotated[int, Field(ge=0, le=86_400)] = 30,
) -> State[None]:
    """Start a gauntlet for every checkpoint that is new in a folder of the catalogue.

    Args:
        folder: Name of one of the catalogue's folders of checkpoints; leave empty for all of them.
        opponents: Whom a new checkpoint meets: names of agents, or patterns such as epoch-*; * is everybody.
        newest: Of the checkpoints that a pattern names, it meets only the newest so many; 0 for all.
        games_per_encounter: Even, since every opening is played twice with sides swapped.
        openings: Name of an opening book of the catalogue; leave empty for the one that comes with Banzuke.
        suite: Name of a position suite of the catalogue that agents are scored on first; leave empty for none.
        rules: The Computer Shogi Association's, or Keisei's own.
        max_plies: A game is drawn after so many.
        anchor: The agent whose rating is fixed; leave empty for the mean of all.
        anchor_elo: The rating it is fixed at.
        regression_margin: How many Elo the newest checkpoint may lose before somebody is told.
        priority: Of the gauntlets, among all runs that wait for a worker.
        rate_existing: Which of the checkpoints get a gauntlet that the very first look at a folder finds there.
        most_at_once: Gauntlets that one look starts at most in a folder; the other new ones wait for the next look.
        settle_seconds: A file that was touched within so many seconds is still being written, and waits.
    """
    wish: dict[str, Any] = {
        "agents": opponents,
        "newest": newest,
        "games_per_encounter": games_per_encounter,
        "openings": openings,
        "suite": suite,
        "rules": rules,
        "max_plies": max_plies,
        "anchor": anchor,
        "anchor_elo": anchor_elo,
        "regression_margin": regression_margin,
    }

    def play() -> State[None]:
        catalogue = served_catalogue()
        folders = [catalogue.folder(folder)] if folder else catalogue.folders
        if not folders:
            raise SpecError("the catalogue has no [[checkpoints]]: there is no folder to be watched")

        def order(checkpoint: NewCheckpoint) -> str:
            gauntlet = gauntlet_of(checkpoint, wish)
            compose(catalogue, **gauntlet)
            return start(checkpoint, gauntlet)

        with get_client(sync_client=True) as client:
            start = _starter(client, priority)
            looks = [
                look_at(
                    each,
                    served_store(),
                    settings().host,
                    order,
                    settle_seconds=settle_seconds,
                    rate_existing=rate_existing,
                    most=most_at_once,
                )
                for each in folders
            ]
        for note in [*catalogue.notes, *(note for look in looks for note in look.notes)]:
            get_run_logger().info(note)
        if faults := list(dict.fromkeys(fault for look in looks for fault in look.faults)):
            raise SpecError(*faults)
        started = [checkpoint.agent for look in looks for checkpoint in look.ordered]
        return Completed(message=f"started: {', '.join(started)}" if started else "nothing new")

    return answered(play)


def _starter(client: SyncPrefectClient, priority: str) -> Callable[[NewCheckpoint, dict[str, Any]], str]:
    """What starts a gauntlet of a checkpoint, once however often it is called, and gives its flow run's id."""
    try:
        deployment = client.read_deployment_by_name(PIPELINE)
    except ObjectNotFound:
        raise SpecError(f"the server does not know {PIPELINE}, which plays the gauntlets: run banzuke deploy") from None
    # Where no pool of workers is, nobody waits in queues.
    queue = priority if deployment.work_pool_name and priority != "default" else None

    def start(checkpoint: NewCheckpoint, gauntlet: dict[str, Any]) -> str:
        run = client.create_flow_run_from_deployment(
            deployment.id,
            parameters=gauntlet,
            name=f"gauntlet {checkpoint.agent}",
            idempotency_key=checkpoint.key,
            work_queue_name=queue,
        )
        get_run_logger().info("%s: %s is new: %s", checkpoint.folder, checkpoint.agent, run.name)
        return str(run.id)

    return start
