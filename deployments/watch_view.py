"""How a run that is watched looks: on a terminal of any size, in one line, and as JSON."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from banzuke.games.shogi import rules_named
from banzuke.outcome import Side, Status
from deployments.printing import standings_table
from deployments.verdicts import sprt_json, sprt_lines
from tasks.verdict_words import number_words, verdict_words

if TYPE_CHECKING:
    from banzuke.in_play import GameInPlay
    from banzuke.run_status import RunStatus
    from storage.latest import EndedGame
    from tasks.spectating import Look, Ranked

BOARD_LINES = 13
"""Title, pieces in hand above and below, files, nine ranks."""
BOARD_COLUMNS = 44
WIDE = 110
"""From so many columns on the board stands beside the lists."""
ROOMY_LINES = 20
"""With so many for the lists there is an empty one between them."""
WHOLE_LINES = 70
"""For a look that is printed and not redrawn."""
STILL_SECONDS = 5.0
"""A game that nobody has chosen and that has not gone on for so long gives its place to one that does."""
_COLOURS = {"playing": "green", "running": "green", "completed": "green", "over": "green"}
_RESULTS = {"first": "1-0", "second": "0-1", None: "draw"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All that is known at one moment."""

    name: str
    state: str
    look: Look | None
    """What the store shows; None where it is not within reach, or was not read yet."""
    status: RunStatus | None
    """What the server says; None where none is asked."""
    sheet: Sequence[Mapping[str, Any]]
    """The final standings as the server shows them, where the store is not within reach."""
    fault: str | None
    """Why something could not be seen just now."""

    @property
    def counting(self) -> int | None:
        """Games that count, by whoever knows more."""
        known = [each.counting for each in (self.look, self.status) if each is not None and each.counting is not None]
        return max(known, default=None)

    @property
    def planned(self) -> int | None:
        """Games planned."""
        known = [each.planned for each in (self.look, self.status) if each is not None and each.planned is not None]
        return max(known, default=None)

    @property
    def games(self) -> Sequence[GameInPlay]:
        """In play, those that are known."""
        return () if self.look is None else self.look.in_play


@dataclass(slots=True, kw_only=True)
class Taste:
    """What the person at the terminal has asked for."""

    boards: bool
    letters: bool
    """No kanji and no signs beyond ASCII."""
    keys: bool
    """Whether there are any."""
    chosen: str | None = None
    """Id of the game whose board is shown."""
    is_meant: bool = False
    """Whether it was chosen by somebody; else it is one in which something happens."""
    _plies: int | None = None
    _moved_at: float = 0.0

    def choose(self, games: Sequence[GameInPlay], step: int = 0) -> GameInPlay | None:
        """The chosen game, so many places further down; another one where it has ended."""
        if not games:
            return None
        place = next((number for number, game in enumerate(games) if game.game_id == self.chosen), None)
        self.is_meant = bool(step) or (self.is_meant and place is not None)
        now = time.monotonic()
        if place is not None and step:
            place = (place + step) % len(games)
        elif place is None or (not self.is_meant and self._stands_still(games[place], now)):
            place = max(range(len(games)), key=lambda number: _interest(games[number], number))
        game = games[place]
        if (game.game_id, game.plies) != (self.chosen, self._plies):
            self.chosen, self._plies, self._moved_at = game.game_id, game.plies, now
        return game

    def _stands_still(self, game: GameInPlay, now: float) -> bool:
        return game.phase != "thinking" and game.plies == self._plies and now - self._moved_at > STILL_SECONDS


def _interest(game: GameInPlay, place: int) -> tuple[bool, bool, int]:
    """Whose board is worth most: one that is known, then one that moves, then the first."""
    return bool(game.position), game.phase == "thinking", -place


def plain(text: str) -> str:
    """What a terminal would obey does not reach it, and what is two lines is one."""
    return "".join(char if char.isprintable() else "�" for char in text)


def counts_line(scene: Scene) -> str:
    """Games, void ones, rate and time left."""
    parts = []
    if scene.planned is None:
        parts.append("nothing is planned yet" if not scene.counting else f"{scene.counting} games")
    else:
        parts.append(f"{scene.counting or 0}/{scene.planned} games")
    look, status = scene.look, scene.status
    if look is not None and look.forfeits:
        parts.append(f"{look.forfeits} by forfeit")
    if look is not None and look.void:
        parts.append(f"{look.void} void")
    if look is not None and look.spared:
        parts.append(f"{look.spared} spared by the verdict")
    per_minute = look.per_minute if look is not None and look.per_minute is not None else None
    seconds = look.seconds_left if look is not None and per_minute is not None else None
    if per_minute is None and status is not None and status.state == "running":
        per_minute, seconds = status.games_per_minute, status.remaining_seconds
    if per_minute is not None:
        parts.append(f"{per_minute:.3g} a minute" if per_minute < 100 else f"{per_minute:.0f} a minute")
        if seconds is not None and scene.planned is not None and (scene.counting or 0) < scene.planned:
            parts += _time_left(look, seconds)
    return ", ".join(parts)


