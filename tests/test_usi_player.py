"""USI engines as players: three real ones, and one that misbehaves as real ones have been seen to."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from staging import engine

from banzuke.clock import Clock
from banzuke.errors import AgentCrashError, AgentError, AgentStallError, AgentStartError
from banzuke.games.shogi import START_POSITION, ShogiRules
from banzuke.outcome import Side
from banzuke.players.engine_process import LINE_LIMIT, EngineProcess, _is_flood
from banzuke.players.usi import UsiPlayer
from banzuke.specs import SearchLimit, UsiAgent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from banzuke.games.shogi import ShogiBoard
    from banzuke.players.player import Choice

SCRIPTED = Path(__file__).parent / "engines" / "scripted_engine.py"
NODES = SearchLimit(nodes=10)
PATIENT = 20.0
SHORT = 1.0
VERY_SHORT = 0.3
SLACK = 3.0
"""Seconds a deadline may be overrun by on a loaded machine, before a test calls it no deadline."""


def scripted(*switches: str, limit: SearchLimit = NODES, **options: object) -> UsiAgent:
    """The engine that misbehaves on request."""
    command = (sys.executable, "-I", "-S", str(SCRIPTED), *switches)
    return UsiAgent(name="scripted", kind="usi", command=command, limit=limit, options=options)


def within(seconds: float) -> float:
    """A deadline."""
    return time.monotonic() + seconds


def begin(*moves: str, start: str = START_POSITION) -> ShogiBoard:
    """A board after some moves."""
    board = ShogiRules().start(start, max_plies=320)
    for move in moves:
        board.push(move)
    return board


def ask(player: UsiPlayer, board: ShogiBoard, seconds: float = PATIENT) -> Choice:
    """A move under the agent's own limit."""
    clock = Clock.start(player._agent.limit)
    return player.choose(board, clock=clock, opponent_clock=clock, deadline=within(seconds))


def started(player: UsiPlayer) -> int:
    """Its process id."""
    assert player._process is not None
    return player._process.pid


def processes_left() -> list[psutil.Process]:
    """What we or our engines have started and is still there."""
    return psutil.Process().children(recursive=True)


@pytest.fixture
def seated() -> Iterator[Callable[..., UsiPlayer]]:
    """Opens a player and seats it in a first game; closes it, and sees that nothing is left of it."""
    players: list[UsiPlayer] = []

    def seat(agent: UsiAgent) -> UsiPlayer:
        player = UsiPlayer.open(agent, deadline=within(PATIENT))
        players.append(player)
        player.new_game(side=Side.FIRST, seed=1, deadline=within(PATIENT))
        return player

    yield seat
    for player in players:
        player.close()
    assert processes_left() == []


@pytest.fixture
def orphan_file(tmp_path: Path) -> Iterator[Path]:
    """Where an engine notes the process it leaves behind, which ends with the test."""
    path = tmp_path / "orphan"
    yield path
    pid = int(path.read_text(encoding="utf-8"))
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    reap(pid)


def escaping(name: str, pid_file: Path, *, crash: bool) -> UsiAgent:
    """An engine that leaves a helper behind which escapes its group, its session and SIGTERM."""
    switches = ["--crash"] if crash else []
    command = (sys.executable, "-I", "-S", str(SCRIPTED.with_name("escaping_engine.py")), str(pid_file), *switches)
    return UsiAgent(name=name, kind="usi", command=command, limit=NODES)


def reap(pid: int) -> None:
    """Take leave of a process that may have become ours when its parent ended."""
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)


def ended_by(pid: int) -> int | None:
    """The signal that has ended a process that has become ours; None if it does not end soon."""
    process = os.pidfd_open(pid)
    poller = select.poll()
    poller.register(process, select.POLLIN)
    ended = poller.poll(SLACK * 1000)
    os.close(process)
    return os.WTERMSIG(os.waitpid(pid, 0)[1]) if ended else None


# What is sent -----------------------------------------------------------------------------------------------


