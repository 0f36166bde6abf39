"""Who may play a share of a run, and who may not: locks, claims and the agents of the machine."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from banzuke.errors import RunBusyError, RunChangedError, SpecError
from flows.other_hosts import held_until_stopped
from storage.game_store import GameStore
from tasks.resuming import playing
from tasks.runs import open_run
from tasks.served import take_order
from tasks.shares import HostTakenError, games_of_share, is_dealt, is_wanted, new_claim, sharing, take_share

RUN = "shared"
CATALOGUE = """
[[agents]]
name = "random"
kind = "random"
[[agents]]
name = "material"
kind = "material"
depth = {depth}
[limits]
concurrency = 1
game_seconds = 60.0
"""


_ls = MemoryFileSystem.ls


def listed(system: MemoryFileSystem, *arguments: Any, **options: Any) -> Any:
    """What is there. fsspec's own stumbles over a file that another thread removes meanwhile; no real store does."""
    while True:
        with contextlib.suppress(KeyError):
            return _ls(system, *arguments, **options)


@pytest.fixture(params=["folder", "remote"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A run of ten pairs in a store on this machine, or elsewhere."""
    uri = str(tmp_path / "store") if request.param == "folder" else "memory://shares"
    (tmp_path / "catalogue.toml").write_text(CATALOGUE.format(depth=1))
    monkeypatch.setattr(MemoryFileSystem, "ls", listed)
    monkeypatch.setenv("BANZUKE_STORE", uri)
    monkeypatch.setenv("BANZUKE_CATALOGUE", str(tmp_path / "catalogue.toml"))
    monkeypatch.setenv("BANZUKE_HOST", "a")
    order = take_order(RUN, {"agents": ["*"], "games_per_encounter": 20}, again=False)
    open_run.fn(order.spec_json, uri, RUN, served=order.wish)
    yield uri
    MemoryFileSystem.store.clear()


def test_shares_are_whole_pairs_and_together_they_are_the_run(store: str) -> None:
    """Every missing game is in one share, beside the other one of its pair."""
    shares = [games_of_share(store, RUN, share, 3) for share in range(3)]

    assert sorted(game.game_id for share in shares for game in share) == sorted(
        game.game_id for game in GameStore(store).read_plan(RUN)
    )
    for share in shares:
        pairs = [game.pair_id for game in share]
        assert all(pairs.count(pair) == 2 for pair in pairs)


def test_a_share_is_played_once_at_a_time(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes second is told who plays it."""
    claim = new_claim()
    monkeypatch.setattr("tasks.shares.PATIENCE_SECONDS", 0.0)

    with (
        playing(store, RUN, claim=claim),
        sharing(store, RUN, 1, claim),
        pytest.raises(RunBusyError, match="share 1 of run shared is being played by process"),
        sharing(store, RUN, 1, claim),
    ):
        pytest.fail("played twice")


def test_nobody_plays_a_run_as_long_as_a_share_of_it_is_played(store: str) -> None:
    """A backfill or a resume is turned away while a share outlives the tournament that dealt it."""
    claim = new_claim()
    with playing(store, RUN, claim=claim):
        share = sharing(store, RUN, 1, claim)
        share.__enter__()

    with pytest.raises(RunBusyError, match="is being played by"), playing(store, RUN):
        pytest.fail("played beside its share")
    share.__exit__(None, None, None)
    with playing(store, RUN):
        """Now it may be."""


@pytest.mark.parametrize("claim", ["", "another"])
def test_a_share_is_played_for_its_tournament_only(store: str, claim: str) -> None:
    """Not for another invocation that plays the run now, and not where the run is played by nobody."""
    for holder in (playing(store, RUN, claim=new_claim()), playing(store, RUN)):
        with holder, pytest.raises(RunBusyError, match="start the tournament"), sharing(store, RUN, 1, claim):
            pytest.fail("played for a stranger")
    with pytest.raises(RunBusyError, match="start the tournament"), sharing(store, RUN, 1, claim):
        pytest.fail("played for nobody")


def test_a_machine_plays_one_share_of_a_run(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one is left to another machine."""
    claim = new_claim()
    with playing(store, RUN, claim=claim), sharing(store, RUN, 0, claim):
        with pytest.raises(HostTakenError, match="a is at another share"), sharing(store, RUN, 1, claim):
            pytest.fail("two at once")
        monkeypatch.setenv("BANZUKE_HOST", "b")
        with sharing(store, RUN, 1, claim):
            """Another machine may."""


def test_a_machine_with_other_agents_under_the_same_names_plays_nothing(store: str, tmp_path: Path) -> None:
    """One line names the agent and both contents."""
    assert store == take_share(RUN, 1, 2).store
    (tmp_path / "catalogue.toml").write_text(CATALOGUE.format(depth=2))

    with pytest.raises(RunChangedError) as refusal:
        take_share(RUN, 1, 2)

    assert "in the catalogue of a these are not the agents of the run: material (" in str(refusal.value)
    assert "random" not in str(refusal.value)
    assert 1 == len(str(refusal.value).splitlines())


@pytest.mark.parametrize(("run", "share", "of"), [("../up", 1, 2), (RUN, 0, 2), (RUN, 2, 2), (RUN, 0, 0)])
def test_a_share_that_cannot_be_is_refused(store: str, run: str, share: int, of: int) -> None:
    """Share 0 is the tournament's own, and a run id is no path."""
    assert store
    with pytest.raises(SpecError):
        take_share(run, share, of)


def test_a_stopped_tournament_wants_its_shares_no_more(store: str) -> None:
    """From the stop on they see it, although the tournament still plays its last moves; so they do at its end."""
    claim, games, stop = new_claim(), GameStore(store), threading.Event()
    with playing(store, RUN, claim=claim), held_until_stopped(sharing(store, RUN, 0, claim), stop):
        assert is_wanted(games, RUN, claim)
        assert not is_wanted(games, RUN, new_claim())
        stop.set()
        deadline = time.monotonic() + 5.0
        while is_wanted(games, RUN, claim):
            assert time.monotonic() < deadline
        assert is_dealt(games, RUN, claim)