def _time_left(look: Look | None, seconds: float) -> list[str]:
    if look is not None and look.sprt is not None:
        # A verdict may come at any pair; after it only what is in flight is finished.
        return [] if look.sprt.figures["verdict"] != "continue" else [f"at most {duration(seconds)} left"]
    return [f"{duration(seconds)} left{' in this step' if look is not None and look.step is not None else ''}"]


def course(scene: Scene) -> str | None:
    """Where a sequential test stands between its bounds, or its verdict; where a growing plan is; else nothing."""
    look = scene.look
    if look is not None and look.sprt is not None:
        figures = look.sprt.figures
        stand = f"llr {number_words(figures['llr'])} in ({figures['lower']:.2f}, {figures['upper']:.2f})"
        if figures["reason"]:
            stand += f" ({figures['reason']})"
        after = f"after {figures['pairs']} pairs"
        if figures["verdict"] == "continue":
            return f"{stand} {after}"
        return f"{figures['verdict']}: {verdict_words(look.sprt)} {after}; {stand}"
    if look is not None and look.step is not None:
        step = look.step
        known = f"the target ±{step.target_error:g}"
        if step.widest is not None:
            known = f"the widest interval is ±{step.widest_error:.0f} Elo, of {step.widest}, {known}"
        return f"step {step.number} of the plan: {known}"
    return None


def one_line(scene: Scene) -> str:
    """For where there is no terminal."""
    line = f"{plain(scene.name)}: {scene.state}, {counts_line(scene)}"
    look = scene.look
    if look is not None and look.standings and look.standings[0].elo is not None:
        line += f"; first is {plain(look.standings[0].agent)} ({look.standings[0].elo:.0f})"
    return "; ".join([line, *map(plain, [*_course(scene), *remarks(scene)])])


def _course(scene: Scene) -> list[str]:
    said = course(scene)
    return [] if said is None else [said]


def remarks(scene: Scene) -> list[str]:
    """What there is to be said beside the counts."""
    look, status = scene.look, scene.status
    said = []
    if scene.fault is not None:
        said.append(scene.fault)
    if status is not None and status.message and status.state != "running":
        said.append(status.message)
    if look is not None:
        said += [*look.notes, *([look.unseen] if look.unseen else [])]
        if look.advice is not None and (status is None or status.is_over):
            said.append(f"nobody plays it; go on with: {look.advice}")
    return said


def as_document(scene: Scene) -> dict[str, Any]:
    """One JSON object."""
    look, status = scene.look, scene.status
    document: dict[str, Any] = {"run_id": scene.name, "state": scene.state, "fault": scene.fault}
    if look is not None:
        document |= asdict(look)
        del document["summary"], document["sheet"]
        document["sprt"] = None if look.sprt is None else sprt_json(look.sprt)
        for game in document["last"]:
            game["finished_at"] = game["finished_at"].isoformat()
    counts = {"planned": scene.planned, "counting": scene.counting}
    server = None if status is None else {key: _written(value) for key, value in asdict(status).items()}
    return document | {"state": scene.state} | counts | {"server": server}