def test_player_speaks_the_protocol_in_order(seated: Callable[..., UsiPlayer], tmp_path: Path) -> None:
    """Word for word: only the spec's options are set, every move is sent, ready comes before new game."""
    log = tmp_path / "log"
    options: dict[str, Any] = {
        "Threads": 2,
        "USI_Ponder": False,
        "Playing Style": "Very Solid",
        "Eval File": "some file.bin",
        "Book": "",
        "Clear Hash": True,
    }
    player = seated(scripted("--log", str(log), **options))
    board = begin()
    for _ in range(3):
        board.push(ask(player, board).move)
    player.game_over(Side.FIRST)
    player.new_game(side=Side.SECOND, seed=2, deadline=within(PATIENT))
    player.game_over(Side.FIRST)
    player.new_game(side=Side.SECOND, seed=2, deadline=within(PATIENT))
    player.game_over(None)
    player.close()
    expected = """\
usi
setoption name Threads value 2
setoption name USI_Ponder value false
setoption name Playing Style value Very Solid
setoption name Eval File value some file.bin
setoption name Book value <empty>
setoption name Clear Hash
isready
usinewgame
position sfen lnsgkgsnl/1r5b1/ppppppppp/9/9/9/PPPPPPPPP/1B5R1/LNSGKGSNL b - 1
go nodes 10
position sfen lnsgkgsnl/1r5b1/ppppppppp/9/9/9/PPPPPPPPP/1B5R1/LNSGKGSNL b - 1 moves 7g7f
go nodes 10
position sfen lnsgkgsnl/1r5b1/ppppppppp/9/9/9/PPPPPPPPP/1B5R1/LNSGKGSNL b - 1 moves 7g7f 3c3d
go nodes 10
gameover win
setoption name Threads value 2
setoption name USI_Ponder value false
setoption name Playing Style value Very Solid
setoption name Eval File value some file.bin
setoption name Book value <empty>
setoption name Clear Hash
isready
usinewgame
gameover lose
setoption name Threads value 2
setoption name USI_Ponder value false
setoption name Playing Style value Very Solid
setoption name Eval File value some file.bin
setoption name Book value <empty>
setoption name Clear Hash
isready
usinewgame
gameover draw
quit
"""

    assert expected.splitlines() == log.read_text(encoding="utf-8").splitlines()


GAME = ["7g7f", "3c3d", "2g2f", "8c8d", "2f2e", "8d8e", "6i7h", "4a3b", "3i3h", "7a7b"]
BLACK_TO_MOVE = "4k4/9/9/9/9/9/9/9/4K4 b 2G 7"
WHITE_TO_MOVE = "4k4/9/9/9/9/9/9/9/4K4 w 2G 7"


@pytest.mark.parametrize(
    ("start", "moves", "own", "other", "expected"),
    [
        (BLACK_TO_MOVE, [], {"depth": 3}, {"nodes": 5}, "go depth 3"),
        (BLACK_TO_MOVE, [], {"movetime_ms": 70}, {"nodes": 5}, "go movetime 70"),
        (BLACK_TO_MOVE, [], {"byoyomi_ms": 900}, {"nodes": 5}, "go btime 0 wtime 0 byoyomi 900"),
        (
            WHITE_TO_MOVE,
            [],
            {"byoyomi_ms": 900, "base_ms": 5000},
            {"byoyomi_ms": 300, "base_ms": 4000},
            "go btime 4000 wtime 5000 byoyomi 900",
        ),
        (
            BLACK_TO_MOVE,
            ["5i5h"],
            {"base_ms": 5000, "increment_ms": 50},
            {"base_ms": 4000, "increment_ms": 40},
            "go btime 4000 wtime 5000 binc 40 winc 50",
        ),
        (
            WHITE_TO_MOVE,
            ["5a5b"],
            {"base_ms": 5000, "increment_ms": 50},
            {"byoyomi_ms": 300, "base_ms": 4000},
            "go btime 5000 wtime 4000 binc 50 winc 0",
        ),
    ],
)
def test_go_carries_the_agents_own_clock(
    seated: Callable[..., UsiPlayer],
    tmp_path: Path,
    start: str,
    moves: list[str],
    own: dict[str, int],
    other: dict[str, int],
    expected: str,
) -> None:
    """Whoever moves first, btime is Black's; byoyomi and increment are this agent's; the start is an SFEN."""
    log = tmp_path / "log"
    player = seated(scripted("--log", str(log)))
    clock, opponent_clock = Clock.start(SearchLimit(**own)), Clock.start(SearchLimit(**other))
    board = begin(*moves, start=start)

    player.choose(board, clock=clock, opponent_clock=opponent_clock, deadline=within(PATIENT))
    position = f"position sfen {start}" + (f" moves {' '.join(moves)}" if moves else "")

    assert [position, expected] == log.read_text(encoding="utf-8").splitlines()[-2:]


