"""The games of a run's page: what a reader in Chromium sees of them, held against the store and against cshogi."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import cshogi
import numpy as np
import pytest
from browser import ARGUMENTS, CHROMIUM, PATIENCE
from conftest import SMALL
from cshogi import KIF
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Page, expect, sync_playwright
from test_store_schemas import game_record, planned_game, record, run_document, void_record

from banzuke.games.positions import START_POSITION
from banzuke.outcome import Side, Status, Termination
from banzuke.record import GameRecord
from storage.game_store import GameStore
from storage.queries import connect
from storage.recorded import counting_games_of
from tasks.report import games_section as section_file
from tasks.report.games_section import as_text, games_section
from tasks.report.listed_games import listed_games
from tasks.report.packed_moves import short_times, tell
from tasks.report.section import Section

STARTS = (
    START_POSITION,
    "lnsgkgsnl/9/ppppppppp/9/9/9/PPPPPPPPP/1B5R1/LNSGKGSNL w - 1",
    "4k4/1r5b1/9/9/9/9/9/1B5R1/4K4 b 4G4S4N4L18P 37",
    "4k4/9/4+p4/9/9/9/9/9/4K4 w 2r2b3G4S4N4L8P9p 1",
)
"""The usual one, a handicap of two pieces with White to move, one with full hands, one that Black does not begin."""
NAMES = ("anna", "bert", "carla")
HOSTILE = "</script><script>window.taken=1</script>"
TURNED = "abc\u202edef"
"""Whatever stands behind it is written from right to left."""
WIDE, NARROW = (1280, 900), (360, 740)
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
COLOURS = "--ink:#2b2419;--muted:#75695a;--paper:#fffdf8;--line:#ddd3c0;--accent:#8a4b1f;--good:#2d6a3e;--bad:#a3271f"
SHOWS = """window.shows = async (dialog, hash) => {
  const end = performance.now() + 20000;
  while (dialog.dataset.game !== hash.slice(1)) {
    if (performance.now() > end) throw new Error(`${hash} is not shown`);
    await new Promise(requestAnimationFrame);
  }
};"""
"""Waits, with a deadline, until the board has that game."""
EVERY_PLY = """async (hash) => {
  location.hash = hash;
  const dialog = document.querySelector("dialog");
  await shows(dialog, hash);
  const seen = [dialog.dataset.sfen];
  const on = dialog.querySelector("[data-do=on]");
  while (!on.disabled) { on.click(); seen.push(dialog.dataset.sfen); }
  return seen;
}"""
LAST_PLY = """async (hashes) => {
  const dialog = document.querySelector("dialog");
  const seen = [];
  for (const hash of hashes) {
    location.hash = hash;
    await shows(dialog, hash);
    dialog.querySelector("[data-do=toEnd]").click();
    seen.push(dialog.dataset.sfen);
  }
  return seen;
}"""
CUT_OFF = """() => [...document.querySelectorAll(
  "main p, main td, main th, main label, main select, dialog p, dialog button, dialog figcaption, dialog label"
)].filter((each) => each.offsetParent && each.tagName !== "SELECT" && each.scrollWidth > each.clientWidth + 1
  && getComputedStyle(each).display !== "inline").map((each) => each.outerHTML.slice(0, 120))"""


def played(number: int, start: str = START_POSITION, *, plies: int = 90, run_id: str = "many") -> GameRecord:
    """A game of legal moves drawn by lot, with times and, now and then, an evaluation."""
    lot, board, moves = Random(number), cshogi.Board(start), list[str]()
    while len(moves) < plies and (legal := list(board.legal_moves)):
        move = lot.choice(legal)
        moves.append(cshogi.move_to_usi(move))
        board.push(move)
    first, second = lot.sample(NAMES, 2)
    times = tuple(lot.choice((0, 7, 4095, 4096, 70_001)) for _ in moves)
    return game_record(
        run_id,
        number,
        first_agent=first,
        second_agent=second,
        start_position=start,
        opening_plies=0,
        opening_id=f"line-{number // 8}",
        winner=lot.choice((Side.FIRST, Side.SECOND, None)),
        termination=lot.choice((Termination.CHECKMATE, Termination.RESIGNATION, Termination.MAX_PLIES)),
        plies=len(moves),
        moves=tuple(moves),
        move_times_ms=times,
        evals=tuple(lot.choice((None, lot.randint(-30_000, 30_000))) for _ in moves),
        first_time_ms=sum(times[::2]),
        second_time_ms=sum(times[1::2]),
    )


def kept(uri: Path, records: Sequence[GameRecord], *, planned: int | None = None, run_id: str = "many") -> str:
    """A store that has these attempts, each game of them planned; its address."""
    games = GameStore(str(uri))
    games.create_run(run_id, run_document(run_id))
    many = max((row.game_no + 1 for row in records), default=0) if planned is None else planned
    games.write_plan(run_id, [planned_game(run_id, number) for number in range(many)])
    if records:
        record(games, run_id, records)
    return str(uri)


def page_of(section: Section) -> str:
    """The least page around it."""
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>t</title>'
        f"<style>:root{{{COLOURS}}}body{{margin:8px;font:16px sans-serif}}{section.css}</style>"
        f'<main><section id="{section.anchor}"><h2>{section.title}</h2>{section.html}</section></main>'
        f"<script>(function () {{{section.js}}})()</script>"
    )


@contextlib.contextmanager
def reading(
    folder: Path, section: Section, size: tuple[int, int] = WIDE, link: str = "", *, is_empty: bool = False
) -> Iterator[Page]:
    """The page as a file in a browser without a network, when its games are there; an error on it fails the test."""
    file = folder / "page.html"
    file.write_text(page_of(section), encoding="utf-8")
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            context = browser.new_context(viewport={"width": size[0], "height": size[1]}, offline=True)
            context.set_default_timeout(1000 * PATIENCE)
            page = context.new_page()
            page.on("pageerror", lambda error: errors.append(error.stack or error.message))
            page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
            page.add_init_script(SHOWS)
            page.goto(f"{file.as_uri()}{link}")
            if not is_empty:
                expect(page.locator(".games[data-ready]")).to_be_attached()
            yield page
            assert not errors, "\n".join(errors)
        finally:
            browser.close()


def sfens(game: GameRecord) -> list[str]:
    """Every position of it, the start first."""
    board = cshogi.Board(game.start_position)
    seen = [board.sfen()]
    for move in game.moves:
        board.push_usi(move)
        seen.append(board.sfen())
    return seen


def choose(page: Page, **wanted: str) -> None:
    """Fill in filters by their names; the others are set to any."""
    button = page.get_by_role("button", name="All games")
    if button.is_visible():
        button.click()
    for name, value in wanted.items():
        field = page.locator(f".games-filters [name={name}]")
        if field.evaluate("field => field.tagName") == "SELECT":
            field.select_option(label=value)
        else:
            field.fill(value)


def listed(page: Page) -> list[str]:
    """The links of all rows that match, page by page."""
    found: list[str] = []
    while True:
        links = page.locator(".games-table tbody a").evaluate_all("links => links.map(a => a.getAttribute('href'))")
        found += links
        on = page.get_by_role("button", name="Next page")
        if not on.is_visible() or on.is_disabled():
            return found
        on.click()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two hundred games from four start positions."""
    records = [played(number, STARTS[number % len(STARTS)]) for number in range(200)]
    return kept(tmp_path_factory.mktemp("many") / "store", records)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Games of all kinds: results, forfeits, voids played again and voids that stayed."""
    records = [played(number, plies=12) for number in range(40)]
    forfeit = dataclasses.replace(
        records[5],
        status=Status.FORFEIT,
        termination=Termination.ILLEGAL_MOVE,
        winner=Side.FIRST,
        fault=Side.SECOND,
        detail="8h2b is not legal here",
    )
    void = void_record("many", 6, first_agent=records[6].first_agent, second_agent=records[6].second_agent)
    again = dataclasses.replace(
        records[6], attempt=2, attempt_id="again", started_at=records[6].started_at + timedelta(minutes=1)
    )
    left = [void_record("many", 40, attempt, detail=f"exit code {attempt}") for attempt in (1, 2)]
    return kept(tmp_path_factory.mktemp("mixed") / "store", [*records[:5], forfeit, void, again, *records[7:], *left])


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, environment: Mapping[str, str]) -> str:
    """What ``banzuke run`` has recorded of three scripted agents."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "small.toml").write_text(SMALL.format(games=2, concurrency=2))
    command = [sys.executable, "-m", "deployments.cli", "run", "small.toml", "--run-id", "real", "--store", "store"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return str(folder / "store")


def test_every_position_of_real_games_is_the_one_cshogi_has(real: str, tmp_path: Path) -> None:
    """Ply by ply, by the button and by the key."""
    games = list(counting_games_of(GameStore(real), "real"))

    with reading(tmp_path, games_section(real, "real")) as page:
        assert [sfens(game) for game in games] == [page.evaluate(EVERY_PLY, f"#game-{game.game_no}") for game in games]
        page.keyboard.press("Home")
        dialog = page.locator("dialog")
        for sfen in sfens(games[-1]):
            expect(dialog).to_have_attribute("data-sfen", sfen)
            page.keyboard.press("ArrowRight")


def test_every_game_ends_as_it_did_whatever_it_began_with(
    many: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred final positions, of games that lie in many blocks; one that begins with White is first's, too."""
    monkeypatch.setattr(section_file, "GAMES_PER_BLOCK", 7)
    games = list(counting_games_of(GameStore(many), "many"))

    with reading(tmp_path, games_section(many, "many")) as page:
        seen = page.evaluate(LAST_PLY, [f"#game-{game.game_no}" for game in games])
        assert [sfens(game)[-1] for game in games] == seen
        page.evaluate(EVERY_PLY, "#game-1")
        assert "△" == page.locator(".games-player", has_text="first,").locator(".games-mark").inner_text()


def test_moves_are_written_as_others_write_them(many: str, tmp_path: Path) -> None:
    """In USI as stored, and in KIF as cshogi does, with the times and evaluations beside them."""
    game = played(2, STARTS[2])
    natives, board = list[int](), cshogi.Board(game.start_position)
    for move in game.moves:
        natives.append(board.push_usi(move))
    kif = [KIF.move_to_kif(move, before) for before, move in zip([None, *natives], natives, strict=False)]

    with reading(tmp_path, games_section(many, "many"), link="#game-2") as page:
        moves = page.locator(".games-moves button")
        page.locator("[name=notation]").select_option("usi")
        texts = [text.split() for text in moves.all_inner_texts()]
        page.locator("[name=notation]").select_option("kif")
        in_kif = [text.split()[1] for text in moves.all_inner_texts()]

    assert list(game.moves) == [text[1] for text in texts]
    said = {0: "0 ms", 7: "7 ms", 4095: "4.09 s", 4096: "4.10 s", 70_001: "1:10"}
    assert [said[time] for time in game.move_times_ms] == [
        re.match(r"[\d.:]+( m?s)?", " ".join(text[2:]))[0] for text in texts
    ]
    scores = [text[-1].replace("−", "-") if text[-1][0] in "+−" else None for text in texts]
    assert [_pawns(score) for score in game.evals or ()] == scores
    marks = ("▲△" * len(kif))[: len(kif)]
    assert [mark + _plain(move) for mark, move in zip(marks, kif, strict=True)] == in_kif


def _pawns(centipawns: int | None) -> str | None:
    if centipawns is None:
        return None
    # As JavaScript rounds, away from zero.
    whole = abs(centipawns) / 100
    text = f"{whole:.2f}" if abs(centipawns) < 10_000 else str(int(whole + 0.5))
    return f"{'-' if centipawns < 0 else '+'}{text}"


def _plain(move: str) -> str:
    """There digits are wide, and promoted pieces as they are on a small board."""
    short = {"\u3000": "", "竜": "龍", "杏": "成香", "圭": "成桂", "全": "成銀"}
    narrow = {wide: str(digit) for digit, wide in enumerate("１２３４５６７８９", 1)}
    return move.translate(str.maketrans(short | narrow))


FILTERED: Sequence[tuple[Mapping[str, str], str]] = (
    ({"agent": "anna"}, "'anna' in (first_agent, second_agent)"),
    ({"agent": "anna", "seat": "first"}, "first_agent = 'anna'"),
    ({"agent": "anna", "seat": "second", "opponent": "bert"}, "second_agent = 'anna' and first_agent = 'bert'"),
    ({"opponent": "carla", "agent": "bert"}, "list_sort([first_agent, second_agent]) = ['bert', 'carla']"),
    ({"result": "½–½, drawn"}, "status <> 'void' and winner is null"),
    ({"result": "0–1, second won"}, "winner = 'second'"),
    (
        {"agent": "anna", "result": "the agent won"},
        "'anna' = case winner when 'first' then first_agent when 'second' then second_agent end",
    ),
    (
        {"agent": "anna", "result": "the agent lost"},
        "'anna' = case winner when 'second' then first_agent when 'first' then second_agent end",
    ),
    ({"termination": "illegal move"}, "termination = 'illegal_move'"),
    ({"opening": "line-3"}, "opening_id = 'line-3'"),
    ({"status": "void"}, "status = 'void'"),
    ({"status": "counts", "agent": "bert"}, "status <> 'void' and 'bert' in (first_agent, second_agent)"),
    ({"text": "not legal"}, "detail = '8h2b is not legal here'"),
    ({"text": "ANNA resig"}, "'anna' in (first_agent, second_agent) and termination = 'resignation'"),
    ({"text": "#17"}, "game_no = 17"),
    ({"text": "0,017"}, "game_no = 17"),
    ({"text": "#"}, "false"),
    ({"text": "nobody at all"}, "false"),
)
"""What is filled in, and what it asks for in SQL."""


def test_filters_find_what_sql_finds(mixed: str, tmp_path: Path) -> None:
    """By agent, side, opponent, result, ending, opening, status and any text, and how many there are."""
    with reading(tmp_path, games_section(mixed, "many")) as page, contextlib.closing(connect(mixed)) as database:
        for wanted, condition in FILTERED:
            asked = f"select game_no from games where {condition} order by all"  # noqa: S608 - conditions of our own
            expected = [number for (number,) in database.sql(asked).fetchall()]

            choose(page, **wanted)

            expect(page.locator(".games-count")).to_have_text(f"{len(expected)} of 43 listed match")
            assert expected == [int(link.split("-")[1]) for link in listed(page)], wanted


def test_the_table_is_sorted_and_turned_by_buttons_and_keys(mixed: str, tmp_path: Path) -> None:
    """By the longest first; down with the arrow, to the next page, and Enter opens the game."""
    with contextlib.closing(connect(mixed, ["many"])) as database:
        rows = database.sql("select plies from games order by plies desc").fetchall()

    with reading(tmp_path, games_section(mixed, "many")) as page:
        heading = page.get_by_role("columnheader", name="Plies")
        heading.get_by_role("button").click()
        expect(heading).to_have_attribute("aria-sort", "ascending")
        heading.get_by_role("button").click()
        expect(heading).to_have_attribute("aria-sort", "descending")
        plies = page.locator("td.games-plies").all_inner_texts()
        assert [str(row[0]) for row in rows][:20] == plies
        page.locator(".games-table tbody a").first.focus()
        page.keyboard.press("PageDown")
        expect(page.locator(".games-place")).to_have_text("21–40 of 43")
        page.keyboard.press("ArrowDown")
        second = page.locator(".games-table tbody a").nth(1)
        expect(second).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("dialog")).to_have_attribute("data-game", str(second.get_attribute("href"))[1:])
        assert 20 == page.locator(".games-table tbody tr").count()


def test_keys_step_through_a_game_and_leave_the_filters_alone(many: str, tmp_path: Path) -> None:
    """End, Home, arrows, space, f, n and p are the board's while it is open; typing is typing."""
    with reading(tmp_path, games_section(many, "many")) as page:
        field = page.get_by_label("Any text")
        field.press_sequentially("n f line")
        field.press("Home")
        expect(field).to_have_value("n f line")
        expect(page.locator("dialog")).to_be_hidden()
        choose(page, agent="anna", seat="first")
        links = listed(page)
        page.get_by_role("button", name="First page").click()

        page.locator(".games-table tbody a").first.click()

        dialog = page.locator("dialog")
        expect(dialog).to_have_attribute("data-game", links[0][1:])
        page.keyboard.press("End")
        expect(dialog).to_have_attribute("data-ply", re.compile(r"^[1-9]\d+$"))
        expect(dialog.get_by_role("button", name="One move on")).to_be_disabled()
        page.keyboard.press("Home")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowLeft")
        expect(dialog).to_have_attribute("data-ply", "1")
        lower = dialog.locator(".games-lower bdi").inner_text()
        page.keyboard.press("f")
        expect(dialog.locator(".games-upper bdi")).to_have_text(lower)
        page.keyboard.press("Space")
        expect(dialog).to_have_attribute("data-ply", "3")
        page.keyboard.press("n")
        expect(dialog).to_have_attribute("data-game", links[1][1:])
        page.keyboard.press("n")
        page.keyboard.press("p")
        expect(dialog).to_have_attribute("data-game", links[1][1:])
        expect(page).to_have_url(re.compile(f"{links[1]}$"))
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        assert not page.url.endswith(links[1])


PRESSED_AT_ONCE = """(dialog, keys) => {
  for (const key of keys) dialog.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
}"""


def test_no_key_is_lost_however_fast_they_come(many: str, tmp_path: Path) -> None:
    """Keys pressed while a game is still being unpacked are for that game, and act in their order."""
    with reading(tmp_path, games_section(many, "many")) as page:
        links = listed(page)
        page.get_by_role("button", name="First page").click()
        page.locator(".games-table tbody a").first.click()
        dialog = page.locator("dialog")
        expect(dialog).to_have_attribute("data-game", links[0][1:])

        dialog.evaluate(PRESSED_AT_ONCE, [*"nnnnnnnnp", "ArrowRight", "ArrowRight"])

        expect(dialog).to_have_attribute("data-game", links[7][1:])
        expect(dialog).to_have_attribute("data-ply", "2")
        expect(page).to_have_url(re.compile(f"{links[7]}@2$"))
        page.go_back()
        expect(dialog).to_be_hidden()


def test_a_game_has_a_link_of_its_own(mixed: str, tmp_path: Path) -> None:
    """That opens it at once, on the page of the table that it is on; back closes it; of no game, the page says so."""
    section = games_section(mixed, "many")

    with reading(tmp_path, section, link="#game-35") as page:
        expect(page.locator("dialog")).to_have_attribute("data-game", "game-35")
        expect(page.locator(".games-place")).to_have_text("21–40 of 43")
        page.get_by_role("button", name="Close").click()
        expect(page.locator("dialog")).to_be_hidden()
        page.locator(".games-table tbody a").first.click()
        expect(page.locator("dialog")).to_be_visible()
        page.go_back()
        expect(page.locator("dialog")).to_be_hidden()
        page.evaluate("location.hash = '#game-4711'")
        expect(page.get_by_role("alert")).to_have_text("There is no game 4,711 in this page.")


def test_a_ply_has_a_link_of_its_own(mixed: str, tmp_path: Path) -> None:
    """That opens the game there; while stepping the address follows, and one beyond the end is the end."""
    section = games_section(mixed, "many")

    with reading(tmp_path, section, link="#game-6-1@2") as page:
        dialog = page.locator("dialog")
        expect(dialog).to_have_attribute("data-game", "game-6-1")
        expect(dialog).to_have_attribute("data-ply", "2")
        page.keyboard.press("ArrowRight")
        page.wait_for_url("**#game-6-1@3")
        page.keyboard.press("Home")
        page.wait_for_url("**#game-6-1")
        page.evaluate("location.hash = '#game-35@4711'")
        expect(dialog).to_have_attribute("data-game", "game-35")
        expect(dialog).to_have_attribute("data-ply", "12")
        page.get_by_role("button", name="Close").click()
        expect(dialog).to_be_hidden()
        assert page.url.endswith("#games")


@pytest.mark.parametrize("has_clipboard", [True, False])
def test_link_position_and_moves_can_be_copied(mixed: str, tmp_path: Path, *, has_clipboard: bool) -> None:
    """Into the clipboard, or, where the browser has none for a file, into a field that is selected to be copied."""
    game = next(game for game in counting_games_of(GameStore(mixed), "many") if game.game_no == 35)
    wanted = {
        "Copy position": sfens(game)[3],
        "Copy moves": f"position sfen {game.start_position} moves {' '.join(game.moves)}",
    }
    clipboard = "{ writeText: async (text) => { window.copied = text; } }" if has_clipboard else "undefined"
    script = f"Object.defineProperty(navigator, 'clipboard', {{ value: {clipboard} }})"

    with reading(tmp_path, games_section(mixed, "many"), link="#game-35@3") as page:
        expect(page.locator("dialog")).to_have_attribute("data-ply", "3")
        page.evaluate(script)
        for name, text in {**wanted, "Copy link": page.url}.items():
            page.get_by_role("button", name=name).click()
            if has_clipboard:
                expect(page.locator(".games-copied")).to_contain_text("is copied")
                assert text == page.evaluate("window.copied")
            else:
                field = page.locator(".games-copy-field")
                expect(field).to_have_value(text)
                expect(field).to_be_focused()
                assert text == page.evaluate("getSelection().toString()")
        page.get_by_role("button", name="One move on").click()
        expect(page.locator(".games-copied")).to_have_text("")
        expect(page.locator(".games-copy-field")).to_be_hidden()


def test_a_link_to_no_game_says_so_where_it_is_seen(mixed: str, tmp_path: Path) -> None:
    """The sentence is in the window, on a phone, too; it is gone with the next game."""
    planned = kept(tmp_path / "store", [], planned=4)

    with reading(tmp_path, games_section(mixed, "many"), NARROW, link="#game-9999-2@7") as page:
        said = page.get_by_role("alert")
        expect(said).to_have_text("There is no game 9,999, attempt 2, in this page.")
        expect(said).to_be_in_viewport()
        page.evaluate("location.hash = '#nothing'")
        expect(said).to_be_hidden()
        page.evaluate("location.hash = '#game-9999'")
        expect(said).to_be_in_viewport()
        page.evaluate("location.hash = '#game-35'")
        expect(page.locator("dialog")).to_be_visible()
        expect(said).to_be_hidden()
    section = games_section(planned, "many")
    section = dataclasses.replace(section, html=f"<div style='height: 3000px'></div>{section.html}")
    with reading(tmp_path, section, NARROW, link="#game-9999", is_empty=True) as page:
        expect(page.get_by_text("No game of this run has been played yet")).to_be_in_viewport()


def test_kanji_are_said_to_be_missing_where_they_are(many: str, tmp_path: Path) -> None:
    """For the pieces as for the moves."""
    with reading(tmp_path, games_section(many, "many"), link="#game-0") as page:
        expect(page.locator("dialog")).to_be_visible()
        chosen = page.locator("[name=pieces]").input_value()
        kanji = page.locator("[name=pieces] [value=kanji]").inner_text()
        kif = page.locator("[name=notation] [value=kif]").inner_text()

    assert (chosen == "letters", chosen == "letters") == ("no font" in kanji, "no font" in kif)


def test_void_games_say_why_and_what_was_played(mixed: str, tmp_path: Path) -> None:
    """Every void attempt has its row, and its board shows the moves so far; the game's own link leads to its result."""
    with reading(tmp_path, games_section(mixed, "many")) as page:
        expect(page.locator(".games-said")).to_contain_text(
            "40 games with a result, 1 of them lost by forfeit; 3 attempts without one (void), not counted."
        )
        choose(page, status="void")
        assert ["#game-6-1", "#game-40-1", "#game-40"] == listed(page)
        seen = page.evaluate(EVERY_PLY, "#game-40")
        assert sfens(dataclasses.replace(void_record("many", 40), start_position=START_POSITION)) == seen
        ending = page.locator(".games-verdict")
        expect(ending).to_have_text("No result: agent crash by random. It counts for nothing. exit code 2")
        page.evaluate(EVERY_PLY, "#game-6")
        expect(page.locator(".games-title")).to_have_text("Game 6, attempt 2")
        page.evaluate(EVERY_PLY, "#game-5")
        expect(ending).to_contain_text("(first) won: illegal move by")


def test_check_is_said_and_the_last_move_marked(tmp_path: Path) -> None:
    """At the ply at which it is given, and not before."""
    game = game_record(
        "many", start_position="4k4/9/4P4/9/9/9/9/9/4K4 b G 1", opening_plies=0, plies=1, moves=("G*5b",),
        move_times_ms=(5,), evals=None,
    )  # fmt: skip

    with reading(tmp_path, games_section(kept(tmp_path / "store", [game]), "many"), link="#game-0") as page:
        expect(page.locator(".games-now")).to_have_text("Start, 1 move follows")
        page.keyboard.press("ArrowRight")
        expect(page.locator(".games-now")).to_contain_text("check")
        assert (1, 1) == (page.locator(".games-in-check").count(), page.locator(".games-last").count())


def test_what_agents_are_called_and_say_is_only_text(tmp_path: Path) -> None:
    """A name that closes a script, one that turns the line around, and last words with a picture in them."""
    game = void_record(
        "many", 0, first_agent=HOSTILE, second_agent=TURNED, opening_id=f"{HOSTILE}&amp;",
        detail="<img src=x onerror='window.taken=1'>",
    )  # fmt: skip

    with reading(tmp_path, games_section(kept(tmp_path / "store", [game]), "many"), link="#game-0") as page:
        expect(page.locator(".games-detail")).to_have_text("<img src=x onerror='window.taken=1'>")
        names = page.locator(".games-player bdi").all_inner_texts()
        assert {HOSTILE, TURNED} == set(names)
        assert page.evaluate("window.taken === undefined")
        assert [HOSTILE, TURNED] == page.locator(
            "tbody td.games-first bdi, tbody td.games-second bdi"
        ).all_inner_texts()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_nothing_is_cut_off(size: tuple[int, int], tmp_path: Path) -> None:
    """Names of 64 letters, an opening without a space and a long cause neither widen the page nor end in the middle."""
    names = {"first_agent": "a" * 64, "second_agent": "b" * 64, "opening_id": "o" * 70}
    games = [void_record("many", 0, detail="x" * 300, **names), game_record("many", 1, **names)]

    with reading(tmp_path, games_section(kept(tmp_path / "store", games), "many"), size) as page:
        assert size[0] >= page.evaluate("document.documentElement.scrollWidth")
        assert [] == page.evaluate(CUT_OFF)
        page.locator(".games-table tbody a").first.click()
        expect(page.locator("dialog")).to_be_visible()
        assert page.locator("dialog").evaluate("dialog => dialog.scrollWidth <= dialog.clientWidth")
        assert [] == page.evaluate(CUT_OFF)


def test_pieces_are_letters_or_kanji(many: str, tmp_path: Path) -> None:
    """As the reader chooses; unless there are letters of their own for them, Western ones."""
    with reading(tmp_path, games_section(many, "many"), link="#game-0") as page:
        choice = page.locator("[name=pieces]")
        choice.select_option("letters")
        assert set("PLNSGBRK") == set(page.locator(".games-piece text").all_text_contents())
        choice.select_option("kanji")
        assert set("歩香桂銀金角飛玉") == set(page.locator(".games-piece text").all_text_contents())


def test_what_does_not_fit_is_left_out_and_said(many: str, tmp_path: Path) -> None:
    """First times and evaluations, then moves, then rows of the table; with the command that has it all."""
    whole = games_section(many, "many")
    code = len(whole.css.encode()) + len(whole.js.encode())
    size = code + len(whole.html)
    said = {}
    for share in (1.1, 0.7, 0.25, 0.15):
        most = round(code + share * (size - code))
        section = games_section(many, "many", most_bytes=most)
        assert most >= code + len(section.html.encode())
        said[share] = " ".join(re.findall(r"<p>((?:To keep|Of) [^<]*)", section.html))

    assert "" == said[1.1]
    assert re.search(r"times and evaluations of single moves are left out of \d+ of the 200", said[0.7])
    assert re.search(r"the moves of \d+ of the 200 attempts listed are left out, and all times", said[0.25])
    assert re.search(r"Of the 200 games planned, one pair in \d+ is listed here", said[0.15])
    section = games_section(many, "many", most_bytes=round(code + 0.25 * (size - code)))
    # Of next to no room at all a pair is left, rather than nothing or an error.
    assert "2 of the 2 attempts" in games_section(many, "many", most_bytes=1).html
    assert f"banzuke export many --store {many} --format kif" in section.html
    with reading(tmp_path, section) as page:
        about = page.locator(".games-about")
        whole_games = {game.game_no: sfens(game) for game in counting_games_of(GameStore(many), "many")}
        shown = []
        for link in listed(page)[:40]:
            seen = page.evaluate(EVERY_PLY, link)
            is_left_out = "left out to keep this file small" in about.inner_text()
            assert (whole_games[int(link.split("-")[1])][: 1 if is_left_out else None]) == seen
            shown.append(not is_left_out)
        assert {True, False} == set(shown)


def test_of_a_very_large_run_every_nth_pair_is_listed(many: str) -> None:
    """Whole pairs, evenly, however many that leaves out."""
    found = listed_games(GameStore(many), "many", most=70)

    assert 3 == found.every
    assert [number for number in range(200) if number // 2 % 3 == 0] == found.numbers["game_no"].tolist()


def test_a_run_without_games_says_so(tmp_path: Path) -> None:
    """Whether it has a plan or not even that."""
    planned = kept(tmp_path / "store", [], planned=4)
    GameStore(planned).create_run("bare", run_document("bare"))

    for run_id, words in (("many", "No game of this run has been played yet; 4 are planned."), ("bare", "played yet.")):
        with reading(tmp_path, games_section(planned, run_id), is_empty=True) as page:
            expect(page.locator(".games")).to_contain_text(words)


def test_a_run_that_goes_on_or_has_only_voids_says_how_far_it_is(tmp_path: Path) -> None:
    """Without a plan being whole; and nothing of it is taken for a result."""
    going_on = kept(tmp_path / "one", [game_record("many", 0)], planned=6)
    voids = kept(tmp_path / "two", [void_record("many", number) for number in range(3)])

    with reading(tmp_path, games_section(going_on, "many")) as page:
        expect(page.locator(".games-said")).to_contain_text("1 game with a result. 6 are planned.")
    with reading(tmp_path, games_section(voids, "many")) as page:
        expect(page.locator(".games-said")).to_contain_text("0 games with a result; 3 attempts without one (void)")
        assert ["void"] * 3 == page.locator("td.games-result").all_inner_texts()


BROKEN: Sequence[tuple[Mapping[str, Any], int, str]] = (
    ({"moves": ("7g7f", "nonsense", "2g2f", "8c8d")}, 1, "cannot be played on a board after move 1"),
    ({"moves": ("7g7f", "5e5d", "2g2f", "8c8d")}, 1, "cannot be played on a board after move 1"),
    ({"moves": ("7g7f", "3c3d", "8h2b+", "P*2b")}, 3, "cannot be played on a board after move 3"),
    ({"moves": ("7g7f+", "3c3d", "2g2f", "8c8d")}, 0, "cannot be played on a board after move 0"),
    ({"start_position": "no position"}, 0, "Its start position cannot be shown"),
    ({"start_position": "9/9/9 b - 1"}, 0, "Its start position cannot be shown"),
    ({"game": "chess", "start_position": "8/8 w - - 0 1"}, 0, "this page knows shogi, not chess"),
    ({"evals": (1,), "move_times_ms": (1, 2)}, 4, "4 plies"),
    ({"moves": (), "plies": 0, "move_times_ms": (), "evals": None}, 0, "0 plies"),
    ({}, 4, "4 plies"),
)
"""What a record says, how much of it can be played, and the page's words."""


def test_a_record_that_cannot_be_played_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    """And the page says where it ends; the other games are not touched by it."""
    games = [game_record("many", number, **changes) for number, (changes, _, _) in enumerate(BROKEN)]

    with reading(tmp_path, games_section(kept(tmp_path / "store", games), "many")) as page:
        for number, (changes, readable, words) in enumerate(BROKEN):
            seen = page.evaluate(EVERY_PLY, f"#game-{number}")
            assert readable == len(seen) - 1, changes
            expect(page.locator(".games-about")).to_contain_text(words)


def test_what_packs_moves_judges_as_cshogi_does(many: str) -> None:
    """Every ply of legal games is readable, and says what piece has moved."""
    found = listed_games(GameStore(many), "many")
    start = found.kinds["start_position"]

    told = tell(found.moves, found.starts, start.index, start.texts)

    assert found.lengths.tolist() == told.readable.tolist()
    assert (told.kind == 0).sum() == 0


@given(st.lists(st.integers(0, 2**26 - 1), min_size=1))
def test_times_are_kept_to_a_thousandth(times: list[int]) -> None:
    """Exact below 4.1 s, which is what the page undoes, and never more than there was."""
    short = short_times(np.array(times))
    back = (short & 0xFFF) << (short >> 12)

    assert int(short.max()) < 2**16
    for time, seen in zip(times, back.tolist(), strict=True):
        assert time == seen if time < 4096 else 0 <= time - seen <= time / 1000


@given(st.binary())
def test_packed_text_holds_its_bytes_and_no_markup(payload: bytes) -> None:
    """Whatever the bytes are, no character means anything in HTML."""
    packed = as_text(payload)

    assert not {"<", "&"} & set(packed.text)
    assert payload == base64.b85decode(str(packed.text).replace(",", "<").replace(".", "&"))[: packed.bytes]
