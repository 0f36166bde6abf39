from __future__ import annotations

import time
from pathlib import Path

import pytest

from banzuke.errors import SpecError
from banzuke.specs import SearchLimit, is_name, load_spec

GOOD = """
name = "good"
[[agents]]
name = "random"
kind = "random"
[[agents]]
name = "material"
kind = "material"
"""
ADAPTIVE = GOOD + '[tournament]\nformat = "adaptive"\n'


def load(tmp_path: Path, text: str) -> tuple[str, ...]:
    """The faults of a spec, without the file's name."""
    path = tmp_path / "spec.toml"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    return tuple(fault.removeprefix(f"{path}: ") for fault in caught.value.faults)


def test_the_defaults_are_those_of_the_contract(tmp_path: Path) -> None:
    """A spec of two agents alone is a whole tournament."""
    path = tmp_path / "spec.toml"
    path.write_text(GOOD)

    spec = load_spec(path)

    assert (spec.spec_version, spec.game, spec.tournament.format) == (1, "shogi", "round-robin")
    assert (spec.tournament.games_per_encounter, spec.tournament.max_plies, spec.tournament.seed) == (20, 320, 1)
    assert (spec.limits.move_seconds, spec.limits.game_seconds, spec.limits.start_seconds) == (10.0, 1800.0, 120.0)
    assert (spec.limits.worker_memory_mb, spec.limits.retries, spec.evaluate.position_seconds) == (4096, 2, 2.0)
    assert spec.limits.put_off_after == 5


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (GOOD + "[tournament]\ngames_per_encounter = 3\n", "[tournament]: games_per_encounter: 3 is odd"),
        (GOOD + "[tournament]\nmax_plys = 3\n", "[tournament]: unknown key 'max_plys'; did you mean 'max_plies'?"),
        (GOOD + "[turnament]\n", "unknown key 'turnament'; did you mean 'tournament'?"),
        (GOOD + '[ratings]\nanchor = "randon"\n', "[ratings]: anchor: unknown agent 'randon'; did you mean 'random'?"),
        (GOOD + '[tournament]\nformat = "gauntlet"\n', "[tournament]: challengers: a gauntlet needs them"),
        (GOOD + '[tournament]\nchallengers = ["random"]\n', '[tournament]: challengers: only format = "gauntlet"'),
        (GOOD + '[tournament]\nformat = "adaptive"\n', "[tournament]: target_error: an adaptive tournament needs it"),
        (GOOD + "[tournament]\ntarget_error = 20\n", '[tournament]: target_error: only format = "adaptive" has it'),
        (GOOD + "[tournament]\nmax_games = 20\n", '[tournament]: max_games: only format = "adaptive" has it'),
        (ADAPTIVE + "target_error = 0\n", "[tournament]: target_error: input should be greater than 0, not 0"),
        (ADAPTIVE + "target_error = inf\n", "[tournament]: target_error: input should be"),
        (ADAPTIVE + "target_error = 20\nmax_games = 21\n", "[tournament]: max_games: 21 is odd"),
        (
            ADAPTIVE.replace("[tournament]", '[[agents]]\nname = "c"\nkind = "random"\n[tournament]')
            + "target_error = 20\nmax_games = 2\n",
            "[tournament]: max_games: 2 games do not connect 3 agents; at least 4 do",
        ),
        (ADAPTIVE + 'target_error = 20\nchallengers = ["random"]\n', '[tournament]: challengers: only format = "ga'),
        (GOOD + '[tournament]\nopenings = "no.sfen"\n', "[tournament]: openings: no such file: 'no.sfen'"),
        (GOOD + '[evaluate]\nsuite = "no.sfen"\n', "[evaluate]: suite: no such file: 'no.sfen'"),
        (GOOD + "[limits]\nmove_seconds = nan\n", "[limits]: move_seconds: input should be"),
        (GOOD + "[limits]\nconcurrency = 0\n", "[limits]: concurrency: input should be greater than or equal to 1"),
        (GOOD.replace('"random"\nkind', '"a--b"\nkind'), "agent 'a--b': name: 'a--b' is no name"),
        (GOOD.replace('"random"\nkind', '"b\\n"\nkind'), "agent 'b\\n': name: 'b\\n' is no name"),
        (GOOD.replace('"random"\nkind', '"../b"\nkind'), "agent '../b': name: '../b' is no name"),
        (GOOD.replace('"material"\nkind', '"random"\nkind'), "agent 'random': the name is given 2 times"),
        (GOOD.replace('"material"\nkind', '"Random"\nkind'), "agent 'Random': differs from 'random' in capitals only"),
        (GOOD.replace('kind = "random"', 'kind = "randm"'), "agent 'random': kind: unknown kind of agent 'randm'"),
        (GOOD.replace('kind = "random"', 'kind = "usi"\ncommand = ["x"]'), "agent 'random': limit: is missing"),
        (GOOD.replace('name = "good"', ""), "name: is missing"),
        ('name = "x"\n', "agents: at least two [[agents]] are needed"),
        ("name = \n", "is not TOML:"),
    ],
)
def test_each_fault_is_one_clear_line(tmp_path: Path, text: str, fault: str) -> None:
    """A fault says where it is, what is wrong, and what was probably meant."""
    faults = load(tmp_path, text)

    assert any(line.startswith(fault) for line in faults), faults
    assert all("\n" not in line for line in faults)


