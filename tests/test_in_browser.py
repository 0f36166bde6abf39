"""A tournament in a real browser: asked for in the form, watched, read; paused, cancelled and retried by clicks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from browser import UI, Value, browsing
from playwright.sync_api import expect
from prefect_site import CATALOGUE, Site
from test_broken_agents import FAULTS, engine
from test_served_runs import begun, check_whole, counting, run_of, until_nothing_plays

CRASHES = "crashes-in-games"
USI = f"""
[[agents]]
name = "{CRASHES}"
kind = "usi"
command = ["./{CRASHES}.py"]
limit = {{ nodes = 1 }}
"""
PIPELINE = "play-tournament/pipeline"
FORM: Mapping[str, Value] = {
    "name": "in-browser",
    "agents": ["material-*", "random"],
    "format": "gauntlet",
    "challengers": ["random"],
    "games_per_encounter": 200,
    "rules": "keisei",
    "max_plies": 120,
    "anchor": "material-1",
    "anchor_elo": 12.5,
    "seed": 2**53 - 1,
}
LONG: dict[str, Any] = {"agents": ["material-*", "random"], "games_per_encounter": 100}
LONG_GAMES = 300


@pytest.fixture(scope="module")
def site(environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server that knows Banzuke, and a worker whose catalogue has an engine that crashes in its games."""
    with Site(tmp_path_factory.mktemp("site"), environment) as site:
        engine(site.folder, CRASHES, FAULTS[CRASHES])
        site.catalogue.write_text(CATALOGUE.replace("[limits]", f"{USI}[limits]"))
        site.start_server()
        site.deploy()
        site.start_worker(BANZUKE_BACKFILLS="0")
        yield site


@pytest.fixture
def ui(site: Site, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[UI]:
    """The site's pages; screenshots, one of each test's end among them, go to the folder BANZUKE_SCREENSHOTS."""
    with browsing(site.address, Path(os.environ.get("BANZUKE_SCREENSHOTS", tmp_path))) as ui:
        yield ui
        ui.shot(request.node.name)


def look_at(script: str, screenshots: Path) -> None:
    """An empty page that runs a script."""
    with browsing("http://127.0.0.1", screenshots) as ui:
        ui.page.evaluate(script)
        ui.page.wait_for_function("true")


@pytest.mark.parametrize("script", ["setTimeout(() => { throw Error('made up') })", "console.error('made up')"])
def test_an_error_of_a_page_is_no_success(script: str, tmp_path: Path) -> None:
    """A script that fails, and a line that the page logs as an error, fail whoever looked at that page."""
    with pytest.raises(AssertionError, match="made up"):
        look_at(script, tmp_path)


def test_a_tournament_is_asked_for_in_the_form_and_its_standings_are_read(site: Site, ui: UI) -> None:
    """What the form says is what is played; the page of the run shows progress, then the standings."""
    ui.open_deployment("pipeline")
    ui.shot("deployment")
    ui.open_run_form()
    ui.fill_run_form(FORM)
    ui.shot("form", whole=True)
    run = ui.submit_run()

    asked = site.flow_run(run)["parameters"]
    assert FORM == {name: asked[name] for name in FORM}
    assert {"openings": "", "newest": 0, "target_error": 20.0} == {
        name: asked[name] for name in ("openings", "newest", "target_error")
    }
    ui.flow_run_page(run)
    ui.see_state("Running")
    begun(site, run)
    run_id = run_of(site, run)
    ui.see_card(f"progress-{run_id}", " of 400 games")
    ui.shot("progress")
    ui.see_state("Completed")
    ui.see_card(f"progress-{run_id}", "400 of 400 games")
    ui.see_card(f"standings-{run_id}")
    ui.shot("artifacts", whole=True)
    ui.open_card(f"standings-{run_id}")
    for agent in ("material-1", "material-2", "random"):
        expect(ui.main.get_by_role("cell", name=agent, exact=True)).to_be_visible()
    ui.shot("standings")
    check_whole(site, run, 400)


def test_failures_are_read_with_the_command_that_plays_them_again(site: Site, ui: UI) -> None:
    """A run with an engine that crashes in its games says so, and how to go on, on the page of its failures."""
    ui.open_deployment("pipeline")
    ui.open_run_form()
    ui.fill_run_form({"name": "failing", "agents": [CRASHES, "random"], "games_per_encounter": 2})
    run = ui.submit_run()

    ui.flow_run_page(run)
    ui.see_state("Degraded")
    run_id = run_of(site, run)
    ui.see_card(f"failures-{run_id}")
    ui.open_card(f"failures-{run_id}")
    expect(ui.main.locator("pre")).to_contain_text(f"banzuke backfill --run {run_id}")
    ui.see(CRASHES)
    ui.shot("failures")
    ui.artifact_page(f"failures-{run_id}")
    ui.see(CRASHES)
    until_nothing_plays(site)


def test_the_form_says_at_the_field_what_is_wrong(site: Site, ui: UI) -> None:
    """A number out of range, an odd one and an empty line of a list are refused before there is a run."""
    ui.open_deployment("pipeline")
    ui.open_run_form()
    ui.fill_run_form({"max_plies": 1})
    assert "Value must be greater than or equal to 2." == ui.warning("max_plies")
    ui.fill_run_form({"max_plies": 320, "games_per_encounter": 3, "agents": ["random", ""]})

    said = ui.submit_in_vain()

    assert "Validation failed for field" in said
    expect(ui.field("games_per_encounter")).to_contain_text("3 is not a multiple of 2")
    expect(ui.field("agents")).to_contain_text("None is not of type 'string'")
    ui.shot("form-refused", whole=True)
    deployment = site.ask(f"deployments/name/{PIPELINE}")["id"]
    runs = site.ask("flow_runs/filter", {"deployments": {"id": {"any_": [deployment]}}})
    assert not [run for run in runs if run["parameters"].get("games_per_encounter") == 3]


def test_a_wrong_name_is_read_on_the_page_of_the_run(site: Site, ui: UI) -> None:
    """What only the worker can know is refused there, with the near names in the log that the page shows first."""
    ui.open_deployment("pipeline")
    ui.open_run_form()
    ui.fill_run_form({"agents": ["materail-1", "random"]})

    run = ui.submit_run()

    ui.flow_run_page(run)
    ui.see_state("Refused")
    ui.flow_run_page(run)  # once a run has ended, what was logged last is seen on a page opened then
    ui.see("materail-1")
    ui.see("material-1")
    ui.shot("refused")
    ui.open_tab("Details")
    ui.see("material-1")
    assert not [run_id for run_id in site.games().run_ids() if run_id.endswith(run[:8])]


def test_a_run_is_paused_resumed_cancelled_and_retried_by_clicks(site: Site, ui: UI) -> None:
    """Every button does what it says, and at the end each game has been played once."""
    run = site.order(PIPELINE, name="clicked", **LONG)
    ui.flow_run_page(run)

    begun(site, run)
    ui.see_state("Running")
    ui.click_pause()
    ui.see_state("Suspended")
    until_nothing_plays(site)
    ui.shot("paused")
    kept = counting(site, run)
    ui.click_resume()
    kept = begun(site, run, beyond=kept)
    ui.see_state("Running")
    ui.click_cancel()
    ui.see_state("Cancelled")
    until_nothing_plays(site)
    kept = counting(site, run)
    assert 0 < kept < LONG_GAMES
    ui.click_retry()
    begun(site, run, beyond=kept)
    ui.see_state("Completed")
    check_whole(site, run, LONG_GAMES)
