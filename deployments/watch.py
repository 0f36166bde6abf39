"""``banzuke watch``: a run that is being played, live in a terminal, in lines, or as JSON."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from banzuke.errors import BanzukeError, ServerSilentError, StorageError
from deployments.options import DEFAULT_STORE
from deployments.streams import OutputLostError, last_line, print_json, stdout_fault

if TYPE_CHECKING:
    from rich.console import Console

    from deployments.watch_view import Scene, Taste
    from deployments.watched import Source

app = typer.Typer()

OK = 0
QUIT, SUSPEND = "q", "\x1a"
LOOK_SECONDS = 1.0
REDRAW_SECONDS = 0.5
FIRST_SHOWN_SECONDS = 10.0
"""For whoever plays to notice that somebody watches, and to show games, where there is only one look: on a machine
whose cores are all taken by what they play, which is what such machines are for."""
SILENT_SECONDS = 300.0
"""How long a server or a store may be away while a run is watched."""


@app.command()
def watch(
    wanted: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="Which run. Default: the newest that is being played, or of all."),
    ] = None,
    *,
    store: Annotated[
        str | None, typer.Option("--store", metavar="URI", help=f"Where the games are. Default: {DEFAULT_STORE}.")
    ] = None,
    server: Annotated[
        bool,
        typer.Option(
            "--server",
            help="A run of the Prefect server that Prefect's settings name; also where PREFECT_API_URL is set and "
            "no --store is given.",
        ),
    ] = False,
    boards: Annotated[bool, typer.Option("--boards", help="Show the board of a game in play from the start.")] = False,
    letters: Annotated[bool, typer.Option("--letters", help="Pieces in letters (P, L, N) instead of kanji.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Look once, and print what there is.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line for every look, and nothing else on stdout.")
    ] = False,
) -> None:
    """Watch a run being played: progress, standings as they move, the games in play and their boards.

    On a terminal: b shows boards, j and k or the arrows choose a game, l changes between kanji and letters, q quits.
    Elsewhere a line whenever something has changed. A run that is not there yet is waited for, 30 s; not with --once.
    Exit code 0 if the run is complete, 3 if games are void or missing.
    """
    from deployments.watch_view import Taste  # noqa: PLC0415 - loads Parquet; --help does not need it
    from deployments.watched import (  # noqa: PLC0415 - likewise
        APPEAR_SECONDS,
        in_the_store,
        on_the_server,
        prefers_server,
    )

    with ExitStack() as opened:
        found = (
            on_the_server(wanted, store)
            if prefers_server(server=server, store=store)
            else in_the_store(wanted, store or DEFAULT_STORE, patience=0.0 if once else APPEAR_SECONDS)
        )
        source = opened.enter_context(found)
        last_line[0] = f"stopped looking; the run is not. Look again with: {source.again}"
        taste = Taste(boards=boards, letters=letters or not _has_kanji(), keys=False)
        if once:
            code = _look_once(source, taste, as_json=as_json)
        elif as_json:
            code = _follow(source, _print_document)
        elif _is_terminal():
            code = _show_live(source, taste)
        else:
            code = _follow(source, _Lines(taste).say)
    raise typer.Exit(code)


def _look_once(source: Source, taste: Taste, *, as_json: bool) -> int:
    """One look, long enough for games in play to be shown."""
    from deployments.watch_view import screen  # noqa: PLC0415 - see watch

    deadline = time.monotonic() + FIRST_SHOWN_SECONDS
    while True:
        scene = source.scene(patiently=True)
        is_shown = any(game.position for game in scene.games) or not source.shows_games
        if is_shown or scene.state not in {"playing", "running"} or time.monotonic() > deadline:
            break
        time.sleep(REDRAW_SECONDS)
    if as_json:
        _print_document(scene)
    else:
        console = _console()
        console.print(screen(scene, taste, console, is_whole=True))
    return OK


def _follow(source: Source, say: Callable[[Scene, bool], None]) -> int:
    """Look again and again until there is nothing more to be seen, or nobody who reads it."""
    glance = _Glance(source)
    while True:
        scene = glance.take(patiently=True)
        is_over = source.is_over(scene)
        try:
            say(scene, is_over)
        except OutputLostError:
            if not isinstance(stdout_fault(), BrokenPipeError):
                raise
        if is_over:
            return source.exit_code(scene)
        if stdout_fault() is not None:
            # Whoever read it has seen enough.
            return OK
        time.sleep(LOOK_SECONDS)


class _Glance:
    """Looks, and bears with a store or a server that is away for a while."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._latest: Scene | None = None
        self._seen_at = 0.0

    def take(self, *, patiently: bool) -> Scene:
        """How it stands, or stood when it was seen last, with what keeps it from being seen now.

        Raises:
            StorageError, ServerSilentError: at the first look, and when that goes on for long.
        """
        try:
            self._latest = self._source.scene(patiently=patiently)
            self._seen_at = time.monotonic()
        except (StorageError, ServerSilentError) as error:
            if self._latest is None or time.monotonic() - self._seen_at > SILENT_SECONDS:
                raise
            return replace(self._latest, fault=str(error))
        return self._latest


