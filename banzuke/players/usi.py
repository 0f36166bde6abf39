"""External engines that speak USI, the protocol of shogi engines, as players.

Protocol: the draft at http://hgm.nubati.net/usi.html and Shogidokoro's page
http://shogidokoro.starfree.jp/usi.html, which is what engines really follow.
"""

from __future__ import annotations

import difflib
import re
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from banzuke.clock import Clock
from banzuke.errors import AgentCrashError, AgentError, AgentStartError
from banzuke.players.engine_process import EngineProcess, printable
from banzuke.players.player import DECLARE_WIN, RESIGN, Choice
from banzuke.specs import find_program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from banzuke.games.rules import Board
    from banzuke.outcome import Side
    from banzuke.specs import UsiAgent

MATE_CP = 30_000
"""The score of a mate on the board; a mate in n plies is worth n less."""
EVAL_LIMIT_CP = 32_000
"""No score is reported beyond this, however sure the engine is."""

_QUIT_SECONDS = 0.5
_SECOND_LOOK_SECONDS = 0.1
_MOST_OPTIONS = 4096
_LONGEST_WORD = 80

_DROP_SIGNS = {"Sjaak II": "@"}
"""Engines, by the beginning of their name, that write and read drops as ``B@5e``, not as USI's ``B*5e``."""

_OPTION = re.compile(
    r"option name (?P<name>\S.*?) type (?P<kind>check|spin|combo|button|string|filename)(?P<rest>\s.*)?"
)


class _State(Enum):
    STARTING = "starting"
    IDLE = "idle"
    GETTING_READY = "getting ready"
    THINKING = "thinking"
    DEAD = "dead"


