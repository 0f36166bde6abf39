"""``banzuke watch``: a run seen while it is played, without it being touched, and nothing left behind."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from staging import game
from test_hall import games, moves_of, play
from test_hall import spec as hall_spec
from test_store_schemas import game_record, planned_game, record
from test_workers import scripted, tournament

from banzuke.errors import StorageError, UnknownRunError
from banzuke.games.shogi import START_POSITION, ShogiRules
from banzuke.in_play import GameInPlay
from banzuke.match.recording import Attempt
from banzuke.outcome import Side
from banzuke.workers.deadline_board import DeadlineBoard
from banzuke.workers.games_board import MOST_GAMES, GamesBoard, seen
from banzuke.workers.hall import Hall
from banzuke.workers.supervisor import Supervisor
from deployments.keys import Keys
from deployments.watch_view import Scene, Taste, as_document, ending, one_line, screen
from deployments.watched import in_the_store
from storage.atomic import SHOWN, LocalFiles
from storage.game_store import GameStore
from storage.in_play import Showcase, can_be_shown, watching
from storage.latest import EndedGame
from storage.queries import connect
from tasks.in_play import shown_to_watchers
from tasks.sequential import recorded_test, report_test
from tasks.spectating import Look, Ranked, Spectator

SECONDS = 90.0
HOSTILE = "[red]evil[/red]\x1b[2J\x07\u202ename"
FILES = "".join(f" {chr(0xFF10 + file)}" for file in range(9, 0, -1))
"""Above a board in kanji; digits as wide as those."""
PLAYERS = {Side.FIRST: "new", Side.SECOND: "old"}
LONG = """
name = "long"
[[agents]]
name = "random"
kind = "random"
[[agents]]
name = "material"
kind = "material"
depth = 2
[[agents]]
name = "other"
kind = "material"
depth = 3
[tournament]
games_per_encounter = {games}
max_plies = 160
seed = 7
[limits]
concurrency = 2
game_seconds = 600.0
[ratings]
anchor = "random"
"""

GAME = GameInPlay(
    run_id="r",
    game_id="r--g0000000",
    attempt=1,
    game="shogi",
    rules="csa",
    first_agent="new",
    second_agent="old",
    worker=4711,
    lane=None,
    phase="thinking",
    plies=0,
    position=START_POSITION,
    seconds=1.5,
    limit_seconds=10.0,
)


def until(look: Callable[[], Any], what: str) -> Any:
    """What is found, as soon as there is something."""
    deadline = time.monotonic() + SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited for {what}"
        threading.Event().wait(0.05)
    return found


def left_beside(store: Path, run_id: str) -> set[str]:
    """What stands beside a run's document."""
    return {path.name for path in (store / "runs" / run_id).iterdir()} - {"run.json"}


def chosen_seats(screen: list[str]) -> list[str]:
    """Of the game that is chosen and of the one below it, the worker and its lane, which no other game has."""
    begin = next((number for number, line in enumerate(screen) if line.startswith(">")), len(screen))
    rows = [line.split()[-1:] for line in screen[begin : begin + 2]]
    return [cell for row in rows for cell in row if re.fullmatch(r"\d+(/\d+)?", cell)]


