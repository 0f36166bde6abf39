"""The catalogue: reading it, choosing from it, and composing specs of what was chosen."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from banzuke import composing, deployed
from banzuke.catalogue import Catalogue, load_catalogue
from banzuke.checkpoint_folder import FolderSection
from banzuke.composing import compose, compose_test
from banzuke.errors import SpecError
from banzuke.outcome import VOIDS
from banzuke.specs import CheckpointAgent, UsiAgent, load_spec
from flows.backfill_runs import Cause, backfill_runs
from flows.play_tournament import play_tournament
from tasks.backfill import MISSING

PROJECT = Path(__file__).resolve().parent.parent
RANDOM = '[[agents]]\nname = "random"\nkind = "random"\n'
MATERIAL = '[[agents]]\nname = "material-2"\nkind = "material"\ndepth = 2\n'
NIGHT = '[[checkpoints]]\nname = "night"\nfolder = "night"\n'
SLOW = '[[agents]]\nname = "slow"\nkind = "usi"\ncommand = ["sh"]\nlimit = { byoyomi_ms = 5000 }\n'
FORM: dict[str, Any] = {
    "name": "tournament",
    "agents": ["*"],
    "newest": 0,
    "format": "round-robin",
    "challengers": [],
    "games_per_encounter": 20,
    "target_error": 20.0,
    "openings": "",
    "suite": "",
    "rules": "csa",
    "max_plies": 320,
    "seed": 1,
    "anchor": "",
    "anchor_elo": 0.0,
    "concurrency": 0,
    "hosts": 1,
    "regression_margin": 50.0,
    "run_id": "",
}
"""What a form sends whose fields nobody touched; a blank one is sent by the command only."""

Catalogued = Callable[..., Catalogue]


@pytest.fixture
def catalogued(tmp_path: Path) -> Catalogued:
    """Load a catalogue of this text, with files in the folder ``night``, each written a second after the one before."""

    def load(text: str, *, files: tuple[str, ...] = ()) -> Catalogue:
        (tmp_path / "night").mkdir(exist_ok=True)
        for at, name in enumerate(files):
            path = tmp_path / "night" / name
            path.write_bytes(b"x")
            os.utime(path, (1_000_000 + at, 1_000_000 + at))
        path = tmp_path / "catalogue.toml"
        path.write_text(text)
        return load_catalogue(path)

    return load


def names(agents: Any) -> list[str]:
    """What the agents are called."""
    return [agent.name for agent in agents]


def faults(call: Callable[[], object]) -> list[str]:
    """The lines of the error that the call ends in."""
    with pytest.raises(SpecError) as caught:
        call()
    assert all(line.isprintable() for line in caught.value.faults)
    return list(caught.value.faults)


def test_agents_are_as_in_a_spec(catalogued: Catalogued, tmp_path: Path) -> None:
    """A catalogue and a spec with the same agents in them have the same agents, with absolute paths."""
    (tmp_path / "best.pt").write_bytes(b"x")
    text = RANDOM + SLOW + '[[agents]]\nname = "best"\nkind = "checkpoint"\npath = "best.pt"\ntemperature = 0.5\n'
    (tmp_path / "spec.toml").write_text('name = "x"\n' + text)

    catalogue = catalogued(text)

    assert load_spec(tmp_path / "spec.toml").agents == catalogue.agents
    assert str(tmp_path / "best.pt") == catalogue.agent("best").model_dump()["path"]


def test_one_agent_makes_a_catalogue(catalogued: Catalogued) -> None:
    """A spec needs two agents; a catalogue is a list from which they are taken."""
    assert ["random"] == names(catalogued(RANDOM).agents)


def test_the_files_of_a_folder_are_agents(catalogued: Catalogued, tmp_path: Path) -> None:
    """Each is called by its stem and read as the folder says, the newest last."""
    text = RANDOM + NIGHT + 'agent = "n-{stem}"\ntemperature = 0.5\ndevice = "cpu"\ntrained_max_plies = 500\n'

    catalogue = catalogued(text, files=("epoch_2.pt", "epoch_10.pt", "epoch_1.pt", "notes.txt"))

    expected = CheckpointAgent(
        kind="checkpoint",
        name="n-epoch_1",
        path=str(tmp_path / "night" / "epoch_1.pt"),
        temperature=0.5,
        device="cpu",
        trained_max_plies=500,
    )
    assert ["random", "n-epoch_2", "n-epoch_10", "n-epoch_1"] == names(catalogue.agents)
    assert expected == catalogue.agents[-1]
    assert catalogue.agents[1:] == catalogue.folder("night").agents()
    assert () == catalogue.notes


def test_files_of_one_time_are_in_order_of_their_names(catalogued: Catalogued, tmp_path: Path) -> None:
    """A checkout or a copy gives all files one time."""
    catalogued(RANDOM, files=("b.pt", "c.pt", "a.pt"))
    for path in (tmp_path / "night").iterdir():
        os.utime(path, (1, 1))

    catalogue = catalogued(RANDOM + NIGHT)

    assert ["random", "a", "b", "c"] == names(catalogue.agents)


def test_a_folder_is_looked_at_anew(catalogued: Catalogued, tmp_path: Path) -> None:
    """What a trainer writes after the catalogue was loaded is an agent of the folder, and not yet of the catalogue."""
    catalogue = catalogued(NIGHT, files=("a.pt",))
    (tmp_path / "night" / "b.pt").write_bytes(b"x")

    assert ["a", "b"] == names(catalogue.folder("night").agents())
    assert ["a"] == names(catalogue.agents)


def test_what_is_still_being_written_is_no_agent(catalogued: Catalogued) -> None:
    """Temporary names are passed over in silence, whatever the pattern of the folder."""
    catalogue = catalogued(NIGHT + 'files = "*"\n', files=("a.pt", ".b.pt", "c.pt.tmp", ".d.tmp"))

    assert ["a"] == names(catalogue.agents)
    assert () == catalogue.notes


def test_what_makes_no_agent_is_named_once(catalogued: Catalogued, tmp_path: Path) -> None:
    """Files are skipped with a line for each reason; the others play."""
    folder = tmp_path / "night"
    outside = tmp_path / "outside.pt"
    outside.write_bytes(b"x")
    catalogued(RANDOM, files=("good.pt", "a b.pt", "c--d.pt", "\x1b[2J.pt", "é.pt"))
    (folder / "empty.pt").touch()
    (folder / "inner.pt").mkdir()
    os.mkfifo(folder / "pipe.pt")
    (folder / "out.pt").symlink_to(outside)
    (folder / "up.pt").symlink_to("../outside.pt")
    (folder / "loop.pt").symlink_to("loop.pt")
    (folder / "nowhere.pt").symlink_to("gone.pt")
    (folder / "alias.pt").symlink_to("good.pt")
    with (folder / "huge.pt").open("wb") as huge:
        huge.truncate((4 << 30) + 1)

    catalogue = catalogued(NIGHT)

    assert ["alias", "good"] == sorted(names(catalogue.agents))
    assert str(folder / "good.pt") == catalogue.agent("alias").model_dump()["path"]
    told = "checkpoints 'night': these files "
    assert [
        f"{told}are empty, and are no agents: 'empty.pt'",
        f"{told}are no regular files, and are no agents: 'inner.pt', 'pipe.pt'",
        f"{told}cannot be looked at (Too many levels of symbolic links), and are no agents: 'loop.pt'",
        f"{told}have more than 4,294,967,296 bytes, and are no agents: 'huge.pt'",
        f"{told}leave the folder (a link; name the file in [[agents]]), and are no agents: 'out.pt', 'up.pt'",
        f"{told}make no name of an agent, and are no agents: '\\x1b[2J.pt', 'a b.pt', 'c--d.pt', 'é.pt'",
    ] == list(catalogue.notes)


def test_a_thousand_bad_names_are_one_note(catalogued: Catalogued) -> None:
    """A note stays a line that can be read."""
    (note,) = catalogued(NIGHT, files=tuple(f"epoch {number}.pt" for number in range(1000))).notes

    assert len(note) < 300
    assert note.endswith(" more")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "names nobody: it needs [[agents]] or [[checkpoints]]"),
        ("agents = 1\n", "agents: must be tables, [[agents]]"),
        ("checkpoints = 1\n", "checkpoints: must be tables, [[checkpoints]]"),
        (RANDOM + "[[checkpoint]]\n", "unknown key 'checkpoint'; did you mean 'checkpoints'?"),
        (RANDOM + '[tournament]\nformat = "adaptive"\n', "unknown key 'tournament'; "),
        (RANDOM + "[suites]\n'../x' = 'y'\n", "[suites]: ../x: '../x' is no name"),
        (RANDOM + "[openings]\nlong = 3\n", "[openings]: long: input should be a valid string, not 3"),
        (RANDOM + "[limits]\nconcurency = 3\n", "[limits]: unknown key 'concurency'; did you mean 'concurrency'?"),
        (RANDOM + RANDOM, "agent 'random': is given by [[agents]] and by [[agents]]; names are unique"),
        (NIGHT + 'file = "*"\n', "checkpoints 'night': unknown key 'file'; did you mean 'files'?"),
        (NIGHT.replace('name = "night"\n', ""), "checkpoints[0]: name: is missing"),
        (NIGHT.replace('"night"\nf', '"a/b"\nf'), "checkpoints 'a/b': name: 'a/b' is no name"),
        (NIGHT.replace('er = "night"', 'er = "day"'), "checkpoints 'night': folder: cannot be looked at: No such file"),
        (
            NIGHT.replace('er = "night"', 'er = "catalogue.toml"'),
            "checkpoints 'night': folder: cannot be looked at: Not",
        ),
        (NIGHT + NIGHT, "checkpoints 'night': a folder of that name is given before; names are unique"),
        (NIGHT + 'files = "../*.pt"\n', "checkpoints 'night': files: '../*.pt' is no pattern of file names"),
        (NIGHT + 'agent = "best"\n', "checkpoints 'night': agent: 'best' makes no names: it needs {stem} once"),
        (NIGHT + 'agent = "{stem}{stem}"\n', "checkpoints 'night': agent: '{stem}{stem}' makes no names"),
        (NIGHT + 'agent = "{stem.__class__}"\n', "checkpoints 'night': agent: '{stem.__class__}' makes no names"),
        (NIGHT + 'agent = "../{stem}"\n', "checkpoints 'night': agent: '../{stem}' makes no names"),
        (NIGHT + 'format = "exported"\n', "checkpoints 'night': format = \"exported\" needs encoding and moves"),
        (NIGHT + "temperature = nan\n", "checkpoints 'night': temperature: input should be"),
        (NIGHT + 'device = "$(touch x)"\n', "checkpoints 'night': device: string should match pattern"),
        ("x = ", "is not TOML: "),
    ],
)
def test_each_fault_of_a_catalogue_is_one_line(catalogued: Catalogued, tmp_path: Path, text: str, fault: str) -> None:
    """A fault says where it is, what is wrong, and what was probably meant."""
    (line,) = faults(lambda: catalogued(text))

    assert line.removeprefix(f"{tmp_path / 'catalogue.toml'}: ").startswith(fault), line


def test_two_agents_of_one_name_are_a_fault(catalogued: Catalogued) -> None:
    """The line says who gives the name, and how the files of a folder get others."""
    text = RANDOM + NIGHT + NIGHT.replace('"night"\nf', '"again"\nf')

    *lines, last = faults(lambda: catalogued(text, files=("random.pt", *(f"{number}.pt" for number in range(100)))))

    assert any(
        "'random': is given by [[agents]] and by checkpoints 'night' and by ch" in line for line in [*lines, last]
    )
    assert 20 == len(lines)
    assert last.endswith("… and 81 more faults")


MANY = RANDOM + MATERIAL + NIGHT
EPOCHS = ("epoch-09.pt", "epoch-19.pt", "epoch-02.pt", "best.pt")


@pytest.mark.parametrize(
    ("wanted", "newest", "chosen"),
    [
        (["*"], 0, "random material-2 epoch-09 epoch-19 epoch-02 best"),
        (["epoch-*"], 0, "epoch-09 epoch-19 epoch-02"),
        (["epoch-[01]9"], 0, "epoch-09 epoch-19"),
        (["epoch-0?", "random"], 0, "random epoch-09 epoch-02"),
        (["best", "random", "best", "b*"], 0, "random best"),
        (["best", ""], 0, "best"),
        (["*"], 1, "random material-2 best"),
        (["*"], 2, "random material-2 epoch-02 best"),
        (["epoch-*"], 1, "epoch-02"),
        (["epoch-*"], 100, "epoch-09 epoch-19 epoch-02"),
        (["epoch-*", "epoch-09"], 1, "epoch-09 epoch-02"),
        (["epoch-09", "epoch-19"], 1, "epoch-09 epoch-19"),
        (["EPOCH-*", "*"], 0, ""),
    ],
)
def test_choosing_by_names_patterns_and_newest(
    catalogued: Catalogued, wanted: list[str], newest: int, chosen: str
) -> None:
    """Each agent once, in the order of the catalogue; newest thins out what only patterns match in folders."""
    catalogue = catalogued(MANY, files=EPOCHS)

    if chosen:
        assert chosen.split() == names(catalogue.choose(wanted, newest=newest))
    else:
        assert ["nobody matches 'EPOCH-*'; near: epoch-02, epoch-09, epoch-19"] == faults(
            lambda: catalogue.choose(wanted, newest=newest)
        )


def test_the_newest_are_those_of_all_folders_together(catalogued: Catalogued, tmp_path: Path) -> None:
    """Two training runs write side by side; the newest two may be of one of them."""
    (tmp_path / "other").mkdir()
    for at, name in ((1_000_001, "x.pt"), (2_000_000, "y.pt")):
        (tmp_path / "other" / name).write_bytes(b"x")
        os.utime(tmp_path / "other" / name, (at, at))
    text = NIGHT + '[[checkpoints]]\nname = "other"\nfolder = "other"\n'

    catalogue = catalogued(text, files=("a.pt", "b.pt", "c.pt"))

    assert ["c", "y"] == names(catalogue.choose(["*"], newest=2))
    assert ["c", "x", "y"] == names(catalogue.choose(["?"], newest=3))  # b is as old as x, and before it by name


def test_a_name_that_is_nobodys_is_told_with_the_near_ones(catalogued: Catalogued) -> None:
    """One line for each, of agents, suites, opening books and folders alike."""
    text = MANY + '[suites]\nmate-in-1 = "a"\nmate-in-3 = "b"\n[openings]\nlong = "c"\n'
    catalogue = catalogued(text, files=EPOCHS[:2])

    assert [
        "nobody is called 'epoch-99'; near: epoch-09, epoch-19",
        "nobody is called 'materiel-2'; near: material-2",
        "nobody matches 'zzz*'; known: random, material-2, epoch-09, epoch-19",
    ] == faults(lambda: catalogue.choose(["random", "epoch-99", "materiel-2", "zzz*"]))
    assert ["nobody is called 'randon'; near: random"] == faults(lambda: catalogue.agent("randon"))
    assert ["no suite is called 'mate-in-2'; near: mate-in-1, mate-in-3"] == faults(
        lambda: catalogue.suite("mate-in-2")
    )
    assert ["no opening book is called 'short'; known: long"] == faults(lambda: catalogue.openings("short"))
    assert ["no folder of checkpoints is called 'nigth'; near: night"] == faults(lambda: catalogue.folder("nigth"))


def test_of_thousands_the_near_names_are_found(catalogued: Catalogued) -> None:
    """A folder of a long training run does not hide the name that was meant."""
    catalogue = catalogued(NIGHT, files=tuple(f"epoch_{number:05d}.pt" for number in range(2000)))

    (line,) = faults(lambda: catalogue.agent("epoch_1234"))

    assert "epoch_01234" in line
    assert len(line) < 200


def test_no_name_is_no_suite_and_no_book(catalogued: Catalogued, tmp_path: Path) -> None:
    """A blank field asks for none; a name gives an absolute path."""
    catalogue = catalogued(RANDOM + '[suites]\nmates = "m.sfen"\n[openings]\nlong = "/srv/l.sfen"\n')

    assert (None, None) == (catalogue.suite(""), catalogue.openings(""))
    assert (str(tmp_path / "m.sfen"), "/srv/l.sfen") == (catalogue.suite("mates"), catalogue.openings("long"))


def test_a_composed_spec_is_the_spec_that_says_the_same(catalogued: Catalogued, tmp_path: Path) -> None:
    """Whoever writes the choice down as a spec gets the same tournament."""
    files = '[suites]\nmates = "m.sfen"\n[openings]\nlong = "l.sfen"\n'
    for name in ("m.sfen", "l.sfen"):
        (tmp_path / name).touch()
    limits = "[limits]\nretries = 7\ngame_seconds = 3600.0\nconcurrency = {}\n"
    catalogue = catalogued(RANDOM + MATERIAL + SLOW + files + limits.format(4))
    spec = tmp_path / "spec.toml"
    spec.write_text(
        'name = "night"\n'
        + RANDOM
        + SLOW
        + '[evaluate]\nsuite = "m.sfen"\n[tournament]\nformat = "gauntlet"\nchallengers = ["slow"]\n'
        + 'games_per_encounter = 8\nopenings = "l.sfen"\nrules = "keisei"\nmax_plies = 200\nseed = 5\n'
        + '[ratings]\nanchor = "random"\nanchor_elo = 1000\n'
        + limits.format(3)
    )

    composed = compose(
        catalogue,
        name="night",
        agents=["slow", "rand*"],
        format="gauntlet",
        challengers=["slow"],
        games_per_encounter=8,
        target_error=20.0,
        openings="long",
        suite="mates",
        rules="keisei",
        max_plies=200,
        seed=5,
        anchor="random",
        anchor_elo=1000.0,
        concurrency=3,
    )

    assert load_spec(spec) == composed


def test_everybody_speaks_of_the_same_parameters() -> None:
    """What a form has, a program may send and a spec is composed of are the same names; so are causes of a backfill."""
    form = set(inspect.signature(play_tournament.fn).parameters)
    backfill = set(inspect.signature(backfill_runs.fn).parameters)

    assert form == set(composing.TournamentParameters.__annotations__)
    assert form == set(deployed.TournamentParameters.__annotations__)
    assert backfill == {"attempt", *deployed.BackfillParameters.__annotations__}
    assert {MISSING, *(termination.value for termination in VOIDS)} == set(get_args(Cause))


def test_challengers_may_be_named_by_a_pattern(catalogued: Catalogued) -> None:
    """It stands for those of the agents chosen that it matches; one that matches nobody is a fault of its own."""
    catalogue = catalogued(RANDOM + MATERIAL + NIGHT, files=("epoch-1.pt", "epoch-2.pt", "other.pt"))

    composed = compose(catalogue, agents=["*"], format="gauntlet", challengers=["epoch-*", "material-2"])

    assert ("epoch-1", "epoch-2", "material-2") == composed.tournament.challengers
    assert ["challengers: nobody is called 'epotch-*'; near: epoch-1, epoch-2"] == faults(
        lambda: compose(catalogue, agents=["*"], format="gauntlet", challengers=["epotch-*"])
    )


def test_an_untouched_form_is_the_tournament_of_everybody(catalogued: Catalogued) -> None:
    """Every default sent, none sent, and a blank in place of each default that is a text, are the same."""
    catalogue = catalogued(MANY + "[limits]\nconcurrency = 3\n", files=EPOCHS)
    blank = {key: "" for key, value in FORM.items() if isinstance(value, str)}

    composed = compose(catalogue)

    assert composed == compose(catalogue, **FORM) == compose(catalogue, **FORM | blank)
    assert ("tournament", 6, 3) == (composed.name, len(composed.agents), composed.limits.concurrency)
    assert (None, None, None) == (composed.tournament.target_error, composed.evaluate.suite, composed.ratings.anchor)


def test_a_target_counts_in_an_adaptive_tournament_alone(catalogued: Catalogued) -> None:
    """It has a default there, and is sent in vain with the other formats."""
    catalogue = catalogued(MANY)

    assert 20.0 == compose(catalogue, format="adaptive").tournament.target_error
    assert 35.0 == compose(catalogue, format="adaptive", target_error=35.0).tournament.target_error
    assert compose(catalogue, target_error=35.0).tournament.target_error is None


@pytest.mark.parametrize(
    ("parameters", "lines"),
    [
        ({"games_per_encounter": 7}, ["games_per_encounter: 7 is odd; every opening is played twice, sides swapped"]),
        ({"agents": ["epoch-99"]}, ["agents: nobody is called 'epoch-99'; near: epoch-09, epoch-19"]),
        ({"agents": ["random"]}, ["agents: only 'random' is chosen; a tournament needs at least two"]),
        (
            {"format": "gauntlet"},
            ['challengers: a gauntlet needs them, e.g. challengers = ["epoch-10"]'],
        ),
        ({"challengers": ["random"]}, ['challengers: only format = "gauntlet" has them']),
        (
            {"format": "gauntlet", "challengers": ["randon"]},
            ["challengers: nobody is called 'randon'; near: random"],
        ),
        (
            {"format": "gauntlet", "challengers": ["epoch-09"], "newest": 1},
            ["challengers: 'epoch-09' is in the catalogue, but not among the agents chosen; name it in agents, too"],
        ),
        ({"anchor": "epoch-1"}, ["anchor: nobody is called 'epoch-1'; near: epoch-09, epoch-19"]),
        (
            {"anchor": "epoch-09", "agents": ["random", "material-2"]},
            ["anchor: 'epoch-09' is in the catalogue, but not among the agents chosen; name it in agents, too"],
        ),
        ({"suite": "m"}, ["suite: no suite is called 'm'; known: gone"]),
        (
            {"concurrency": 5},
            ["concurrency: 5 is more than the 4 that the catalogue of this machine allows; 0 takes what it allows"],
        ),
        (
            {"name": "night-"},
            ["name: 'night-' makes no name of a run: '-20260101-000000-0123abcd' is put behind it; no '--' is allowed"],
        ),
        (
            {"agents": ["nobody"], "anchor": "nobody", "format": "gauntlet", "challengers": ["nobody"], "seed": -1},
            [
                "agents: nobody is called 'nobody'; known: random, material-2, epoch-09, epoch-19",
                "seed: input should be greater than or equal to 0, not -1",
            ],
        ),
        (
            {"games_per_encounter": 3, "agents": ["zz"], "newest": -1, "concurrency": 9, "sed": 1},
            [
                "unknown parameter 'sed'; did you mean 'seed'?",
                "newest: input should be greater than or equal to 0, not -1",
                "agents: nobody is called 'zz'; known: random, material-2, epoch-09, epoch-19",
                "concurrency: 9 is more than the 4 that the catalogue of this machine allows; 0 takes what it allows",
                "games_per_encounter: 3 is odd; every opening is played twice, sides swapped",
            ],
        ),
    ],
)
def test_each_fault_of_a_parameter_is_one_line_that_names_it(
    catalogued: Catalogued, parameters: dict[str, Any], lines: list[str]
) -> None:
    """What a spec must hold to holds for parameters, too, and one fault does not hide another."""
    text = MANY + '[suites]\ngone = "gone.sfen"\n[limits]\nconcurrency = 4\n'
    catalogue = catalogued(text, files=EPOCHS[:2])

    assert lines == faults(lambda: compose(catalogue, **FORM | parameters))


def test_clocks_are_held_against_the_limits_of_the_machine(catalogued: Catalogued) -> None:
    """A game that the engines' clocks allow may not be cut off; the line names what the form can change."""
    catalogue = catalogued(RANDOM + SLOW + "[limits]\ngame_seconds = 60.0\n")
    patient = catalogued(RANDOM + SLOW.replace("5000", "20000") + "[limits]\ngame_seconds = 36000.0\n")

    (line,) = faults(lambda: compose(catalogue))
    (other,) = faults(lambda: compose(patient))

    assert line.startswith(
        "max_plies: game_seconds of the catalogue: 60 is less than the 816 s that the clocks of 'slow'"
    )
    assert other.startswith(
        "agents: move_seconds of the catalogue: 10 is less than the 20.1 s that the clock of 'slow'"
    )
    assert 20 == compose(catalogue, max_plies=20).tournament.max_plies