def test_an_engine_that_is_nowhere_is_reported(tmp_path: Path) -> None:
    """The line says where the program was looked for."""
    engine = '[[agents]]\nname = "e"\nkind = "usi"\ncommand = ["no-such-engine"]\nlimit = { nodes = 10 }\n'

    faults = load(tmp_path, GOOD + engine)

    assert len(faults) == 1
    assert faults[0].startswith("agent 'e': command: no program 'no-such-engine' on PATH, in /usr/games")


def test_five_faults_give_five_lines(tmp_path: Path) -> None:
    """One fault does not hide another, in whatever section it is."""
    text = GOOD + 'gam = 1\n[[agents]]\nname = "c"\nkind = "checkpoint"\npath = "no.pt"\n'
    text += '[tournament]\ngames_per_encounter = 3\n[ratings]\nanchor = "x"\n[limits]\nretrys = 1\n'

    faults = load(tmp_path, text)

    assert len(faults) == 5


@pytest.mark.parametrize(
    ("limit", "fault"),
    [
        ("{ nodes = 1, depth = 1 }", "limit: nodes and depth exclude each other"),
        ("{ base_ms = 1000 }", "limit: needs one of nodes"),
        ("{ increment_ms = 1000 }", "limit: increment_ms needs base_ms"),
        ("{ nodes = 1, base_ms = 5 }", "limit: base_ms does not go with nodes"),
        ("{ nodes = 0 }", "limit.nodes: input should be greater than or equal to 1, not 0"),
        ("{ node = 5 }", "unknown key 'limit.node'; did you mean 'nodes'?"),
    ],
)
def test_a_limit_is_of_exactly_one_kind(tmp_path: Path, limit: str, fault: str) -> None:
    """Kinds of limits exclude each other, and the line names them."""
    engine = f'[[agents]]\nname = "e"\nkind = "usi"\ncommand = ["sh"]\nlimit = {limit}\n'

    faults = load(tmp_path, GOOD + engine)

    assert any(line.startswith(f"agent 'e': {fault}") for line in faults), faults


def test_clocks_that_exceed_game_seconds_are_refused(tmp_path: Path) -> None:
    """A game that its own clocks allow may not be cut off by the hard limit."""
    engine = '[[agents]]\nname = "e"\nkind = "usi"\ncommand = ["sh"]\nlimit = { byoyomi_ms = 5000 }\n'

    faults = load(tmp_path, GOOD + engine + "[limits]\ngame_seconds = 60.0\n")

    assert len(faults) == 1
    assert faults[0].startswith("[limits]: game_seconds: 60 is less than the 816 s that the clocks of 'e' allow")


def test_a_clock_that_exceeds_move_seconds_is_refused(tmp_path: Path) -> None:
    """A move that the agent's own clock allows may not count as a stall."""
    engine = '[[agents]]\nname = "e"\nkind = "usi"\ncommand = ["sh"]\nlimit = { movetime_ms = 20000 }\n'

    faults = load(tmp_path, GOOD + engine + "[limits]\ngame_seconds = 36000.0\n")

    assert faults == ("[limits]: move_seconds: 10 is less than the 20.1 s that the clock of 'e' allows for one move",)


def test_a_directory_given_by_the_user_is_an_unknown_key(tmp_path: Path) -> None:
    """What the loader fills in itself cannot be set in the file."""
    engine = '[[agents]]\nname = "e"\nkind = "usi"\ncommand = ["sh"]\ndirectory = "/"\nlimit = { nodes = 1 }\n'

    faults = load(tmp_path, GOOD + engine)

    assert faults[0].startswith("agent 'e': unknown key 'directory'")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_an_option_is_finite(tmp_path: Path, value: str) -> None:
    """A number that JSON cannot hold would be lost on its way to the worker."""
    engine = '[[agents]]\nname = "e"\nkind = "usi"\ncommand = ["sh"]\nlimit = { nodes = 1 }\n'

    faults = load(tmp_path, GOOD + engine + f"options = {{ Level = {value} }}\n")

    assert any("options.Level" in fault for fault in faults), faults


