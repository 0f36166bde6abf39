"""Games out of a store into notations and back: by the command, as people do it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import CompletedProcess

import cshogi
import pytest
from cshogi import CSA, KIF

from banzuke.record import GameRecord
from storage.game_store import GameStore
from storage.recorded import counting_games_of
from tasks.exporting import wanted_games

Banzuke = Callable[..., CompletedProcess[str]]
SPEC = """
name = "small"
[[agents]]
name = "random"
kind = "random"
[[agents]]
name = "material-1"
kind = "material"
depth = 1
[[agents]]
name = "material-2"
kind = "material"
depth = 2
[tournament]
games_per_encounter = 4
max_plies = 120
[limits]
concurrency = 2
"""


@pytest.fixture(scope="module")
def store(environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of twelve games."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "small.toml").write_text(SPEC)
    command = [sys.executable, "-m", "deployments.cli", "run", "small.toml", "--store", "store", "--run-id", "small-1"]
    played = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=240, check=False)
    assert 0 == played.returncode, played.stderr
    return folder / "store"


def games_of(store: Path, run_id: str) -> list[GameRecord]:
    """Those with a result."""
    return list(counting_games_of(GameStore(str(store)), run_id))


def told(game: GameRecord) -> tuple[object, ...]:
    """What a notation can say of a game."""
    agents = (game.first_agent, game.second_agent)
    how = (game.status, game.termination, game.winner, game.fault, game.detail)
    pair = (game.game_no, game.pair_no, game.slot, game.round, game.encounter)
    opening = (game.opening_id, game.opening_plies, game.start_position)
    return (*agents, *pair, *opening, game.seed, game.moves, game.move_times_ms, game.evals, *how)


@pytest.mark.parametrize("notation", ["csa", "kif"])
def test_a_run_goes_out_and_comes_back(banzuke: Banzuke, store: Path, tmp_path: Path, notation: str) -> None:
    """Every game of it, with its pair, opening, moves, times, scores, result and termination, under another run id."""
    exported = banzuke("export", "small-1", "--format", notation, "-o", tmp_path / f"all.{notation}", "--store", store)
    imported = banzuke("import", tmp_path / f"all.{notation}", "--run-id", "back", "--store", tmp_path / "other")

    assert (0, 0) == (exported.returncode, imported.returncode), exported.stderr + imported.stderr
    assert "12 games of small-1" in exported.stderr
    assert list(map(told, games_of(store, "small-1"))) == list(map(told, games_of(tmp_path / "other", "back")))
    standings = banzuke("standings", "--json", "--store", tmp_path / "other")
    rated = json.loads(standings.stdout)
    assert [12 * 2 // 3] * 3 == [row["games"] for row in rated["standings"]]
    assert not [line for line in rated["warnings"] if "on one side only" in line], "nobody was to play the other side"
    assert 0 == banzuke("backfill", "--store", tmp_path / "other").returncode
    newest = banzuke("show", "--json", "--store", tmp_path / "other")
    assert "back" == json.loads(newest.stdout)["run_id"]


def test_a_file_for_each_game_is_read_by_cshogi(banzuke: Banzuke, store: Path, tmp_path: Path) -> None:
    """From the disk, in the encoding that the ending stands for."""
    for notation in ("csa", "kif"):
        done = banzuke("export", "--format", notation, "--each", "-o", tmp_path / "games", "--store", store)
        assert 0 == done.returncode, done.stderr

    for game in games_of(store, "small-1"):
        (csa,) = CSA.Parser.parse_file(str(tmp_path / "games" / f"{game.game_id}.csa"))
        kif = KIF.Parser.parse_file(str(tmp_path / "games" / f"{game.game_id}.kif"))
        assert game.moves == tuple(map(cshogi.move_to_usi, csa.moves)) == tuple(map(cshogi.move_to_usi, kif.moves))
        assert csa.win == (kif.win or 0)
        heading = (tmp_path / "games" / f"{game.game_id}.kif").read_text(encoding="cp932").splitlines()[0]
        assert heading.endswith("encoding=Shift_JIS")
    assert 24 == len(list((tmp_path / "games").iterdir()))


def test_usi_goes_to_stdout(banzuke: Banzuke, store: Path) -> None:
    """One line for an engine, for each game in which the agent plays; nothing else is on stdout but comments."""
    done = banzuke("export", "small-1", "--format", "usi", "--agent", "rand*", "--store", store)

    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("#")]
    wanted = wanted_games(GameStore(str(store)), "small-1", ["rand*"])
    assert [" ".join(game.moves) for game in wanted] == [line.partition(" moves ")[2] for line in lines]
    assert 8 == len(lines)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("export", "nothing", "--format", "csa"), "no run nothing"),
        (("export", "--format", "csa", "--each"), "--each: say into which folder"),
        (("export", "--format", "csa", "--agent", "nobody"), "no agent of run small-1 is called nobody"),
        (("export", "--format", "pgn"), "pgn"),
        (("import", "no-such-file.csa"), "no-such-file.csa: there is no such file"),
        (("import", "."), "there is no .csa, .kif or .kifu file"),
        (("import", "small-1.usi"), "lines for a USI engine"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    banzuke: Banzuke, store: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    """Exit code 2, and nothing written."""
    (tmp_path / "small-1.usi").write_text("# a b\nposition startpos moves 7g7f\n")

    done = banzuke(*arguments, "--store", store)

    assert 2 == done.returncode
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert ["small-1"] == GameStore(str(store)).run_ids()


def test_an_export_that_cannot_be_written_leaves_nothing(banzuke: Banzuke, store: Path, tmp_path: Path) -> None:
    """One line that names the file, and no half of it."""
    (tmp_path / "file").write_text("")

    done = banzuke("export", "--format", "csa", "-o", tmp_path / "file" / "all.csa", "--store", store)

    assert 1 == done.returncode
    assert "cannot write" in done.stderr
    assert ["file"] == [path.name for path in tmp_path.iterdir()]


def test_the_same_games_in_another_notation_count_once(banzuke: Banzuke, store: Path, tmp_path: Path) -> None:
    """Imported as CSA, as KIF and as CSA again, they are known for the same games, before and while they are rated."""
    warned = []
    for notation, run_id in (("csa", "one"), ("kif", "two"), ("csa", "three")):
        file = tmp_path / f"all.{notation}"
        assert 0 == banzuke("export", "--format", notation, "-o", file, "--store", store).returncode
        done = banzuke("import", file, "--run-id", run_id, "--store", tmp_path / "other")
        assert 0 == done.returncode, done.stderr
        warned.append([line for line in done.stderr.splitlines() if line.startswith("warning: ")])

    standings = banzuke("standings", "--all", "--json", "--store", tmp_path / "other")

    rated = json.loads(standings.stdout)
    assert [8] * 3 == [row["games"] for row in rated["standings"]]
    assert [line for line in rated["warnings"] if line.startswith("24 games are the same as one of another run")]
    assert [0, 1, 2] == list(map(len, warned))
    assert "12 of 12 games are in run one already" in warned[1][0]


def test_games_that_come_home_are_known(banzuke: Banzuke, store: Path, tmp_path: Path) -> None:
    """An import into the store that has the originals names their run, and so do ratings of both together."""
    shutil.copytree(store, tmp_path / "store")
    assert 0 == banzuke("export", "--format", "kif", "-o", tmp_path / "all.kif", "--store", store).returncode

    done = banzuke("import", tmp_path / "all.kif", "--run-id", "imp", "--store", tmp_path / "store", "--json")
    both, alone = (
        banzuke("standings", *which, "--json", "--store", tmp_path / "store")
        for which in (("--all",), ("--run", "imp"))
    )

    (line,) = json.loads(done.stdout)["warnings"]
    assert line.startswith("12 of 12 games are in run small-1 already")
    assert f"warning: {line}" in done.stderr
    (line,) = [line for line in json.loads(both.stdout)["warnings"] if "small-1" in line and "imp" in line]
    assert line.startswith("12 games of run imp are games of run small-1")
    assert "different numbers of plies" not in both.stdout
    assert "small-1" not in "".join(json.loads(alone.stdout)["warnings"])


def test_a_game_met_twice_in_the_files_is_kept_once(banzuke: Banzuke, store: Path, tmp_path: Path) -> None:
    """A folder that has each game in both notations is the games, and what is left out says where they were met."""
    for notation in ("csa", "kif"):
        folder = tmp_path / "games"
        done = banzuke("export", "--format", notation, "--each", "-o", folder, "--store", store)
        assert 0 == done.returncode, done.stderr

    done = banzuke("import", folder, "--run-id", "back", "--store", tmp_path / "other", "--json")

    told = json.loads(done.stdout)
    assert (3, 12, 12) == (done.returncode, told["games"], len(told["left_out"]))
    assert all(".csa:1" in line and ".kif:1: " in line for line in told["left_out"])


GOOD = "V2.2\nN+山田\nN-鈴木\nPI\n+\n+7776FU\nT3\n%TORYO\n"
OTHERS = {
    "good.csa": GOOD,
    "kings.csa": GOOD.replace("山田", "King/A").replace("鈴木", "King:A"),
    "broken.csa": GOOD.replace("7776", "7775"),
    "broken-off.csa": GOOD.replace("%TORYO", "%CHUDAN"),
    "nameless.csa": GOOD.replace("N+山田\n", ""),
    "alone.csa": GOOD.replace("鈴木", "山田"),
    "no-game.csa": "hello\n",
}


def test_games_of_others_become_agents_with_names_of_ours(banzuke: Banzuke, tmp_path: Path) -> None:
    """What cannot be kept is named, file by file; what can be is rated."""
    (tmp_path / "games").mkdir()
    for name, text in OTHERS.items():
        (tmp_path / "games" / name).write_text(text)

    done = banzuke("import", tmp_path / "games", "--run-id", "others", "--store", tmp_path / "store", "--json")

    told = json.loads(done.stdout)
    assert (3, 2, 5) == (done.returncode, told["games"], len(told["left_out"]))
    for name in set(OTHERS) - {"good.csa", "kings.csa"}:
        assert any(name in line for line in told["left_out"])
    names = {agent["played_as"]: agent["agent"] for agent in told["agents"]}
    assert {"山田", "鈴木", "King/A", "King:A"} == set(names)
    assert 4 == len(set(names.values()))
    assert names["King/A"].startswith("King-A-")
    assert 0 == banzuke("standings", "--store", tmp_path / "store").returncode


def test_an_import_may_be_done_again_and_never_into_another_run(banzuke: Banzuke, tmp_path: Path) -> None:
    """The same games under the same id change nothing; other games are refused."""
    (tmp_path / "a.csa").write_text(GOOD)
    (tmp_path / "b.csa").write_text(GOOD.replace("%TORYO", "%TIME_UP\n/\n" + GOOD))
    imported = [
        banzuke("import", tmp_path / name, "--run-id", "others", "--store", tmp_path / "store")
        for name in ("a.csa", "a.csa", "b.csa")
    ]

    assert [0, 0, 2] == [done.returncode for done in imported], [done.stderr for done in imported]
    assert "there is a run others already" in imported[2].stderr
    assert 1 == len(games_of(tmp_path / "store", "others"))


def test_games_of_imported_agents_cannot_be_played_again(banzuke: Banzuke, tmp_path: Path) -> None:
    """Where the file of games is gone, a backfill says that nobody can; importing them again brings them back."""
    (tmp_path / "a.csa").write_text(GOOD)
    assert 0 == banzuke("import", tmp_path / "a.csa", "--run-id", "others", "--store", tmp_path / "store").returncode
    for part in (tmp_path / "store" / "games" / "others").iterdir():
        part.unlink()

    done = banzuke("backfill", "--store", tmp_path / "store")

    assert 3 == done.returncode, done.stderr
    assert "its games were imported; it cannot play here" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr

    assert 0 == banzuke("import", tmp_path / "a.csa", "--run-id", "others", "--store", tmp_path / "store").returncode
    assert 1 == len(games_of(tmp_path / "store", "others"))


def test_games_of_others_imported_twice_count_once(banzuke: Banzuke, tmp_path: Path) -> None:
    """Two players' games, which all begin with an opening that nobody names, are the same games in the second run."""
    (tmp_path / "a.csa").write_text("/\n".join(GOOD.replace("7776", move) for move in ("7776", "2726", "5756")))
    for run_id in ("one", "two"):
        done = banzuke("import", tmp_path / "a.csa", "--run-id", run_id, "--store", tmp_path / "store")
        assert 0 == done.returncode, done.stderr

    rated = json.loads(banzuke("standings", "--all", "--json", "--store", tmp_path / "store").stdout)

    assert [3, 3] == [row["games"] for row in rated["standings"]]