def test_names_that_differ_in_capitals_only_do_not_meet(catalogued: Catalogued) -> None:
    """They may stand in one catalogue, and may not play in one tournament."""
    catalogue = catalogued(RANDOM + MATERIAL + RANDOM.replace('"random"\nk', '"Random"\nk'))

    assert ["agents: 'Random': differs from 'random' in capitals only"] == faults(lambda: compose(catalogue))
    assert 2 == len(compose(catalogue, agents=["Random", "material-2"]).agents)


def test_only_what_is_chosen_must_be_there(catalogued: Catalogued, tmp_path: Path) -> None:
    """A file, program, suite or book that is gone is told of who asks for it, and stops nobody else."""
    engine = (
        SLOW.replace('"slow"', '"lost"').replace('"sh"', '"no-such-engine"').replace("byoyomi_ms = 5000", "nodes = 1")
    )
    gone = '[suites]\ngone = "gone.sfen"\n[openings]\ngone = "gone.sfen"\n'
    catalogue = catalogued(MANY + engine + gone, files=("old.pt",))
    (tmp_path / "night" / "old.pt").unlink()

    assert 2 == len(compose(catalogue, agents=["random", "material-2"]).agents)
    lines = faults(lambda: compose(catalogue, suite="gone", openings="gone"))
    assert 4 == len(lines)
    for line, beginning in zip(
        lines,
        (
            "agents: 'lost': command: no program 'no-such-engine' on PATH",
            f"agents: 'old': path: no such file: '{tmp_path}/night/old.pt'",
            f"suite: no such file: '{tmp_path}/gone.sfen'",
            f"openings: no such file: '{tmp_path}/gone.sfen'",
        ),
        strict=True,
    ):
        assert line.startswith(beginning), line


