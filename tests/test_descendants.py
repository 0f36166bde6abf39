"""Whose memory is a worker's, asked several times a second."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import psutil
import pytest

from banzuke.workers import descendants as module
from banzuke.workers.descendants import descendants


@pytest.fixture
def family() -> Iterator[psutil.Process]:
    """A shell with a child and a grandchild, all there."""
    shell = subprocess.Popen(
        ["sh", "-c", "(sh -c 'echo there; read -r line'; true) <&0; true"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert shell.stdout is not None
    assert "there\n" == shell.stdout.readline()
    yield psutil.Process(shell.pid)
    shell.communicate("\n")


@pytest.mark.parametrize("lists", [True, False], ids=["by the kernel's lists", "by psutil"])
def test_all_below_are_found(family: psutil.Process, lists: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children and grandchildren, as psutil finds them; on a kernel without its lists by psutil itself."""
    if not lists:
        monkeypatch.setattr(module, "_lists_children", lambda _pid: False)

    found = descendants(family)

    assert 2 == len(found)
    assert set(family.children(recursive=True)) == set(found)