class UsiPlayer:
    """An engine at play. Made by :meth:`open`.

    The engine dies with the thread that opened it, or that called :meth:`new_game` if the engine had to be
    started again there: use a thread that lives as long as the player.

    States: *starting* (``usi`` to ``readyok``), *idle*, *getting ready* (for a new game), *thinking*, *dead*.
    Whatever goes wrong ends the process and leaves the player dead, except that an engine found dead or deaf
    between two games is started again once.

    Attributes:
        description: what the engine calls itself, and its author; printable.
        surplus_bestmoves: how many answers it gave that nobody had asked for (they are discarded).
    """

    def __init__(self, agent: UsiAgent) -> None:
        self.description = ""
        self.surplus_bestmoves = 0
        self._agent = agent
        self._state = _State.STARTING
        self._process: EngineProcess | None = None
        self._side: Side | None = None
        self._drop_sign = "*"
        self._option_commands: Sequence[str] = ()
        self._unused = True
        self._slowest_ms: int | None = None
        self._restarts_for_every_game = False

    @classmethod
    def open(cls, agent: UsiAgent, *, deadline: float) -> UsiPlayer:
        """Start the engine, set its options and wait until it is ready.

        Args:
            agent: the engine as the spec has it.
            deadline: on the monotonic clock; hard.

        Raises:
            AgentStartError: no such program, it ended, it was not ready in time, or it refuses an option.
        """
        player = cls(agent)
        player._start(deadline)
        return player

    @property
    def claims_wins(self) -> bool:
        """True: ``bestmove win`` is part of the protocol, whether or not the engine ever says it."""
        return True

    @property
    def device(self) -> str:
        """``cpu``; what an engine computes on is not known."""
        return "cpu"

    def new_game(self, *, side: Side, seed: int, deadline: float) -> None:  # noqa: ARG002 - USI knows no seed
        """Get the engine ready for a new game.

        An engine that ended since its last move, or that cannot take a second ``isready``, is started again
        within the deadline; the latter is then started again for every game.

        Raises:
            AgentStartError: it was not ready by the deadline, or the player was dead before.
        """
        if self._state is _State.DEAD:
            raise AgentStartError(f"{self._name}: is no longer running")
        with self._dying_on_failure():
            self._state = _State.GETTING_READY
            self._side = side
            try:
                self._get_ready(deadline)
                self._running().send("usinewgame", deadline)
            except AgentError as error:
                raise AgentStartError(*error.args) from error
            self._unused = False
            self._state = _State.IDLE

    def choose(self, board: Board, *, clock: Clock, opponent_clock: Clock, deadline: float) -> Choice:
        """The engine's ``bestmove`` in the present position: a move, ``resign``, ``win`` or anything else.

        Args:
            board: the position; the engine is sent its start position and every move since.
            clock: this player's own clock. Without a limit in it, the spec's limit is used.
            opponent_clock: the opponent's; the engine is told what is left on it.
            deadline: on the monotonic clock; hard.

        Raises:
            AgentStallError: no answer by the deadline.
            AgentCrashError: the engine ended without an answer, or the player was dead before.
        """
        if self._state is not _State.IDLE:
            raise AgentCrashError(f"{self._name}: was asked for a move while {self._state.value}")
        own_clock = clock if clock.limit is not None else Clock.start(self._agent.limit)
        black_to_move = board.position().split()[1] == "b"
        with self._dying_on_failure():
            self._state = _State.THINKING
            process = self._running()
            self.surplus_bestmoves += sum(_is_bestmove(line) for line in process.pending())
            process.send(self._position_command(board), deadline)
            asked_at = time.monotonic()
            process.send(_go_command(own_clock, opponent_clock, black_to_move=black_to_move), deadline)
            choice = self._answer(asked_at, deadline)
            if self._slowest_ms is not None:
                patience = _SECOND_LOOK_SECONDS + 3 * self._slowest_ms / 1000
                choice = self._look_again(choice, board, asked_at, min(deadline, time.monotonic() + patience))
            self._slowest_ms = max(self._slowest_ms or 0, choice.elapsed_ms or 0)
            self._state = _State.IDLE
        return choice

    def game_over(self, winner: Side | None) -> None:
        """Tell the engine the result, from its own side. Never raises, never waits."""
        if self._state is _State.IDLE and self._process is not None:
            result = "draw" if winner is None else "win" if winner is self._side else "lose"
            self._process.post(f"gameover {result}")

    def close(self) -> None:
        """End the engine: ``quit``, a short wait, terminate, kill. Never raises; idempotent."""
        self._state = _State.DEAD
        if self._process is not None:
            self._process.post("quit")
            self._process.close(patience_seconds=_QUIT_SECONDS)

    def _start(self, deadline: float) -> None:
        with self._dying_on_failure():
            try:
                directory = Path(self._agent.directory)
                program = find_program(self._agent.command[0], directory).absolute()
                self._process = EngineProcess(
                    [str(program), *self._agent.command[1:]],
                    directory=directory.absolute() if self._agent.directory else None,
                    agent=self._agent.name,
                )
                self._option_commands = _setoption_commands(self._agent.options, self._introduction(deadline))
                self._await_readyok(deadline)
            except FileNotFoundError as error:
                raise AgentStartError(printable(str(error), 300)) from error
            except _OptionError as error:
                raise AgentStartError(f"{self._name}: {error}") from error
            except AgentError as error:
                raise AgentStartError(f"{error}{self._impression()}") from error
            self._unused = True
            self._slowest_ms = None
            self._state = _State.IDLE

    def _impression(self) -> str:
        """What it printed first, where that is nothing an engine says: it may be a usage, or a complaint."""
        line = self._process.first_line if self._process is not None else ""
        return f"; it began with {line!r}" if line and not line.startswith(("id ", "option ", "usiok")) else ""

    def _introduction(self, deadline: float) -> dict[str, _Option]:
        """``usi`` up to ``usiok``: who it is and which options it declares."""
        process = self._running()
        process.send("usi", deadline)
        name, author, options = "", "", dict[str, _Option]()
        for raw_line in process.lines(deadline, awaited="usiok"):
            line = raw_line.strip()
            if line == "usiok":
                break
            if line.startswith("id name "):
                name = printable(line.removeprefix("id name ")[:_LONGEST_WORD], _LONGEST_WORD)
            elif line.startswith("id author "):
                author = printable(line.removeprefix("id author ")[:_LONGEST_WORD], _LONGEST_WORD)
            elif line.startswith("option ") and (option := _Option.parse(line)) is not None:
                options[option.name] = option
                if len(options) > _MOST_OPTIONS:
                    raise AgentStartError(f"{process.program}: declares more than {_MOST_OPTIONS} options")
        self.description = (name or process.program) + (f" by {author}" if author else "")
        self._drop_sign = next((sign for who, sign in _DROP_SIGNS.items() if name.startswith(who)), "*")
        return options

    def _await_readyok(self, deadline: float) -> None:
        process = self._running()
        # An answer to an earlier question must not pass for the answer to this one.
        for _ in process.pending():
            pass
        # Before every game, not only the first: Fairy-Stockfish 11.1 remembers earlier games through `usinewgame`, and
        # forgets them when it is told its number of threads.
        for command in self._option_commands:
            process.send(command, deadline)
        process.send("isready", deadline)
        for line in process.lines(deadline, awaited="readyok"):
            if line.strip() == "readyok":
                return

    def _get_ready(self, deadline: float) -> None:
        if not self._running().is_running():
            self._restart(deadline)
        elif self._unused:
            return
        elif self._restarts_for_every_game:
            self._restart(deadline)
        else:
            now = time.monotonic()
            try:
                self._await_readyok(now + (deadline - now) / 2)
            except AgentError:
                self._running().kill()
                self._restarts_for_every_game = True
                self._restart(deadline)

    def _restart(self, deadline: float) -> None:
        self._running().post("quit")
        self._running().close(patience_seconds=_QUIT_SECONDS)
        self._start(deadline)

    def _position_command(self, board: Board) -> str:
        # Never `startpos`: gpsusi 0.7.0 does not answer it any more once it has been given positions as SFEN.
        words = ["position", "sfen", board.start_position]
        if board.moves:
            words += ["moves", *(move.replace("*", self._drop_sign) for move in board.moves)]
        return " ".join(words)

    def _answer(self, asked_at: float, deadline: float) -> Choice:
        exact: int | None = None
        bound: int | None = None
        for line in self._running().lines(deadline, awaited="bestmove"):
            if _is_bestmove(line):
                elapsed_ms = round((time.monotonic() - asked_at) * 1000)
                move = self._move_in(line)
                return Choice(move=move, eval_cp=exact if exact is not None else bound, elapsed_ms=elapsed_ms)
            score = _score_in(line)
            if score is not None and score.is_exact:
                exact = score.centipawns
            elif score is not None:
                bound = score.centipawns
        raise RuntimeError("lines() ended without an error")

    def _move_in(self, line: str) -> str:
        words = line.split(maxsplit=2)
        if len(words) < 2:
            return ""
        # An unprintable character becomes a visible one: left out, it might turn nonsense into a legal move.
        move = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words[1])
        if self._drop_sign != "*" and move[1:2] == self._drop_sign:
            move = move[0] + "*" + move[2:]
        return move[:_LONGEST_WORD]

    def _look_again(self, choice: Choice, board: Board, asked_at: float, until: float) -> Choice:
        """The first possible answer that follows, where this one is not; the last one where none is.

        An impossible answer may be a late or repeated one to an earlier question that came between our last
        look and this ``go``. The answer to this one is then still to come, in the time the engine usually takes.
        """
        with suppress(AgentError):
            while choice.move not in {RESIGN, DECLARE_WIN} and not board.is_legal(choice.move):
                choice = self._answer(asked_at, until)
                self.surplus_bestmoves += 1
        return choice

    @contextmanager
    def _dying_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._state = _State.DEAD
            if self._process is not None:
                self._process.kill()
            raise

    def _running(self) -> EngineProcess:
        if self._process is None:
            raise AgentCrashError(f"{self._name}: was never started")
        return self._process

    @property
    def _name(self) -> str:
        return self._process.program if self._process is not None else printable(self._agent.command[0], 80)


