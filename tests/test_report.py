"""The page of a run: its numbers, its words about what failed, and how it looks in Chromium, wide and narrow."""

from __future__ import annotations

import json
import math
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import CHROMIUM
from playwright.sync_api import Page, expect, sync_playwright
from test_store_schemas import agent_row, game_record, planned_game, record, run_document, standing, void_record

from banzuke.errors import CorruptPartError, SpecError
from banzuke.outcome import Side, Status, Termination
from banzuke.ratings.scores import GameColumns
from banzuke.ratings.standings import Entrant, compute_standings
from deployments.printing import standings_table
from storage.game_store import GameStore
from tasks.exporting import export_to_file, wanted_games
from tasks.importing import find_games, import_games
from tasks.rating import rate_runs
from tasks.report.figures import Interval, draw_intervals
from tasks.report.heat import MOST_ACROSS, STEPS, heat_css, heat_map
from tasks.report.how_played import MOST_BINS, how_played, nice_width
from tasks.report.page import note_words, report_page
from tasks.report.writing import check_writable

Banzuke = Callable[..., subprocess.CompletedProcess[str]]
PROJECT = Path(__file__).resolve().parent.parent
WIDE, PHONE = 1280, 360
HOSTILE = (
    "<script>hacked=1</script>",
    "</style><b>bold</b>",
    "a&amp;b\"c'd",
    "\u202eright to left",
    "שלום עולם",
    "😀 $x^2$ {{ 7 * 7 }}",
    "x" * 64,
    "W" * 64,
)
GAME = """
7g7f 3c3d 2g2f 8c8d 2f2e 8d8e 6i7h 4a3b 3i3h 7a7b 9g9f 9c9d 1g1f 1c1d 4g4f 6c6d 3h4g 7b6c 5i6h 5a4b 4g5f 6c5d
3g3f 7c7d 2i3g 8a7c 4i4h 6a6b 2h2i 8b8a 6g6f 6b6c 6h6g
"""
LINE = GAME.split()
SEEN = """() => {
    const shown = [...document.querySelectorAll("body *")].filter((part) => part.clientWidth > 0);
    const hides = (part) => ["hidden", "clip"].includes(getComputedStyle(part).overflowX);
    const beyond = (text) => {
        const [own, all] = [text.getBoundingClientRect(), text.ownerSVGElement.getBoundingClientRect()];
        return all.width > 0 && (own.left < all.left - 1 || own.right > all.right + 1);
    };
    const ids = [...document.querySelectorAll("[id]")].map((part) => part.id);
    const used = document.body.innerHTML.matchAll(/(?:url\\(|xlink:href=")#([\\w.-]+)/g);
    return {
        wider: document.documentElement.scrollWidth - innerWidth,
        cut: shown.filter((part) => hides(part) && part.scrollWidth > part.clientWidth + 1).map((it) => it.outerHTML),
        beyond: [...document.querySelectorAll(".drawing svg text")].filter(beyond).map((text) => text.textContent),
        twice: ids.filter((id, place) => ids.indexOf(id) !== place),
        missing: [...used].map((found) => found[1]).filter((id) => !document.getElementById(id)),
    };
}"""
NOTHING_WRONG = {"wider": 0, "cut": [], "beyond": [], "twice": [], "missing": []}


def document(run_id: str, agents: Sequence[Mapping[str, Any]], **changes: Any) -> dict[str, object]:
    """A run's document with a whole spec."""
    tournament = {"format": "round-robin", "games_per_encounter": 2, "rules": "csa", "max_plies": 320, "seed": 1}
    spec = {
        "name": "small",
        "game": "shogi",
        "agents": list(agents),
        "tournament": {**tournament, **changes.pop("tournament", {})},
        "ratings": {"anchor": agents[0]["name"], "anchor_elo": 0.0},
        "limits": {"move_seconds": 10.0},
    }
    versions = {"banzuke": "0.1.0", "python": "3.11.7"}
    return run_document(run_id, spec=spec, versions=versions, host="kyoto", **changes)


