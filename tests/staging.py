"""What several tests need to set a scene: a game to be played, and ways to wait for the moment."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from banzuke.games.positions import START_POSITION
from banzuke.record import PlannedGame
from banzuke.specs import find_program

STOP_SECONDS = 40.0
"""For a command that was told to stop. It bounds itself to nine; starved of cores it takes longer to say so."""
EVENT_SECONDS = 90.0


def game(
    first: str = "a",
    second: str = "b",
    *,
    number: int = 0,
    seed: int | None = None,
    opening: tuple[str, ...] = (),
    run_id: str = "r",
) -> PlannedGame:
    """A game of a pair of its own; its seed is its number where none is given."""
    return PlannedGame(
        run_id=run_id,
        game_id=f"{run_id}--g{number}",
        pair_id=f"{run_id}--p{number}",
        game_no=number,
        pair_no=number,
        encounter="--".join(sorted((first, second))),
        round=number,
        slot=0,
        game="shogi",
        rules="csa",
        first_agent=first,
        second_agent=second,
        first_agent_id=f"id-of-{first}",
        second_agent_id=f"id-of-{second}",
        opening_id="o",
        start_position=START_POSITION,
        opening_plies=len(opening),
        seed=number if seed is None else seed,
        opening_moves=opening,
    )


def engine(name: str) -> str:
    """A real engine's program; skips where it is not installed, fails there on CI."""
    try:
        return str(find_program(name, Path()))
    except FileNotFoundError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


def once(condition: Callable[[], object], act: Callable[[], object]) -> Callable[[], None]:
    """A tick that acts at the first moment at which the condition holds."""
    done: list[object] = []

    def tick() -> None:
        if not done and condition():
            done.append(True)
            act()

    return tick


def wait_until(condition: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    """The first true answer of ``condition`` while the process runs."""
    deadline = time.monotonic() + EVENT_SECONDS
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        if process.poll() is not None:
            out, err = process.communicate()
            pytest.fail(f"ended with {process.returncode} before the event: {out}{err}")
        psutil.wait_procs([psutil.Process(process.pid)], timeout=0.02)
    return pytest.fail("the event did not happen in time")
