"""Where what is seen of a run comes from: its store, or the server that plays it and the store if that can be read."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol

from banzuke.errors import SpecError, StorageError, UnknownRunError
from banzuke.settings import settings
from deployments.control import EXIT_CODES, connected
from deployments.watch_view import Scene
from storage.game_store import GameStore
from storage.layout import is_run_id
from tasks.selection import select_runs
from tasks.spectating import Look, Spectator

if TYPE_CHECKING:
    from banzuke.client import Run
    from banzuke.run_status import RunStatus

OK, INCOMPLETE = 0, 3
PATIENCE_SECONDS = 3.0
"""A run that nobody plays may be taken up again this moment: what was killed is started again by something."""
APPEAR_SECONDS = 30.0
"""For a run that somebody has just begun in another terminal to be written down."""
_RUNS_LOOKED_AT = 100
_LOOK_AGAIN_SECONDS = 0.5


class Source(Protocol):
    """One run, looked at from somewhere."""

    again: str
    """The command that looks again."""
    shows_games: bool
    """Whether games in play may be seen."""

    def scene(self, *, patiently: bool) -> Scene:
        """How it stands.

        Args:
            patiently: whether what takes a while to be read is waited for.

        Raises:
            StorageError, ClientError: it cannot be seen; it may be later.
        """
        ...

    def is_over(self, scene: Scene) -> bool:
        """Whether there is nothing more to be watched."""
        ...

    def exit_code(self, scene: Scene) -> int:
        """What the command ends with then."""
        ...


@contextmanager
def in_the_store(wanted: str | None, store: str, *, patience: float = 0.0) -> Iterator[Source]:
    """A run of a store; the newest that is being played, or of all, where none is named.

    Args:
        wanted: its id.
        store: local path or fsspec URL.
        patience: seconds that it is waited for where it is not there yet, which is said on stderr.

    Raises:
        UnknownRunError: there is no such run, or none at all.
        StorageError: the store cannot be read.
    """
    with _spectator(wanted, store, patience) as spectator:
        yield _Stored(spectator, store)


@contextmanager
def on_the_server(wanted: str | None, store: str | None) -> Iterator[Source]:
    """A run of the server that Prefect's settings name; see :meth:`banzuke.client.Client.run`.

    Args:
        wanted: its name or id; None for the newest that goes on, or of all.
        store: where its games may be; None for what the settings of this machine say.

    Raises:
        ClientError: there is no server, or no such run on it.
    """
    with connected() as server, ExitStack() as opened:
        run = server.newest() if wanted is None else server.run(wanted)
        yield _Served(run, store or settings().store, opened)


def _spectator(wanted: str | None, store: str, patience: float) -> Spectator:
    deadline: float | None = None
    while True:
        try:
            return Spectator(store, wanted or _newest(GameStore(store)))
        except UnknownRunError as error:
            may_appear = patience > 0 and (wanted is None or is_run_id(wanted))
            if not may_appear or (deadline is not None and time.monotonic() > deadline):
                raise
            if deadline is None:
                deadline = time.monotonic() + patience
                sys.stderr.write(f"{error}; waiting {patience:.0f} s for it\n")
        time.sleep(_LOOK_AGAIN_SECONDS)


def _newest(games: GameStore) -> str:
    played = [run_id for run_id in games.run_ids()[:_RUNS_LOOKED_AT] if games.player(run_id) is not None]
    try:
        return played[0] if played else select_runs(games).run_ids[0]
    except SpecError as error:
        raise UnknownRunError(str(error)) from error


class _Stored:
    """A run of a store."""

    def __init__(self, spectator: Spectator, store: str) -> None:
        self._spectator = spectator
        self._at_rest_since: float | None = None
        self.again = f"banzuke watch {spectator.run_id} --store {shlex.quote(store)}"
        self.shows_games = spectator.shows_games

    def scene(self, *, patiently: bool) -> Scene:
        """See :meth:`Source.scene`."""
        look = self._spectator.look(patiently=patiently)
        state = "looking" if look is None else look.state
        return Scene(name=self._spectator.run_id, state=state, look=look, status=None, sheet=(), fault=None)

    def is_over(self, scene: Scene) -> bool:
        """See :meth:`Source.is_over`."""
        if scene.look is None or scene.state == "playing":
            self._at_rest_since = None
            return False
        self._at_rest_since = self._at_rest_since or time.monotonic()
        return scene.state == "over" or time.monotonic() - self._at_rest_since > PATIENCE_SECONDS

    def exit_code(self, scene: Scene) -> int:
        """See :meth:`Source.exit_code`."""
        summary = None if scene.look is None else scene.look.summary
        return OK if summary is not None and summary.has_ended else INCOMPLETE


class _Served:
    """A run of a server, and what the store has of it where that is within reach."""

    def __init__(self, run: Run, store: str | None, opened: ExitStack) -> None:
        self._run = run
        self._store = store
        self._opened = opened
        self._spectator: Spectator | None = None
        self._why_not: str | None = None
        self.again = f"banzuke watch {run.id} --server"
        self.shows_games = store is not None

    def scene(self, *, patiently: bool) -> Scene:
        """See :meth:`Source.scene`."""
        status = self._run.status()
        look = self._look(status, patiently=patiently)
        sheet = tuple(self._run.standings()) if look is None and status.is_over else ()
        return Scene(
            name=status.run_id or status.name,
            state=status.state,
            look=look,
            status=status,
            sheet=sheet,
            fault=self._why_not if look is None else None,
        )

    def is_over(self, scene: Scene) -> bool:
        """See :meth:`Source.is_over`."""
        # The store may still be read for the last time.
        is_settled = self._spectator is None or (scene.look is not None and scene.look.state != "playing")
        return scene.status is not None and scene.status.is_over and is_settled

    def exit_code(self, scene: Scene) -> int:
        """See :meth:`Source.exit_code`."""
        return INCOMPLETE if scene.status is None else EXIT_CODES[scene.status.state]

    def _look(self, status: RunStatus, *, patiently: bool) -> Look | None:
        try:
            spectator = self._spectator or self._found(status)
            return None if spectator is None else spectator.look(patiently=patiently)
        except StorageError as error:
            self._why_not = f"standings, results and games in play are not seen: {error}"
            return None

    def _found(self, status: RunStatus) -> Spectator | None:
        """Its store, if that is within reach and has the run."""
        if status.run_id is None:
            self._why_not = "it is about several runs; each can be watched by its own id"
            return None
        if self._store is None:
            self._why_not = (
                "standings, results and games in play are in its store: say where that is with --store or BANZUKE_STORE"
            )
            return None
        try:
            spectator = Spectator(self._store, status.run_id)
        except UnknownRunError:
            has_begun = status.counting is not None or status.is_over
            elsewhere = (
                f"standings, results and games in play are not seen: {self._store} is another store than its own"
            )
            self._why_not = elsewhere if has_begun else None
            return None
        self._spectator = self._opened.enter_context(spectator)
        return spectator


def prefers_server(*, server: bool, store: str | None) -> bool:
    """Whether a run is looked for on a Prefect server: where that is asked for, or one is set and no store is named."""
    return server or (store is None and bool(os.environ.get("PREFECT_API_URL")))