def tournament(
    uri: str, run_id: str, names: Sequence[str], *, rounds: int = 1, document_changes: Mapping[str, Any] | None = None
) -> GameStore:
    """A round-robin: who moves first wins two games of three, the others are drawn; they take 5 to 33 plies."""
    games = GameStore(uri)
    agents = [{"name": name, "kind": "random"} for name in names]
    games.create_run(run_id, document(run_id, agents, **(document_changes or {})))
    games.write_agents(
        run_id, [agent_row(run_id, agent=name, agent_id=content(name), kind="random", epoch=None) for name in names]
    )
    planned, played = [], []
    pairs = [(low, high) for low in range(len(names)) for high in range(low + 1, len(names))] * rounds
    for number in range(2 * len(pairs)):
        pair = [names[place] for place in pairs[number // 2]]
        first, second = pair if number % 2 == 0 else reversed(pair)
        seats = {
            "encounter": "--".join(sorted(pair)),
            "first_agent": first,
            "second_agent": second,
            "first_agent_id": content(first),
            "second_agent_id": content(second),
        }
        planned.append(planned_game(run_id, number, **seats))
        moves = tuple(LINE[: 5 + 2 * (number % 15)])
        ended: dict[str, object] = {"termination": Termination.RESIGNATION}
        if number % 3 == 2:
            ended = {"winner": None, "termination": Termination.MAX_PLIES}
        course = {"plies": len(moves), "moves": moves, "move_times_ms": (7,) * len(moves), "evals": None}
        start = {"start_position": f"{planned[-1].start_position} 1"}
        played.append(game_record(run_id, number, **seats, **course, **ended, **start))
    games.write_plan(run_id, planned)
    record(games, run_id, played)
    return games


def content(name: str) -> str:
    return name.encode().hex()[:16].ljust(16, "0")


def failing(uri: str) -> GameStore:
    """Of three pairs: a forfeit, a game void for good, one that was void at first, and two games never tried."""
    games = GameStore(uri)
    agents = [{"name": "material-2", "kind": "material", "depth": 2}, {"name": "random", "kind": "random"}]
    games.create_run("failing", document("failing", agents))
    games.write_agents(
        "failing",
        [
            agent_row("failing", agent="material-2", agent_id="m" * 64, kind="material", epoch=None, fit=True),
            agent_row("failing", agent="random", agent_id="r" * 64, kind="random", epoch=None, fit=False, reason="no"),
        ],
    )
    games.write_plan("failing", [planned_game("failing", number) for number in range(6)])
    late = {"status": Status.FORFEIT, "termination": Termination.TIME_FORFEIT, "fault": Side.SECOND, "detail": "late"}
    record(games, "failing", [game_record("failing", 0, **late), game_record("failing", 1)])
    record(games, "failing", [void_record("failing", 2), game_record("failing", 2, 2)])
    record(games, "failing", [void_record("failing", 3, fault=Side.FIRST, detail="<i>last</i> words")])
    return games


def nothing_counts(uri: str) -> GameStore:
    """A plan of two games, of which none has a result."""
    games = GameStore(uri)
    agents = [{"name": "material-2", "kind": "material"}, {"name": "random", "kind": "random"}]
    games.create_run("nothing", document("nothing", agents))
    games.write_plan("nothing", [planned_game("nothing", number) for number in range(2)])
    record(games, "nothing", [void_record("nothing", 0)])
    return games


def one_agent(uri: str) -> GameStore:
    """A run of a single agent, which has nobody to play."""
    games = GameStore(uri)
    games.create_run("alone", document("alone", [{"name": "random", "kind": "random"}]))
    games.write_agents("alone", [agent_row("alone", agent="random", kind="random", epoch=None)])
    games.write_plan("alone", [])
    return games


def training(uri: str) -> GameStore:
    """Checkpoints of four epochs, and engines with clocks."""
    games = tournament(uri, "training", ["epoch-1", "epoch-2", "epoch-5", "epoch-9"], rounds=2)
    spec = games.read_run("training")
    spec["spec"]["agents"] = [
        {"name": f"epoch-{epoch}", "kind": "checkpoint", "path": f"/home/somebody/epoch_{epoch}.pt", "temperature": 0.5}
        for epoch in (1, 2, 5)
    ] + [
        {"name": "epoch-9", "kind": "usi", "command": ["engine", "--strong"], "options": {"Hash": 16}}
        | {"limit": {"byoyomi_ms": 10, "base_ms": 0, "margin_ms": 100}}
    ]
    games.replace_run("training", spec)
    games.write_agents(
        "training",
        [
            agent_row("training", agent=f"epoch-{n}", agent_id=content(f"epoch-{n}"), epoch=n, step=None)
            for n in (1, 2, 5)
        ]
        + [agent_row("training", agent="epoch-9", agent_id=content("epoch-9"), kind="usi", epoch=9, step=None)],
    )
    return games


def sequential(uri: str) -> GameStore:
    """A sequential test without a verdict yet."""
    asked = {"agent": "new", "versus": "old", "elo0": 0.0, "elo1": 50.0, "alpha": 0.05, "beta": 0.05}
    return tournament(
        uri, "sequential", ["new", "old"], rounds=6, document_changes={"sprt": {**asked, "model": "logistic"}}
    )


def adaptive(uri: str) -> GameStore:
    """An adaptive tournament, far from its target."""
    changes = {"tournament": {"format": "adaptive", "target_error": 10.0}}
    return tournament(uri, "adaptive", ["one", "two", "three"], document_changes=changes)


def imported(uri: str) -> GameStore:
    """Games of others."""
    source = tournament(f"{uri}-source", "played", ["one", "two", "three"])
    export_to_file(Path(f"{uri}.csa"), wanted_games(source, "played"), "csa")
    games = GameStore(uri)
    import_games(games, "imported", find_games([Path(f"{uri}.csa")]))
    return games


STORES: Mapping[str, Callable[[str], GameStore]] = {
    "small": lambda uri: tournament(uri, "small", ["one", "two", "three"], rounds=3),
    "hostile": lambda uri: tournament(uri, "hostile", HOSTILE),
    "many": lambda uri: tournament(uri, "many", [f"agent-{number}" for number in range(60)]),
    "failing": failing,
    "nothing": nothing_counts,
    "alone": one_agent,
    "training": training,
    "sequential": sequential,
    "adaptive": adaptive,
    "imported": imported,
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for each kind of run, called as its run is."""
    folder = tmp_path_factory.mktemp("stores")
    for kind, make in STORES.items():
        make(str(folder / kind))
    return folder


@cache
def html_of(store: str, run_id: str) -> str:
    """The page of a run that stays as it is."""
    return report_page(store, run_id).html


Look = Callable[..., Page]


@pytest.fixture
def look(tmp_path: Path) -> Iterator[Look]:
    """Open the page of a run in a window of some width; at the end, nothing may have gone wrong in it."""
    wrong: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def open_page(store: Path, run_id: str, width: int = WIDE) -> Page:
            html = tmp_path / f"{run_id}.html"
            html.write_text(html_of(str(store), run_id))
            page = browser.new_context(viewport={"width": width, "height": 800}, offline=True).new_page()
            page.on("console", lambda message: wrong.append(message.text))
            page.on("pageerror", lambda error: wrong.append(error.message))
            page.on("dialog", lambda dialog: wrong.append(dialog.message))
            page.on("request", lambda request: None if request.url == html.as_uri() else _note(wrong, request.url))
            page.goto(html.as_uri())
            return page

        yield open_page
        browser.close()
    assert [] == wrong


def _note(wrong: list[str], url: str) -> None:
    if not url.startswith("data:"):
        wrong.append(url)


@pytest.mark.parametrize("kind", STORES)
def test_nothing_is_cut_off_and_nothing_is_asked_for(kind: str, stores: Path, look: Look) -> None:
    """Whatever the run is, nothing is wider than the window, no text is cut, no id is there twice, and no error."""
    for width in (WIDE, PHONE):
        page = look(stores / kind, kind, width)

        assert NOTHING_WRONG == page.evaluate(SEEN)
        assert kind == page.get_by_role("heading", level=1).inner_text()
        for link in page.locator("body > nav a").all():
            assert 1 == page.locator(str(link.get_attribute("href"))).count()


def number(value: float, sign: str = "") -> str:
    return f"{value:{sign}.0f}".replace("-0", "0" if abs(value) < 0.5 else "-0").replace("-", "\u2212")


def rows_of(page: Page, table: str) -> list[list[str]]:
    """The cells of a table's body, as they are read."""
    script = "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    found: list[list[str]] = page.locator(f"{table} tbody tr").evaluate_all(script)
    return found


def test_the_ladder_has_the_numbers_of_standings(stores: Path, look: Look, banzuke: Banzuke) -> None:
    """Elo, interval, games, results and chance of every agent are those that ``banzuke standings`` says."""
    said = json.loads(banzuke("standings", "--json", "--store", stores / "small").stdout)["standings"]

    rows = rows_of(look(stores / "small", "small"), "table.ladder")

    expected = []
    for row in said:
        half = (row["elo_high"] - row["elo_low"]) / 2
        fixed = half == 0
        chance = row["los_next"]
        expected.append(
            [
                str(row["rank"]),
                row["agent"],
                number(row["elo"]),
                "fixed" if fixed else f"±\u202f{half:.0f}",
                "" if fixed else f"{number(row['elo_low'])} … {number(row['elo_high'])}",
                *(str(row[key]) for key in ("games", "wins", "draws", "losses")),
                f"{row['score']:.3f}",
                "" if chance is None else ">\u202f99.9\u202f%" if chance >= 0.9995 else f"{100 * chance:.1f}\u202f%",
            ]
        )
    assert expected == rows
    assert 3 == len(rows)


def test_the_terminal_takes_no_chance_for_certain() -> None:
    """What would be rounded to 100 is more than 99.9 in the terminal, too."""
    names = ("sure", "likely", "last")
    chances = (0.99951, 0.99949, None)
    rows = [standing("run", agent=name, los_next=chance) for name, chance in zip(names, chances, strict=True)]

    table = standings_table(rows, None)

    assert ["> 99.9 %", "99.9 %", ""] == list(table.columns[-1].cells)


def test_the_crosstable_has_scores_and_chances(stores: Path, look: Look, banzuke: Banzuke) -> None:
    """By choice points of games or chances of superiority, and in words what a cell says."""
    page = look(stores / "small", "small")
    said = json.loads(banzuke("standings", "--json", "--store", stores / "small").stdout)
    agents = [row["agent"] for row in said["standings"]]
    chances = {(entry["agent"], entry["versus"]): entry["los"] for entry in said["differences"]}

    page.get_by_text("Stronger", exact=True).last.click()
    shown = rows_of(page, "table.heat")
    page.get_by_text("Points of games").click()
    points = rows_of(page, "table.heat")

    assert [f"{100 * chances[agents[0], other]:.0f}" for other in agents[1:]] == [
        cell.replace(">99", "100") for cell in shown[0][2:]
    ]
    assert ["", *[True] * 2] == [cell and cell.endswith("/6") for cell in points[0][1:]]
    page.locator("table.heat td").nth(1).hover()
    expect(page.locator("#cross-readout")).to_contain_text(f"against \u2068{agents[1]}\u2069: ")


def test_hostile_names_are_text(stores: Path, look: Look) -> None:
    """Markup, template language and directions in names are shown as they are, and do nothing."""
    page = look(stores / "hostile", "hostile")

    names = {row[1] for row in rows_of(page, "table.ladder")}

    assert {name.replace("\u202e", "") for name in HOSTILE} == {re.sub(r"\s+", " ", name) for name in names}
    assert page.evaluate("window.hacked === undefined && !document.querySelector('b')")
    assert "49" not in page.locator("table.ladder").inner_text()


def test_the_page_forbids_itself_the_network(stores: Path) -> None:
    """Whatever a later part of it may try: nothing is loaded, sent or asked for but what is in the file."""
    html = html_of(str(stores / "small"), "small")

    policy = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', html)

    assert ["default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"] == [
        ";".join(said.split(";")[:4]) for said in policy
    ]
    addresses = set(re.findall(r'(?:src|href|action)="([^"#][^"]*)"', html))
    assert {"data:,"} == addresses


def test_failures_are_listed_with_the_command_that_plays_them(stores: Path, look: Look) -> None:
    """By cause and agent: games without a result, void attempts, games never tried, forfeits, unfit agents."""
    page = look(stores / "failing", "failing")
    part = page.locator("#failures")

    expect(part.locator("pre")).to_have_text(f"banzuke backfill --run failing --store {stores / 'failing'}")
    assert [["time forfeit", "1"]] == [
        row[1:3] for row in rows_of(page, "#failures [aria-label=Forfeits]") if row[0] == "random"
    ]
    rows = rows_of(page, "#failures [aria-label='Games without a result']")
    assert [
        ["missing: agent unfit", "random", "2", "0", ""],
        ["agent crash", "random", "1", "2", "<i>last</i> words"],
    ] == rows
    expect(part).to_contain_text("random: no")
    expect(page.locator(".tile", has_text="missing")).to_contain_text("2")


def test_a_run_without_results_says_so(stores: Path, look: Look) -> None:
    """Nobody is rated, nothing is drawn, and the page is whole all the same."""
    page = look(stores / "nothing", "nothing")

    expect(page.locator("body > header")).to_contain_text("No game of this run has a result yet.")
    expect(page.locator("table.ladder")).to_contain_text("unrated")
    expect(page.locator("#notes")).not_to_contain_text("Nothing was found")
    assert 0 == page.locator(".drawing").count()


def test_a_run_that_is_played_says_so(stores: Path, tmp_path: Path) -> None:
    """While somebody holds the right to play it."""
    shutil.copytree(stores / "small", tmp_path / "store")
    games = GameStore(str(tmp_path / "store"))

    with games.playing("small"):
        during = report_page(str(tmp_path / "store"), "small").html

    assert "being played while this was written" in during
    assert "being played while this was written" not in report_page(str(tmp_path / "store"), "small").html


def test_training_tests_targets_and_imports_have_their_words(stores: Path, look: Look) -> None:
    """Each kind of run says what it is about; where files lay on the machine is nobody's business."""
    page = look(stores / "training", "training")
    expect(page.locator("#training .drawing")).to_be_visible()
    assert ["1", "2", "5", "9"] == [row[0] for row in rows_of(page, "#training table")]
    expect(page.locator("#agents")).to_contain_text("epoch_5.pt")
    expect(page.locator("#agents")).to_contain_text("engine --strong")
    expect(page.locator("#thinking")).to_contain_text("10\u202fms a move")
    assert "/home/somebody" not in page.content()
    expect(look(stores / "sequential", "sequential").locator("#verdict")).to_contain_text("no verdict")
    expect(look(stores / "adaptive", "adaptive").locator("#ladder")).to_contain_text("± 10 Elo")
    page = look(stores / "imported", "imported")
    expect(page.locator("body > header")).to_contain_text("imported 20")
    expect(page.locator("#agents")).to_contain_text("known in its games as one")


def test_on_paper_tables_are_whole_and_the_games_are_not_there(stores: Path, look: Look) -> None:
    """Printed, nothing scrolls or sticks, and a line says where the games are."""
    page = look(stores / "many", "many")

    page.emulate_media(media="print")

    expect(page.locator("body > nav")).to_be_hidden()
    expect(page.get_by_text("they are not printed")).to_be_visible()
    overflows = page.locator(".scroll").evaluate_all("parts => parts.map(part => getComputedStyle(part).overflowX)")
    assert {"visible"} == set(overflows)
    assert "static" == page.locator(".heat .stay").first.evaluate("part => getComputedStyle(part).position")


def test_what_lies_beyond_an_edge_is_hinted_at(stores: Path, look: Look) -> None:
    """On a phone the links and the crosstable fade where more of them is to be scrolled to, and nowhere else."""
    page = look(stores / "many", "many", PHONE)
    links, cells = page.locator(".links"), page.locator(".cross .scroll")

    expect(links).to_have_class(re.compile("more-right"))
    expect(cells).to_have_class(re.compile("more-right"))
    assert "none" != links.evaluate("part => getComputedStyle(part).maskImage")
    links.evaluate("part => { part.scrollLeft = part.scrollWidth; }")
    expect(links).to_have_class(re.compile("more-left"))
    expect(links).not_to_have_class(re.compile("more-right"))
    expect(look(stores / "small", "small").locator(".cross .scroll")).not_to_have_class(re.compile("more-"))


def test_on_a_phone_last_words_are_below_their_cause(stores: Path, look: Look) -> None:
    """Nobody has to scroll sideways for what a crash said."""
    page = look(stores / "failing", "failing", PHONE)

    for table in page.locator("#failures table").all():
        words = table.locator("td.says span").last.bounding_box()
        assert words is not None
        assert words["x"] + words["width"] <= PHONE
    assert 2 == page.locator("#failures table").count()


def test_on_paper_no_control_is_left(stores: Path, look: Look) -> None:
    """What is folded up is unfolded while it is printed; what the figure above says already is left out."""
    page = look(stores / "many", "many")
    folded = page.locator("#endings details")
    assert folded.get_attribute("open") is None

    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")

    assert folded.get_attribute("open") is not None
    assert [] == [
        text
        for text in page.locator("summary").filter(visible=True).all_inner_texts()
        if text.startswith("The numbers")
    ]
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert folded.get_attribute("open") is None


def test_the_axis_of_training_has_the_epochs_that_there_are(stores: Path, look: Look) -> None:
    """No number of an epoch that was never played, while they have room beside each other."""
    page = look(stores / "training", "training")

    texts = page.locator("#training .wide svg text").all_text_contents()

    assert ["1", "2", "5", "9"] == [text.strip() for text in texts][:4]


def test_columns_of_a_small_crosstable_have_names(stores: Path, look: Look) -> None:
    """Below their ranks; of a large one the ranks are all there is room for."""
    small, many = (look(stores / kind, kind).locator("table.heat thead th") for kind in ("small", "many"))

    ranked = [row.split("\n")[-1] for row in small.all_inner_texts()[1:]]
    assert {"one", "two", "three"} == set(ranked)
    assert ["1", "2"] == many.all_inner_texts()[1:3]


def test_what_notes_tell_one_to_type_can_be_pasted() -> None:
    """With the run and the store; and what they refer to is named as the page names it."""
    said = (
        "2 encounters were given one virtual draw (see reason)",
        "who had the better side there gained by it; banzuke backfill plays the other games",
        "banzuke show says what it died of, standings --count-faults counts what is still void as lost",
        "it would gain by having them played again; read the standings with --count-faults too",
    )

    shown = [note_words(note, "night", "my store") for note in said]

    assert "2 encounters were given one virtual draw (which ones: see below the rating ladder)" == shown[0]
    assert "banzuke backfill --run night --store 'my store' plays the other games" in shown[1]
    assert (
        "banzuke show night --store 'my store' says what it died of, "
        "banzuke standings --run night --store 'my store' --count-faults counts what is still void as lost" == shown[2]
    )
    assert shown[3].endswith("read banzuke standings --run night --store 'my store' --count-faults too")


def test_an_engine_calls_itself_what_it_does(stores: Path, tmp_path: Path) -> None:
    """What a USI engine answers is not what a file says."""
    shutil.copytree(stores / "training", tmp_path / "store")
    row = agent_row("training", agent="epoch-9", agent_id=content("epoch-9"), kind="usi", description="Flaky by me")
    GameStore(str(tmp_path / "store")).write_agents("training", [row])

    html = report_page(str(tmp_path / "store"), "training").html

    assert "calls itself Flaky by me" in html
    assert "by its file Flaky" not in html


def test_networks_times_are_said_to_be_those_of_whole_passes(stores: Path, look: Look) -> None:
    """Where there is a network; others answer one position at a time."""
    words = "counts for each of its moves"

    expect(look(stores / "training", "training").locator("#thinking")).to_contain_text(words)
    expect(look(stores / "small", "small").locator("#thinking")).not_to_contain_text(words)


def test_a_verdict_is_in_words_and_its_numbers_have_a_minus(stores: Path, look: Look) -> None:
    """No word of statistics stands alone, and no hyphen before a number."""
    part = look(stores / "sequential", "sequential").locator("#verdict")

    expect(part.locator(".verdict strong")).to_have_text("open")
    expect(part).to_contain_text("\u22122.94")
    assert not re.search(r"(?<!\w)-\d", part.inner_text())


def test_the_same_run_gives_the_same_bytes(stores: Path) -> None:
    """No clock, no chance and no order of files is in a page."""
    for kind in ("many", "failing", "training"):
        assert html_of(str(stores / kind), kind) == report_page(str(stores / kind), kind).html


def test_the_command_writes_the_newest_run_and_says_what(stores: Path, banzuke: Banzuke, tmp_path: Path) -> None:
    """Into report.html unless told otherwise, in place of what was there; as JSON the same."""
    told = banzuke("report", "--store", stores / "small")
    (tmp_path / "mine.html").write_text("old")
    as_json = banzuke("report", "small", "-o", "mine.html", "--json", "--store", stores / "small")

    assert (0, 0) == (told.returncode, as_json.returncode), told.stderr + as_json.stderr
    size = (tmp_path / "report.html").stat().st_size
    assert f"18 games of small -> report.html ({size / 1000:.0f} kB)\n" == told.stdout
    said = json.loads(as_json.stdout)
    assert {"run_id": "small", "report": "mine.html", "bytes": size, "games": 18} == {
        key: said[key] for key in ("run_id", "report", "bytes", "games")
    }
    assert (tmp_path / "mine.html").read_bytes() == (tmp_path / "report.html").read_bytes()
    assert ["mine.html", "report.html"] == sorted(path.name for path in tmp_path.glob("*.html"))
    assert [] == list(tmp_path.glob(".*.html"))


def test_a_page_may_go_to_stdout(stores: Path, environment: Mapping[str, str], tmp_path: Path) -> None:
    """Byte for byte what the file would be, whatever letters the terminal has; with what needs a file it is refused."""
    command = [sys.executable, "-m", "deployments.cli", "report", "-o", "-", "--store", str(stores / "small")]
    ascii_only = {**environment, "PYTHONIOENCODING": "ascii"}

    page = subprocess.run(command, cwd=tmp_path, env=ascii_only, capture_output=True, check=False)
    both = subprocess.run([*command, "--json"], cwd=tmp_path, env=environment, capture_output=True, check=False)

    assert (0, b"") == (page.returncode, page.stderr)
    assert page.stdout.decode() == html_of(str(stores / "small"), "small")
    assert (2, b"") == (both.returncode, both.stdout)
    assert b"-o -: the page is on stdout; --json needs a file\n" == both.stderr
    assert [] == list(tmp_path.iterdir())


def test_what_cannot_be_written_is_refused_in_a_line(stores: Path, banzuke: Banzuke, tmp_path: Path) -> None:
    """Before anything is computed, with exit code 2, and nothing is left behind."""
    done = banzuke("report", "-o", "nowhere/report.html", "--store", stores / "small")
    unknown = banzuke("report", "other", "--store", stores / "small")

    assert (2, "-o: there is no folder nowhere\n") == (done.returncode, done.stderr)
    assert (2, 1) == (unknown.returncode, len(unknown.stderr.splitlines()))
    assert "no run other" in unknown.stderr
    assert [] == list(tmp_path.iterdir())
    for place, words in {
        tmp_path: "is a folder",
        Path("/dev/null"): "is no file that could be replaced",
        tmp_path / ("x" * 300): "File name too long",
    }.items():
        with pytest.raises(SpecError, match=words):
            check_writable(place)


def test_a_full_disk_leaves_the_former_report(stores: Path, environment: Mapping[str, str], tmp_path: Path) -> None:
    """Where the page does not fit, what was there stays, no half of a page is left, and a line says why."""
    (tmp_path / "report.html").write_text("former")
    command = f"ulimit -f 8; exec {sys.executable} -m deployments.cli report --store {stores / 'small'}"

    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=dict(environment), capture_output=True, text=True, check=False
    )

    assert 1 == done.returncode
    assert "cannot write report.html: File too large" in done.stderr.splitlines()[-1]
    assert "former" == (tmp_path / "report.html").read_text()
    assert ["report.html"] == [path.name for path in tmp_path.iterdir() if path.suffix == ".html"]


def test_the_report_is_shown_in_the_browser_on_request(
    stores: Path, environment: Mapping[str, str], tmp_path: Path
) -> None:
    """In the one that the user has chosen."""
    chosen = tmp_path / "browser"
    chosen.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/shown\n')
    chosen.chmod(chosen.stat().st_mode | stat.S_IXUSR)
    command = [sys.executable, "-m", "deployments.cli", "report", "--open", "--store", str(stores / "small")]

    done = subprocess.run(
        command, cwd=tmp_path, env={**environment, "BROWSER": f"{chosen} %s"}, capture_output=True, check=False
    )

    assert 0 == done.returncode, done.stderr
    assert (tmp_path / "report.html").as_uri() == (tmp_path / "shown").read_text().strip()


def test_a_damaged_file_is_said_in_a_line(stores: Path, tmp_path: Path, banzuke: Banzuke) -> None:
    """With what mends it; no page is made of half of the games."""
    shutil.copytree(stores / "small", tmp_path / "store")
    [part] = (tmp_path / "store" / "games" / "small").glob("*.parquet")
    part.write_bytes(part.read_bytes()[:200])

    with pytest.raises(CorruptPartError, match="a backfill sets that aside"):
        how_played(str(tmp_path / "store"), "small")
    done = banzuke("report", "--store", "store")

    assert (1, 1, False) == (done.returncode, len(done.stderr.splitlines()), (tmp_path / "report.html").exists())


def test_how_games_went_is_counted_as_by_hand(stores: Path) -> None:
    """Endings, lengths, moves of one's own and the interval of moving first."""
    found = how_played(str(stores / "failing"), "failing")

    assert [("checkmate", 2, 2), ("time_forfeit", 1, 1)] == [
        (ending.termination, ending.games, ending.first_won) for ending in found.endings
    ]
    assert found.lengths is not None
    assert (4, 4, 1, ((4, 3, 0, 0),)) == (
        found.lengths.shortest,
        found.lengths.longest,
        found.lengths.width,
        found.lengths.bins,
    )
    assert found.first_move is not None
    assert (1.0, 1.0, 1.0) == (found.first_move.score, found.first_move.low, found.first_move.high)
    thought = found.thinking["material-2"]
    assert (3, 31 / 3, 12) == (thought.moves, thought.mean_ms, thought.longest_ms)
    assert [("random", "time_forfeit", 1, "late")] == [
        (entry.agent, entry.termination, entry.games, entry.detail) for entry in found.forfeits
    ]


def test_the_interval_of_moving_first_is_that_of_the_pairs(stores: Path) -> None:
    """The mean over pairs, with the standard error of the pairs' means: they are the samples, not the games."""
    rated = rate_runs(GameStore(str(stores / "small")), ["small"])
    first = how_played(str(stores / "small"), "small").first_move
    scores = [1.0 if game % 3 != 2 else 0.5 for game in range(18)]
    pairs = [sum(scores[game : game + 2]) / 2 for game in range(0, 18, 2)]
    mean = sum(pairs) / 9
    error = math.sqrt(sum((score - mean) ** 2 for score in pairs) / 8 / 9)

    assert first is not None
    assert 9 == sum(row.games for row in rated.standings.rows) // 4
    assert first.score == pytest.approx(mean)
    assert first.low == pytest.approx(mean - 1.959964 * error)
    assert first.high == pytest.approx(min(1.0, mean + 1.959964 * error))


def test_a_histogram_has_few_bins_of_round_widths() -> None:
    """Whatever the span."""
    widths = {span: nice_width(span) for span in (1, 40, 41, 320, 10_000)}

    assert {1: 1, 40: 1, 41: 2, 320: 10, 10_000: 500} == widths
    assert all(span <= MOST_BINS * width for span, width in widths.items())


def test_a_large_crosstable_says_how_many_it_leaves_out() -> None:
    """The best are in it; who has no game at all is not counted."""
    agents = MOST_ACROSS + 5
    entrants = [Entrant(agent=f"a{number:03d}", agent_id=str(number)) for number in range(agents + 1)]
    first = list(range(agents - 1))
    columns = GameColumns(
        first_agent=np.array(first),
        second_agent=np.array([number + 1 for number in first]),
        first_score=np.ones(len(first)),
        pair=np.array(first),
    )

    shown = heat_map(compute_standings(entrants=entrants, games=columns))

    assert (MOST_ACROSS, MOST_ACROSS, 5) == (len(shown.agents), len(shown.rows), shown.left_out)
    assert "a000" == shown.agents[0]
    assert STEPS + 1 == heat_css().count("{")


def test_two_drawings_of_one_page_share_no_id() -> None:
    """What one refers to is its own, and names are as they were written."""
    rows = [Interval(name="<a> $b$ \u5c06", middle=1.0, low=0.0, high=2.0), Interval(name="c", middle=0, low=0, high=0)]

    one, other = (draw_intervals(key, "title", rows, 0.0, "Elo") for key in ("one", "other"))

    ids = [re.findall(r' id="([^"]+)"', text) for text in (one.wide, one.narrow, other.wide, other.narrow)]
    assert all(ids)
    assert len({name for found in ids for name in found}) == sum(map(len, ids))
    assert all("&lt;a&gt; $b$ \u5c06" in text for text in (one.wide, one.narrow))
    assert "<style" not in one.wide + one.narrow


def test_every_colour_of_text_can_be_read() -> None:
    """4.5 to 1 on what it stands on, that of every cell of the crosstable included."""
    css = (PROJECT / "tasks" / "report" / "page.css").read_text()
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", css))
    grounds = [colours["paper"], colours["ground"]]
    texts = [colours[name] for name in ("ink", "muted", "accent", "good", "bad")]
    cells = re.findall(r"background:(#[0-9a-f]{6})", heat_css())

    contrasts = [_contrast(text, ground) for text in texts for ground in grounds]
    contrasts += [_contrast(colours["ink"], cell) for cell in cells]

    assert STEPS + 1 == len(cells)
    assert min(contrasts) >= 4.5


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_a_page_is_made_without_prefect_and_torch() -> None:
    """A report needs neither, and waits for neither."""
    script = "import sys, tasks.report.page; print([name for name in ('prefect', 'torch') if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=PROJECT)

    assert "[]" == done.stdout.strip(), done.stderr