def test_the_length_of_imported_games_is_no_limit(banzuke: Banzuke, store: Path, tmp_path: Path) -> None:
    """Nobody is told that others' games are drawn after as many plies as the longest of them has."""
    shutil.copytree(store, tmp_path / "store")
    (tmp_path / "a.csa").write_text(GOOD)
    assert 0 == banzuke("import", tmp_path / "a.csa", "--run-id", "others", "--store", tmp_path / "store").returncode

    rated = json.loads(banzuke("standings", "--all", "--json", "--store", tmp_path / "store").stdout)

    assert not [line for line in rated["warnings"] if "different numbers of plies" in line]


def test_a_game_at_the_end_of_time_is_taken(banzuke: Banzuke, tmp_path: Path) -> None:
    """A start that leaves no room for the game's times is no crash."""
    (tmp_path / "a.csa").write_text(GOOD.replace("PI\n", "$START_TIME:9999/12/31 23:59:59\nPI\n"))

    done = banzuke("import", tmp_path / "a.csa", "--run-id", "late", "--store", tmp_path / "store")

    assert 0 == done.returncode, done.stderr


def test_a_damaged_run_is_not_exported_over_a_good_file(banzuke: Banzuke, store: Path, tmp_path: Path) -> None:
    """The file at fault is named, and what was there before stays."""
    shutil.copytree(store, tmp_path / "store")
    largest = max((tmp_path / "store" / "games" / "small-1").glob("*.parquet"), key=lambda part: part.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:100])
    (tmp_path / "keep.csa").write_text("kept")

    done = banzuke("export", "small-1", "--format", "csa", "-o", tmp_path / "keep.csa", "--store", tmp_path / "store")

    assert 1 == done.returncode
    assert largest.name in done.stderr
    assert "kept" == (tmp_path / "keep.csa").read_text()


def test_an_export_replaces_no_device(banzuke: Banzuke, store: Path, tmp_path: Path) -> None:
    """What is no file is refused in a line and left as it is."""
    os.mkfifo(tmp_path / "pipe")

    done = banzuke("export", "small-1", "--format", "csa", "-o", tmp_path / "pipe", "--store", store)

    assert 2 == done.returncode
    assert "pipe is no file that could be replaced" in done.stderr
    assert (tmp_path / "pipe").is_fifo()