def test_a_test_of_two_agents_is_composed(catalogued: Catalogued) -> None:
    """The agent is the one that is not the anchor, and the cap is what the book of the package has openings for."""
    catalogue = catalogued(MANY, files=EPOCHS)

    spec = compose_test(catalogue, agent="best", versus="random", max_plies=100)

    assert ["best", "random"] == names(spec.agents)
    assert ("test", "random", 480, 100) == (
        spec.name,
        spec.ratings.anchor,
        spec.tournament.games_per_encounter,
        spec.tournament.max_plies,
    )


@pytest.mark.parametrize(
    ("pair", "lines"),
    [
        ({"agent": "best"}, ["versus: is missing; a test is of one agent against another"]),
        ({"agent": "best", "versus": "best"}, ["versus: 'best' is the agent itself; a test is of one against another"]),
        (
            {"agent": "epoch-*", "versus": "randon"},
            [
                "agent: nobody is called 'epoch-*'; near: epoch-09, epoch-19",
                "versus: nobody is called 'randon'; near: random",
            ],
        ),
        ({"agent": "lost", "versus": "random"}, ["agent: 'lost': path: no such file: '{}/lost.pt'"]),
        ({"agent": "random", "versus": "lost"}, ["versus: 'lost': path: no such file: '{}/lost.pt'"]),
    ],
)
def test_each_fault_of_a_test_is_one_line_that_names_it(
    catalogued: Catalogued, tmp_path: Path, pair: dict[str, Any], lines: list[str]
) -> None:
    """Two names are asked for, of two agents that are there."""
    lost = '[[agents]]\nname = "lost"\nkind = "checkpoint"\npath = "lost.pt"\n'
    catalogue = catalogued(MANY + SLOW + lost, files=("epoch-09.pt", "epoch-19.pt", "best.pt"))

    assert [line.format(tmp_path) for line in lines] == faults(lambda: compose_test(catalogue, **pair))


