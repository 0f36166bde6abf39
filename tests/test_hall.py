"""The hall: many games in every worker, whatever happens to the workers."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from staging import game

from banzuke.errors import WorkerError
from banzuke.identity import identify
from banzuke.match.recording import Attempt
from banzuke.outcome import Side, Status, Termination
from banzuke.record import GameRecord, PlannedGame
from banzuke.specs import CheckpointAgent, LimitsSpec, MaterialAgent, RandomAgent, Spec, TournamentSpec
from banzuke.workers import hall as halls
from banzuke.workers.batch import play_together
from banzuke.workers.hall import Hall, networks_in_play
from banzuke.workers.supervisor import Supervisor

CHECKPOINTS = Path(__file__).parent.parent / "examples" / "checkpoints"


def spec(*, lanes: int | None = 8, max_plies: int = 200, **limits: float) -> Spec:
    """Two random agents, a material one and two small networks."""
    return Spec(
        name="hall",
        agents=(
            RandomAgent(name="a", kind="random"),
            RandomAgent(name="b", kind="random"),
            MaterialAgent(name="m", kind="material", depth=1),
            CheckpointAgent(name="n", kind="checkpoint", path=str(CHECKPOINTS / "epoch_00000.pt"), device="cpu"),
            CheckpointAgent(name="o", kind="checkpoint", path=str(CHECKPOINTS / "epoch_00015.pt"), device="cpu"),
        ),
        tournament=TournamentSpec(max_plies=max_plies),
        limits=LimitsSpec(concurrency=2, lanes=lanes, **limits),  # type: ignore[arg-type]
    )


@pytest.fixture
def stop() -> threading.Event:
    """Set to stop everything."""
    return threading.Event()


@pytest.fixture
def hall(stop: threading.Event) -> Iterator[Hall]:
    """Two keepers."""
    hall = Hall(2, stop=stop, torch_threads=1)
    yield hall
    hall.close()


def games(count: int, first: str = "a", second: str = "b", *, start: int = 0) -> list[PlannedGame]:
    """Games with a seed each, between agents that are what the plan says."""
    ids = {agent.name: identify(agent).agent_id for agent in spec().agents}
    return [
        replace(game(first, second, number=number), first_agent_id=ids[first], second_agent_id=ids[second])
        for number in range(start, start + count)
    ]


def play(
    hall: Hall, wanted: Sequence[PlannedGame], of: Spec, *, on_tick: Callable[[], None] = lambda: None
) -> list[GameRecord]:
    """Every record, as they come."""
    return list(play_together(wanted, of, hall, attempts_before={}, on_tick=on_tick))


def workers(hall: Hall) -> list[psutil.Process]:
    """The worker processes that keepers own and that are up."""
    return [
        psutil.Process(keeper.worker.pid)
        for keeper in hall._keepers
        if keeper.worker is not None and keeper.worker.is_running()
    ]


def at_the_first(records: int, act: Callable[[], None]) -> Callable[[Sequence[GameRecord]], None]:
    """Acts once so many records have come."""
    done: list[bool] = []

    def look(so_far: Sequence[GameRecord]) -> None:
        if len(so_far) >= records and not done:
            done.append(True)
            act()

    return look


def play_watched(
    hall: Hall, wanted: Sequence[PlannedGame], of: Spec, look: Callable[[Sequence[GameRecord]], None]
) -> list[GameRecord]:
    """Every record; ``look`` sees those so far after each."""
    records: list[GameRecord] = []
    for record in play_together(wanted, of, hall, attempts_before={}, on_tick=lambda: look(records)):
        records.append(record)
        look(records)
    return records


def moves_of(records: Sequence[GameRecord]) -> dict[str, tuple[str, ...]]:
    """By game; a game with two results would be an error."""
    played = [record for record in records if record.status is not Status.VOID]
    assert len({record.game_id for record in played}) == len(played)
    return {record.game_id: record.moves for record in played}


def test_every_game_is_answered_once(hall: Hall) -> None:
    """By both workers, whose pids are those that everybody sees."""
    wanted = games(60)

    records = play(hall, wanted, spec())

    assert {planned.game_id for planned in wanted} == set(moves_of(records))
    pids = {record.worker_pid for record in records}
    assert pids == {process.pid for process in workers(hall)}


def test_networks_and_scripted_agents_meet(hall: Hall) -> None:
    """Each kind against each, with scores where there are any."""
    wanted = [
        *games(4, "n", "o"),
        *games(4, "n", "a", start=4),
        *games(4, "m", "o", start=8),
        *games(4, "m", "a", start=12),
    ]

    records = play(hall, wanted, spec(max_plies=60))

    assert 16 == len(moves_of(records))
    assert all(record.evals is not None for record in records)
    assert all(record.device == "cpu" for record in records)


@pytest.mark.parametrize("lanes", [1, 3, 32])
def test_moves_are_the_same_on_any_number_of_lanes(hall: Hall, lanes: int) -> None:
    """And in either worker."""
    wanted = games(12, "n", "o")

    few = play(hall, wanted, spec(lanes=8, max_plies=80))
    other = play(hall, wanted[::-1], spec(lanes=lanes, max_plies=80))

    assert moves_of(few) == moves_of(other)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV])
def test_a_lost_worker_costs_no_game(hall: Hall, number: signal.Signals) -> None:
    """Killed, frozen or crashed: its games are played again from their start, with the same moves."""
    wanted = games(24, "n", "o")
    of = spec(max_plies=80, move_seconds=3.0)
    undisturbed = moves_of(play(hall, wanted, of))

    records = play_watched(hall, wanted, of, at_the_first(3, lambda: os.kill(workers(hall)[0].pid, number)))

    assert undisturbed == moves_of(records)
    assert not [record for record in records if record.status is Status.VOID]


def test_an_idle_worker_that_died_is_replaced(hall: Hall) -> None:
    """Before the next games are given to it."""
    play(hall, games(4), spec())
    for process in workers(hall):
        process.kill()
        process.wait(10)

    assert 4 == len(moves_of(play(hall, games(4), spec())))


def test_a_stop_cancels_what_is_in_play(hall: Hall, stop: threading.Event) -> None:
    """At once; what was over is kept, what waited gets no row."""
    of = spec(max_plies=300)
    records = play_watched(hall, games(3000, "n", "o"), of, at_the_first(1, stop.set))
    begun = time.monotonic()
    hall.close()

    cancelled = [record for record in records if record.termination is Termination.CANCELLED]
    assert 0 < len(cancelled) <= 2 * (8 + halls.AHEAD)
    assert len(records) < 3000
    assert time.monotonic() - begun < 15.0
    assert not workers(hall)


def test_a_checkpoint_that_is_gone_voids_its_games_alone(hall: Hall) -> None:
    """With the reason, as often as retries allow; the others are played beside them."""
    of = spec(retries=1, max_plies=60)
    gone = of.agents[3].model_copy(update={"path": "/nowhere/epoch.pt"})
    of = of.model_copy(update={"agents": (*of.agents[:3], gone, of.agents[4])})

    records = play(hall, [*games(2, "n", "o"), *games(4, "a", "o", start=2)], of)

    void = [record for record in records if record.status is Status.VOID]
    assert 4 == len(void)
    assert all(record.termination is Termination.AGENT_START for record in void)
    assert all(record.fault is Side.FIRST and "epoch.pt" in (record.detail or "") for record in void)
    assert 4 == len(moves_of(records))


def latest_of(folder: Path, epoch: str) -> Path:
    """A file that a trainer overwrites with every epoch; a hash is only as old as its file."""
    new = folder / "new.pt"
    new.write_bytes((CHECKPOINTS / f"epoch_{epoch}.pt").read_bytes())
    return new.replace(folder / "latest.pt")


def spec_with(path: Path) -> Spec:
    """The usual one; n is the network in that file."""
    of = spec(retries=0, max_plies=60)
    agents = (*of.agents[:3], of.agents[3].model_copy(update={"path": str(path)}), of.agents[4])
    return of.model_copy(update={"agents": agents})


def test_a_checkpoint_that_was_replaced_does_not_play(hall: Hall, tmp_path: Path) -> None:
    """Under the old one's name and content hash, that is: its games are void until the file is restored."""
    of = spec_with(latest_of(tmp_path, "00000"))
    before = play(hall, games(2, "n", "o"), of)
    latest_of(tmp_path, "00006")

    after = play(hall, games(2, "n", "o", start=2), of)

    assert 2 == len(moves_of(before))
    assert [Termination.AGENT_START] * 2 == [record.termination for record in after]
    assert all("latest.pt: is not the file that was evaluated" in (record.detail or "") for record in after)


