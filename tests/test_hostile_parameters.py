"""Parameters of a run from a server, at their worst."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hostile_parameters import HOSTILE, NOT_JSON

from banzuke.catalogue import Catalogue, load_catalogue
from banzuke.composing import compose, compose_test
from banzuke.errors import SpecError

CATALOGUE = """
[[agents]]
name = "random"
kind = "random"
[[agents]]
name = "material-1"
kind = "material"
[[checkpoints]]
name = "night"
folder = "night"
[suites]
mate-in-1 = "suite.sfen"
[openings]
balanced = "book.sfen"
[limits]
concurrency = 2
"""
TOUCHING = {
    "open",
    "os.listdir",
    "os.scandir",
    "os.mkdir",
    "os.exec",
    "os.posix_spawn",
    "os.system",
    "subprocess.Popen",
}


class Watch:
    """What this process opens, lists or starts while it is on. Python's hooks stay, so there is one for all tests."""

    def __init__(self) -> None:
        self.on = False
        self.touched: list[str] = []
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and event in TOUCHING:
            self.touched.append(f"{event} {arguments[0]!r}")


@pytest.fixture(scope="session")
def process_watch() -> Watch:
    """The one hook."""
    return Watch()


@pytest.fixture
def touched(process_watch: Watch) -> Iterator[list[str]]:
    """What was touched during the test."""
    process_watch.touched = []
    process_watch.on = True
    yield process_watch.touched
    process_watch.on = False


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """Two scripted agents and a folder of thirty checkpoints."""
    folder = tmp_path_factory.mktemp("machine")
    (folder / "night").mkdir()
    for number in range(30):
        (folder / "night" / f"epoch-{number:02d}.pt").write_bytes(b"x")
    for name in ("suite.sfen", "book.sfen"):
        (folder / name).touch()
    (folder / "catalogue.toml").write_text(CATALOGUE)
    catalogue = load_catalogue(folder / "catalogue.toml")
    compose(catalogue)
    with pytest.raises(SpecError):  # whatever Python loads late is loaded now
        compose(catalogue, seed=-1)
    return catalogue


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_parameters_are_refused_in_one_short_line(name: str, catalogue: Catalogue, touched: list[str]) -> None:
    """Each names its parameter, at once, and no file is opened for it and no program started."""
    parameters = HOSTILE[name]
    started = time.process_time()

    with pytest.raises(SpecError) as caught:
        compose(catalogue, **parameters)

    seconds = time.process_time() - started
    assert [] == touched
    assert 1 == len(caught.value.faults), caught.value.faults
    (line,) = caught.value.faults
    assert line.isprintable()
    assert len(line) < 300
    assert line.encode()
    assert seconds < 1
    assert any(line.startswith((f"{key}: ", f"unknown parameter '{key}")) for key in parameters), line


@pytest.mark.parametrize("name", [name for name, sets in HOSTILE.items() if not sets.keys() & {"agents", "format"}])
def test_a_test_of_two_agents_is_as_strict(name: str, catalogue: Catalogue) -> None:
    """What is refused of a tournament is refused of a test; what only tournaments have is unknown there."""
    with pytest.raises(SpecError) as caught:
        compose_test(catalogue, agent="epoch-01", versus="random", **HOSTILE[name])

    assert 1 == len(caught.value.faults), caught.value.faults
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("key", ["agent", "versus"])
@pytest.mark.parametrize(
    "name", [name for name, sets in HOSTILE.items() if list(sets) == ["agents"] and "times" not in name]
)
def test_no_hostile_name_is_an_agent_of_a_test(name: str, key: str, catalogue: Catalogue, touched: list[str]) -> None:
    """A test takes two names: neither patterns, nor lists, nor anything else."""
    given = HOSTILE[name]["agents"]
    pair = {"agent": "epoch-01", "versus": "random", key: given[0] if isinstance(given, list) and given else given}

    with pytest.raises(SpecError) as caught:
        compose_test(catalogue, **pair)

    assert [] == touched
    assert 1 == len(caught.value.faults), caught.value.faults
    assert str(caught.value).startswith(f"{key}: ")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_everything_hostile_at_once_is_a_few_short_lines(catalogue: Catalogue) -> None:
    """Faults do not hide each other, and do not flood whoever reads them."""
    together = {key: value for parameters in HOSTILE.values() for key, value in parameters.items()}

    with pytest.raises(SpecError) as caught:
        compose(catalogue, **together)

    assert 10 < len(caught.value.faults) <= 21
    assert all(line.isprintable() and len(line) < 300 for line in caught.value.faults)


def test_what_is_hostile_can_be_sent_to_a_server() -> None:
    """All but the sets listed pass through JSON as they are."""

    def is_json(parameters: dict[str, Any]) -> bool:
        try:
            return bool(json.loads(json.dumps(parameters, allow_nan=False)) == parameters)
        except (ValueError, RecursionError):
            return False

    assert len(HOSTILE) >= 20
    assert set(NOT_JSON) == {name for name, parameters in HOSTILE.items() if not is_json(parameters)}