def test_a_form_has_the_defaults_of_a_spec(catalogued: Catalogued, tmp_path: Path) -> None:
    """A run by hand and a spec that says nothing are the same tournament."""
    path = tmp_path / "spec.toml"
    path.write_text('name = "tournament"\n' + RANDOM + MATERIAL)

    assert load_spec(path) == compose(catalogued(RANDOM + MATERIAL))


def test_the_example_has_the_agents_of_the_demo() -> None:
    """It works as it lies in a source checkout, suites and networks included."""
    catalogue = load_catalogue(PROJECT / "examples" / "catalogue.toml")
    demo = load_spec(PROJECT / "examples" / "demo.toml")

    composed = compose(catalogue, name="demo", suite="mate-in-1", max_plies=256, anchor="material-1")

    assert () == catalogue.notes
    assert demo.agents[:3] == composed.agents[:3]
    networks = {agent.path for agent in composed.agents if isinstance(agent, CheckpointAgent)}
    assert {agent.path for agent in demo.agents if isinstance(agent, CheckpointAgent)} == networks
    assert (demo.evaluate, demo.tournament, demo.limits, demo.ratings) == (
        composed.evaluate,
        composed.tournament,
        composed.limits,
        composed.ratings,
    )
    for name in ("mate-in-3", "mate-in-5"):
        assert compose(catalogue, suite=name).evaluate.suite == catalogue.suite(name)


