"""``banzuke deploy`` and ``banzuke serve``: a Prefect server is told what there is to start, and a machine plays it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.streams import last_line

if TYPE_CHECKING:
    from deployments.deploying import Deployed

app = typer.Typer()

Tournaments = Annotated[
    int | None,
    typer.Option("--tournaments", min=0, metavar="N", help="How many runs may go on at once; 0 for any number."),
]
Notify = Annotated[
    str | None,
    typer.Option("--notify", metavar="URL", help="Post there when the newest checkpoint has become weaker."),
]
Schedules = Annotated[
    bool | None,
    typer.Option(
        "--schedules/--no-schedules",
        help="Switch everything that runs by itself on or off. Default: as it is, which is off at first.",
    ),
]


@app.command()
def deploy(*, tournaments: Tournaments = None, notify: Notify = None, schedules: Schedules = None) -> None:
    """Make the Prefect server know Banzuke: what can be started, and what happens by itself. As often as you like.

    What somebody has changed on the server (parameters, schedules, limits) stays as it is.
    """
    from deployments.deploying import deploy as deploy_all  # noqa: PLC0415 - loads Prefect; --help does not need it

    print_deployed(deploy_all(tournaments=tournaments, notify=notify, schedules=schedules))
    print("Next, on every machine that plays: banzuke serve --catalogue FILE --store URI")


@app.command()
def serve(
    *,
    catalogue: Annotated[
        Path | None,
        typer.Option("--catalogue", metavar="FILE", help="The TOML file of this machine's agents. BANZUKE_CATALOGUE."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="URI", help="Where the games are: a folder or an fsspec URL. BANZUKE_STORE."),
    ] = None,
    tournaments: Tournaments = None,
    notify: Notify = None,
    schedules: Schedules = None,
) -> None:
    """Deploy, then play what the Prefect server asks for until Ctrl-C.

    Runs that are going on then are taken up again by the next that serves; every finished game is kept.
    """
    from deployments.deploying import deploy as deploy_all  # noqa: PLC0415 - see deploy
    from deployments.serving import settle, work  # noqa: PLC0415 - see deploy

    kept, agents = settle(store, catalogue)
    deployed = deploy_all(tournaments=tournaments, notify=notify, schedules=schedules)
    print_deployed(deployed)
    last_line[0] = "stopped; runs that were going on are taken up again by the next banzuke serve"
    print(
        f"Serving {agents} agents; games are kept in {kept}. Start runs at {deployed.ui}/v2/deployments; Ctrl-C ends.",
        flush=True,
    )
    # Whoever reads a log file wants to know it now.
    sys.stdout.flush()
    number = work()
    print(last_line[0])
    raise typer.Exit(128 + number if number else 0)


def print_deployed(deployed: Deployed) -> None:
    """What there is on the server now, a line each."""
    most = "any number of runs" if deployed.tournaments is None else f"at most {deployed.tournaments} runs"
    print(f"The Prefect server at {deployed.api} knows Banzuke: {most} at once (--tournaments N)")
    for offer in deployed.offers:
        when = "".join(f", {when} {'on' if is_on else 'off'}" for when, is_on in offer.schedules)
        print(f"  {'made ' if offer.is_new else 'found'} {offer.name}{when}")
    for name in deployed.automations:
        print(f"  on    {name}")
    if any(not is_on for offer in deployed.offers for _, is_on in offer.schedules):
        print("What is off is switched on by banzuke deploy --schedules, or singly in the UI.")
