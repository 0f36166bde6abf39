"""``banzuke export`` and ``banzuke import``: games in the notations of shogi, to other programs and from them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from banzuke.errors import SpecError
from deployments.options import DEFAULT_STORE, STDOUT, AsJson, Store
from deployments.streams import check_taken, print_json

app = typer.Typer()

MOST_LINES = 20


@app.command()
def export(
    run_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Which run. Default: the newest.")] = None,
    *,
    notation: Annotated[
        Literal["csa", "kif", "usi"],
        typer.Option("--format", help="csa: CSA 2.2. kif: as Japanese board programs. usi: lines for an engine."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Where to; with --each a folder. Default: stdout, as for -."
        ),
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="A file for every game, called by its id.")] = False,
    agents: Annotated[
        list[str] | None,
        typer.Option("--agent", metavar="PATTERN", help="Only games of these agents ('epoch-*'); repeat for several."),
    ] = None,
    voids: Annotated[bool, typer.Option("--voids", help="Games without a result, too, as far as they went.")] = False,
    store: Store = DEFAULT_STORE,
) -> None:
    """Write a run's games in CSA, KIF or USI, for any other program to read."""
    from storage.game_store import GameStore  # noqa: PLC0415 - loads Parquet; --help does not need it
    from tasks.exporting import export_to, export_to_file, export_to_folder, wanted_games  # noqa: PLC0415 - likewise
    from tasks.selection import select_runs  # noqa: PLC0415 - likewise

    games = GameStore(store)
    chosen = run_id or select_runs(games).run_ids[0]
    wanted = wanted_games(games, chosen, agents or (), voids=voids)
    output = None if output == STDOUT else output
    if each:
        if output is None:
            raise SpecError("--each: say into which folder, with -o FOLDER")
        written = export_to_folder(output, wanted, notation)
    elif output is not None:
        if output.is_dir():
            raise SpecError(f"-o: {output} is a folder; --each writes a file for every game into it")
        if output.exists() and not output.is_file():
            raise SpecError(f"-o: {output} is no file that could be replaced; leave out -o for stdout")
        written = export_to_file(output, wanted, notation)
    else:
        written = export_to(sys.stdout, wanted, notation)
        check_taken("the games", "the store has them")
    where = "stdout" if output is None else f"{written.files} files in {output}" if each else str(output)
    print(f"{written.games} games of {chosen} -> {where}", file=sys.stderr)


@app.command(name="import")
def import_(
    paths: Annotated[list[Path], typer.Argument(metavar="FILE…", help="CSA or KIF files, or folders of them.")],
    *,
    run_id: Annotated[
        str | None, typer.Option("--run-id", metavar="ID", help="Name of the run that the games become.")
    ] = None,
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Read games of others (CSA, KIF) into a store as a run, so that they can be rated and browsed with yours.

    Exit code 0 if every game was taken, 3 if some were left out; they are named.
    """
    from storage.game_store import GameStore  # noqa: PLC0415 - see export
    from tasks.importing import find_games, import_games  # noqa: PLC0415 - see export

    found = find_games(paths)
    _say_left_out(found.left_out)
    chosen = run_id or f"import-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    imported = import_games(GameStore(store), chosen, found)
    for line in imported.warnings:
        print(f"warning: {line}", file=sys.stderr)
    if as_json:
        print_json(
            {
                "run_id": imported.run_id,
                "store": store,
                "games": imported.games,
                "left_out": list(found.left_out),
                "warnings": list(imported.warnings),
                "agents": [{"agent": name, "played_as": original} for original, name in imported.agents.items()],
            }
        )
    else:
        print(f"{imported.games} games of {len(imported.agents)} players -> run {imported.run_id} in {store}")
        for original, name in imported.agents.items():
            if original != name:
                print(f"  {original} is called {name}")
        print(f"Next: banzuke standings --run {imported.run_id} --store {store}")
    raise typer.Exit(3 if found.left_out else 0)


def _say_left_out(lines: Sequence[str]) -> None:
    for line in lines[:MOST_LINES]:
        print(f"left out: {line}", file=sys.stderr)
    if len(lines) > MOST_LINES:
        print(f"… and {len(lines) - MOST_LINES} more", file=sys.stderr)
