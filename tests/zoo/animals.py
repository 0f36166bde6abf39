"""The animals of the zoo: every way in which an agent is known to go wrong, and the row it must give.

Each is a real program or file. An engine is ``tests/engines/scripted_engine.py`` with switches, under a name of its
own; a checkpoint is written by the test that plays it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from banzuke.outcome import Side, Status, Termination
from banzuke.specs import LimitsSpec, SearchLimit

BOTH = (Side.FIRST, Side.SECOND)
STOPPED_WITHIN_SECONDS = 1.0
"""Of crossing the memory limit."""


class Kind(StrEnum):
    """What a person would say is wrong: the sections of docs/failures.md."""

    ENDS = "It ends"
    HANGS = "It does not answer"
    FLOODS = "It prints too much, or nonsense"
    ANSWERS = "It answers wrongly"
    CLOCK = "It oversteps its clock"
    STAYS = "It does not leave"
    MEMORY = "It eats memory"
    CHECKPOINT = "A checkpoint that is none"
    NETWORK = "A network that fails while it computes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one attempt at a game must give."""

    termination: Termination
    at_fault: bool = True
    """Whether the row names the animal's side; None is named otherwise."""
    says: tuple[str, ...] = ()
    """The essential words of the detail, in this order; none where there is no detail."""
    least_plies: int = 0
    """How much of the game must have been played and kept."""

    @property
    def status(self) -> Status:
        """Follows from the termination."""
        return self.termination.status