def test_nor_does_it_against_an_engine(tmp_path: Path, stop: threading.Event) -> None:
    """A worker that opens it for a game at a table looks at the file, too."""
    of = spec_with(latest_of(tmp_path, "00000"))
    (planned,) = games(1, "n", "a")
    latest_of(tmp_path, "00006")
    supervisor = Supervisor(stop=stop, torch_threads=1)

    record = supervisor.play(Attempt.at(planned, 1), of, on_tick=lambda: None)

    supervisor.close()
    assert (Termination.AGENT_START, Side.FIRST) == (record.termination, record.fault)
    assert "latest.pt: is not the file that was evaluated" in (record.detail or "")


def test_too_little_memory_is_said_and_ends(hall: Hall) -> None:
    """A worker that holds more than it may is killed; games that do so alone are void by that cause."""
    records = play(hall, games(2, "n", "o"), spec(worker_memory_mb=64, retries=0))

    assert [Termination.MEMORY_LIMIT] * 2 == [record.termination for record in records]
    assert all("worker_memory_mb = 64" in (record.detail or "") for record in records)


def test_workers_that_cannot_start_are_an_error(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told to whoever waits for the games, instead of waiting for ever."""
    monkeypatch.setattr("banzuke.workers.process.MODULE", "banzuke.workers.no_such_module")

    with pytest.raises(WorkerError):
        play(hall, games(4), spec())


def test_games_put_off_are_not_played(hall: Hall) -> None:
    """Asked when it is their turn."""
    wanted = games(10)

    records = list(
        play_together(
            wanted,
            spec(),
            hall,
            attempts_before={},
            on_tick=lambda: None,
            put_off=lambda planned: planned.game_no % 2 == 0,
        )
    )

    assert {planned.game_id for planned in wanted[1::2]} == {record.game_id for record in records}


def test_two_batches_share_the_lanes(hall: Hall) -> None:
    """Games of another spec join those in play; each is judged by its own."""
    long, short = spec(max_plies=150), spec(max_plies=40)
    kept: dict[str, list[GameRecord]] = {}
    threads = [
        threading.Thread(
            target=lambda name=name, of=of, start=start: kept.update({name: play(hall, games(20, start=start), of)})
        )
        for name, of, start in (("long", long, 0), ("short", short, 100))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert 20 == len(kept["long"]) == len(kept["short"])
    assert all(record.plies <= 40 for record in kept["short"])
    assert any(record.plies > 40 for record in kept["long"])


def test_few_networks_are_in_play_where_few_fit(tmp_path: Path) -> None:
    """Half of the worker's memory is for them; there is always room for two."""
    large = tmp_path / "large.pt"
    with large.open("wb") as file:
        file.truncate(200 << 20)
    of = spec(worker_memory_mb=1600)
    agent = of.agents[3].model_copy(update={"path": str(large)})

    assert halls.NETWORKS_IN_PLAY == networks_in_play(of)
    assert 4 == networks_in_play(of.model_copy(update={"agents": (*of.agents[:3], agent)}))
    tight = of.limits.model_copy(update={"worker_memory_mb": 256})
    assert 2 == networks_in_play(of.model_copy(update={"agents": (*of.agents[:3], agent), "limits": tight}))