@pytest.mark.parametrize("name", ["", ".a", "-a", "a--b", "a/b", "a b", "a\n", "a\0", "é", "a" * 65, ".."])
def test_names_that_could_leave_a_folder_are_refused(name: str) -> None:
    """Only letters, digits, dots, underscores and single dashes make a name."""
    assert not is_name(name)


@pytest.mark.parametrize("name", ["a", "A9._-x", "epoch-10", "a" * 64])
def test_ordinary_names_are_taken(name: str) -> None:
    """A name of up to 64 characters is a name."""
    assert is_name(name)


def test_a_clock_of_nodes_is_none() -> None:
    """Limits in nodes and depth have no clock that could run out."""
    assert not SearchLimit(nodes=10).is_clock
    assert SearchLimit(movetime_ms=10).is_clock


ENGINE = '[[agents]]\nname = "e"\nkind = "usi"\ncommand = ["sh"]\nlimit = { nodes = 1 }\n'


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (GOOD + f"[tournament]\nseed = {2**64}\n", "[tournament]: seed: input should be less than"),
        (GOOD + ENGINE.replace("nodes = 1", f"nodes = {2**63}"), "agent 'e': limit.nodes: input should be less than"),
        (GOOD + ENGINE + f"options = {{ A = {2**63} }}\n", "agent 'e': options.A: 9223372036854775808 is no value"),
        (GOOD + ENGINE + f"options = {{ A = 0x{'f' * 20000} }}\n", "agent 'e': options.A: a number of 80,000 bits is"),
        (GOOD + f"seed = {'9' * 20000}\n", "is not TOML: Exceeds the limit"),
        (GOOD + "x = " + "[" * 100_000 + "]" * 100_000 + "\n", "is nested too deeply"),
        (GOOD + "a." * 20_000 + "a = 1\n", "is nested too deeply"),
        (GOOD + '"a" . ' * 20_000 + "a = 1\n", "is nested too deeply"),
        (GOOD + ENGINE + "options = " + "{ a = " * 200 + "1" + "}" * 200 + "\n", "agent 'e': options.a: {'a': {'a'"),
        (GOOD + f'[tournament]\nopenings = "{"b" * 300}"\n', "[tournament]: openings: 'bbb"),
        (GOOD + f'[tournament]\nopenings = "{"b/" * 9000}"\n', "[tournament]: openings: 'b/b"),
        (GOOD + ENGINE.replace("sh", "./" + "x" * 9000), "agent 'e': command: no program './xxx"),
        (GOOD + ENGINE.replace('"sh"', '"sh", "a\\u0000"'), "agent 'e': command.1: 'a\\x00' holds a NUL"),
        (GOOD + ENGINE + 'options = { A = "\\u0000" }\n', "agent 'e': options.A: '\\x00' is no value of an option"),
        (GOOD + '[evaluate]\nsuite = "\\u0000"\n', "[evaluate]: suite: no such file: '\\x00'"),
        (GOOD + ENGINE + 'options = { "a\\nb" = [] }\n', "agent 'e': options.'a\\nb': [] is no value of an option"),
        (GOOD + "k" * 100_000 + " = 1\n", "agent 'material': unknown key 'kkk"),
        (GOOD.replace('"random"\nkind', f'"{"r" * 100_000}"\nkind'), "agent 'rrr"),
    ],
    ids=range(18),
)
def test_hostile_content_is_one_short_line(tmp_path: Path, text: str, fault: str) -> None:
    """However large or deep, it is refused at once, in a line that can be read."""
    (line,) = load(tmp_path, text)

    assert line.startswith(fault)
    assert len(line) < 400 + len(str(tmp_path))
    assert line.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"key{number} = 1\n" for number in range(20_000)) + GOOD,
        'name = "x"\n' + "".join(f'[[agents]]\nname = "a{number}"\nkind = "x"\n' for number in range(20_000)),
        'name = "x"\n' + "".join(f'[[agents]]\nname = "a{number // 2}"\nkind = "random"\n' for number in range(40_000)),
        GOOD + f'[tournament]\nformat = "gauntlet"\nchallengers = {[f"c{number}" for number in range(20_000)]}\n',
    ],
    ids=["keys", "kinds", "names", "challengers"],
)
def test_many_faults_are_counted(tmp_path: Path, text: str) -> None:
    """The first twenty are shown, in seconds, and the others are counted."""
    started = time.process_time()

    *shown, last = load(tmp_path, text)

    assert 20 == len(shown)
    assert "… and 19,980 more faults" == last
    assert time.process_time() - started < 10
