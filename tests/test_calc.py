"""``banzuke calc``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping

import pytest

Banzuke = Callable[..., subprocess.CompletedProcess[str]]

ELO_KEYS = {"games", "score", "elo", "elo_low", "elo_high", "nelo", "nelo_low", "nelo_high", "los", "reason"}
"""Of the contract; there are more."""


def test_elo_of_games_for_programs(banzuke: Banzuke) -> None:
    """Games are given as won, drawn, lost, and stdout is one JSON object with the keys of the contract."""
    done = banzuke("calc", "elo", "--wdl", "76,123,89", "--json")

    figures = json.loads(done.stdout)
    assert (0, "") == (done.returncode, done.stderr)
    assert set() == ELO_KEYS - set(figures)
    assert (288, -15.69, 0.1553) == (figures["games"], round(figures["elo"], 2), round(figures["los"], 4))


def test_elo_of_pairs_for_people(banzuke: Banzuke) -> None:
    """A few lines say the figures with their intervals."""
    done = banzuke("calc", "elo", "--pentanomial", "34,54,63,64,75")

    assert done.returncode == 0
    assert re.search(r"^580 games in 290 pairs", done.stdout, re.MULTILINE)
    assert re.search(r"^nElo +57\.94 +\(95 %: 29\.66 to 86\.21\)", done.stdout, re.MULTILINE)


def test_a_perfect_score_is_no_failure(banzuke: Banzuke) -> None:
    """Where a figure does not exist it is null with a reason, and the exit code is 0."""
    done = banzuke("calc", "elo", "--wdl", "10,0,0", "--json")

    figures = json.loads(done.stdout)
    assert (0, None, None) == (done.returncode, figures["elo"], figures["los"])
    assert "score of 1" in figures["reason"]


def test_the_test_for_programs(banzuke: Banzuke) -> None:
    """The sequential test prints the keys of the contract, and the estimate beside them."""
    counts = "10789,19328,33806,19402,10543"
    done = banzuke("calc", "sprt", "--pentanomial", counts, "--elo0", "-3", "--elo1", "1", "--json")

    answer = json.loads(done.stdout)
    assert done.returncode == 0
    assert (2.13107, "continue", None) == (round(answer["llr"], 5), answer["verdict"], answer["reason"])
    assert (-2.944, 2.944) == (round(answer["lower"], 3), round(answer["upper"], 3))
    assert pytest.approx(-0.9925, abs=6e-5) == answer["estimate"]["elo"]


def test_the_test_of_games_for_people(banzuke: Banzuke) -> None:
    """Wins, draws and losses keep their order, and the verdict is said in words."""
    better = banzuke("calc", "sprt", "--wdl", "60,60,20", "--elo0", "0", "--elo1", "80", "--model", "normalized")

    assert better.returncode == 0
    assert "accepted is H1, 80 nElo" in better.stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["elo"], "give the counts as --wdl"),
        (["elo", "--wdl", "1,2,3", "--pentanomial", "1,2,3,4,5"], "one of the two"),
        (["elo", "--wdl", "-1,2,3"], "'-1' is no count"),
        (["elo", "--wdl", "a,b,c"], "'a' is no count"),
        (["elo", "--pentanomial", "1,2,3"], "5 counts, not 3"),
        (["elo", "--wdl", f"1,2,{10**16}"], "15 digits"),
        (["sprt", "--wdl", "1,2,3", "--elo0", "5", "--elo1", "0"], "elo0 is to be below elo1"),
        (["sprt", "--wdl", "1,2,3", "--elo0", "nan", "--elo1", "0"], "finite"),
        (["sprt", "--wdl", "1,2,3", "--elo0", "five", "--elo1", "0"], "'five' is no number"),
        (["sprt", "--wdl", "1,2,3", "--elo0", "0", "--elo1", "5", "--alpha", "1"], "alpha and beta"),
    ],
)
def test_wrong_usage_is_one_clear_line(banzuke: Banzuke, arguments: list[str], line: str) -> None:
    """What is no count or no test is exit code 2, one line on stderr and nothing on stdout."""
    done = banzuke("calc", *arguments)

    assert (2, "") == (done.returncode, done.stdout)
    assert (1, True) == (len(done.stderr.splitlines()), line in done.stderr)


def test_it_starts_without_what_it_does_not_need(environment: Mapping[str, str]) -> None:
    """The arithmetic loads neither torch nor Prefect nor Parquet."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "deployments.cli", "calc", "elo", "--wdl", "1,2,3"],
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "banzuke.ratings.two_agents" in loaded
    assert set() == loaded & {"torch", "prefect", "pyarrow", "pandas"}
