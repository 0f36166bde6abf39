"""A folder of checkpoints that a real server has watched: a gauntlet for each new one, and no second one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect_site import Site

REAL = Path(__file__).resolve().parent.parent / "examples/checkpoints"
FOLDER = """
[[checkpoints]]
name = "training"
folder = "saved"
device = "cpu"
"""
ENDS = ("Completed", "Degraded", "Failed", "Crashed", "Refused")
SMALL: dict[str, Any] = {
    "folder": "training",
    "opponents": ["random"],
    "games_per_encounter": 2,
    "max_plies": 20,
    "settle_seconds": 0,
}


@pytest.fixture(scope="module")
def site(environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server that knows Banzuke, a worker, and a folder that one checkpoint was saved to before anybody watched."""
    with Site(tmp_path_factory.mktemp("site"), environment) as site:
        site.catalogue.write_text(site.catalogue.read_text().replace("[limits]", f"{FOLDER}\n[limits]"))
        saved = site.folder / "saved"
        saved.mkdir()
        shutil.copy(REAL / "epoch_00000.pt", saved / "epoch-0000.pt")
        site.start_server()
        site.deploy()
        site.start_worker()
        yield site


@pytest.fixture(autouse=True)
def everything_ends(site: Site) -> Iterator[None]:
    """Nothing that a test has started goes on into the next one."""
    yield
    for gauntlet in gauntlets(site):
        site.until_state(gauntlet["id"], *ENDS)
    worker = psutil.Process(site.workers[0].pid)
    site.until(lambda: not worker.children(recursive=True), "the flows' processes to end", seconds=20)


def look(site: Site, **parameters: object) -> Any:
    """Have the folder looked at; the state that this ended in."""
    run = site.order("watch-checkpoints/watch-checkpoints", **{**SMALL, **parameters})
    return site.until_state(run, *ENDS)["state"]


def gauntlets(site: Site) -> list[Any]:
    """Every run of the pipeline there is, the oldest first."""
    found = site.ask("flow_runs/filter", {"flows": {"name": {"any_": ["play-tournament"]}}})
    return sorted(found, key=lambda run: str(run["created"]))


def test_a_new_checkpoint_gets_one_gauntlet_and_a_second_look_or_name_none(site: Site) -> None:
    """What was there before is passed over, the new file is played against the opponents, its copy is nothing new."""
    assert "nothing new" == look(site, rate_existing="none")["message"]
    shutil.copy(REAL / "epoch_00002.pt", site.folder / "saved/epoch-0002.pt")

    state = look(site, rate_existing="none", priority="high")

    assert ("Completed", "started: epoch-0002") == (state["name"], state["message"])
    (gauntlet,) = gauntlets(site)
    assert "high" == gauntlet["work_queue_name"]
    ended = site.until_state(gauntlet["id"], *ENDS)
    assert "Completed" == ended["state"]["name"], ended["state"]["message"]
    (run_id,) = site.games().run_ids()
    assert run_id.startswith("gauntlet-epoch-0002-")
    assert {"epoch-0002", "random"} == {row.agent for row in site.games().read_agents(run_id)}

    shutil.copy(REAL / "epoch_00002.pt", site.folder / "saved/best.pt")
    assert "nothing new" == look(site)["message"]
    assert 1 == len(gauntlets(site))


def test_a_watcher_killed_before_it_remembers_starts_no_second_gauntlet(site: Site) -> None:
    """The server knows a checkpoint that it was told of: without the store's memory there is still one run of it."""
    before = len(gauntlets(site))
    shutil.copy(REAL / "epoch_00006.pt", site.folder / "saved/epoch-0006.pt")
    assert "started: epoch-0006" == look(site)["message"]
    remembered = {path.name for path in (site.store / "watched/training").iterdir()}
    newest = max((site.store / "watched/training").glob("[0-9a-f]*.json"), key=lambda path: path.stat().st_mtime_ns)

    newest.unlink()
    assert "started: epoch-0006" == look(site)["message"]

    assert before + 1 == len(gauntlets(site))
    assert remembered == {path.name for path in (site.store / "watched/training").iterdir()}


def test_a_checkpoint_of_which_half_is_written_waits(site: Site) -> None:
    """It is told of when the rest has come, and the log of the look before says that it waits."""
    before = len(gauntlets(site))
    whole = (REAL / "epoch_00015.pt").read_bytes()
    path = site.folder / "saved/epoch-0015.pt"
    path.write_bytes(whole[: len(whole) // 2])

    run = site.order("watch-checkpoints/watch-checkpoints", **SMALL, rate_existing="none")
    assert "nothing new" == site.until_state(run, *ENDS)["state"]["message"]

    line = "training: 1 not written whole yet, and wait: epoch-0015"
    site.until(lambda: line in logged(site, run), "the log to say that it waits")
    path.write_bytes(whole)
    look(site)
    assert "started: epoch-0015" == look(site)["message"]
    assert before + 1 == len(gauntlets(site))


def logged(site: Site, run: str) -> list[str]:
    """What a run has said."""
    found = site.ask("logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})
    return [line["message"] for line in found]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"folder": "trainning"}, "training"),
        ({"folder": "../saved"}, "no folder of checkpoints is called"),
        ({"opponents": ["materail-1"]}, "material-1"),
        ({"games_per_encounter": 3}, "games_per_encounter"),
    ],
)
def test_what_cannot_be_watched_is_refused_with_one_line(site: Site, wrong: dict[str, object], named: str) -> None:
    """Nothing is started, and what was new is new still when the fault is mended."""
    before = len(gauntlets(site))
    path = site.folder / "saved/refused.pt"
    path.write_bytes(f"not a network, and {wrong}".encode())

    state = look(site, **wrong)

    assert ("Refused", before) == (state["name"], len(gauntlets(site)))
    assert named in state["message"]
    assert 1 == len(state["message"].splitlines())
    path.unlink()


def test_a_vanished_folder_is_refused_with_its_name(site: Site) -> None:
    """A disk that is not mounted is no empty folder: nothing is forgotten."""
    (site.folder / "saved").rename(site.folder / "away")
    try:
        state = look(site)
    finally:
        (site.folder / "away").rename(site.folder / "saved")

    assert "Refused" == state["name"]
    assert "checkpoints 'training': folder: cannot be looked at" in state["message"]
