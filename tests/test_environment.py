"""The command in surroundings that nobody wished for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

RUN = f"{sys.executable} -m deployments.cli run small.toml --store store --run-id r"


def in_shell(line: str, folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[bytes]:
    """A line typed into a shell, to its end."""
    command = ["bash", "-c", line]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=120, check=False)


@pytest.mark.parametrize(
    "changes",
    [
        {
            "PYTHONIOENCODING": "ascii",
            "LANG": "C",
            "PREFECT_LOGGING_EXTRA_LOGGERS": "",
            "PREFECT_CLIENT_MAX_RETRIES": "x",
        },
        {"BANZUKE_CACHE": "/proc/nowhere"},
    ],
    ids=["few letters, and nonsense for Prefect", "a cache that cannot be written"],
)
def test_a_run_does_not_care(
    changes: Mapping[str, str], small_spec: Callable[..., Path], environment: Mapping[str, str], tmp_path: Path
) -> None:
    """The run ends as it would anywhere."""
    small_spec(games=2)

    done = in_shell(RUN, tmp_path, {**environment, "TMPDIR": str(tmp_path), **changes})

    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    assert b"6 of 6 games count" in done.stdout


def test_a_closed_stdout_changes_nothing_but_what_is_seen(
    small_spec: Callable[..., Path], environment: Mapping[str, str], tmp_path: Path
) -> None:
    """Without a stdout the run is played, and its exit code says how it went."""
    small_spec(games=2)

    done = in_shell(f"{RUN} --json >&-", tmp_path, environment)

    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "store" / "standings" / "r" / "standings.parquet").exists()


def test_a_server_that_is_down_is_one_clear_line(
    small_spec: Callable[..., Path], environment: Mapping[str, str], tmp_path: Path
) -> None:
    """A PREFECT_API_URL where nobody answers is named, and nothing is written."""
    small_spec(games=2)

    done = in_shell(RUN, tmp_path, {**environment, "PREFECT_API_URL": "http://127.0.0.1:9/api"})

    assert done.returncode == 1
    assert b"http://127.0.0.1:9/api" in done.stderr.splitlines()[-1]
    assert b"PREFECT_API_URL" in done.stderr.splitlines()[-1]
    assert b"a fault of ours" not in done.stderr
    assert not os.path.lexists(tmp_path / "store")
