"""``banzuke submit``, ``progress``, ``pause``, ``resume``, ``cancel`` and ``list``: runs on a Prefect server.

Everything is asked of the server that Prefect's settings name, by the client that programs use too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from deployments.options import AsJson
from deployments.streams import last_line, print_json

if TYPE_CHECKING:
    from banzuke.client import Client, Run, RunStatus
    from banzuke.deployed import TournamentParameters

_LATER = "ask the server again"
EXIT_CODES = {"completed": 0, "degraded": 3, "cancelled": 3, "failed": 1, "crashed": 1}
"""Of who waits for a run's end; a run that was cancelled has games missing, as a degraded one has."""

app = typer.Typer()

RunName = Annotated[
    str,
    typer.Argument(metavar="ID", help="Of the flow run or its beginning, of the run in the store, or the run's name."),
]
NewestOrNamed = Annotated[
    str | None,
    typer.Argument(metavar="[ID]", help="As of banzuke pause. Default: the newest that goes on, or of all."),
]


@app.command()
def submit(
    *,
    name: Annotated[str | None, typer.Option(help="What the tournament is called; its run id begins with it.")] = None,
    agents: Annotated[
        list[str] | None,
        typer.Option("--agents", metavar="PATTERN", help="Of the worker's catalogue ('epoch-*'); may be repeated."),
    ] = None,
    newest: Annotated[
        int | None, typer.Option(help="Of the checkpoints that a pattern names, the newest so many.")
    ] = None,
    format_: Annotated[
        Literal["round-robin", "gauntlet", "adaptive"] | None, typer.Option("--format", help="Who plays whom.")
    ] = None,
    challengers: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Of a gauntlet; may be repeated.")
    ] = None,
    games_per_encounter: Annotated[int | None, typer.Option(help="Even; at most so many if adaptive.")] = None,
    target_error: Annotated[float | None, typer.Option(help="Of an adaptive tournament, in Elo.")] = None,
    openings: Annotated[str | None, typer.Option(metavar="NAME", help="An opening book of the catalogue.")] = None,
    suite: Annotated[str | None, typer.Option(metavar="NAME", help="A position suite of the catalogue.")] = None,
    rules: Annotated[Literal["csa", "keisei"] | None, typer.Option(help="Under which rules.")] = None,
    max_plies: Annotated[int | None, typer.Option(help="A game is drawn after so many.")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides openings and every random choice.")] = None,
    anchor: Annotated[str | None, typer.Option(metavar="NAME", help="The agent whose rating is fixed.")] = None,
    anchor_elo: Annotated[float | None, typer.Option(help="At what it is fixed.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Worker processes at once.")] = None,
    hosts: Annotated[int | None, typer.Option(help="On how many machines its games are played at once.")] = None,
    regression_margin: Annotated[
        float | None, typer.Option(help="How many Elo the newest checkpoint may lose before somebody is told.")
    ] = None,
    run_id: Annotated[str | None, typer.Option(metavar="ID", help="A run of the store that is gone on with.")] = None,
    priority: Annotated[
        Literal["high", "default", "low"], typer.Option(help="Which of the waiting runs begins first.")
    ] = "default",
    wait: Annotated[bool, typer.Option("--wait", help="Until it has ended, and say how it goes on.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start a tournament on a Prefect server. What is not given is as the deployment says.

    With --wait: exit code 0 if it completes, 3 if it is degraded or cancelled, 1 if it fails or crashes.
    """
    wish: TournamentParameters = {}
    given: dict[str, Any] = {
        "name": name,
        "agents": agents,
        "newest": newest,
        "format": format_,
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
    wish.update({key: value for key, value in given.items() if value is not None and value != []})  # type: ignore[typeddict-item] # fmt: skip - each key is one of its own
    with connected() as server:
        started = server.start(priority=priority, **wish)
        if not as_json:
            _print_started(started)
        elif not wait:
            print_json(_document(started.status()), remains=_LATER)
        if wait:
            _follow(started, as_json=as_json)


@app.command()
def progress(
    wanted: NewestOrNamed = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until it has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far a run on the server is.

    With --follow: exit code 0 if it completes, 3 if it is degraded or cancelled, 1 if it fails or crashes.
    """
    with connected() as server:
        run = server.newest() if wanted is None else server.run(wanted)
        if follow:
            _follow(run, as_json=as_json)
        _print_status(run.status(), as_json=as_json)


@app.command()
def pause(wanted: RunName, *, as_json: AsJson = False) -> None:
    """Stop playing a run's games and free the cores; it goes on at banzuke resume."""
    with connected() as server:
        _print_status(server.run(wanted).pause(), as_json=as_json)


@app.command()
def resume(wanted: RunName, *, as_json: AsJson = False) -> None:
    """Go on with a run that was paused or cancelled, or that ended with games missing."""
    with connected() as server:
        _print_status(server.run(wanted).resume(), as_json=as_json)


@app.command()
def cancel(wanted: RunName, *, as_json: AsJson = False) -> None:
    """Stop a run for good; everything finished is kept."""
    with connected() as server:
        _print_status(server.run(wanted).cancel(), as_json=as_json)


@app.command("list")
def list_(
    *,
    active: Annotated[bool, typer.Option("--active", help="Only runs that have not ended.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the runs on the server, newest first."""
    with connected() as server:
        found = server.runs(limit=limit, active_only=active)
    if as_json:
        print_json({"runs": [_document(status) for status in found]}, remains=_LATER)
    else:
        _print_runs(found)


@contextmanager
def connected() -> Iterator[Client]:
    """The server that Prefect's settings name, while the block lasts."""
    from banzuke.client import connect  # noqa: PLC0415 - for help nobody needs it

    with connect() as server:
        yield server


def _follow(run: Run, *, as_json: bool) -> NoReturn:
    """Say what happens until the run has ended, and leave with what it ended as."""
    last_line[0] = f"stopped looking; the run goes on. Look again with: banzuke progress {run.id} --follow"
    said = ""
    for event in run.events():
        ended = event.status
        line = _progress_line(ended)
        if line != said and not as_json:
            typer.echo(line)
            sys.stdout.flush()
        said = line
    _print_status(ended, as_json=as_json, again=False)
    raise typer.Exit(EXIT_CODES[ended.state])


def _print_started(run: Run) -> None:
    typer.echo(f"started {_clean(run.name)}")
    typer.echo(f"id:     {run.id}")
    if run.run_id is not None:
        typer.echo(f"run id: {_clean(run.run_id)}")
    typer.echo(f"page:   {run.url}")
    typer.echo(f"watch:  banzuke watch {run.id} --server")
    typer.echo(f"follow: banzuke progress {run.id} --follow")
    sys.stdout.flush()


def _print_status(status: RunStatus, *, as_json: bool, again: bool = True) -> None:
    if as_json:
        print_json(_document(status), remains=_LATER)
        return
    if again:
        typer.echo(_progress_line(status))
    if status.message:
        typer.echo(_clean(status.message))
    typer.echo(status.url)


def _progress_line(status: RunStatus) -> str:
    line = f"{_clean(status.name)}: {status.state}"
    if status.counting is not None:
        line += f", {status.counting} of {status.planned} games"
    if status.games_per_minute is not None:
        line += f", {status.games_per_minute:.1f} a minute"
    if status.remaining_seconds is not None:
        line += f", about {_duration(status.remaining_seconds)} left"
    return line


def _print_runs(found: list[RunStatus]) -> None:
    from rich.console import Console  # noqa: PLC0415 - see connected
    from rich.table import Table  # noqa: PLC0415 - see connected
    from rich.text import Text  # noqa: PLC0415 - see connected

    if not found:
        typer.echo("no runs; start one with: banzuke submit")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("id", "name", "state", "games", "priority", "started", "run id"):
        table.add_column(heading, overflow="fold", no_wrap=heading in {"id", "state"})
    for status in found:
        games = "" if status.counting is None else f"{status.counting}/{status.planned}"
        began = "" if status.started_at is None else f"{status.started_at.astimezone():%Y-%m-%d %H:%M}"
        cells = (status.id[:8], status.name, status.state, games, status.priority or "", began, status.run_id or "")
        table.add_row(*(Text(_clean(cell)) for cell in cells))
    # Elsewhere than on a terminal nothing is narrow.
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _document(status: RunStatus) -> dict[str, Any]:
    """One JSON object: what is known, times in ISO format."""
    known = asdict(status) | {
        "games_per_minute": status.games_per_minute,
        "remaining_seconds": status.remaining_seconds,
    }
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in known.items()}


def _duration(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h"


def _clean(text: str) -> str:
    """Names come from a server; what a terminal would obey does not reach it."""
    return "".join(char if char.isprintable() else "�" for char in text)