def test_the_catalogue_of_the_docs_loads(catalogued: Catalogued, tmp_path: Path) -> None:
    """What docs/catalogue.md shows is a whole catalogue, and it does what is said there."""
    (text,) = re.findall(r"```toml\n(.*?)```", (PROJECT / "docs" / "catalogue.md").read_text(), re.DOTALL)
    for folder in ("runs/night", "last-year"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "last-year" / "epoch_00010.pth").write_bytes(b"x")
    for number in range(6):
        path = tmp_path / "runs" / "night" / f"epoch_{number:05d}.pt"
        path.write_bytes(b"x")
        os.utime(path, (number, number))

    catalogue = catalogued(text.replace("/srv/checkpoints/", ""))

    chosen = catalogue.choose(["material-2", "epoch_*"], newest=5)
    assert ["material-2", *(f"epoch_{number:05d}" for number in range(1, 6))] == names(chosen)
    old = catalogue.agent("last-year-epoch_00010")
    assert isinstance(old, CheckpointAgent)
    assert (500, 0.5, "cpu") == (old.trained_max_plies, old.temperature, old.device)
    assert isinstance(catalogue.agent("fairy-1k"), UsiAgent)
    assert 8 == catalogue.limits.concurrency


def test_every_key_of_the_catalogue_is_documented() -> None:
    """docs/catalogue.md names the sections and every key of a folder."""
    text = (PROJECT / "docs" / "catalogue.md").read_text()
    keys = {*FolderSection.model_fields, "agents", "checkpoints", "suites", "openings", "limits"}

    assert set() == {key for key in keys if not re.search(rf"\b{key}\b", text)}
