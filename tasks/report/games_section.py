"""Every game of a run on its page: a table to filter, and a board that steps through any of them."""

from __future__ import annotations

import base64
import json
import shlex
from dataclasses import dataclass, replace
from importlib import resources
from typing import TYPE_CHECKING

import jinja2
import numpy as np
from markupsafe import Markup

from banzuke.outcome import Status
from storage.game_store import GameStore
from tasks.report.listed_games import ListedGames, listed_games
from tasks.report.packed_moves import Told, deflated, pack_clocks, pack_moves, short_times, tell
from tasks.report.section import Section

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

GAMES_PER_BLOCK = 2_000
"""Unpacked together when one of them is opened, in some hundredths of a second."""
_SCRIPTS = ("games_unpack.js", "games_position.js", "games_table.js", "games_board.js", "games.js")
_MOST_FOR_THE_TABLE = 0.5
"""Of the bytes there are; of a run whose table alone takes more, every other pair is left out of it."""
_SAFE = bytes.maketrans(b"<&", b",.")
"""Two characters of Python's base 85 that HTML may stumble over, and what stands for them."""
_MOST_TIMES = 5
_SPARE = 0.99
_CHECKED = 0.1
"""Part of the games that is packed to know how much room all of them take."""


def games_section(store: str, run_id: str, *, most_bytes: int = 12_000_000) -> Section:
    """The games of a run as a part of its page.

    What does not fit is left out, and the page says so: first times and evaluations of moves, then moves, of some
    pairs of games evenly over the run; then games of the table.

    Args:
        store: local path or fsspec URL.
        run_id: which run.
        most_bytes: of HTML, CSS and JavaScript together.

    Raises:
        UnknownRunError: there is no such run.
        StorageError: the store cannot be read.
    """
    games = GameStore(store)
    found = listed_games(games, run_id)
    css, js = _text("games.css"), "\n".join(map(_text, _SCRIPTS))
    planned = games.plan_table(run_id, ["game_no"]).num_rows if games.has_plan(run_id) else 0
    export = f"banzuke export {shlex.quote(run_id)} --store {shlex.quote(store)} --format kif --voids -o games.kif"
    # What the template says of the run, it says up to so many times.
    said = len(_text("games.html")) + _MOST_TIMES * len(f"{export}{run_id}".encode())
    packed = _packed(found, most_bytes - len(css.encode()) - len(js.encode()) - said)
    html = _template().render(
        packed=packed,
        counts=_counts(packed.games),
        planned=planned,
        export=export,
        run_id=run_id,
        block=GAMES_PER_BLOCK,
    )
    return Section(anchor="games", title="Games", html=html, css=css, js=js)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedText:
    """Bytes as characters that mean nothing in HTML."""

    text: Markup
    bytes: int
    """How many they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packed:
    games: ListedGames
    table: PackedText
    moves: list[PackedText]
    """A block of games each, in the order of :func:`_neighbours`."""
    clocks: list[PackedText]
    """Times and evaluations of the same blocks; empty where they are left out."""
    without_moves: int
    """Attempts with moves that are not in ``moves``."""
    without_clocks: int
    """Attempts in ``moves`` with times that are not in ``clocks``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """What fitted of the rows that there were."""

    is_in: NDArray[np.bool_]
    """(rows,)"""
    texts: list[PackedText]


def _packed(games: ListedGames, room: int) -> _Packed:
    games, told, room_for_moves = _listed(games, room)
    order = _neighbours(games)
    start = games.kinds["start_position"].index

    def moves_of(rows: NDArray[np.int64]) -> bytes:
        return pack_moves(games.moves, told, games.starts, start, rows)

    def clocks_of(rows: NDArray[np.int64]) -> bytes:
        return pack_clocks(games.times_ms, games.evals, games.starts, rows, told.readable)

    has_moves = told.readable > 0
    moves = _fitting(games, order, has_moves, moves_of, room_for_moves)
    has_clocks = moves.is_in & games.has_times
    left = room_for_moves - _size(moves.texts)
    is_whole = bool(moves.is_in[has_moves].all())
    clocks = _fitting(games, order, has_clocks, clocks_of, left if is_whole else 0)
    return _Packed(
        games=games,
        table=_table(games, told, moves.is_in, clocks.is_in),
        moves=moves.texts,
        clocks=clocks.texts,
        without_moves=int(np.count_nonzero(has_moves & ~moves.is_in)),
        without_clocks=int(np.count_nonzero(has_clocks & ~clocks.is_in)),
    )


def _listed(games: ListedGames, room: int) -> tuple[ListedGames, Told, int]:
    """The games that are in the table, and the room that it leaves."""
    while True:
        start = games.kinds["start_position"]
        told = tell(games.moves, games.starts, start.index, start.texts)
        everything = np.ones(len(games), dtype=bool)
        taken = len(_table(games, told, everything, everything).text)
        if taken <= _MOST_FOR_THE_TABLE * room or games.pairs < 2:
            return games, told, room - taken
        games = _every_other_pair(games)