HEALTHY = Row(termination=Termination.MAX_PLIES, at_fault=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sabotage:
    """What the saboteur does to a network's forward pass."""

    act: str
    at_pass: int
    """From 1; the first pass belongs to the opening."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Animal:
    """One way of going wrong."""

    name: str
    fault: str
    """In plain words."""
    kind: Kind
    rows: tuple[Row, ...]
    """Of games played one after the other, by the same engine as long as it lives."""
    switches: tuple[str, ...] = ()
    """Of the scripted engine; empty for a checkpoint."""
    checkpoint: str | None = None
    """Which file to write: the name of a function of the test."""
    sabotage: Sabotage | None = None
    limit: SearchLimit = field(default_factory=lambda: SearchLimit(nodes=1))
    limits: Mapping[str, float] = field(default_factory=dict)
    held_by: str = ""
    """The setting that ends it; empty where nothing has to be waited for."""
    plies: int = 6
    seats: tuple[Side, ...] = BOTH
    other_spec_next: bool = False
    """Whether the healthy game that follows is one of another spec, for which the animal has to leave."""
    loud: bool = False
    """Whether it keeps a core busy, so that nothing else should be timed meanwhile."""

    @property
    def limit_seconds(self) -> float:
        """How long it may hold its slot before two more seconds begin."""
        if self.held_by == "worker_memory_mb":
            return STOPPED_WITHIN_SECONDS
        if not self.held_by:
            return 0.0
        return float(self.limits.get(self.held_by, LimitsSpec.model_fields[self.held_by].default))


def _crash(at: str, *more: str) -> tuple[str, ...]:
    return ("--crash-at", at, *more)


def _row(termination: Termination, *says: str) -> Row:
    return Row(termination=termination, says=says)


LAST_WORDS = "last words on stderr:"
CHEESE = ("exited with code 3", LAST_WORDS, "cheese")
SILENT = ("exited with code 0",)
START, CRASH, STALL = Termination.AGENT_START, Termination.AGENT_CRASH, Termination.AGENT_STALL
ILLEGAL = Termination.ILLEGAL_MOVE
SOON = {"start_seconds": 1.0}
QUICK = {"move_seconds": 0.6}
NO_MOVE = "no bestmove by the deadline"

ENDS = (
    Animal(
        name="crash-at-start",
        fault="crashes when it is started",
        kind=Kind.ENDS,
        switches=_crash("start"),
        rows=(_row(START, *CHEESE),),
    ),
    Animal(
        name="exit-at-start",
        fault="ends silently when it is started, exit code 0",
        kind=Kind.ENDS,
        switches=("--exit-at", "start"),
        rows=(_row(START, *SILENT),),
    ),
    Animal(
        name="crash-at-isready",
        fault="crashes at `isready`",
        kind=Kind.ENDS,
        switches=_crash("isready"),
        rows=(_row(START, *CHEESE),),
    ),
    Animal(
        name="abort-at-move-1",
        fault="aborts at its first move",
        kind=Kind.ENDS,
        switches=("--abort-at", "go"),
        rows=(_row(CRASH, "was killed by SIGABRT"),),
    ),
    Animal(
        name="crash-at-move-1",
        fault="crashes at its first move",
        kind=Kind.ENDS,
        switches=_crash("go"),
        rows=(_row(CRASH, *CHEESE),),
    ),
    Animal(
        name="crash-at-move-30",
        fault="crashes in the middle of the game, at move 30 or 31",
        kind=Kind.ENDS,
        switches=_crash("go", "--from-ply", "29"),
        rows=(Row(termination=CRASH, says=CHEESE, least_plies=29),),
        plies=40,
    ),
    Animal(
        name="exit-in-search",
        fault="ends silently in a search, exit code 0",
        kind=Kind.ENDS,
        switches=("--exit-at", "go"),
        rows=(_row(CRASH, *SILENT),),
    ),
    Animal(
        name="end-within-bestmove",
        fault="ends in the middle of the line `bestmove …`",
        kind=Kind.ENDS,
        switches=("--unfinished-bestmove",),
        rows=(_row(CRASH, *SILENT),),
    ),
    Animal(
        name="crash-after-bestmove",
        fault="crashes after a `bestmove`, the game going on",
        kind=Kind.ENDS,
        switches=_crash("after-bestmove"),
        rows=(_row(CRASH, *CHEESE),),
    ),
    Animal(
        name="crash-after-the-game",
        fault="crashes after its last `bestmove`; the next game starts it anew",
        kind=Kind.ENDS,
        switches=_crash("after-bestmove", "--from-ply", "4"),
        rows=(HEALTHY, HEALTHY),
    ),
    Animal(
        name="crash-at-second-isready",
        fault="crashes at its second `isready`, between two games; is started anew",
        kind=Kind.ENDS,
        switches=_crash("second-isready"),
        rows=(HEALTHY, HEALTHY),
    ),
    Animal(
        name="orphan",
        fault="crashes, leaving a child that holds its pipes open",
        kind=Kind.ENDS,
        switches=("--orphan-at", "go"),
        rows=(_row(CRASH, "exited with code 5"),),
    ),
    Animal(
        name="daemon",
        fault="crashes, leaving a child in a session of its own (forked twice, deaf to SIGTERM)",
        kind=Kind.ENDS,
        switches=("--daemon-at", "go"),
        rows=(_row(CRASH, "exited with code 5"),),
    ),
)

HANGS = (
    Animal(
        name="hang-at-start",
        fault="hangs when it is started",
        kind=Kind.HANGS,
        switches=("--hang-at", "start"),
        rows=(_row(START, "no usiok by the deadline"),),
        limits=SOON,
        held_by="start_seconds",
    ),
    Animal(
        name="hang-at-isready",
        fault="hangs at `isready`",
        kind=Kind.HANGS,
        switches=("--hang-at", "isready"),
        rows=(_row(START, "no readyok by the deadline"),),
        limits=SOON,
        held_by="start_seconds",
    ),
    Animal(
        name="hang-at-second-isready",
        fault="hangs at its second `isready`, between two games; is started anew",
        kind=Kind.HANGS,
        switches=("--hang-at", "second-isready"),
        rows=(HEALTHY, HEALTHY),
        limits={"start_seconds": 2.0},
        held_by="start_seconds",
    ),
    Animal(
        name="hang-at-move-1",
        fault="hangs at its first move",
        kind=Kind.HANGS,
        switches=("--hang-at", "go"),
        rows=(_row(STALL, NO_MOVE),),
        limits=QUICK,
        held_by="move_seconds",
    ),
    Animal(
        name="hang-at-move-30",
        fault="hangs in the middle of the game, at move 30 or 31",
        kind=Kind.HANGS,
        switches=("--hang-at", "go", "--from-ply", "29"),
        rows=(Row(termination=STALL, says=(NO_MOVE,), least_plies=29),),
        limits=QUICK,
        held_by="move_seconds",
        plies=40,
    ),
    Animal(
        name="hang-after-bestmove",
        fault="hangs after a `bestmove`, the game going on",
        kind=Kind.HANGS,
        switches=("--hang-at", "after-bestmove"),
        rows=(_row(STALL, NO_MOVE),),
        limits=QUICK,
        held_by="move_seconds",
    ),
    Animal(
        name="mute-at-move-1",
        fault="closes its output at its first move, and stays",
        kind=Kind.HANGS,
        switches=("--mute-at", "go"),
        rows=(_row(CRASH, "closed its input or output"),),
    ),
    Animal(
        name="hang-until-the-game-is-over",
        fault="hangs, `game_seconds` ending before `move_seconds`",
        kind=Kind.HANGS,
        switches=("--hang-at", "go"),
        rows=(Row(termination=Termination.GAME_TIMEOUT, at_fault=False, says=("game_seconds",)),),
        limits={"game_seconds": 1.0},
        held_by="game_seconds",
    ),
    Animal(
        name="chatter",
        fault="prints `info` for ever, and no `bestmove`",
        kind=Kind.HANGS,
        switches=("--chatter",),
        rows=(_row(STALL, NO_MOVE, "lines meanwhile"),),
        limits=QUICK,
        held_by="move_seconds",
    ),
    Animal(
        name="think-for-ever",
        fault="thinks past its own clock and past the hard limit",
        kind=Kind.CLOCK,
        switches=("--think", "60"),
        rows=(_row(STALL, NO_MOVE),),
        limit=SearchLimit(movetime_ms=100, margin_ms=100),
        limits=QUICK,
        held_by="move_seconds",
    ),
)

FLOODS = (
    Animal(
        name="flood-on-stdout",
        fault="floods stdout with lines, at full speed",
        kind=Kind.FLOODS,
        switches=("--flood", "stdout"),
        rows=(_row(CRASH, "printed", "without the bestmove asked for"),),
        limits={"move_seconds": 20.0},
        held_by="move_seconds",
        loud=True,
    ),
    Animal(
        name="endless-line",
        fault="floods stdout with one line that never ends",
        kind=Kind.FLOODS,
        switches=("--flood", "stdout-without-newline"),
        rows=(_row(CRASH, "printed", "without the bestmove asked for"),),
        limits={"move_seconds": 20.0},
        held_by="move_seconds",
        loud=True,
    ),
    Animal(
        name="flood-on-stderr",
        fault="floods stderr, at full speed",
        kind=Kind.FLOODS,
        switches=("--flood", "stderr"),
        rows=(_row(STALL, NO_MOVE),),
        limits=QUICK,
        held_by="move_seconds",
        loud=True,
    ),
    Animal(
        name="long-line",
        fault="prints 8 MiB without a line end, then its move",
        kind=Kind.FLOODS,
        switches=("--endless-line", "8"),
        rows=(HEALTHY,),
        loud=True,
    ),
    Animal(
        name="loud-stderr",
        fault="prints 8 MiB on stderr, then its move",
        kind=Kind.FLOODS,
        switches=("--noise-on-stderr", "8"),
        rows=(HEALTHY,),
        loud=True,
    ),
    Animal(
        name="rubbish",
        fault="prints bytes that are no text, before anything is asked and at every move",
        kind=Kind.FLOODS,
        switches=("--rubbish",),
        rows=(HEALTHY, HEALTHY),
    ),
    Animal(
        name="shift-jis",
        fault="has a name in Shift-JIS, with control characters",
        kind=Kind.FLOODS,
        switches=("--shift-jis",),
        rows=(HEALTHY,),
    ),
)

ANSWERS = (
    Animal(
        name="illegal-move",
        fault="an illegal move",
        kind=Kind.ANSWERS,
        switches=("--answer", "5i5a"),
        rows=(_row(ILLEGAL, "answered '5i5a', not a legal move"),),
    ),
    Animal(
        name="move-for-the-other-side",
        fault="a move for the other side",
        kind=Kind.ANSWERS,
        switches=("--answer-for-other-side",),
        rows=(_row(ILLEGAL, "not a legal move"),),
    ),
    Animal(
        name="malformed-move",
        fault="a word that is no move",
        kind=Kind.ANSWERS,
        switches=("--answer", "O-O-O"),
        rows=(_row(ILLEGAL, "answered 'O-O-O', not a legal move"),),
    ),
    Animal(
        name="empty-bestmove",
        fault="`bestmove` and nothing behind it",
        kind=Kind.ANSWERS,
        switches=("--empty-bestmove",),
        rows=(_row(ILLEGAL, "answered '', not a legal move"),),
    ),
    Animal(
        name="false-win",
        fault="claims a win that the position does not give",
        kind=Kind.ANSWERS,
        switches=("--answer", "win"),
        rows=(_row(Termination.FALSE_CLAIM, "claimed an entering-king win"),),
    ),
    Animal(
        name="bestmove-twice",
        fault="answers twice; the second answer is dropped",
        kind=Kind.ANSWERS,
        switches=("--bestmove-twice",),
        rows=(HEALTHY, HEALTHY),
    ),
    Animal(
        name="late-bestmove",
        fault="answers once more when the game is over, a legal move of the next one; it is dropped",
        kind=Kind.ANSWERS,
        switches=("--late-at-gameover",),
        rows=(HEALTHY, HEALTHY),
    ),
)

CLOCK = (
    Animal(
        name="clock-overstepped-within-margin",
        fault="oversteps its clock by less than `margin_ms`",
        kind=Kind.CLOCK,
        switches=("--think", "0.3"),
        rows=(HEALTHY,),
        limit=SearchLimit(movetime_ms=200, margin_ms=1000),
    ),
    Animal(
        name="clock-overstepped",
        fault="oversteps its clock by more than `margin_ms`, but answers before `move_seconds`",
        kind=Kind.CLOCK,
        switches=("--think", "0.5"),
        rows=(_row(Termination.TIME_FORFEIT, "used", "ms of the 200 ms its clock allowed"),),
        limit=SearchLimit(movetime_ms=100, margin_ms=100),
        limits={"move_seconds": 5.0},
        held_by="move_seconds",
    ),
)

STAYS = (
    Animal(
        name="ignores-quit",
        fault="ignores `quit` and the end of its input",
        kind=Kind.STAYS,
        switches=("--ignore-quit",),
        rows=(HEALTHY,),
        other_spec_next=True,
    ),
    Animal(
        name="ignores-sigterm",
        fault="ignores SIGTERM",
        kind=Kind.STAYS,
        switches=("--ignore-sigterm",),
        rows=(HEALTHY,),
        other_spec_next=True,
    ),
    Animal(
        name="ignores-quit-and-sigterm",
        fault="ignores `quit`, the end of its input and SIGTERM",
        kind=Kind.STAYS,
        switches=("--ignore-quit", "--ignore-sigterm"),
        rows=(HEALTHY,),
        other_spec_next=True,
    ),
    Animal(
        name="hangs-and-ignores-everything",
        fault="hangs at its first move with a helper of its own, and ignores `quit` and SIGTERM",
        kind=Kind.STAYS,
        switches=("--hang-at", "go", "--ignore-quit", "--ignore-sigterm", "--helper"),
        rows=(_row(STALL, NO_MOVE),),
        limits=QUICK,
        held_by="move_seconds",
    ),
)

MEMORY_MB = 256
MEMORY = (
    Animal(
        name="eats-slowly",
        fault="eats 400 MiB a second in a search",
        kind=Kind.MEMORY,
        switches=("--eat", "slowly", "--eat-mark", str(MEMORY_MB)),
        rows=(_row(Termination.MEMORY_LIMIT, "more than worker_memory_mb = 256", "eats-slowly", "of it"),),
        limits={"worker_memory_mb": MEMORY_MB},
        held_by="worker_memory_mb",
        loud=True,
    ),
    Animal(
        name="eats-at-once",
        fault="eats 1 GiB at once in a search",
        kind=Kind.MEMORY,
        switches=("--eat", "at-once", "--eat-mark", str(MEMORY_MB)),
        rows=(_row(Termination.MEMORY_LIMIT, "more than worker_memory_mb = 256", "eats-at-once", "of it"),),
        limits={"worker_memory_mb": MEMORY_MB},
        held_by="worker_memory_mb",
        loud=True,
    ),
)

ONE = (Side.FIRST,)
OTHER = (Side.SECOND,)
NETWORK_MEMORY_MB = 700
CHECKPOINTS = (
    Animal(
        name="truncated",
        fault="a checkpoint cut short",
        kind=Kind.CHECKPOINT,
        checkpoint="truncated",
        rows=(_row(START, "is not a file of torch.save's zip format, or is cut short"),),
        seats=ONE,
    ),
    Animal(
        name="wrong-shapes",
        fault="a checkpoint whose weights do not fit together",
        kind=Kind.CHECKPOINT,
        checkpoint="wrong_shapes",
        rows=(_row(START, "'policy_conv1.weight' has", "shape"),),
        seats=OTHER,
    ),
    Animal(
        name="pickle",
        fault="a pickle with code in it; the code is not run",
        kind=Kind.CHECKPOINT,
        checkpoint="bare_pickle",
        rows=(_row(START, "is not a file of torch.save's zip format"),),
        seats=ONE,
    ),
    Animal(
        name="pickle-in-zip",
        fault="the same in torch.save's own format; the code is not run",
        kind=Kind.CHECKPOINT,
        checkpoint="pickle_in_zip",
        rows=(_row(START, "refused: its pickle asks for 'posix.mkdir', which is no part of a set of weights"),),
        seats=OTHER,
    ),
    Animal(
        name="nan-weights",
        fault="a checkpoint with NaN among its weights",
        kind=Kind.CHECKPOINT,
        checkpoint="nan_weights",
        rows=(_row(CRASH, "the network answered NaN or infinity for a legal move"),),
    ),
    Animal(
        name="too-large",
        fault="a small file that unfolds to a network of 1 GiB",
        kind=Kind.CHECKPOINT,
        checkpoint="too_large",
        rows=(
            _row(Termination.MEMORY_LIMIT, "more than worker_memory_mb = 700", "the worker itself", "too-large in it"),
        ),
        limits={"worker_memory_mb": NETWORK_MEMORY_MB},
        held_by="worker_memory_mb",
        seats=ONE,
        loud=True,
    ),
)

NETWORKS = (
    Animal(
        name="hang-in-opening",
        fault="the first forward pass, at the opening, never returns",
        kind=Kind.NETWORK,
        checkpoint="sabotaged",
        sabotage=Sabotage(act="hang", at_pass=1),
        rows=(_row(START, "not ready by its deadline"),),
        limits={"start_seconds": 2.0},
        held_by="start_seconds",
        seats=ONE,
    ),
    Animal(
        name="hang-in-forward-pass",
        fault="a forward pass never returns",
        kind=Kind.NETWORK,
        checkpoint="sabotaged",
        sabotage=Sabotage(act="hang", at_pass=3),
        rows=(_row(STALL, "no move by the hard limit"),),
        limits=QUICK,
        held_by="move_seconds",
    ),
    Animal(
        name="segfault-in-forward-pass",
        fault="a forward pass crashes the process (SIGSEGV)",
        kind=Kind.NETWORK,
        checkpoint="sabotaged",
        sabotage=Sabotage(act="segfault", at_pass=3),
        rows=(_row(Termination.WORKER_CRASH, "was ended by SIGSEGV"),),
        seats=ONE,
    ),
    Animal(
        name="abort-in-forward-pass",
        fault="a forward pass aborts the process (SIGABRT)",
        kind=Kind.NETWORK,
        checkpoint="sabotaged",
        sabotage=Sabotage(act="abort", at_pass=3),
        rows=(_row(Termination.WORKER_CRASH, "was ended by SIGABRT"),),
        seats=OTHER,
    ),
    Animal(
        name="no-memory-for-forward-pass",
        fault="torch finds no memory for a forward pass",
        kind=Kind.NETWORK,
        checkpoint="sabotaged",
        sabotage=Sabotage(act="refuse", at_pass=3),
        rows=(_row(CRASH, "the network failed", "can't allocate memory"),),
        seats=OTHER,
    ),
    Animal(
        name="leak-in-forward-pass",
        fault="a forward pass eats memory",
        kind=Kind.NETWORK,
        checkpoint="sabotaged",
        sabotage=Sabotage(act="leak", at_pass=3),
        rows=(
            _row(
                Termination.MEMORY_LIMIT,
                "more than worker_memory_mb = 700",
                "the worker itself",
                "leak-in-forward-pass in it",
            ),
        ),
        limits={"worker_memory_mb": NETWORK_MEMORY_MB},
        held_by="worker_memory_mb",
        seats=OTHER,
        loud=True,
    ),
)

ANIMALS = (*ENDS, *HANGS, *FLOODS, *ANSWERS, *CLOCK, *STAYS, *MEMORY, *CHECKPOINTS, *NETWORKS)