class Terminal:
    """A command on a terminal of its own: what it shows, screen by screen, and what is typed there."""

    def __init__(self, command: list[str], size: tuple[int, int], environment: Mapping[str, str], folder: Path) -> None:
        self._ours, theirs = os.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(theirs)
        self._kept = os.dup(theirs)
        kept = {name: value for name, value in environment.items() if name not in {"COLUMNS", "LINES"}}
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={**kept, "TERM": "xterm"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no thread is running here
        )
        os.close(theirs)
        self._shown = ""

    def resize(self, lines: int, columns: int) -> None:
        """As somebody does who drags the window's corner."""
        self.size = lines, columns
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def _read(self, seconds: float) -> None:
        while select.select([self._ours], [], [], seconds)[0]:
            self._shown += os.read(self._ours, 65536).decode(errors="replace")
            seconds = 0.0

    @property
    def screens(self) -> list[list[str]]:
        """Every screen drawn so far, as lines without colours."""
        drawn = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown) for shown in self._shown.split("\x1b[H")[1:]]
        return [[line.rstrip() for line in shown.replace("\r", "").split("\n")] for shown in drawn]

    def until_shown(self, pattern: str) -> list[str]:
        """The first screen drawn from now on that has the pattern."""
        return self.until_drawn(lambda drawn: re.search(pattern, "\n".join(drawn)) is not None, pattern)

    def until_drawn(self, is_it: Callable[[list[str]], bool], what: str) -> list[str]:
        """The first screen drawn from now on that is meant."""
        number = len(self.screens)

        def found() -> list[str] | None:
            self._read(0.2)
            assert self.process.poll() is None, self._shown[-2000:]
            # The last may be half drawn.
            return next((drawn for drawn in self.screens[number:-1] if is_it(drawn)), None)

        shown: list[str] = until(found, f"{what} in {self.screens[-1:]}")
        return shown

    def until_next_is_chosen(self, key: str) -> None:
        """Press the key until it moves the choice to the line below: the first time a game may end meanwhile."""

        def is_next() -> bool:
            before, below = chosen_seats(self.until_drawn(lambda drawn: len(chosen_seats(drawn)) == 2, "a line below"))
            self.type(key)
            after = self.until_drawn(lambda drawn: chosen_seats(drawn)[:1] not in ([], [before]), f"not {before}")
            return [below] == chosen_seats(after)[:1]

        until(is_next, f"{key!r} to move on")

    def until_said(self, words: str) -> None:
        """Until something new has these words."""
        seen = len(self._shown)

        def said() -> bool:
            self._read(0.2)
            return words in self._shown[seen:]

        until(said, f"{words} in {self._shown[seen:]}")

    def end(self) -> tuple[int, str]:
        """Exit code and all that was shown; the terminal's settings are checked."""

        def ended() -> bool:
            self._read(0.1)
            return self.process.poll() is not None

        until(ended, "its end")
        self._read(0.1)
        assert self.before == termios.tcgetattr(self._kept)
        self.close()
        return self.process.returncode, self._shown

    def close(self) -> None:
        """End it if need be."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for descriptor in (self._ours, self._kept):
            with contextlib.suppress(OSError):
                os.close(descriptor)


class Played:
    """A long run that is being played in a folder of its own."""

    def __init__(self, folder: Path, environment: Mapping[str, str], *, games: int = 400) -> None:
        self.folder, self.environment = folder, environment
        self.store = folder / "store"
        (folder / "long.toml").write_text(LONG.format(games=games))
        self.process = subprocess.Popen(
            self.command("run", "long.toml", "--store", "store", "--run-id", "r", "--json"),
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.games = GameStore(str(self.store))
        until(lambda: self.games.player("r") and self.games.has_plan("r"), "the run to be begun")
        with watching(str(self.store), "r") as window:
            # Both workers, so that no process of the run comes up later.
            until(
                lambda: len({game.worker for shown in window.look() for game in shown.games if game.position}) == 2,
                "games in play of two workers",
            )

    def command(self, *arguments: str) -> list[str]:
        """As it is typed."""
        return [sys.executable, "-m", "deployments.cli", *arguments]

    def watch(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
        """Watch it, to the end."""
        return subprocess.run(
            self.command("watch", "r", "--store", "store", *arguments),
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )

    def kill(self) -> None:
        """As a machine does that has no memory left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def played(environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """A run that goes on for as long as the tests of this file take."""
    run = Played(tmp_path_factory.mktemp("played"), environment)
    yield run
    run.kill()


def test_a_person_at_a_terminal_sees_the_run_move(played: Played) -> None:
    """Counts, rate, standings, games in play and results; boards at a key; any size; and the terminal as it was."""
    terminal = Terminal(played.command("watch", "r", "--store", "store"), (40, 100), played.environment, played.folder)
    try:
        first = "\n".join(terminal.until_shown(r"\d/10 s +\d+/\d+(.|\n)*ended +against"))
        terminal.type("b")
        boards = terminal.until_shown(FILES)
        terminal.type("l")
        letters = terminal.until_shown(r"  9  8  7  6  5  4  3  2  1")
        chosen = [line for line in letters if line.startswith(">")]
        for key in ("j", "\x1b[B"):
            terminal.until_next_is_chosen(key)
        terminal.resize(24, 80)
        narrow = terminal.until_shown(r"(?m)^  9  8  7")
        terminal.type("q")
        code, shown = terminal.end()
    finally:
        terminal.close()

    assert re.search(r"r  playing  by process \d+ on ", first)
    assert re.search(r"\d+/1200 games, [\d.]+ a minute, [\d:]+ left", first)
    assert re.search(r"(?m)^# +agent +elo +95 %", first)
    assert re.search(r"(?m)^in play: \d+ +against +ply +last +time +worker", first)
    assert sum(line.endswith(tuple("一二三四五六七八九")) for line in boards) == 9
    assert 1 == len(chosen)
    assert len(narrow) <= 24
    assert all(cell_len(line) <= 80 for line in narrow)
    assert 0 == code
    assert shown.index("\x1b[?1049h") < shown.rindex("\x1b[?1049l")
    assert re.search(r"r: playing, \d+/1200 games", shown[shown.rindex("\x1b[?1049l") :])


def test_ctrl_c_leaves_the_terminal_as_it_was(played: Played) -> None:
    """The other screen is left, the keys are given back, and one line says that the run goes on."""
    terminal = Terminal(played.command("watch", "--store", "store"), (24, 80), played.environment, played.folder)
    try:
        terminal.until_shown("in play")
        terminal.type("\x03")
        code, shown = terminal.end()
    finally:
        terminal.close()

    assert 130 == code
    after = shown[shown.rindex("\x1b[?1049l") :]
    assert "stopped looking; the run is not. Look again with: banzuke watch r --store store" in after
    assert played.process.poll() is None


def test_ctrl_z_gives_the_terminal_to_the_shell_and_takes_it_again(played: Played) -> None:
    """The other screen is left and lines are typed as ever before it stops; fg draws the run again."""
    shell = f"{shlex.join(played.command('watch', 'r', '--store', 'store'))}; echo here I am; read line; echo $line; fg"
    terminal = Terminal(["bash", "-mc", shell], (24, 80), played.environment, played.folder)
    try:
        terminal.until_shown("in play")
        terminal.type("\x1a")
        terminal.until_said("here I am")
        terminal.type("a linx\x7fe\n")
        terminal.until_said("\na line")
        terminal.until_shown("in play")
        terminal.type("q")
        code, shown = terminal.end()
    finally:
        terminal.close()

    assert 0 == code
    stopped = shown.index("here I am")
    assert shown.rindex("\x1b[?1049l", 0, stopped) > shown.rindex("\x1b[?1049h", 0, stopped)
    assert shown.index("\x1b[?1049h", stopped) < shown.rindex("\x1b[?1049l")


@pytest.mark.parametrize("form", [["--json"], []])
def test_a_reader_who_has_seen_enough_ends_it(played: Played, form: list[str]) -> None:
    """As ``head -1`` is one: no error, and no word about it."""
    watcher = subprocess.Popen(
        played.command("watch", "r", "--store", "store", *form),
        cwd=played.folder,
        env=played.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert watcher.stdout is not None
    assert watcher.stderr is not None
    with watcher:
        watcher.stdout.readline()
        watcher.stdout.close()
        said = watcher.stderr.read()

    assert (0, b"") == (watcher.returncode, said)


def test_one_look_of_a_program(played: Played) -> None:
    """--once --json is one object with everything that a person would see, games in play included."""
    done = played.watch("--once", "--json")

    found = json.loads(done.stdout)
    assert (0, b"") == (done.returncode, done.stderr)
    assert ("r", "playing", 1200) == (found["run_id"], found["state"], found["planned"])
    assert found["counting"] > 0
    assert {"random", "material", "other"} == {row["agent"] for row in found["standings"]}
    assert found["games_in_play"] >= len(found["in_play"]) > 2
    assert any(one["seconds"] is not None for one in found["in_play"])
    for one in found["in_play"]:
        if one["position"]:
            board = ShogiRules().start(one["position"], max_plies=160)
            assert one["plies"] > 0
            assert board.legal_moves()


def test_a_terminal_without_kanji_gets_letters(played: Played) -> None:
    """Where stdout is ASCII nothing else is written, boards included."""
    done = played.watch("--once", "--boards", PYTHONIOENCODING="ascii")

    shown = done.stdout.decode("ascii")
    assert 0 == done.returncode
    assert "  9  8  7  6  5  4  3  2  1" in shown
    assert re.search(r"White, \w+: ", shown)


def test_a_run_that_is_killed_is_said_to_be(played: Played) -> None:
    """Whoever watches is told that nobody plays it and how to go on; what the killed process showed is removed."""
    run = played  # the last test that needs it: nobody plays it any more
    watcher = subprocess.Popen(
        run.command("watch", "r", "--store", "store"),
        cwd=run.folder,
        env=run.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert watcher.stdout is not None
        first = watcher.stdout.readline()
        until(lambda: any(SHOWN in name for name in left_beside(run.store, "r")), "games to be shown")
        run.kill()
        rest = watcher.communicate(timeout=SECONDS)[0]
    finally:
        run.kill()
        watcher.kill()
        watcher.wait()

    assert first.startswith("r: playing, ")
    assert re.search(r"(?m)^r: interrupted, \d+/1200 games", rest)
    assert 1 == rest.count("nobody plays it; go on with: banzuke backfill --run r --store store")
    assert 3 == watcher.returncode
    assert set() == left_beside(run.store, "r")


def test_watching_changes_no_move_and_leaves_nothing(environment: Mapping[str, str], tmp_path: Path) -> None:
    """A run that is watched to its end has the moves of one that is not; then the standings, and exit code 0."""
    (tmp_path / "long.toml").write_text(LONG.format(games=8).replace("depth = 3", "depth = 2"))
    commands = [
        [sys.executable, "-m", "deployments.cli", *arguments.split()]
        for arguments in (
            "run long.toml --store store --run-id watched --json",
            "run long.toml --store store --run-id alone --json",
        )
    ]
    run = subprocess.Popen(commands[0], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    try:
        games = GameStore(str(tmp_path / "store"))
        until(lambda: games.player("watched"), "the run to be held")
        run.send_signal(signal.SIGSTOP)  # so that it is not over before anybody looks
        command = [sys.executable, "-m", "deployments.cli", "watch", "watched", "--store", "store"]
        watch = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert watch.stdout is not None
        first = watch.stdout.readline()
        run.send_signal(signal.SIGCONT)
        further, errors = watch.communicate(timeout=SECONDS)
        ended = run.wait(SECONDS)
    finally:
        run.kill()
        run.wait()
    subprocess.run(commands[1], cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=SECONDS)

    assert (0, 0, "") == (ended, watch.returncode, errors)
    assert first.startswith("watched: playing, ")
    assert re.search(r"(?m)^watched: over, 24/24 games", further)
    assert "Standings of watched" in further
    assert set() == left_beside(tmp_path / "store", "watched")
    with contextlib.closing(connect(games.uri)) as database:
        order = "select moves from results where run_id = ? order by game_no"
        moves = [database.execute(order, [run_id]).fetchall() for run_id in ("watched", "alone")]
    assert 24 == len(moves[0])
    assert moves[0] == moves[1]


def test_a_run_that_is_over_is_shown_as_it_ended(environment: Mapping[str, str], tmp_path: Path) -> None:
    """On a terminal, too, the watch ends at once, and what it came to stays to be read."""
    (tmp_path / "long.toml").write_text(LONG.format(games=2).replace("depth = 3", "depth = 1"))
    command = [sys.executable, "-m", "deployments.cli"]
    run = [*command, "run", "long.toml", "--store", "store", "--run-id", "r", "--json"]
    subprocess.run(run, cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=SECONDS)

    terminal = Terminal([*command, "watch", "--store", "store"], (24, 80), environment, tmp_path)
    try:
        code, shown = terminal.end()
    finally:
        terminal.close()

    assert 0 == code
    after = shown[shown.rindex("\x1b[?1049l") :]
    assert "Standings of r" in after
    assert "r: over, 6/6 games" in after


def test_a_run_that_nobody_knows_is_one_line(environment: Mapping[str, str], tmp_path: Path) -> None:
    """Exit code 2 of one look, whether the store is empty or has others; and no folder is made."""
    command = [sys.executable, "-m", "deployments.cli", "watch", "--store", "store", "--once"]
    done = [
        subprocess.run(
            [*command, *more], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        for more in ([], ["nobody"], ["../../etc"])
    ]

    assert [2, 2, 2] == [each.returncode for each in done]
    assert [1, 1, 1] == [len(each.stderr.splitlines()) for each in done]
    assert "there is no run in store" in done[0].stderr
    assert "no run nobody in store" in done[1].stderr
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("named", [[], ["r"]])
def test_a_run_that_is_not_there_yet_is_waited_for(
    environment: Mapping[str, str], tmp_path: Path, named: list[str]
) -> None:
    """Whoever watches from the moment that another begins it sees it, with or without its id, and is told to wait."""
    watcher = subprocess.Popen(
        [sys.executable, "-m", "deployments.cli", "watch", *named, "--store", "store"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert watcher.stderr is not None
        waits = watcher.stderr.readline()
        document = {"run_id": "r", "spec": {}, "fingerprint": "", "created_at": "2026-11-01T00:00:00+00:00"}
        games = GameStore(str(tmp_path / "store"))
        assert watcher.stdout is not None
        with games.playing("r"):
            games.create_run("r", document)
            first = watcher.stdout.readline()
        rest, err = watcher.communicate(timeout=SECONDS)
    finally:
        watcher.kill()
        watcher.wait()

    assert re.fullmatch(r"(there is no|no) run (r )?in store.*; waiting 30 s for it\n", waits)
    assert (3, "") == (watcher.returncode, err)
    assert first.startswith("r: playing, nothing is planned yet")
    assert rest.startswith("r: not begun")


def test_no_run_is_waited_for_without_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """When it is not there in time the error is the same as without waiting; what can name no run is not waited for."""
    store = str(tmp_path / "store")
    for wanted, patience in (("nobody", 0.01), (None, 0.01), ("../../etc", SECONDS)):
        with pytest.raises(UnknownRunError), in_the_store(wanted, store, patience=patience):
            pass

    assert 2 == capsys.readouterr().err.count("; waiting 0 s for it\n")
    assert not (tmp_path / "store").exists()


def watched_to_its_end(
    folder: Path,
    environment: Mapping[str, str],
    command: str,
    held_for: Callable[[dict[str, Any]], object] | None = None,
) -> list[dict[str, Any]]:
    """What a program sees of a run from before its beginning to its end, look by look.

    Args:
        folder: where.
        environment: of both.
        command: what plays.
        held_for: a look for which a sequential test stands still after its first pairs; else nobody may have seen it.
    """
    banzuke = [sys.executable, "-m", "deployments.cli"]
    run = subprocess.Popen(
        [*banzuke, *command.split()], cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    shown, said = folder / "looks", folder / "said"
    watch = None
    try:
        games = GameStore(str(folder / "store"))
        until(lambda: games.player("r"), "the run to be held")
        with shown.open("wb") as looks, said.open("wb") as errors:
            watch = subprocess.Popen(
                [*banzuke, "watch", "r", "--store", "store", "--json"],
                cwd=folder,
                env=environment,
                stdout=looks,
                stderr=errors,
            )
        if held_for is not None:
            until(lambda: games.has_plan("r") and pairs_of_test(games), "the first pairs")
            run.send_signal(signal.SIGSTOP)
            until(lambda: any(held_for(json.loads(line)) for line in whole_lines(shown)), "the look that is meant")
            run.send_signal(signal.SIGCONT)
        code = watch.wait(SECONDS)
        assert 0 == run.wait(SECONDS)
    finally:
        for process in (run, watch):
            if process is not None:
                process.kill()
                process.wait()
    assert (0, b"") == (code, said.read_bytes())
    return [json.loads(line) for line in whole_lines(shown)]


def pairs_of_test(games: GameStore) -> int:
    """How many pairs the test has to go by."""
    test = recorded_test(games.read_run("r"))
    return 0 if test is None else int(report_test(games, "r", test).figures["pairs"])


def whole_lines(file: Path) -> list[str]:
    """Those that have been written to their end."""
    return [line for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]


def test_a_sequential_test_is_seen_on_its_way_to_its_verdict(environment: Mapping[str, str], tmp_path: Path) -> None:
    """The log-likelihood ratio between its bounds while it is played; then the verdict and what it has spared."""
    two = LONG[: LONG.rindex("[[agents]]")] + LONG[LONG.index("[tournament]") :]
    (tmp_path / "long.toml").write_text(two.format(games=300))

    def is_open(look: dict[str, Any]) -> bool:
        sprt = look["sprt"]
        return sprt and sprt["verdict"] == "continue" and sprt["pairs"] and sprt["lower"] < sprt["llr"] < sprt["upper"]

    looks = watched_to_its_end(tmp_path, environment, "sprt long.toml --store store --run-id r --json", is_open)
    watch = [sys.executable, "-m", "deployments.cli", "watch", "r", "--store", "store"]
    end, once = (
        subprocess.run(
            [*watch, *more], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        ).stdout
        for more in ([], ["--once"])
    )

    assert any(is_open(look) for look in looks)
    assert not any(look["spared"] for look in looks if look["sprt"] and look["sprt"]["verdict"] == "continue")
    last = looks[-1]
    assert ("accept_h1", "material") == (last["sprt"]["verdict"], last["sprt"]["agent"])
    assert last["sprt"]["llr"] >= last["sprt"]["upper"]
    assert 300 == last["counting"] + last["spared"]
    pairs, llr = last["sprt"]["pairs"], f"{last['sprt']['llr']:.2f}"
    counts = f"r: over, {last['counting']}/300 games, {last['spared']} spared by the verdict"
    words = f"accept_h1: material is rather 50 than 0 Elo stronger than random, after {pairs} pairs"
    stand = f"llr {llr} in (-2.94, 2.94)"
    assert counts in end
    assert words in end
    assert stand in end
    assert f"{words}; {stand}" in once


def test_an_adaptive_run_says_its_step_and_how_far_it_is_from_its_target(
    environment: Mapping[str, str], tmp_path: Path
) -> None:
    """The step of the plan, the widest interval and the target, in every look that has games to go by."""
    adaptive = LONG.replace("[tournament]", '[tournament]\nformat = "adaptive"\ntarget_error = 200')
    (tmp_path / "long.toml").write_text(adaptive.format(games=100).replace("depth = 3", "depth = 1"))

    looks = watched_to_its_end(tmp_path, environment, "run long.toml --store store --run-id r --json")
    watch = [sys.executable, "-m", "deployments.cli", "watch", "r", "--store", "store"]
    end = subprocess.run(watch, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False)

    last = looks[-1]["step"]
    assert {200.0} == {look["step"]["target_error"] for look in looks if look["step"]}
    assert last["number"] == GameStore(str(tmp_path / "store")).plan_steps("r") > 1
    assert last["widest"] in {"random", "material", "other"}
    assert (
        f"step {last['number']} of the plan: the widest interval is ±{last['widest_error']:.0f} Elo, "
        f"of {last['widest']}, the target ±200"
    ) in end.stdout


def test_a_run_that_has_not_begun_says_so(environment: Mapping[str, str], tmp_path: Path) -> None:
    """A run without a plan that nobody plays: how it is begun, and exit code 3."""
    document = {"run_id": "r", "spec": {}, "fingerprint": "", "created_at": "2026-11-01T00:00:00+00:00"}
    GameStore(str(tmp_path / "store")).create_run("r", document)

    command = [sys.executable, "-m", "deployments.cli", "watch", "r", "--store", "store"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert 3 == done.returncode
    assert done.stdout.startswith("r: not begun, nothing is planned yet")
    assert 1 == done.stdout.count("go on with: banzuke run SPEC --run-id r --store store, with its spec")


def test_a_run_that_lost_its_plan_is_said_to_be_interrupted(store: GameStore) -> None:
    """It has begun: games of it are there."""
    record(store, "r", [game_record("r", 0)])

    with Spectator(store.uri, "r") as spectator:
        look = spectator.look(patiently=True)

    assert look is not None
    assert "interrupted" == look.state
    assert look.advice is not None
    assert look.advice.startswith("banzuke run SPEC --run-id r")


def scene(*, agents: int = 3, games: int = 3, name: str = "run") -> Scene:
    """Much to be shown, all of it made up."""
    ended = EndedGame(
        game_id="g",
        attempt=1,
        first_agent=name,
        second_agent="old",
        status="void",
        termination="agent_crash",
        winner=None,
        fault="first",
        detail=HOSTILE,
        plies=12,
        finished_at=datetime.now(UTC),
    )
    ranked = Ranked(
        rank=1,
        agent=name,
        elo=1234.5,
        elo_low=-1000.0,
        elo_high=3000.0,
        games=100_000,
        wins=1,
        draws=2,
        losses=3,
        risen=-12,
        elo_change=-123.4,
    )
    look = Look(
        run_id=name,
        store="store",
        state="playing",
        played_by="process 1 on " + name,
        planned=1_000_000,
        counting=123_456,
        forfeits=12,
        void=3,
        per_minute=1234.5,
        seconds_left=45_678.9,
        standings=(ranked,) * agents,
        last=(ended,) * 20,
        in_play=tuple(replace(GAME, game_id=f"g{number}", first_agent=name) for number in range(games)),
        games_in_play=games,
        unseen=None,
        notes=("a note that is longer than a narrow terminal is wide, and then some more of it",),
        advice=None,
        sheet=(),
        sprt=None,
        spared=0,
        step=None,
        summary=None,
    )
    return Scene(name=name, state="playing", look=look, status=None, sheet=(), fault=None)


@pytest.mark.parametrize("size", [(80, 24), (200, 60), (120, 24), (60, 16), (40, 10), (20, 6)])
@pytest.mark.parametrize("boards", [False, True])
def test_every_terminal_is_filled_and_never_overfilled(size: tuple[int, int], boards: bool) -> None:
    """No more lines and no wider ones than there are, with 60 agents and 100 games in play."""
    width, height = size
    console = Console(width=width, height=height, force_terminal=True, color_system=None, legacy_windows=False)
    shown = scene(agents=60, games=100, name="an-agent-with-a-name-of-sixty-four-letters-which-is-the-longest-x")

    lines = console.render_lines(
        screen(shown, Taste(boards=boards, letters=False, keys=True), console), pad=False, new_lines=False
    )

    texts = ["".join(segment.text for segment in line) for line in lines]
    assert height - 2 <= len(texts) <= height
    assert max(map(cell_len, texts)) <= width
    assert boards == any("玉" in text for text in texts) or height < 24


def test_names_are_shown_and_not_obeyed() -> None:
    """Markup stands there as it is, and what a terminal would obey is replaced, in every view of a run."""
    console = Console(width=200, height=60, force_terminal=False, color_system=None)
    shown = scene(name=HOSTILE)
    with console.capture() as captured:
        console.print(screen(shown, Taste(boards=True, letters=False, keys=True), console))
        for part in ending(shown):
            console.print(part)
        console.out(one_line(shown))

    text = captured.get()
    assert text.count("[red]evil[/red]") > 4
    assert not {"\x1b", "\x07", "\u202e"}.intersection(text)
    assert HOSTILE == as_document(shown)["run_id"]


def test_a_position_that_is_none_costs_the_board_alone() -> None:
    """Whatever stands in a file that is shown, nothing native is asked about it unchecked."""
    console = Console(width=120, height=40, color_system=None)
    bad = scene()
    assert bad.look is not None
    shown = (replace(GAME, position="9/9/9 b - 1"), replace(GAME, rules="none"), replace(GAME, game="go"))
    for one in shown:
        with console.capture() as captured:
            view = replace(bad, look=replace(bad.look, in_play=(one,)))
            console.print(screen(view, Taste(boards=True, letters=False, keys=False), console))

        assert "no board: " in captured.get()


def test_a_board_is_drawn_as_people_know_it() -> None:
    """Black below, White's pieces with a v or in lower case, promoted ones and those in hand; the last move marked."""
    position = "ln1g1gsnl/1r1sk4/p1ppppp+Bp/1p7/9/2P6/PP1PPPPPP/7R1/LNSGKGSNL w Pb 12"

    kanji = ShogiRules().picture(position, mover=Side.SECOND, players=PLAYERS, last_move="8h2c+")
    letters = ShogiRules().picture(position, mover=Side.SECOND, players=PLAYERS, last_move="8h2c+", letters=True)

    assert "White, old: 角" == kanji.lines[0]
    assert FILES == kanji.lines[1]
    assert "v歩 ・v歩v歩v歩v歩v歩 馬v歩 三" == kanji.lines[4]
    assert "Black, new: 歩" == kanji.lines[-1]
    assert (4, 14, 16) == kanji.mark
    assert "  p  .  p  p  p  p  p +B  p c" == letters.lines[4]
    assert "White, old: B" == letters.lines[0]
    assert letters.mark is not None
    line, start, end = letters.mark
    assert " +B" == letters.lines[line][start:end]
    assert {30} == {cell_len(text) for text in kanji.lines[2:-1]}
    assert {29} == {cell_len(text) for text in letters.lines[2:-1]}


def test_white_may_have_the_first_move() -> None:
    """Who plays Black follows from who has the move, not from who moved first."""
    position = START_POSITION.replace(" b ", " w ")

    drawn = ShogiRules().picture(position, mover=Side.FIRST, players=PLAYERS)

    assert (drawn.lines[0][:10], drawn.lines[-1][:10]) == ("White, new", "Black, old")
    assert drawn.mark is None


@pytest.fixture
def boards() -> Iterator[tuple[GamesBoard, GamesBoard]]:
    """The worker's end and the parent's of one memory."""
    deadlines = DeadlineBoard.create()
    ends = GamesBoard(deadlines.fd), GamesBoard(deadlines.fd)
    yield ends
    for board in (*ends, deadlines):
        with contextlib.suppress(ValueError):
            board.close()


def test_a_worker_says_how_its_games_stand(boards: tuple[GamesBoard, GamesBoard]) -> None:
    """What was shown last is read whole; only so many games; and nothing was read before anything was shown."""
    worker, parent = boards
    before = parent.read()
    worker.show([seen(1, 2, "7g7f", START_POSITION)])
    one = parent.read()
    worker.show(seen(number, number, "7g7f", "x" * 200) for number in range(1000))
    many = parent.read()

    assert [] == before
    assert [(1, 2, "7g7f", START_POSITION)] == [game[:4] for game in one]
    assert list(range(MOST_GAMES)) == [game.entry for game in many]


def test_a_worker_knows_for_how_long_it_is_watched(boards: tuple[GamesBoard, GamesBoard]) -> None:
    """From the moment the parent says so to the one that it names."""
    worker, parent = boards
    now = time.monotonic()
    before = worker.is_watched(now)
    parent.watch(now + 5.0)

    assert (False, True, False) == (before, worker.is_watched(now), worker.is_watched(now + 5.1))


def test_memory_that_is_closed_meanwhile_is_no_error(boards: tuple[GamesBoard, GamesBoard]) -> None:
    """Whoever looks at a worker that is being ended sees what it said last."""
    worker, parent = boards
    worker.show([seen(1, 2, "", START_POSITION)])
    last = parent.read()
    parent.close()

    parent.watch(1.0)
    assert last == parent.read()


WRITER = """
import sys
from banzuke.workers.games_board import GamesBoard, Seen
board = GamesBoard(int(sys.argv[1]))
number = 0
while True:
    number += 1
    board.show([Seen(number, number, "", str(number), 0.0)] * (number % 7 + 1))
"""


def test_no_reading_mixes_two_positions() -> None:
    """However fast games are shown, what is read was shown together."""
    deadlines = DeadlineBoard.create()
    parent = GamesBoard(deadlines.fd)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(deadlines.fd)], pass_fds=[deadlines.fd])
    try:
        until(parent.read, "the first games")
        deadline = time.monotonic() + SECONDS
        readings = []
        while len({read[0].entry for read in readings}) < 100 and time.monotonic() < deadline:
            readings += [parent.read() for _ in range(1000)]
    finally:
        writer.kill()
        writer.wait()
        parent.close()
        deadlines.close()

    assert len({read[0].entry for read in readings}) >= 100
    for read in readings:
        number = read[0].entry
        assert [(number, number, str(number))] * (number % 7 + 1) == [
            (one.entry, one.plies, one.position) for one in read
        ]


def test_an_engine_that_thinks_is_seen_thinking() -> None:
    """Also by who comes while it does: the position, whose move it is, and how long it has taken of its limit."""
    stop = threading.Event()
    supervisor = Supervisor(stop=stop)
    engine = scripted("--hang-at", "go", "--from-ply", "2")
    spec = tournament(engine, max_plies=20, move_seconds=60.0, game_seconds=90.0)
    one = Attempt.at(game("scripted", "a", opening=("7g7f", "3c3d")), 1)
    player = threading.Thread(target=supervisor.play, args=(one, spec), kwargs={"on_tick": lambda: None})
    before = supervisor.in_play()
    player.start()
    try:
        thinks = [GAME]

        def thinking() -> bool:
            thinks[:] = supervisor.in_play()
            return bool(thinks) and (thinks[0].seconds or 0.0) > 0.3

        until(thinking, "the engine to think")
    finally:
        stop.set()
        player.join(SECONDS)
        supervisor.kill()

    (seen_then,) = thinks
    assert [] == before == supervisor.in_play()
    assert ("thinking", "3c3d", 2, Side.FIRST) == (
        seen_then.phase,
        seen_then.last_move,
        seen_then.plies,
        seen_then.mover,
    )
    assert (60.0, None) == (seen_then.limit_seconds, seen_then.lane)
    assert ShogiRules().start(seen_then.position, max_plies=20).side_to_move is Side.FIRST


def test_networks_play_the_same_whether_they_are_watched() -> None:
    """Games that advance together are seen with their positions, and not one move is another than unseen."""
    hall = Hall(1, stop=threading.Event(), torch_threads=1)
    glimpses: list[GameInPlay] = []
    over = threading.Event()

    def glance() -> None:
        while not over.wait(0.01):
            glimpses.extend(hall.in_play(watched_until=time.monotonic() + 3.0))

    watcher = threading.Thread(target=glance)
    try:
        wanted = [*games(6, "n", "o"), *games(6, "n", "a", start=6)]
        unseen = play(hall, wanted, hall_spec(max_plies=200))
        watcher.start()
        watched = play(hall, wanted, hall_spec(max_plies=200))
        left = hall.in_play(watched_until=0.0)
    finally:
        over.set()
        watcher.join(SECONDS)
        hall.close()

    assert moves_of(unseen) == moves_of(watched)
    assert {one.game_id for one in wanted} == {one.game_id for one in glimpses}
    assert "thinking" in {one.phase for one in glimpses}
    moves = moves_of(watched)
    for one in glimpses:
        if one.plies:
            assert one.last_move == moves[one.game_id][one.plies - 1]
    assert any(one.position for one in glimpses)
    assert [] == left


@pytest.fixture
def store(tmp_path: Path) -> GameStore:
    """With a run."""
    games = GameStore(str(tmp_path / "store"))
    document = {"run_id": "r", "spec": {}, "fingerprint": "", "created_at": "2026-11-01T00:00:00+00:00"}
    games.create_run("r", document)
    return games


def test_games_are_shown_while_somebody_watches(store: GameStore) -> None:
    """A watcher is noticed, sees what changes from then on, of every player, and is not noticed once it has gone."""
    here, there = Showcase(store.uri, "r", "here"), Showcase(store.uri, "r", "there")
    here.show([GAME])
    before = here.is_watched()
    with watching(store.uri, "r") as window, watching(store.uri, "r") as second:
        first_look = window.look()
        watched = here.is_watched()
        here.show([GAME])
        there.show([replace(GAME, first_agent="newer")] * 300)
        second.look()
        window.look()
        there.show([replace(GAME, first_agent="newer")] * 300)
        shown = {each.host: each for each in window.look()}
        here.clear()
        rest = [each.host for each in window.look()]
    there.clear()

    assert (False, [], True) == (before, first_look, watched)
    assert (1, 300, 256) == (shown["here"].in_play, shown["there"].in_play, len(shown["there"].games))
    assert (GAME,) == shown["here"].games
    assert ["there"] == rest
    assert not here.is_watched()
    assert set() == left_beside(Path(store.uri), "r")


def test_what_a_dead_process_shows_is_not_seen_and_is_swept(store: GameStore) -> None:
    """A file that does not change is nobody's, and the next command that looks into the store removes it."""
    code = f"from storage.in_play import *; Showcase({store.uri!r}, 'r', 'gone').show([])"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent, timeout=60)
    left = left_beside(Path(store.uri), "r")
    with watching(store.uri, "r") as window:
        looks = [window.look(), window.look()]
        shown = Showcase(store.uri, "r", "here")
        shown.show([])
        store.sweep()
        kept = left_beside(Path(store.uri), "r")
    shown.clear()

    assert 1 == len(left)
    assert [[], []] == looks
    assert not left & kept
    assert 1 == len([name for name in kept if SHOWN in name])
    assert set() == left_beside(Path(store.uri), "r")


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"number": 1', b"[" * 100_000, b"\xff\x00" * 50, b'{"number":NaN,"host":1,"in_play":[]}'],
)
def test_whatever_lies_there_is_no_error(store: GameStore, content: bytes) -> None:
    """A file that is none, a folder in its place, a pipe that nobody writes to: not seen, and nobody waits."""
    folder = Path(store.uri) / "runs" / "r"
    (folder / f".{SHOWN}-x").write_bytes(content)
    (folder / f".{SHOWN}-folder").mkdir()
    os.mkfifo(folder / f".{SHOWN}-pipe")
    (folder / f".{SHOWN}-link").symlink_to("/dev/zero")

    with watching(store.uri, "r") as window:
        window.look()
        assert [] == window.look()


class Pool:
    """Has games in play, and is asked about them."""

    def __init__(self) -> None:
        self.asked = 0

    def in_play(self, *, watched_until: float) -> list[GameInPlay]:
        """One game, and one of another run."""
        assert watched_until > time.monotonic()
        self.asked += 1
        return [GAME, replace(GAME, run_id="other")]


def test_nobody_is_asked_where_nobody_watches(store: GameStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers' memory is looked at, and something is written, only between a watcher's coming and going."""
    monkeypatch.setattr("tasks.in_play.LOOK_SECONDS", 0.02)
    pool: Any = Pool()
    looks: list[bool] = []
    is_watched = Showcase.is_watched

    def looked(showcase: Showcase) -> bool:
        looks.append(is_watched(showcase))
        return looks[-1]

    monkeypatch.setattr(Showcase, "is_watched", looked)
    with shown_to_watchers(store.uri, {"r"}, pool):
        until(lambda: len(looks) > 5, "a few looks")
        alone = pool.asked, left_beside(Path(store.uri), "r")
        with watching(store.uri, "r") as window:
            (shown,) = until(window.look, "games")
        until(lambda: not left_beside(Path(store.uri), "r"), "nothing to be left")

    assert (0, set()) == alone
    assert (GAME,) == shown.games
    assert not [thread for thread in threading.enumerate() if thread.name == "showcase"]


def test_a_store_that_cannot_be_written_stops_nobody(store: GameStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk costs the sight of the games; they are seen again when there is room, and nothing half is left."""
    monkeypatch.setattr("tasks.in_play.LOOK_SECONDS", 0.02)
    is_full = threading.Event()
    is_full.set()
    refused = threading.Event()
    write = Path.write_bytes

    def write_bytes(path: Path, payload: bytes) -> int:
        if not is_full.is_set():
            return write(path, payload)
        write(path, payload[:10])
        refused.set()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    pool: Any = Pool()
    with watching(store.uri, "r") as window, shown_to_watchers(store.uri, {"r"}, pool):
        assert refused.wait(SECONDS)
        until(lambda: pool.asked > 3, "it to go on")
        seen_then = window.look()
        is_full.clear()
        until(window.look, "games")

    assert [] == seen_then
    assert set() == left_beside(Path(store.uri), "r")


def test_a_store_that_is_no_folder_shows_no_games_and_says_so(store: GameStore) -> None:
    """Nothing is asked of an object store once a second, and whoever plays starts no thread for it."""
    pool: Any = Pool()
    with shown_to_watchers("memory://somewhere", {"r"}, pool):
        threads = [thread.name for thread in threading.enumerate()]

    assert "showcase" not in threads
    assert can_be_shown(store.uri)
    assert not can_be_shown("memory://somewhere")


def test_a_store_that_is_read_only_is_watched_without_its_games(
    store: GameStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no lock can be put everything else is seen, and a line says why the games in play are not."""

    def refuse(*_: object) -> Any:
        raise StorageError("cannot lock it: Read-only file system")

    with store.playing("r"):
        monkeypatch.setattr(LocalFiles, "exclusive", refuse)
        with Spectator(store.uri, "r") as spectator:
            look = spectator.look(patiently=True)

    assert look is not None
    assert ("playing", None) == (look.state, look.planned)
    assert look.unseen is not None
    assert look.unseen.endswith("that somebody watches: cannot lock it: Read-only file system")


def test_a_run_that_is_about_to_be_written_down_is_waited_for(tmp_path: Path) -> None:
    """Whoever plays it holds it before it has a document; then nothing is planned, and it is no unknown run."""
    games = GameStore(str(tmp_path / "store"))
    with games.playing("r"), Spectator(games.uri, "r") as spectator:
        look = spectator.look(patiently=True)

    assert look is not None
    assert ("playing", None, 0) == (look.state, look.planned, look.counting)


def results(*numbers: int) -> list[Any]:
    """Games of the run that have just ended."""
    now = datetime.now(UTC)
    return [replace(game_record(game_no=number, run_id="r"), finished_at=now) for number in numbers]


@pytest.fixture
def planned(store: GameStore) -> GameStore:
    """With a plan of 400 games, too."""
    store.write_plan("r", [planned_game(game_no=number, run_id="r") for number in range(400)])
    return store


def test_the_end_of_a_run_is_not_seen_late(planned: GameStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a reading took, the next one follows soon where none is in play any more whom it could disturb."""
    monkeypatch.setattr("tasks.spectating.SHARE_OF_TIME", 1e-9)
    monkeypatch.setattr("tasks.spectating.REREAD_SECONDS", 0.0)
    shown = Showcase(planned.uri, "r", "here")
    seen_so: list[int] = []
    with planned.playing("r"), Spectator(planned.uri, "r") as spectator:
        for number, in_play in enumerate((2, 2, 2, 0)):
            planned.record("r", results(number))
            for _ in range(2):
                shown.show([GAME] * in_play)
                look = spectator.look(patiently=True)
            assert look is not None
            seen_so.append(look.counting)
    shown.clear()

    assert [2, 2, 4] == seen_so[1:]


def test_a_terminal_that_was_closed_is_left_alone() -> None:
    """There is nothing to be put right any more, and who closed it is not told of a fault of ours."""
    ours, theirs = os.openpty()
    keys = Keys()
    keys._before = termios.tcgetattr(theirs)
    keys._descriptor = theirs
    os.close(ours)
    with pytest.raises(termios.error):
        termios.tcsetattr(theirs, termios.TCSADRAIN, keys._before)

    keys.__exit__(None, None, None)

    os.close(theirs)