def test_a_clock_without_a_limit_falls_back_to_the_spec(seated: Callable[..., UsiPlayer], tmp_path: Path) -> None:
    """An engine is never sent a bare go."""
    log = tmp_path / "log"
    player = seated(scripted("--log", str(log), limit=SearchLimit(byoyomi_ms=40, base_ms=9)))
    clock = Clock.start(None)

    player.choose(begin(), clock=clock, opponent_clock=clock, deadline=within(PATIENT))

    assert log.read_text(encoding="utf-8").splitlines()[-1] == "go btime 9 wtime 0 byoyomi 40"


@pytest.mark.parametrize(
    ("options", "detail"),
    [
        ({"Thread": 1}, "has no option 'Thread'; did you mean 'Threads'?"),
        ({"playing_style": "Wild"}, "has no option 'playing_style'; did you mean 'Playing Style'?"),
        ({"zzz": 1}, "has no option 'zzz'; it has: Book, Clear Hash, Eval File, Playing Style, Threads, "),
        ({"Threads": 9}, "option 'Threads' takes 1 to 8, not 9"),
        ({"Threads": "2"}, "option 'Threads' takes 1 to 8, not '2'"),
        ({"Threads": True}, "option 'Threads' takes 1 to 8, not true"),
        ({"Threads": 2.5}, "option 'Threads' takes 1 to 8, not 2.5"),
        ({"USI_Ponder": 1}, "option 'USI_Ponder' takes true or false, not 1"),
        ({"Playing Style": "Solid"}, "option 'Playing Style' takes one of: Normal, Very Solid, Wild, not "),
        ({"Eval File": True}, "option 'Eval File' takes a text, not true"),
        ({"Eval File": "x\nquit"}, r"option 'Eval File' takes one line, not 'x\nquit'"),
        ({"Clear Hash": "yes"}, "option 'Clear Hash' is a button: true presses it, not 'yes'"),
        ({"Threads": 0, "USI_Ponder": "on"}, "not 0; option 'USI_Ponder' takes true or false, not 'on'"),
    ],
)
def test_an_option_the_engine_does_not_take_is_refused(options: dict[str, Any], detail: str) -> None:
    """One clear line, before the engine is asked to get ready; nothing is left running."""
    with pytest.raises(AgentStartError) as caught:
        UsiPlayer.open(scripted("--hang-at", "isready", **options), deadline=within(PATIENT))

    assert detail in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert processes_left() == []


def test_a_button_that_is_not_pressed_is_not_sent(seated: Callable[..., UsiPlayer], tmp_path: Path) -> None:
    """False for a button means: leave it."""
    log = tmp_path / "log"
    seated(scripted("--log", str(log), **{"Clear Hash": False}))

    assert log.read_text(encoding="utf-8").splitlines()[:2] == ["usi", "isready"]


def test_the_engine_runs_where_its_spec_lies(seated: Callable[..., UsiPlayer], tmp_path: Path) -> None:
    """Relative arguments are found in the agent's directory; without one it runs where we run."""
    agent = scripted("--log", "log")
    player = seated(agent.model_copy(update={"directory": str(tmp_path)}))
    elsewhere = seated(scripted())

    assert tmp_path == Path(psutil.Process(started(player)).cwd())
    assert (tmp_path / "log").exists()
    assert Path.cwd() == Path(psutil.Process(started(elsewhere)).cwd())