def _print_document(scene: Scene, _is_over: bool = False) -> None:
    from deployments.watch_view import as_document  # noqa: PLC0415 - see watch

    print_json(as_document(scene), remains="look again")
    sys.stdout.flush()


class _Lines:
    """What is said where there is no terminal: a line when something has changed, and at the end what it came to."""

    def __init__(self, taste: Taste) -> None:
        self._taste = taste
        self._said: object = None

    def say(self, scene: Scene, is_over: bool) -> None:
        """Say it if it is new."""
        from deployments.watch_view import one_line, remarks  # noqa: PLC0415 - see watch

        if is_over:
            _print_end(scene)
            return
        if scene.status is None and scene.state in {"not begun", "interrupted"}:
            # The end says so, unless somebody takes it up again this moment.
            return
        news = scene.state, scene.counting, scene.planned, scene.look and scene.look.void, remarks(scene)
        if news != self._said:
            self._said = news
            print(one_line(scene), flush=True)


def _show_live(source: Source, taste: Taste) -> int:
    """The whole screen, redrawn until the run is over or somebody has seen enough; then what it came to."""
    from deployments.watch_view import one_line  # noqa: PLC0415 - see watch

    looker = _Looker(source)
    while _redraw(looker, taste) == SUSPEND:
        # As the terminal would have done, but only once it is as it was.
        os.killpg(os.getpgrp(), signal.SIGTSTP)
    looker.end()
    last = looker.scene
    if last is None or stdout_fault() is not None:
        return OK
    if not looker.is_over.is_set():
        print(one_line(last))
        return OK
    _print_end(last)
    return source.exit_code(last)


def _redraw(looker: _Looker, taste: Taste) -> str | None:
    """Until the run is over, the terminal is gone, or a key ends it: that key."""
    from rich.live import Live  # noqa: PLC0415 - see watch

    from deployments.keys import Keys  # noqa: PLC0415 - see watch
    from deployments.watch_view import screen  # noqa: PLC0415 - see watch

    console = _console()
    with (
        Keys() as keys,
        Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live,
    ):
        taste.keys = keys.are_there
        while not looker.is_over.is_set() and stdout_fault() is None:
            scene = looker.scene
            if scene is not None:
                live.update(screen(scene, taste, console), refresh=True)
            for key in keys.wait(REDRAW_SECONDS if scene is not None else 0.1):
                if key in {QUIT, SUSPEND}:
                    return key
                _obey(key, taste, scene)
    return None


def _obey(key: str, taste: Taste, scene: Scene | None) -> None:
    if key == "b":
        taste.boards = not taste.boards
    elif key == "l":
        taste.letters = not taste.letters
    elif key in {"j", "down", "k", "up"} and scene is not None:
        taste.choose(scene.games, 1 if key in {"j", "down"} else -1)


class _Looker:
    """Looks in a thread of its own, so that a large store or a slow server keeps no key waiting."""

    def __init__(self, source: Source) -> None:
        self.scene: Scene | None = None
        self.is_over = threading.Event()
        self._source = source
        self._glance = _Glance(source)
        self._ended = threading.Event()
        self._error: BanzukeError | None = None
        self._thread = threading.Thread(target=self._look, name="looker", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Look no more.

        Raises:
            BanzukeError: it could not be looked at any more.
        """
        self._ended.set()
        if self._error is not None:
            raise self._error

    def _look(self) -> None:
        while not self._ended.is_set():
            try:
                scene = self._glance.take(patiently=False)
            except BanzukeError as error:
                self._error = error
                self.is_over.set()
                return
            self.scene = scene
            if self._source.is_over(scene):
                self.is_over.set()
                return
            # What is read in the background the first time is there in a moment.
            self._ended.wait(LOOK_SECONDS if scene.look is not None or scene.status is not None else 0.1)


def _print_end(scene: Scene) -> None:
    """The final standings, and what is left to be done."""
    from deployments.watch_view import ending  # noqa: PLC0415 - see watch

    console = _console()
    for part in ending(scene):
        console.print(part, soft_wrap=True)


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415 - see watch

    console = Console(highlight=False)
    # A pipe has no width; a table cut at 80 columns would lose its last ones.
    return console if console.is_terminal else Console(highlight=False, width=160)


def _is_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "") not in {"", "dumb"}


def _has_kanji() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "").replace("_", "") == "utf8"
