"""The README is what newcomers type. Here it is typed for them, from the top."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from storage.game_store import GameStore

PROJECT = Path(__file__).resolve().parent.parent
README = (PROJECT / "README.md").read_text()
FILE = re.compile(r"<!-- file: (\S+) -->\n```toml\n(.*?)```", re.DOTALL)
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
NOT_TYPED = ("make test", ". .venv/bin/activate")
"""The test run itself, and the virtual environment that the tests run in already."""


def commands() -> list[str]:
    """Every line of the README's console blocks, in order."""
    return [line for block in CONSOLE.findall(README) for line in block.splitlines() if line not in NOT_TYPED]


@pytest.mark.timeout(900)
def test_the_readme_takes_a_newcomer_from_nothing_to_the_parquet(
    tmp_path: Path, environment: Mapping[str, str]
) -> None:
    """Every command ends well, in the order in which they are written, and the demo shows what it promises."""
    (tmp_path / "examples").symlink_to(PROJECT / "examples")
    for name, text in FILE.findall(README):
        (tmp_path / name).write_text(text)
    typed = []
    for command in commands():
        done = _type(command, tmp_path, environment)
        assert 0 == done.returncode, f"{command}\n{done.stdout}{done.stderr}"
        typed.append(done.stdout)

    assert "(0, 0)" not in typed[-1]
    demo = GameStore(str(tmp_path / "demo-store"))
    rows = {row.agent: row for row in demo.read_standings(demo.run_ids()[0])}
    assert {"random", "material-1", "material-2"} <= rows.keys()
    networks = [rows[name] for name in sorted(name for name in rows if name.startswith("epoch-"))]
    assert 4 == len(networks)
    first, last = networks[0], networks[-1]
    assert first.elo_high is not None
    assert last.elo_low is not None
    assert last.elo_low > first.elo_high
    assert all(row.elo_low is not None and row.elo_high is not None for row in rows.values())
    assert pd.read_parquet(tmp_path / "banzuke-store" / "games").status.isin(["played", "forfeit"]).all()


def _type(command: str, folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command)
    if words[0] == "make":
        # The installation is that of the tests; making it again is what .ci/run does on a new machine.
        installed = ["VENV=" + sys.prefix, "-o", f"{sys.prefix}/.installed", f"STORE={folder / 'demo-store'}"]
        words = [*words, "-C", str(PROJECT), *installed]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False)


def test_the_readme_names_every_command() -> None:
    """What the command offers is what the README speaks of."""
    done = subprocess.run(
        [sys.executable, "-m", "deployments.cli", "--help"], capture_output=True, text=True, check=True
    )
    offered = set(re.findall(r"^│ (\w+) ", done.stdout, re.MULTILINE))

    assert {"run", "sprt", "evaluate", "standings", "backfill", "runs", "show", "calc"} == offered
    assert all(f"banzuke {name}" in README for name in offered)