# What is understood -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], None),
        (["info depth 1 score cp 31 pv 7g7f"], 31),
        (["info score cp 31 nodes 1", "info depth 2 score cp -8 pv 7g7f"], -8),
        (["info score cp 31", "info score cp 99 lowerbound pv 7g7f"], 31),
        (["info score cp 99 upperbound pv 7g7f"], 99),
        (["info score mate 3 pv 7g7f"], 29_997),
        (["info score mate -4"], -29_996),
        (["info score mate +"], 30_000),
        (["info score mate -"], -30_000),
        (["info score mate 0"], -30_000),
        (["info score mate +0"], 30_000),
        (["info score mate 99999999"], 0),
        (["info score cp 1148897 pv resign"], 32_000),
        (["info score cp -1148897 pv resign"], -32_000),
        (["info multipv 1 score cp 5", "info multipv 2 score cp 7"], 5),
        (["info string score cp 7"], None),
        (["info depth 1 pv score cp 7"], None),
        (["info score", "info score cp", "info score cp x", "info score mate", "info"], None),
        (["info score cp " + "9" * 5000], None),
        (["  info score cp 5"], 5),
        (["information score cp 5"], None),
    ],
)
def test_the_score_is_the_last_exact_one(
    seated: Callable[..., UsiPlayer], lines: list[str], expected: int | None
) -> None:
    """Centipawns from the mover's view; mates count down from 30000; nonsense is no score."""
    player = seated(scripted(*(f"--info={line}" for line in lines)))

    assert expected == ask(player, begin()).eval_cp


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        (["--answer", "resign"], "resign"),
        (["--answer", "win"], "win"),
        (["--answer", "9i9a"], "9i9a"),
        (["--answer", "B@5e"], "B@5e"),
        (["--answer", "7g7f\x1b"], "7g7f\N{REPLACEMENT CHARACTER}"),
        (["--answer", "x" * 10_000], "x" * 80),
        (["--empty-bestmove"], ""),
    ],
)
def test_the_answer_is_passed_on_as_it_is(seated: Callable[..., UsiPlayer], switches: list[str], expected: str) -> None:
    """The raw word, whether or not it is a legal move; nonsense never becomes a move."""
    player = seated(scripted(*switches))

    assert expected == ask(player, begin()).move


def test_a_second_illegal_answer_is_passed_on_too(seated: Callable[..., UsiPlayer]) -> None:
    """An engine that always says the same is not taken for one that repeats itself."""
    player = seated(scripted("--answer", "7g7f"))
    answers = [ask(player, begin()).move, ask(player, begin("7g7f")).move]

    assert (answers, player.surplus_bestmoves) == (["7g7f", "7g7f"], 0)


def test_the_time_is_measured_from_go_to_bestmove(seated: Callable[..., UsiPlayer]) -> None:
    """Milliseconds, no more than the call took."""
    player = seated(scripted("--endless-line", "1"))
    before = time.monotonic()
    choice = ask(player, begin())
    took_ms = (time.monotonic() - before) * 1000

    assert choice.elapsed_ms is not None
    assert 0 < choice.elapsed_ms <= took_ms + 1


def test_names_are_made_printable(seated: Callable[..., UsiPlayer]) -> None:
    """Shift-JIS and escape sequences in a name do no harm; a banner before the name is ignored."""
    player = seated(scripted("--shift-jis", "--banner"))

    assert player.description.isprintable()
    assert player.description.endswith(" by Nobody")
    assert ask(player, begin()).move == "7g7f"


@pytest.mark.parametrize(
    "switches",
    [
        ["--bestmove-twice"],
        ["--late-bestmove", "0.02", "--think", "0.05"],
        ["--echo-first"],
        ["--bestmove-twice", "--echo-first"],
    ],
    ids=" ".join,
)
def test_surplus_answers_are_discarded(seated: Callable[..., UsiPlayer], switches: list[str]) -> None:
    """A bestmove nobody asked for is never taken for the answer to the next question."""
    player = seated(scripted(*switches))
    board = begin()
    for _ in range(10):
        board.push(ask(player, board).move)

    assert list(board.moves) == GAME
    assert player.surplus_bestmoves > 0


def test_an_endless_line_takes_no_memory(seated: Callable[..., UsiPlayer]) -> None:
    """64 MiB without a newline, and megabytes of stderr, cost a few times the limit of a line."""
    player = seated(scripted("--endless-line", "48", "--noise-on-stderr", "4"))
    tracemalloc.start()
    try:
        choice = ask(player, begin())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert choice.move == "7g7f"
    assert peak < 20 * LINE_LIMIT


