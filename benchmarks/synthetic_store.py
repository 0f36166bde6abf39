"""A store of very many games that nobody played: real schemas and files, results drawn from the ratings' own model.

Every run is a round-robin in the plan's order, merged as compaction leaves it. Runs are like nights of a training: each
has a window of the agents, which moves on from run to run, and agents that meet again play the same openings. Moves are
stitched of stretches of games that were really played, each at its own ply; thinking times and evaluations are as long
and as varied as real ones.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.special import expit

from banzuke.clock import Clock
from banzuke.games.shogi import rules_named
from banzuke.match.openings import default_book
from banzuke.outcome import Side
from banzuke.players.player import RESIGN
from banzuke.players.scripted import MaterialPlayer
from banzuke.ratings.elo import ELO_PER_NAT
from banzuke.record import AgentRow
from storage.compaction import FULL_FILE_ROWS
from storage.game_store import GameStore
from storage.layout import games_folder, plan_file
from storage.parts import merged_name, to_parquet
from storage.schemas import GAMES, PLAN

_STARTED = np.datetime64("2026-11-01T00:00:00", "us")
_DRAWS = 0.2
_FIRST_MOVE = 30.0
_BOOK = 5_000
"""Openings that encounters choose from."""
_STRETCH = 4
"""Plies in a row that come of one game."""
_MAX_PLIES = 320
_VOID_ONE_IN, _STILL_VOID_ONE_IN = 1_000, 10_000
"""Games with a void first attempt, and games with no other."""
_PLAN_ROWS = 100_000

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PlayedBefore:
    """Games that were really played; shapes (games, plies)."""

    words: tuple[str, ...]
    moves: NDArray[np.int32]
    """Index into ``words``; games are in the order of their lengths, the longest first."""
    evals: NDArray[np.int32]
    lengths: Integers
    """(games,)"""


def play_before(games: int) -> PlayedBefore:
    """Games of an alpha-beta player of one ply against itself, from the book that comes with the package."""
    with ProcessPoolExecutor() as processes:
        played = sorted(processes.map(_play, range(games), chunksize=8), key=lambda game: -len(game[0]))
    words = sorted({move for moves, _ in played for move in moves})
    number = {word: index for index, word in enumerate(words)}
    shape = (games, _MAX_PLIES)
    moves, evals = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.int32)
    for row, (line, scores) in enumerate(played):
        moves[row, : len(line)] = [number[word] for word in line]
        evals[row, : len(line)] = scores
    return PlayedBefore(tuple(words), moves, evals, np.array([len(line) for line, _ in played]))


def _play(seed: int) -> tuple[list[str], list[int]]:
    book = default_book()
    opening = book[seed % len(book)]
    board = rules_named("shogi", "csa").start(opening.start_position, max_plies=_MAX_PLIES)
    moves, evals = list(opening.moves), [0] * len(opening.moves)
    for move in moves:
        board.push(move)
    players = {side: MaterialPlayer(1) for side in Side}
    clock, deadline = Clock.start(None), time.monotonic() + 600.0
    for side, player in players.items():
        player.new_game(side=side, seed=seed, deadline=deadline)
    while board.outcome() is None:
        choice = players[board.side_to_move].choose(board, clock=clock, opponent_clock=clock, deadline=deadline)
        if choice.move == RESIGN:
            break
        board.push(choice.move)
        moves.append(choice.move)
        evals.append(choice.eval_cp or 0)
    return moves, evals


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a store consists of."""

    games: int
    """In all runs together; even for each of them."""
    runs: int
    agents: int
    agents_of_a_run: int
    seed: int

    def run_id(self, run: int) -> str:
        """``night-000`` and so on."""
        return f"night-{run:03d}"

    def games_of(self, run: int) -> int:
        """How many games the run has."""
        pairs, left = divmod(self.games // 2, self.runs)
        return 2 * (pairs + (run < left))

    def members(self, run: int) -> Integers:
        """Which agents meet in the run, ascending."""
        width = min(self.agents_of_a_run, self.agents)
        start = round((self.agents - width) * run / max(self.runs - 1, 1))
        return np.arange(start, start + width)

    @cached_property
    def names(self) -> NDArray[np.str_]:
        """Of the agents, in the order of training."""
        return np.array([f"epoch-{number:05d}" for number in range(self.agents)])

    @cached_property
    def contents(self) -> NDArray[np.str_]:
        """Their content hashes."""
        return np.array([hashlib.sha256(name.encode()).hexdigest() for name in self.names.tolist()])

    @cached_property
    def elo(self) -> NDArray[np.float64]:
        """How strong they really are."""
        gains = 800.0 * (1.0 - np.exp(-3.0 * np.arange(self.agents) / self.agents))
        return gains + np.random.default_rng(self.seed).normal(0.0, 50.0, self.agents)

    def pairing(self, run: int, number: Integers) -> dict[str, Any]:
        """The columns of ``plans`` of these games."""
        members = self.members(run)
        low, high = (members[index] for index in np.triu_indices(len(members), k=1))
        pair, slot = np.divmod(number, 2)
        round_, encounter = np.divmod(pair, len(low))
        first = np.where(slot == 0, low[encounter], high[encounter])
        second = np.where(slot == 0, high[encounter], low[encounter])
        meeting = low[encounter] * self.agents + high[encounter]
        # Odd, so that no encounter has an opening twice before it has had the whole book.
        opening = (meeting * 7_919 + round_ * 1_009) % _BOOK
        run_id = self.run_id(run)
        return {
            "run_id": run_id,
            "game_id": _numbered(f"{run_id}--g", number),
            "pair_id": _numbered(f"{run_id}--p", pair),
            "game_no": number,
            "pair_no": pair,
            "encounter": pc.binary_join_element_wise(self._named(low[encounter]), self._named(high[encounter]), "--"),
            "round": round_,
            "slot": slot,
            "game": "shogi",
            "rules": "csa",
            "first": first,
            "second": second,
            "first_agent": self._named(first),
            "second_agent": self._named(second),
            "first_agent_id": pa.array(self.contents).take(pa.array(first)),
            "second_agent_id": pa.array(self.contents).take(pa.array(second)),
            "opening_id": _openings().take(pa.array(opening)),
            "start_position": "lnsgkgsnl/1r5b1/ppppppppp/9/9/9/PPPPPPPPP/1B5R1/LNSGKGSNL b - 1",
            "opening_plies": 8,
            "seed": _seeds(meeting, round_, slot),
        }

    def _named(self, agents: Integers) -> Any:  # noqa: ANN401 - pyarrow's own arrays
        return pa.array(self.names).take(pa.array(agents))


def make_store(folder: Path, shape: Shape, played: PlayedBefore) -> GameStore:
    """A store of finished runs.

    Args:
        folder: where; a local path that does not exist yet.
        shape: how many games, runs and agents, and the seed of results.
        played: where moves come from.
    """
    store = GameStore(str(folder))
    for run in range(shape.runs):
        _begin(store, folder, shape, run)
    pieces = [
        (run, start, min(start + FULL_FILE_ROWS, shape.games_of(run)))
        for run in range(shape.runs)
        for start in range(0, shape.games_of(run), FULL_FILE_ROWS)
    ]
    with ProcessPoolExecutor() as processes:
        list(processes.map(partial(_write_games, folder, shape, played), pieces))
    return store


def _begin(store: GameStore, folder: Path, shape: Shape, run: int) -> None:
    run_id, members = shape.run_id(run), shape.members(run)
    names, contents = shape.names[members].tolist(), shape.contents[members].tolist()
    spec = {
        "name": "night",
        "game": "shogi",
        "agents": [{"name": name, "kind": "random"} for name in names],
        "tournament": {"format": "round-robin", "rules": "csa", "max_plies": _MAX_PLIES, "seed": 1},
        "ratings": {"anchor": names[0], "anchor_elo": 0.0},
    }
    begun = str(_STARTED + np.timedelta64(run, "D")).replace("T", " ") + "+00:00"
    store.create_run(run_id, {"run_id": run_id, "spec": spec, "fingerprint": "0" * 64, "created_at": begun})
    rows = [_agent_row(run_id, name, content) for name, content in zip(names, contents, strict=True)]
    store.write_agents(run_id, rows)
    place = folder / plan_file(run_id)
    place.parent.mkdir(parents=True)
    with pq.ParquetWriter(place, PLAN, compression="zstd", write_page_checksum=True) as writer:
        for start in range(0, shape.games_of(run), _PLAN_ROWS):
            number = np.arange(start, min(start + _PLAN_ROWS, shape.games_of(run)))
            columns = {**shape.pairing(run, number), "opening_moves": _OPENING}
            writer.write_table(_table(columns, len(number), PLAN))
    (folder / games_folder(run_id)).mkdir(parents=True)


def _agent_row(run_id: str, name: str, content: str) -> AgentRow:
    return AgentRow(
        run_id=run_id,
        agent=name,
        agent_id=content,
        kind="checkpoint",
        fit=True,
        reason=None,
        sha256=content,
        epoch=int(name.rpartition("-")[2]),
        step=None,
        description=None,
    )


_PARTS = tuple(f"part-20261101T{number:06d}.000000Z-{number:016x}.parquet" for number in range(100))
"""What a merged file was made of is in its footer, which every reader reads."""
_OPENING = ["7g7f", "3c3d", "2g2f", "8c8d", "2f2e", "8d8e", "6i7h", "4a3b"]


def _write_games(folder: Path, shape: Shape, played: PlayedBefore, piece: tuple[int, int, int]) -> None:
    """One file."""
    run, start, stop = piece
    table = games_table(shape, played, run, np.arange(start, stop))
    place = folder / games_folder(shape.run_id(run)) / merged_name(table)
    draft = place.with_name(f".{place.name}")
    draft.write_bytes(to_parquet(table, merged_from=_PARTS))
    draft.rename(place)
    # What allocators keep of one file is not to be there beside the next one.
    pa.default_memory_pool().release_unused()


def games_table(shape: Shape, played: PlayedBefore, run: int, number: Integers) -> pa.Table:
    """The attempts at these games of the run, with the columns of ``games``, by number and attempt."""
    generator = np.random.default_rng([shape.seed, run, int(number[0])])
    is_void = generator.random(len(number)) < 1.0 / _VOID_ONE_IN
    is_still_void = is_void & (generator.random(len(number)) < _VOID_ONE_IN / _STILL_VOID_ONE_IN)
    attempts = 1 + (is_void & ~is_still_void)
    number, fails = np.repeat(number, attempts), np.repeat(is_void, attempts)
    is_last = np.append(number[1:] != number[:-1], True)
    is_void_row = fails & (~is_last | np.repeat(is_still_void, attempts))
    columns = shape.pairing(run, number)
    score = expit((shape.elo[columns["first"]] - shape.elo[columns["second"]] + _FIRST_MOVE) / ELO_PER_NAT)
    drawn = 2.0 * _DRAWS * np.minimum(score, 1.0 - score)
    chance = generator.random(len(number))
    is_won, is_drawn = chance < score - drawn / 2.0, np.abs(chance - score) <= drawn / 2.0
    is_forfeit = ~is_void_row & ~is_drawn & (generator.random(len(number)) < 0.002)
    lost = np.where(is_won, "second", "first")
    attempt = 1 + (fails & is_last & ~np.repeat(is_still_void, attempts))
    started = _STARTED + (run * 86_400_000_000 + 5_000_003 * number + 999 * attempt).astype("timedelta64[us]")
    course = _course(played, generator, len(number), is_void_row)
    return _table(
        {
            **columns,
            "attempt": attempt,
            "attempt_id": _attempt_ids(columns["game_id"], attempt, generator),
            "status": np.select([is_void_row, is_forfeit], ["void", "forfeit"], "played"),
            "termination": np.select(
                [is_void_row, is_forfeit, is_drawn], ["agent_crash", "time_forfeit", "repetition"], "checkmate"
            ),
            "winner": pa.array(np.where(is_won, "first", "second"), mask=is_void_row | is_drawn),
            "fault": pa.array(lost, mask=~(is_void_row | is_forfeit)),
            "detail": pa.array(np.full(len(number), "exit code 3: out of ideas"), mask=~is_void_row),
            **course,
            "started_at": started,
            "finished_at": started + (course["first_time_ms"] + course["second_time_ms"]).astype("timedelta64[ms]"),
            "host": pa.array(["kyoto", "osaka", "nara"]).take(pa.array(number // 500 % 3)),
            "device": "cpu",
            "worker_pid": 4_000 + number // 100 % 16,
            "flow_run_id": _hexadecimal(np.full(len(number), run), 4),
            "task_run_id": _hexadecimal(number // 100, 4),
            "banzuke_version": "0.1.0",
            "schema_version": 1,
        },
        len(number),
        GAMES,
    )


def _course(
    played: PlayedBefore, generator: np.random.Generator, games: int, is_void: NDArray[np.bool_]
) -> dict[str, Any]:
    """Moves, thinking times and evaluations, and what is summed of them."""
    plies = generator.choice(played.lengths, games)
    plies = np.where(is_void, np.maximum(plies // 2, 9), plies)
    # Of the games that are long enough for all of a stretch; of the longest where none is.
    ends = np.minimum(_STRETCH * np.arange(1, _MAX_PLIES // _STRETCH + 1), played.lengths[0])
    enough = np.maximum(np.searchsorted(-played.lengths, -ends, side="right"), 1)
    sources = (generator.random((games, len(ends))) * enough).astype(np.int32)
    game = np.repeat(np.arange(games), plies)
    starts = np.cumsum(plies) - plies
    ply = np.arange(len(game)) - np.repeat(starts, plies)
    source = sources[game, ply // _STRETCH]
    is_book = ply < len(_OPENING)
    words = pa.array([*played.words, *_OPENING])
    move = np.where(is_book, len(played.words) + ply, played.moves[source, ply]).astype(np.int32)
    times = np.where(is_book, 0, np.minimum(generator.lognormal(4.0, 0.6, len(game)), 9_999)).astype(np.int32)
    evals = played.evals[source, ply] + generator.normal(0.0, 40.0, len(game)).astype(np.int32)
    offsets = pa.array(np.append(starts, len(game)).astype(np.int32))
    mine, others = (np.where(ply % 2 == side, times, 0) for side in (0, 1))
    return {
        "plies": plies,
        "moves": pa.ListArray.from_arrays(offsets, words.take(pa.array(move))),
        "move_times_ms": pa.ListArray.from_arrays(offsets, pa.array(times)),
        "evals": pa.ListArray.from_arrays(offsets, pa.array(evals.astype(np.int32), mask=is_book)),
        "first_time_ms": np.add.reduceat(mine, starts, dtype=np.int64),
        "second_time_ms": np.add.reduceat(others, starts, dtype=np.int64),
        "first_max_move_ms": np.maximum.reduceat(mine, starts).astype(np.int64),
        "second_max_move_ms": np.maximum.reduceat(others, starts).astype(np.int64),
    }


def _table(columns: dict[str, Any], rows: int, schema: pa.Schema) -> pa.Table:
    """What is a single value is one in every row."""
    arrays = []
    for field in schema:
        value = columns[field.name]
        if isinstance(value, str | int | list):
            arrays.append(pa.repeat(pa.scalar(value, field.type), rows))
        else:
            arrays.append((value if isinstance(value, pa.Array) else pa.array(value)).cast(field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _numbered(prefix: str, numbers: Integers) -> Any:  # noqa: ANN401 - pyarrow's own arrays
    padded = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 7, "0")
    return pc.binary_join_element_wise(prefix, padded, "")


def _attempt_ids(game_ids: Any, attempt: Integers, generator: np.random.Generator) -> Any:  # noqa: ANN401 - see _numbered
    drawn = generator.bytes(4 * len(attempt)).hex()
    suffix = pa.array([drawn[start : start + 8] for start in range(0, len(drawn), 8)])
    return pc.binary_join_element_wise(game_ids, _prefixed("a", attempt), suffix, "-").cast(pa.string())


def _prefixed(prefix: str, numbers: Integers) -> Any:  # noqa: ANN401 - see _numbered
    return pc.binary_join_element_wise(prefix, pa.array(numbers).cast(pa.string()), "")


def _openings() -> Any:  # noqa: ANN401 - see _numbered
    return pa.array([f"o-{hashlib.sha256(str(number).encode()).hexdigest()[:12]}" for number in range(_BOOK)])


def _hexadecimal(numbers: Integers, size: int) -> Any:  # noqa: ANN401 - see _numbered
    """Texts like the ids of a server, a different one for each number."""
    met, where = np.unique(numbers, return_inverse=True)
    texts = [hashlib.sha256(str(number).encode()).hexdigest()[: 8 * size] for number in met.tolist()]
    return pa.array(texts).take(pa.array(where))


def _seeds(meeting: Integers, round_: Integers, slot: Integers) -> Integers:
    """63 bits of the game's place in the plan: SplitMix64 of it."""
    mixed = (2 * (meeting * 1_000_003 + round_) + slot).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed >> np.uint64(1)).astype(np.int64)


def texts_of(table: pa.Table) -> Iterator[str]:
    """The games of ``games`` as a person would keep them: tags and moves, with times and evaluations as remarks."""
    tags = ("game_id", "first_agent", "second_agent", "opening_id", "termination", "winner", "started_at", "host")
    for row in table.to_pylist():
        lines = [f'[{name} "{row[name]}"]' for name in tags]
        plies = zip(row["moves"], row["move_times_ms"], row["evals"], strict=True)
        moves = " ".join(
            f"{move} {{{'book' if score is None else f'{score / 100:+.2f}'} {ms / 1000:.3f}s}}"
            for move, ms, score in plies
        )
        yield "\n".join([*lines, "", moves, json.dumps(row["winner"]), "", ""])