def _written(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


def duration(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def ending(scene: Scene) -> list[RenderableType]:
    """What is left to be read when all is over: the final standings, the counts, and how to go on."""
    look = scene.look
    title = f"Standings of {plain(scene.name)}"
    parts: list[RenderableType] = []
    if look is not None and look.sheet:
        parts.append(standings_table(look.sheet, title=title))
    elif scene.sheet:
        parts.append(_sheet(scene.sheet, title))
    parts.append(Text(f"{plain(scene.name)}: {scene.state}, {counts_line(scene)}"))
    test = None if look is None else look.sprt
    lines = _course(scene) if test is None else sprt_lines(test)
    return [*parts, *(Text(plain(line)) for line in [*lines, *remarks(scene)])]


def _sheet(rows: Sequence[Mapping[str, Any]], title: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, title_style="bold")
    names = list(dict.fromkeys(name for row in rows for name in row))
    for name in names:
        table.add_column(Text(plain(name)))
    for row in rows:
        table.add_row(*(Text(plain("" if row.get(name) is None else str(row[name]))) for name in names))
    return table


def screen(scene: Scene, taste: Taste, console: Console, *, is_whole: bool = False) -> RenderableType:
    """All of it, never more than there are lines.

    Args:
        scene: what is shown.
        taste: how.
        console: of which terminal.
        is_whole: with as many lines as it takes, without a word about keys.
    """
    width, height = console.width, WHOLE_LINES if is_whole else console.height
    chosen = taste.choose(scene.games)
    head = _head(scene, console, width)
    foot = [] if is_whole else [Text(_foot(taste), style="dim", no_wrap=True, overflow="ellipsis")]
    room = height - len(head) - len(foot)
    board: list[Text] = []
    if taste.boards and room >= BOARD_LINES:
        board = _board(chosen, taste, width=min(width, BOARD_COLUMNS))
    beside = bool(board) and width >= WIDE
    lists = _lists(
        scene,
        taste,
        width=width - BOARD_COLUMNS - 2 if beside else width,
        room=room - (0 if beside or not board else len(board)),
        chosen=chosen,
    )
    if beside:
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(width=width - BOARD_COLUMNS - 2)
        grid.add_column(width=BOARD_COLUMNS)
        grid.add_row(Group(*lists), Group(*board))
        return Group(*head, grid, *foot)
    return Group(*head, *board, *lists, *foot)


def _head(scene: Scene, console: Console, width: int) -> list[Text]:
    title = Text(no_wrap=True, overflow="ellipsis")
    title.append(plain(scene.name), style="bold")
    title.append("  ")
    title.append(scene.state, style=_COLOURS.get(scene.state, "yellow"))
    if scene.look is not None and scene.look.played_by is not None:
        title.append(f"  by {plain(scene.look.played_by)}", style="dim")
    lines = [title, Text(counts_line(scene), no_wrap=True, overflow="ellipsis")]
    for line in _course(scene):
        lines += Text(plain(line)).wrap(console, width)[:3]
    for remark in remarks(scene):
        lines += Text(plain(remark), style="yellow").wrap(console, width)[:3]
    return lines[:8]


def _foot(taste: Taste) -> str:
    if not taste.keys:
        return "Ctrl-C ends"
    boards = "b no boards" if taste.boards else "b boards"
    return f"{boards}   j/k choose a game   l {'kanji' if taste.letters else 'letters'}   q quit"


def _lists(scene: Scene, taste: Taste, *, width: int, room: int, chosen: GameInPlay | None) -> list[RenderableType]:
    look = scene.look
    if look is None:
        return []
    sizes = [len(look.standings), len(look.in_play), len(look.last)]
    gap = 1 if room >= ROOMY_LINES else 0
    ranks, games, last = _shares(sizes, room, header=1 + gap)
    parts: list[RenderableType] = []
    if ranks:
        parts += [*_gap(gap), _standings(look.standings[:ranks], len(look.standings), taste, width)]
    if games:
        parts += [*_gap(gap), _games(look, games, width, chosen)]
    if last:
        parts += [*_gap(gap), _last(look.last[:last], width)]
    return parts


def _gap(lines: int) -> list[Text]:
    return [Text("")] * lines


def _shares(sizes: Sequence[int], room: int, *, header: int) -> list[int]:
    """How many lines each list gets: one after the other in turn, as long as there are any."""
    shares = [0] * len(sizes)
    left = room
    while left > 0:
        before = left
        for place, size in enumerate(sizes):
            price = 1 if shares[place] else 1 + header
            if shares[place] < size and price <= left:
                shares[place] += 1
                left -= price
        if left == before:
            break
    return shares


def _table(columns: Mapping[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for name, side in columns.items():
        table.add_column(
            Text(name, no_wrap=True), justify="right" if side == "right" else "left", no_wrap=True, overflow="ellipsis"
        )
    return table


def _name(text: str, width: int, style: str = "") -> Text:
    name = Text(plain(text), style=style, no_wrap=True)
    name.truncate(max(4, width), overflow="ellipsis")
    return name


def _standings(rows: Sequence[Ranked], total: int, taste: Taste, width: int) -> Table:
    is_wide = width >= 90
    title = "agent" if len(rows) == total else f"agent ({len(rows)} of {total})"
    columns = {"#": "right", " ": "left", title: "left", "elo": "right", "95 %": "right", "since": "right"}
    table = _table(columns | {"games": "right"} | ({"W": "right", "D": "right", "L": "right"} if is_wide else {}))
    for row in rows:
        cells: list[Text | str] = [
            str(row.rank),
            _moved(row.risen, taste),
            _name(row.agent, width - (66 if is_wide else 46)),
            "unrated" if row.elo is None else f"{row.elo:.0f}",
            _interval(row, taste),
            "" if not row.elo_change or abs(row.elo_change) < 0.5 else f"{row.elo_change:+.0f}",
            str(row.games),
        ]
        table.add_row(*cells, *([str(row.wins), str(row.draws), str(row.losses)] if is_wide else []))
    return table


def _moved(risen: int, taste: Taste) -> Text:
    if not risen:
        return Text("")
    up, down = ("^", "v") if taste.letters else ("▲", "▼")
    return Text(f"{up if risen > 0 else down}{abs(risen)}", style="green" if risen > 0 else "red")


def _interval(row: Ranked, taste: Taste) -> str:
    if row.elo_low is None or row.elo_high is None:
        return ""
    if row.elo_low == row.elo_high:
        return "anchor"
    return f"{row.elo_low:.0f} {'..' if taste.letters else '…'} {row.elo_high:.0f}"


def _games(look: Look, lines: int, width: int, chosen: GameInPlay | None) -> Table:
    games = look.in_play
    place = games.index(chosen) if chosen in games else 0
    begin = min(max(0, place - lines // 2), max(0, len(games) - lines))
    table = _table(
        {
            f"in play: {look.games_in_play}": "left",
            "against": "left",
            "ply": "right",
            "last": "left",
            "time": "right",
            "worker": "right",
        }
    )
    room = (width - 40) // 2
    for game in games[begin : begin + lines]:
        is_chosen = game is chosen
        mover = game.mover
        first = Text(">" if is_chosen else " ").append_text(_seat(game.first_agent, room, is_mover=mover is Side.FIRST))
        table.add_row(
            first,
            _seat(game.second_agent, room, is_mover=mover is Side.SECOND),
            "" if game.plies is None else str(game.plies),
            _name(game.last_move, 8),
            _time(game),
            f"{game.worker}" + ("" if game.lane is None else f"/{game.lane}"),
            style="bold" if is_chosen else "",
        )
    return table


def _seat(agent: str, room: int, *, is_mover: bool) -> Text:
    name = _name(agent, room - 1)
    return name.append("*") if is_mover else name


def _time(game: GameInPlay) -> Text:
    if game.seconds is None or game.limit_seconds is None:
        return Text(game.phase, style="dim")
    is_late = game.seconds > game.limit_seconds / 2
    return Text(f"{game.seconds:.1f}/{game.limit_seconds:.0f} s", style="red" if is_late else "")


def _last(games: Sequence[EndedGame], width: int) -> Table:
    table = _table({"ended": "left", "against": "left", "": "left", "by": "left", "plies": "right", "ago": "right"})
    room = (width - 40) // 2
    now = datetime.now(UTC)
    for game in games:
        is_void = game.status == Status.VOID
        ago = max(0.0, (now - game.finished_at).total_seconds())
        table.add_row(
            Text(" ").append_text(_name(game.first_agent, room)),
            _name(game.second_agent, room),
            Text("void", style="red") if is_void else Text(_RESULTS.get(game.winner, "")),
            _name(game.termination.replace("_", " "), 18),
            str(game.plies),
            duration(ago),
        )
    return table


def _board(game: GameInPlay | None, taste: Taste, *, width: int) -> list[Text]:
    if game is None:
        return [Text("no game in play is seen just now", style="dim")]
    title = _name(f"{game.game_id}, ply {'?' if game.plies is None else game.plies}", width, "dim")
    if not game.position:
        return [title, Text("its worker has not said yet how it stands", style="dim")]
    players = {Side.FIRST: plain(game.first_agent)[:24], Side.SECOND: plain(game.second_agent)[:24]}
    try:
        picture = rules_named(game.game, game.rules).picture(
            game.position,
            mover=game.mover or Side.FIRST,
            players=players,
            last_move=game.last_move,
            letters=taste.letters,
        )
    except ValueError as error:
        return [title, _name(f"no board: {error}", width)]
    lines = [Text(line, no_wrap=True, overflow="ellipsis") for line in picture.lines]
    if picture.mark is not None:
        line, start, end = picture.mark
        lines[line].stylize("reverse", start, end)
    return [title, *lines]