class _OptionError(Exception):
    """An option of the spec is not one of the engine's, or its value is out of what the engine takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Option:
    name: str
    kind: str
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()

    @classmethod
    def parse(cls, line: str) -> _Option | None:
        """An option as the engine declares it, None where the line makes no sense."""
        match = _OPTION.fullmatch(line)
        if match is None:
            return None
        # Names and strings may hold spaces, so a value goes on up to the next keyword.
        values: list[tuple[str, list[str]]] = []
        for word in (match["rest"] or "").split():
            if word in {"default", "min", "max", "var"}:
                values.append((word, []))
            elif values:
                values[-1][1].append(word)
        given = {keyword: " ".join(words) for keyword, words in values}
        return cls(
            name=match["name"],
            kind=match["kind"],
            minimum=_whole_number(given.get("min", "")),
            maximum=_whole_number(given.get("max", "")),
            choices=tuple(" ".join(words) for keyword, words in values if keyword == "var"),
        )

    def setting(self, value: bool | float | str) -> str | None:
        """The ``setoption`` command that gives it ``value``; None where there is nothing to send.

        Raises:
            _OptionError: it does not take this value.
        """
        if self.kind == "button":
            self._demand(isinstance(value, bool), value, "is a button: true presses it")
            return f"setoption name {self.name}" if value else None
        return f"setoption name {self.name} value {self._value_text(value)}"

    def _value_text(self, value: bool | float | str) -> str:
        if self.kind == "check":
            self._demand(isinstance(value, bool), value, "takes true or false")
            return "true" if value else "false"
        if self.kind == "spin":
            low = "-" if self.minimum is None else self.minimum
            high = "-" if self.maximum is None else self.maximum
            self._demand(type(value) is int and self._within(value), value, f"takes {low} to {high}")
            return str(value)
        self._demand(not isinstance(value, bool), value, "takes a text")
        text = str(value)
        self._demand(all(letter >= " " and letter != "\x7f" for letter in text), value, "takes one line")
        if self.kind == "combo":
            known = printable(", ".join(self.choices)[:200], 120)
            self._demand(text in self.choices, value, f"takes one of: {known}")
        return text or "<empty>"

    def _within(self, number: int) -> bool:
        return (self.minimum is None or self.minimum <= number) and (self.maximum is None or number <= self.maximum)

    def _demand(self, condition: bool, value: object, what: str) -> None:
        if not condition:
            shown = str(value).lower() if isinstance(value, bool) else repr(value)
            raise _OptionError(f"option {self.name!r} {what}, not {printable(shown, _LONGEST_WORD)}")


def _setoption_commands(
    wanted: Mapping[str, bool | int | float | str], declared: Mapping[str, _Option]
) -> Sequence[str]:
    """One command for each option of the spec, and for no other: engines have died of their own defaults.

    Raises:
        _OptionError: naming every option at fault.
    """
    commands: list[str] = []
    faults: list[str] = []
    for name, value in wanted.items():
        if name not in declared:
            faults.append(f"has no option {printable(name, _LONGEST_WORD)!r}; {_near(name, declared)}")
            continue
        try:
            command = declared[name].setting(value)
        except _OptionError as error:
            faults.append(str(error))
        else:
            commands += [command] if command is not None else []
    if faults:
        raise _OptionError("; ".join(faults))
    return commands


def _near(name: str, declared: Mapping[str, _Option]) -> str:
    by_folded_name = {known.lower(): known for known in declared}
    near = difflib.get_close_matches(name.lower(), by_folded_name, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(repr(printable(by_folded_name[word], 80)) for word in near)}?"
    if declared:
        return f"it has: {printable(', '.join(sorted(declared))[:1000], 200)}"
    return "it has none"


def _go_command(clock: Clock, opponent_clock: Clock, *, black_to_move: bool) -> str:
    """``go`` with this agent's own limit.

    USI counts what is left without the increment that the coming move brings (UCI counts it in). ``btime`` is
    Black's (sente's), whoever moved first. byoyomi comes last: some engines let a later btime overrule it.
    """
    limit = clock.limit
    if limit is None:
        raise RuntimeError("an engine's clock has a limit")
    if limit.nodes is not None:
        return f"go nodes {limit.nodes}"
    if limit.depth is not None:
        return f"go depth {limit.depth}"
    if limit.movetime_ms is not None:
        return f"go movetime {limit.movetime_ms}"
    own, other = clock.remaining_ms, opponent_clock.remaining_ms
    black, white = (own, other) if black_to_move else (other, own)
    if limit.increment_ms is None:
        return f"go btime {black} wtime {white} byoyomi {limit.byoyomi_ms}"
    own = limit.increment_ms
    other = (opponent_clock.limit.increment_ms or 0) if opponent_clock.limit is not None else 0
    black_increment, white_increment = (own, other) if black_to_move else (other, own)
    return f"go btime {black} wtime {white} binc {black_increment} winc {white_increment}"


def _is_bestmove(line: str) -> bool:
    return line.lstrip().startswith("bestmove") and line.split(maxsplit=1)[0] == "bestmove"


@dataclass(frozen=True, slots=True)
class _Score:
    centipawns: int
    is_exact: bool


def _score_in(line: str) -> _Score | None:
    """The score of an ``info`` line, from the view of the side to move.

    The forms in use: ``cp N``, ``mate N`` (plies; negative: the mover is mated), ``mate +`` and ``mate -``
    (length unknown), ``mate 0`` (mated on the board). ``lowerbound`` or ``upperbound`` may follow.
    """
    if not line.lstrip().startswith("info ") or "score" not in line:
        return None
    words = line.split()
    for end in ("string", "pv"):
        words = words[: words.index(end)] if end in words else words
    if "score" not in words or ("multipv" in words and words[words.index("multipv") :][1:2] != ["1"]):
        return None
    kind, number = ([*words[words.index("score") + 1 :], "", ""])[:2]
    centipawns = _whole_number(number) if kind == "cp" else _mate_score(number) if kind == "mate" else None
    if centipawns is None:
        return None
    is_exact = "lowerbound" not in words and "upperbound" not in words
    return _Score(max(-EVAL_LIMIT_CP, min(EVAL_LIMIT_CP, centipawns)), is_exact)


def _mate_score(number: str) -> int | None:
    plies = 0 if number in {"+", "-"} else _whole_number(number)
    if plies is None:
        return None
    wins = plies > 0 or number.startswith("+")
    worth = MATE_CP - min(abs(plies), MATE_CP)
    return worth if wins else -worth


def _whole_number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else None
