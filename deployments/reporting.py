"""``banzuke report``: a run as one page to read, to print and to pass on."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from banzuke.errors import SpecError
from deployments.damage import damage_named
from deployments.options import DEFAULT_STORE, STDOUT, AsJson, Store
from deployments.streams import check_taken, print_json

app = typer.Typer()

DEFAULT_OUTPUT = Path("report.html")


@app.command()
def report(
    run_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Which run. Default: the newest.")] = None,
    *,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where to; what is there is replaced. For -: stdout.")
    ] = DEFAULT_OUTPUT,
    opened: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Write a run as one HTML page: ratings, crosstable, how the games went, what failed, and every game on a board.

    The page needs nothing else, no network either. A run that is still being played is written as far as it is.
    """
    from storage.game_store import GameStore  # noqa: PLC0415 - loads Parquet; --help does not need it
    from tasks.report.page import report_page  # noqa: PLC0415 - loads matplotlib; likewise
    from tasks.report.writing import check_writable, write_report  # noqa: PLC0415 - likewise
    from tasks.selection import select_runs  # noqa: PLC0415 - likewise

    if output != STDOUT:
        check_writable(output)
    elif opened or as_json:
        raise SpecError(f"-o -: the page is on stdout; {'--open' if opened else '--json'} needs a file")
    chosen = run_id or select_runs(GameStore(store)).run_ids[0]
    with damage_named([chosen]):
        page = report_page(store, chosen)
    if output == STDOUT:
        # As bytes: the page says itself that it is UTF-8, whatever the terminal is.
        sys.stdout.buffer.write(page.html.encode())
        check_taken("the page")
        return
    size = write_report(output, page.html)
    if as_json:
        print_json({"run_id": chosen, "store": store, "report": str(output), "bytes": size, "games": page.games})
    else:
        print(f"{page.games} games of {chosen} -> {output} ({_size(size)})")
    if opened and not webbrowser.open(output.resolve().as_uri()):
        print(f"no browser was found; open {output} yourself", file=sys.stderr)


def _size(size: int) -> str:
    return f"{size / 1_000_000:.1f} MB" if size >= 1_000_000 else f"{size / 1000:.0f} kB"
