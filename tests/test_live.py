"""What a person at a terminal sees while games are played."""

from __future__ import annotations

import fcntl
import io
import os
import re
import select
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from banzuke.progress import announce_plan, announce_test
from banzuke.specs import RandomAgent, Spec, load_spec
from deployments.live import BackfillLines, LiveTable

SECONDS = 120.0
SPEC = Spec(name="test", agents=tuple(RandomAgent(name=name, kind="random") for name in ("new", "old")))


def on_a_terminal(command: list[str], columns: int, environment: Mapping[str, str], folder: Path) -> tuple[int, str]:
    """Exit code and everything a terminal of that width was shown, without its control sequences."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    kept = {name: value for name, value in environment.items() if name not in {"COLUMNS", "LINES"}}
    process = subprocess.Popen(
        command, cwd=folder, env={**kept, "TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown, deadline = b"", time.monotonic() + SECONDS
    try:
        while time.monotonic() < deadline and select.select([ours], [], [], SECONDS)[0]:
            shown += os.read(ours, 65536)
    except OSError:
        pass  # EIO is how a terminal says that its last program has left
    finally:
        process.kill() if time.monotonic() > deadline else None
        os.close(ours)
    return process.wait(), re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode(errors="replace"))


def test_a_plan_that_grows_is_counted_from_the_beginning(small_spec: Callable[..., Path], tmp_path: Path) -> None:
    """The rate is that of the whole invocation; what is left is only of what is planned so far, and says so."""
    spec = load_spec(small_spec())
    grows = spec.model_copy(update={"tournament": spec.tournament.model_copy(update={"format": "adaptive"})})
    table = LiveTable(grows, str(tmp_path), "r", live=False)
    table.on_plan("r", planned=84, counting=0)
    table._started -= 60.0

    table.on_plan("r", planned=104, counting=84)
    table._counted_at = time.monotonic()

    assert re.fullmatch(r"84/104 games, 8\d a minute, 0:1\d left in this step", table._progress_line())


def test_a_terminal_shows_progress_and_the_table_as_it_stands(
    small_spec: Callable[..., Path], environment: Mapping[str, str], tmp_path: Path
) -> None:
    """Stage, games done, rate, time left and the standings so far are redrawn; the result stays."""
    spec = small_spec(games=60)
    command = [sys.executable, "-m", "deployments.cli", "run", str(spec), "--store", "store", "--run-id", "r"]

    code, shown = on_a_terminal(command, 100, environment, tmp_path)

    assert code == 0, shown
    assert re.search(r"tournament: 180 games of 180 to play +\d+/180 games, \d+ a minute, \d+:\d\d left", shown), shown[
        -3000:
    ]
    assert shown.count("stronger than next") >= 2
    assert "180 of 180 games count" in shown
    assert "Standings of r" in shown


def test_a_narrow_terminal_loses_no_figure(
    small_spec: Callable[..., Path], environment: Mapping[str, str], tmp_path: Path
) -> None:
    """In 60 columns the rank, the rating and its interval can still be read."""
    spec = small_spec(games=4)
    command = [sys.executable, "-m", "deployments.cli", "run", str(spec), "--store", "store", "--run-id", "r"]

    code, shown = on_a_terminal(command, 60, environment, tmp_path)

    assert code == 0, shown
    assert "anchor" in shown
    assert re.search(r"1 +other +\d+ +-?\d+ … \d+", shown), shown[-2000:]


class Dawdling(io.StringIO):
    """A stream that takes its time with every fourth line, so that the next ones could overtake it."""

    def write(self, text: str) -> int:
        if text.startswith("[") and int(text[1:].partition("/")[0]) % 4 == 1:
            threading.Event().wait(0.005)
        return super().write(text)


def test_backfill_lines_come_in_the_order_of_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Games that end at the same moment in several batches do not overtake each other."""
    shown = Dawdling()
    monkeypatch.setattr(sys, "stdout", shown)
    lines = BackfillLines(100, live=True)

    def batch(number: int) -> None:
        for game in range(25):
            lines.on_skipped(f"{number}-{game}", "unfit")

    threads = [threading.Thread(target=batch, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)

    assert [f"[{number}/100]" for number in range(1, 101)] == [
        line.split()[0] for line in shown.getvalue().splitlines()
    ]


def test_a_sequential_test_shows_where_it_stands_between_its_bounds(capsys: pytest.CaptureFixture[str]) -> None:
    """The progress has the ratio, its bounds and the pairs; the verdict is said at once, not at the next line."""
    with LiveTable(SPEC, "store", "r", live=True) as table:
        announce_plan("r", planned=480, counting=0)
        announce_test(llr=-1.234, lower=-2.944, upper=2.944, pairs=17, verdict=None)
        under_way = table._progress_line()
        said_before = capsys.readouterr().err
        announce_test(llr=2.99, lower=-2.944, upper=2.944, pairs=40, verdict="accept_h1")

    assert under_way == "0/480 games, llr -1.23 in (-2.94, 2.94) after 17 pairs"
    assert not said_before
    assert capsys.readouterr().err == (
        "r: accept_h1, llr 2.99 in (-2.94, 2.94) after 40 pairs; games in flight are finished\n"
    )