def _every_other_pair(games: ListedGames) -> ListedGames:
    _, place = np.unique(games.numbers["pair_no"], return_inverse=True)
    return replace(games.of(np.flatnonzero(place % 2 == 0)), every=2 * games.every)


def _neighbours(games: ListedGames) -> NDArray[np.int64]:
    """(rows,) the rows in an order that has games with much in common side by side; the page's script has it, too."""
    names = ("second_agent", "first_agent", "opening_id", "start_position")
    keys = [np.arange(len(games)), *(games.kinds[name].index.astype(np.int64) for name in names)]
    return np.lexsort(keys).astype(np.int64)


def _fitting(
    games: ListedGames,
    order: NDArray[np.int64],
    wanted: NDArray[np.bool_],
    pack: Callable[[NDArray[np.int64]], bytes],
    room: int,
) -> _Fit:
    """As many of the wanted rows as there is room for, whole pairs evenly over the run, packed block by block."""
    if room <= 0:
        return _Fit(is_in=np.zeros(len(games), dtype=bool), texts=[])
    share = 1.0
    estimated = _estimate(order[wanted[order]], pack)
    while True:
        share = min(share, _SPARE * room / estimated) if estimated > room else share
        is_in = wanted & _spread(games.numbers["pair_no"], share)
        rows = order[is_in[order]]
        texts = [as_text(pack(rows[begin : begin + GAMES_PER_BLOCK])) for begin in range(0, len(rows), GAMES_PER_BLOCK)]
        if _size(texts) <= room:
            return _Fit(is_in=is_in, texts=texts)
        estimated = round(_size(texts) / share)
        share *= _SPARE


def _estimate(rows: NDArray[np.int64], pack: Callable[[NDArray[np.int64]], bytes]) -> int:
    """Characters, less rather than more, where there are so many that it is worth a look at some."""
    blocks = len(rows) // GAMES_PER_BLOCK
    every = int(1 / _CHECKED)
    if blocks < 2 * every:
        return 0
    looked_at = range(0, blocks * GAMES_PER_BLOCK, every * GAMES_PER_BLOCK)
    some = sum(len(pack(rows[begin : begin + GAMES_PER_BLOCK])) for begin in looked_at)
    return round(1.25 * some * len(rows) / (len(looked_at) * GAMES_PER_BLOCK))


def _spread(pair_no: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """(rows,) about this share of the pairs, evenly."""
    _, place = np.unique(pair_no, return_inverse=True)
    is_in: NDArray[np.bool_] = np.floor((place + 1) * share) > np.floor(place * share)
    return is_in


def _size(texts: list[PackedText]) -> int:
    # The element around each takes some characters, too.
    return sum(len(packed.text) + 100 for packed in texts)


def _table(games: ListedGames, told: Told, has_moves: NDArray[np.bool_], has_clocks: NDArray[np.bool_]) -> PackedText:
    """What is known of each row beside its moves, column by column behind a description of the columns."""
    columns: list[dict[str, object]] = []
    pieces: list[bytes] = []

    def add(name: str, values: NDArray[np.integer], texts: list[str] | None = None, *, climbs: bool = False) -> None:
        numbers = np.diff(values, prepend=0) if climbs else values
        folded = np.where(numbers < 0, -2 * numbers - 1, 2 * numbers).astype(np.uint64)
        width = max(1, -(-int(folded.max(initial=0)).bit_length() // 8))
        columns.append({"name": name, "width": width, "climbs": climbs, "texts": texts})
        planes = folded.astype("<u8").view(np.uint8).reshape(-1, 8)
        pieces.extend(planes[:, plane].tobytes() for plane in range(width))

    for name, kinds in games.kinds.items():
        add(name, kinds.index.astype(np.int64), kinds.texts)
    for name in ("game_no", "pair_no", "started_at"):
        add(name, games.numbers[name], climbs=True)
    for name in ("attempt", "opening_plies", "plies"):
        add(name, games.numbers[name])
    for name in ("first_time_ms", "second_time_ms"):
        add(name, short_times(games.numbers[name]))
    add("readable", told.readable)
    add("unreadable", (told.readable < games.lengths).astype(np.int64))
    add("packed", has_moves.astype(np.int64) + has_clocks)
    heading = json.dumps({"rows": len(games), "every": games.every, "columns": columns}).encode()
    return as_text(deflated([len(heading).to_bytes(4, "little") + heading, *pieces]))


def as_text(payload: bytes) -> PackedText:
    """Four bytes in five characters."""
    text = base64.b85encode(payload, pad=True).translate(_SAFE).decode("ascii")
    # None of its characters opens a tag or a reference: see _SAFE.
    return PackedText(text=Markup(text), bytes=len(payload))  # noqa: S704 - base 85


def _counts(games: ListedGames) -> dict[str, int]:
    """How many rows there are of each status."""
    status = games.kinds["status"]
    return {word: int(np.count_nonzero(status.says(word))) for word in Status}


def _text(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["number"] = lambda number: f"{number:,}"
    return environment.from_string(_text("games.html"))