# What goes wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("switches", "detail"),
    [
        (["--crash-at", "usi"], "exited with code 3; last words on stderr: "),
        (["--crash-at", "isready"], "exited with code 3; last words on stderr: "),
        (["--abort-at", "isready"], "was killed by SIGABRT"),
        (["--mute-at", "isready"], "closed its input or output"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_engine_that_dies_at_the_start_is_a_start_error(switches: list[str], detail: str) -> None:
    """At once, long before the deadline, with its last words in one printable line."""
    before = time.monotonic()
    with pytest.raises(AgentStartError) as caught:
        UsiPlayer.open(scripted(*switches), deadline=within(PATIENT))

    assert time.monotonic() < before + SLACK
    assert detail in str(caught.value)
    assert str(caught.value).isprintable()
    assert processes_left() == []


@pytest.mark.parametrize(
    ("switches", "options", "detail"),
    [
        (["--hang-at", "usi"], {}, "no usiok by the deadline"),
        (["--hang-at", "isready"], {}, "no readyok by the deadline"),
        (["--hang-at", "usi", "--ignore-sigterm"], {}, "no usiok by the deadline"),
        (["--no-read"], {}, "no readyok by the deadline"),
    ],
)
def test_an_engine_that_hangs_at_the_start_is_a_start_error(
    switches: list[str], options: dict[str, Any], detail: str
) -> None:
    """By the deadline, and the process is gone."""
    before = time.monotonic()
    with pytest.raises(AgentStartError, match=detail):
        UsiPlayer.open(scripted(*switches, **options), deadline=within(SHORT))

    assert time.monotonic() < before + SHORT + SLACK
    assert processes_left() == []


@pytest.mark.parametrize(
    ("command", "detail"),
    [
        (("no-such-engine-anywhere",), "no program 'no-such-engine-anywhere' on PATH"),
        (("./text",), "cannot run '"),
        (("sh", "-c", "exit 0"), "sh exited with code 0"),
        (("cat",), "no usiok by the deadline; it printed 1 lines meanwhile; it began with 'usi'"),
        (("sh", "-c", "echo; echo 'usage: x'; exit 2"), "sh exited with code 2; it began with 'usage: x'"),
        (("sh", "-c", "exec <&-; echo 'go \033 away'; exec sleep 60"), "; it began with 'go away'"),
        (("yes", "usage: no such engine"), "without the usiok asked for; it began with 'usage: no such engine'"),
    ],
)
def test_a_program_that_is_no_engine_is_a_start_error(tmp_path: Path, command: tuple[str, ...], detail: str) -> None:
    """Missing, not executable as what it is, ending at once, or speaking something else: its first line is shown."""
    (tmp_path / "text").write_bytes(b"\0no program\n")
    (tmp_path / "text").chmod(0o755)
    agent = UsiAgent(name="x", kind="usi", command=command, limit=NODES, directory=str(tmp_path))
    with pytest.raises(AgentStartError) as caught:
        UsiPlayer.open(agent, deadline=within(PATIENT if "yes" in command else SHORT))

    assert detail in str(caught.value)
    assert str(caught.value).isprintable()
    assert processes_left() == []


def test_a_program_that_cannot_be_started_is_a_crash() -> None:
    """Whatever the reason: here, a NUL in its arguments."""
    with pytest.raises(AgentCrashError, match="sh: cannot be started: "):
        EngineProcess(["sh", "-c", "nul\0byte"])


def test_input_that_nobody_reads_is_a_stall() -> None:
    """More than fits into the pipe: writing has a deadline, too."""
    process = EngineProcess(["sleep", "60"])
    before = time.monotonic()
    with pytest.raises(AgentStallError, match="sleep: did not read its input by the deadline"):
        process.send("x" * 200_000, within(VERY_SHORT))
    process.kill()

    assert before + VERY_SHORT <= time.monotonic() < before + VERY_SHORT + SLACK


def test_options_without_an_end_are_a_start_error() -> None:
    """The list is cut off long before memory is short."""
    with pytest.raises(AgentStartError, match="declares more than 4096 options"):
        UsiPlayer.open(scripted("--many-options"), deadline=within(PATIENT))

    assert processes_left() == []


@pytest.mark.parametrize(
    ("switches", "detail"),
    [
        (["--crash-at", "go"], "exited with code 3; last words on stderr: "),
        (["--abort-at", "go"], "was killed by SIGABRT"),
        (["--mute-at", "go"], "closed its input or output"),
        (["--unfinished-bestmove"], "exited with code 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_engine_that_dies_thinking_is_a_crash(
    seated: Callable[..., UsiPlayer], switches: list[str], detail: str
) -> None:
    """At once, whatever the deadline; half a line is no answer; the player is dead afterwards."""
    player = seated(scripted(*switches))
    before = time.monotonic()
    with pytest.raises(AgentCrashError) as caught:
        ask(player, begin())

    assert time.monotonic() < before + SLACK
    assert detail in str(caught.value)
    assert processes_left() == []
    with pytest.raises(AgentCrashError, match="asked for a move while dead"):
        ask(player, begin())
    with pytest.raises(AgentStartError, match="no longer running"):
        player.new_game(side=Side.FIRST, seed=1, deadline=within(PATIENT))


def test_last_words_are_the_end_of_stderr_in_one_line(seated: Callable[..., UsiPlayer]) -> None:
    """At most 300 characters, no escape sequences."""
    player = seated(scripted("--crash-at", "go"))
    with pytest.raises(AgentCrashError) as caught:
        ask(player, begin())
    words = str(caught.value).partition("last words on stderr: ")[2]

    assert words.endswith("x out of [31mcheese")
    assert len(words) <= 300


def test_a_child_that_holds_the_pipes_does_not_hide_the_death(
    seated: Callable[..., UsiPlayer], orphan_file: Path
) -> None:
    """No end of file comes, yet the crash is noticed at once; and the child, now an orphan, goes too."""
    player = seated(scripted("--orphan-at", "go", "--pid-file", str(orphan_file)))
    before = time.monotonic()
    with pytest.raises(AgentCrashError, match="exited with code 5"):
        ask(player, begin())

    assert time.monotonic() < before + SLACK
    orphan = int(orphan_file.read_text(encoding="utf-8"))
    assert os.waitid(os.P_PID, orphan, os.WEXITED | os.WNOWAIT) is not None
    assert processes_left() == [psutil.Process(orphan)]


@pytest.mark.parametrize(
    "switches",
    [
        ["--hang-at", "go"],
        ["--hang-at", "go", "--ignore-sigterm"],
        ["--chatter"],
        ["--flood", "stdout"],
        ["--flood", "stderr"],
    ],
    ids=" ".join,
)
def test_no_answer_by_the_deadline_is_a_stall(seated: Callable[..., UsiPlayer], switches: list[str]) -> None:
    """Whatever is printed meanwhile, and how fast; the process is gone."""
    player = seated(scripted(*switches))
    before = time.monotonic()
    with pytest.raises(AgentStallError, match=r"no bestmove by the deadline; it printed \d+ lines meanwhile"):
        ask(player, begin(), VERY_SHORT)

    assert before + VERY_SHORT <= time.monotonic() < before + VERY_SHORT + SLACK
    assert processes_left() == []


@pytest.mark.parametrize("flood", ["stdout", "stdout-without-newline"])
def test_a_flood_ends_the_wait_early(seated: Callable[..., UsiPlayer], flood: str) -> None:
    """It costs seconds of a core, not all the time that an answer has."""
    player = seated(scripted("--flood", flood))
    before = time.monotonic()
    with pytest.raises(AgentCrashError, match=r"printed \d+ lines, \d+ MiB, without the bestmove asked for"):
        ask(player, begin(), 600.0)

    assert time.monotonic() < before + PATIENT
    assert processes_left() == []


def test_chatter_is_no_flood_however_long_it_lasts() -> None:
    """A thousand long lines a second, for hours; a flood is found out in seconds."""
    chatter = [_is_flood(1000 * seconds, 200_000 * seconds, seconds) for seconds in (1, 60, 3600, 36_000)]
    flood = [_is_flood(200_000 * seconds, 6_400_000 * seconds, seconds) for seconds in (1, 5)]

    assert [False] * 4 == chatter
    assert [False, True] == flood


def test_a_stall_says_how_much_was_printed(seated: Callable[..., UsiPlayer]) -> None:
    """So that a person can tell a chatterer from a mute."""
    player = seated(scripted("--info=info string one", "--info=info string two", "--no-bestmove"))
    with pytest.raises(AgentStallError, match="it printed 2 lines meanwhile"):
        ask(player, begin(), SHORT)


@pytest.mark.parametrize("moment", ["after-bestmove", "gameover"])
@pytest.mark.parametrize("how", ["--crash-at", "--abort-at", "--mute-at"])
def test_a_crash_between_games_is_mended_at_the_next_game(
    seated: Callable[..., UsiPlayer], moment: str, how: str
) -> None:
    """The last bestmove counts, telling the result does not raise, and the next game finds a fresh engine."""
    player = seated(scripted(how, moment))
    first_pid = started(player)
    first = ask(player, begin())
    player.game_over(Side.FIRST)
    player.new_game(side=Side.SECOND, seed=2, deadline=within(PATIENT))
    second = ask(player, begin("7g7f"))

    assert (first.move, second.move) == ("7g7f", "3c3d")
    assert first_pid != started(player)


def test_a_crash_while_the_opponent_thinks_is_a_crash(seated: Callable[..., UsiPlayer]) -> None:
    """Noticed at the next question."""
    player = seated(scripted("--crash-at", "after-bestmove"))
    ask(player, begin())
    with pytest.raises(AgentCrashError, match="exited with code 3"):
        ask(player, begin("7g7f", "3c3d"))


@pytest.mark.parametrize("how", ["--crash-at", "--hang-at"])
def test_an_engine_that_cannot_get_ready_twice_is_restarted_for_every_game(
    seated: Callable[..., UsiPlayer], tmp_path: Path, how: str
) -> None:
    """Once found out inside the deadline, later games do not try again."""
    log = tmp_path / "log"
    player = seated(scripted(how, "second-isready", "--log", str(log)))
    pids = [started(player)]
    for _ in range(2):
        player.new_game(side=Side.FIRST, seed=1, deadline=within(2.0))
        pids.append(started(player))
    answer = ask(player, begin())
    asked = log.read_text(encoding="utf-8").splitlines().count("isready")

    assert len(set(pids)) == 3
    assert (asked, answer.move) == (4, "7g7f")


def test_an_engine_that_will_not_start_again_is_a_start_error(seated: Callable[..., UsiPlayer], tmp_path: Path) -> None:
    """One restart, then it is over."""
    program = tmp_path / "engine"
    command = " ".join([sys.executable, "-I", "-S", str(SCRIPTED), "--crash-at", "second-isready"])
    program.write_text(f"#!/bin/sh\nexec {command}\n", encoding="utf-8")
    program.chmod(0o755)
    agent = UsiAgent(name="x", kind="usi", command=("./engine",), limit=NODES, directory=str(tmp_path))
    player = seated(agent)
    program.write_text("#!/bin/sh\nexit 9\n", encoding="utf-8")
    with pytest.raises(AgentStartError, match="engine exited with code 9"):
        player.new_game(side=Side.FIRST, seed=1, deadline=within(PATIENT))

    assert processes_left() == []


# How it ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("switches", [[], ["--ignore-quit"], ["--ignore-quit", "--ignore-sigterm"]], ids=" ".join)
def test_close_ends_every_engine(seated: Callable[..., UsiPlayer], switches: list[str]) -> None:
    """By quit, by SIGTERM or by SIGKILL; a second close and a late result do nothing."""
    player = seated(scripted(*switches))
    before = time.monotonic()
    player.close()
    player.close()
    player.game_over(None)

    assert processes_left() == []
    assert time.monotonic() < before + SLACK


def test_close_ends_what_the_engine_started(seated: Callable[..., UsiPlayer], tmp_path: Path) -> None:
    """A helper of the engine goes with it."""
    pid_file = tmp_path / "helper"
    player = seated(scripted("--helper", "--pid-file", str(pid_file)))
    pid = int(pid_file.read_text(encoding="utf-8"))
    helper = os.pidfd_open(pid)
    poller = select.poll()
    poller.register(helper, select.POLLIN)

    player.close()
    ended = poller.poll(SLACK * 1000)
    os.close(helper)
    if ended:
        reap(pid)

    assert [(helper, select.POLLIN)] == ended


@pytest.mark.parametrize("how", ["closed", "crashed", "killed"])
def test_what_an_engine_left_behind_goes_with_it(seated: Callable[..., UsiPlayer], tmp_path: Path, how: str) -> None:
    """A helper that forked twice, has a session of its own and ignores SIGTERM is known by its environment.

    One that another agent's engine left behind lives on.
    """
    agents = {name: escaping(name, tmp_path / name, crash=how == "crashed") for name in ("one", "other")}
    players = {name: seated(agent) for name, agent in agents.items()}
    left_behind = {name: psutil.Process(int((tmp_path / name).read_text())) for name in agents}
    parents = {process.ppid() for process in left_behind.values()}

    if how == "closed":
        players["one"].close()
    elif how == "crashed":
        with pytest.raises(AgentCrashError):
            ask(players["one"], begin())
    else:
        assert players["one"]._process is not None
        players["one"]._process.kill()

    assert {os.getpid()} == parents  # this process is a subreaper, as a worker is
    assert ended_by(left_behind["one"].pid) == signal.SIGKILL
    assert left_behind["other"].status() == psutil.STATUS_SLEEPING
    players["other"].close()
    assert ended_by(left_behind["other"].pid) == signal.SIGKILL


def test_an_engine_dies_with_the_thread_that_opened_it() -> None:
    """Even where nobody closes it, and although the process lives on."""
    players: list[UsiPlayer] = []
    thread = threading.Thread(target=lambda: players.append(UsiPlayer.open(scripted(), deadline=within(PATIENT))))
    thread.start()
    thread.join(PATIENT)
    process = players[0]._process
    assert process is not None

    code = process._popen.wait(SLACK)
    players[0].close()

    assert code == -signal.SIGKILL


def test_an_engine_stays_in_our_process_group(seated: Callable[..., UsiPlayer]) -> None:
    """Whoever kills our group kills the engine."""
    player = seated(scripted())

    assert os.getpgid(0) == os.getpgid(started(player))


# Real engines -----------------------------------------------------------------------------------------------

GPSUSI_OPTIONS = {"LimitDepth": 4, "Thread": 1, "BookDepth": 0}
MATE_BY_DROP = "8k/9/8P/9/9/9/9/9/K8 b G 1"


@pytest.mark.parametrize(
    ("program", "options", "limit"),
    [
        ("fairy-stockfish", {"Hash": 4, "Threads": 1}, {"nodes": 300}),
        ("fairy-stockfish", {}, {"depth": 3}),
        ("fairy-stockfish", {}, {"movetime_ms": 20}),
        ("fairy-stockfish", {}, {"byoyomi_ms": 250}),
        ("fairy-stockfish", {}, {"byoyomi_ms": 40, "base_ms": 300}),
        ("fairy-stockfish", {}, {"base_ms": 1000, "increment_ms": 20}),
        ("gpsusi", GPSUSI_OPTIONS, {"byoyomi_ms": 3000}),
        ("sjaakii", {"Hash": 4}, {"depth": 3}),
        ("sjaakii", {"Hash": 4}, {"movetime_ms": 20}),
        ("sjaakii", {"Hash": 4}, {"byoyomi_ms": 40, "base_ms": 1000}),
        ("sjaakii", {"Hash": 4}, {"base_ms": 1000, "increment_ms": 20}),
    ],
)
def test_a_real_engine_plays_legal_moves(
    seated: Callable[..., UsiPlayer], program: str, options: dict[str, Any], limit: dict[str, int]
) -> None:
    """Twelve plies against itself, then mate by a drop in a second game."""
    agent = UsiAgent(name="real", kind="usi", command=(engine(program),), options=options, limit=SearchLimit(**limit))
    player = seated(agent)
    board = begin()
    for _ in range(12):
        choice = ask(player, board)
        assert board.is_legal(choice.move), f"{choice.move!r} in {board.position()}"
        board.push(choice.move)
    player.game_over(None)
    player.new_game(side=Side.SECOND, seed=2, deadline=within(PATIENT))
    mate = ask(player, begin(start=MATE_BY_DROP))

    assert mate.move == "G*1b"
    assert mate.eval_cp is not None
    assert mate.eval_cp > 10_000


def test_sjaakii_understands_drops_made_before(seated: Callable[..., UsiPlayer]) -> None:
    """Its own spelling of drops is used both ways, so that it searches the position after the drop."""
    agent = UsiAgent(
        name="sjaak",
        kind="usi",
        command=(engine("sjaakii"),),
        limit=SearchLimit(depth=3),
        options={"Hash": 4},
    )
    player = seated(agent)
    board = begin("7g7f", "3c3d", "8h2b+", "3a2b", "B*5e")

    assert board.is_legal(ask(player, board).move)


def test_gpsusi_aborts_at_a_limit_it_does_not_know(seated: Callable[..., UsiPlayer]) -> None:
    """A real engine's crash: go nodes."""
    agent = UsiAgent(name="gps", kind="usi", command=(engine("gpsusi"),), limit=NODES, options=GPSUSI_OPTIONS)
    player = seated(agent)
    with pytest.raises(AgentError, match="gpsusi was killed by SIGABRT"):
        ask(player, begin())
