"""`banzuke standings` over several runs, as it is typed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from several_runs import play

from storage.game_store import GameStore

Banzuke = Callable[..., subprocess.CompletedProcess[str]]
CHECKPOINT = Path(__file__).resolve().parent.parent / "examples" / "checkpoints" / "epoch_00015.pt"
CURVE = ["agent", "agent_id", "epoch", "step", "elo", "low", "high", "games"]


@pytest.fixture
def nights(tmp_path: Path) -> str:
    """Two nights of one training; in the second the best was called so."""
    store = GameStore(str(tmp_path / "store"))
    first = {"anchor": "a" * 16, "epoch-1": "c" * 16, "epoch-2": "d" * 16}
    play(store, "night-1", first, day=-1, epochs={"epoch-1": 1, "epoch-2": 2}, anchor="anchor")
    second = {"anchor": "a" * 16, "best": "d" * 16, "epoch-3": "e" * 16}
    play(store, "night-2", second, epochs={"epoch-3": 3}, anchor="anchor", openings=range(10, 16))
    return store.uri


def test_all_runs_on_one_scale(banzuke: Banzuke, nights: str) -> None:
    """--all rates every run together: one row an agent, a curve, other names, and nothing published."""
    done = banzuke("standings", "--all", "--store", nights, "--json")

    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert {"anchor", "best", "epoch-1", "epoch-3"} == {row["agent"] for row in found["standings"]}
    assert ["epoch-1", "best", "epoch-3"] == [point["agent"] for point in found["curve"]]
    assert all(CURVE == list(point) for point in found["curve"])
    assert {"best": ["epoch-2"]} == found["other_names"]
    assert ["night-2", "night-1"] == found["runs"]
    assert {"elo", "low", "high"} == found["first_move"].keys()
    assert not Path(nights, "standings").exists()


def test_the_curve_for_the_eye(banzuke: Banzuke, nights: str) -> None:
    """The table lists the shown checkpoints by epoch, each with its gain and its interval drawn."""
    done = banzuke("standings", "--since", "7d", "--agent", "epoch-*", "--store", nights)

    assert (done.returncode, done.stderr) == (0, "")
    assert "Standings of night-2, night-1" in done.stdout
    assert "3 of 4 agents, rated with all of them" in done.stdout
    lines = done.stdout.splitlines()
    start = lines.index(next(line for line in lines if line.startswith("In the order of training")))
    points = [line.split() for line in lines[start + 2 : start + 5]]
    assert [["1", "epoch-1"], ["2", "best"], ["3", "epoch-3"]] == [words[:2] for words in points]
    assert all("●" in line for line in lines[start + 2 : start + 5])
    assert [words[3][0] in "+-" for words in points[1:]] == [True, True]
    assert "best: the same content has also played as epoch-2" in done.stdout
    assert "moving first is worth " in done.stdout


def test_one_run_is_published_whole(banzuke: Banzuke, nights: str) -> None:
    """Showing some agents changes nothing of what is published, and an anchor of choice publishes nothing."""
    chosen = banzuke("standings", "--run", "night-1", "--anchor", "epoch-2", "--anchor-elo", "9", "--store", nights)
    assert (chosen.returncode, GameStore(nights).read_standings("night-1")) == (0, [])

    shown = banzuke("standings", "--run", "night-1", "--agent", "anchor", "--store", nights, "--json")

    assert ["anchor"] == [row["agent"] for row in json.loads(shown.stdout)["standings"]]
    assert 3 == len(GameStore(nights).read_standings("night-1"))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--all"], "standings: several rule sets are on no one scale: csa (night-2, night-1), keisei (other); "),
        (["--anchor", "nobody"], "standings: --anchor: none of the 3 agents is called nobody; there are "),
        (["--anchor-elo", "nan"], "--anchor-elo: nan is no rating"),
        (["--anchor-elo", "1e300"], "--anchor-elo: 1e+300 is no rating"),
        (["--all", "--run", "night-1"], "standings: --all is every run, --run is some"),
        (["--run", "night-1,night-2"], "'night-1,night-2' cannot name a run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_rated_is_one_line(options: list[str], line: str, banzuke: Banzuke, nights: str) -> None:
    """Exit code 2, one clear line on stderr, nothing on stdout."""
    play(GameStore(nights), "other", {"a": "a" * 16, "b": "b" * 16}, day=-2, rules="keisei")

    done = banzuke("standings", *options, "--store", nights)

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    assert done.stderr.startswith(line)


def test_show_says_what_standings_says(banzuke: Banzuke, nights: str) -> None:
    """The warnings of a run are the same in both."""
    play(GameStore(nights), "again", {"a": "a" * 16, "b": "b" * 16}, day=-2, openings=[1, 1, 2])

    shown = banzuke("show", "again", "--store", nights, "--json")
    rated = banzuke("standings", "--run", "again", "--store", nights, "--json")

    assert json.loads(shown.stdout)["health"]["warnings"] == json.loads(rated.stdout)["warnings"] != []


def test_evaluate_writes_down_how_far_training_was(banzuke: Banzuke, tmp_path: Path) -> None:
    """A checkpoint's epoch and step are what its file says; without them there would be no curve."""
    (tmp_path / "net.toml").write_text(
        f'name = "x"\n[[agents]]\nname = "net"\nkind = "checkpoint"\npath = "{CHECKPOINT}"\n'
        '[[agents]]\nname = "random"\nkind = "random"\n[tournament]\ngames_per_encounter = 2\n'
    )

    done = banzuke("evaluate", "net.toml", "--json")

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {"net": 16, "random": None} == {agent["agent"]: agent["epoch"] for agent in found["agents"]}
    rows = GameStore(str(tmp_path / "banzuke-store")).read_agents(found["evaluation_id"])
    assert [True, False] == [row.step is not None and row.description is not None for row in rows]
