"""The whole pipeline through the command, as a user runs it: real processes, a real server, real Parquet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest
from staging import STOP_SECONDS, wait_until

from banzuke.games.shogi import rules_named
from banzuke.match.game import replay
from banzuke.record import GameRecord
from storage.game_store import GameStore
from storage.schemas import GAMES, to_rows

Banzuke = Callable[..., subprocess.CompletedProcess[str]]
PROJECT = Path(__file__).resolve().parent.parent
CHECKPOINT = PROJECT / "examples" / "checkpoints" / "epoch_00015.pt"

SLOW_ENGINE = """
import sys
delay = {delay}
import random, time
for line in sys.stdin:
    word = line.split()
    if line.startswith("usi\\n") or line == "usi":
        print("id name slow\\nusiok", flush=True)
    elif line.startswith("isready"):
        print("readyok", flush=True)
    elif line.startswith("go"):
        time.sleep(delay)
        print("bestmove resign", flush=True)
    elif line.startswith("quit"):
        break
"""


def moves_of(store: Path, run_id: str) -> dict[int, list[str]]:
    """The moves of every counting game, by its number."""
    games = pd.read_parquet(store / "games" / run_id)
    counting = games[games.status != "void"]
    return {int(row.game_no): list(row.moves) for row in counting.itertuples()}


def parts(store: Path, run_id: str) -> list[Path]:
    """The files of recorded games."""
    return sorted((store / "games" / run_id).glob("[!.]*.parquet"))


def test_a_run_gives_a_complete_rated_store(banzuke: Banzuke, small_spec: Callable[..., Path], tmp_path: Path) -> None:
    """Every planned game is played, replays to its row, and counts; sides and openings are balanced."""
    spec = small_spec(games=4)

    done = banzuke("run", spec, "--store", "store", "--run-id", "r1", "--json")

    assert (0, "") == (done.returncode, done.stderr)
    summary = json.loads(done.stdout)
    assert (12, 12, 0, 0, []) == (
        summary["planned"],
        summary["counting"],
        summary["voids"],
        summary["missing"],
        summary["unfit"],
    )
    assert ["other", "material", "random"] == [row["agent"] for row in summary["standings"]]
    assert all(row["elo_low"] <= row["elo"] <= row["elo_high"] for row in summary["standings"])

    store = GameStore(str(tmp_path / "store"))
    table = store.games("r1").table
    assert table.schema.names[: len(GAMES.names)] == GAMES.names
    for record in to_rows(table, GameRecord):
        proven = replay(record, rules_named(record.game, record.rules), max_plies=120)
        assert (proven.termination, proven.winner) == (record.termination, record.winner)

    games = pd.read_parquet(tmp_path / "store" / "games")
    assert (12, 12) == (len(games), games.game_id.nunique())
    for _, encounter in games.groupby("encounter"):
        assert {len(encounter) // 2} == set(Counter(encounter.first_agent).values())
        assert len(encounter) // 2 == encounter.opening_id.nunique()
    for _, pair in games.groupby("pair_id"):
        first, second = pair.sort_values("slot").itertuples()
        assert (first.first_agent, first.second_agent) == (second.second_agent, second.first_agent)
        assert first.opening_id == second.opening_id
        assert list(first.moves[: first.opening_plies]) == list(second.moves[: second.opening_plies])
    assert games.flow_run_id.notna().all()
    assert games.task_run_id.notna().all()

    again = banzuke("run", spec, "--store", "store", "--run-id", "r1", "--json")

    assert 0 == again.returncode
    assert 12 == len(pd.read_parquet(tmp_path / "store" / "games"))


def test_five_faults_give_five_lines_and_no_store(banzuke: Banzuke, tmp_path: Path) -> None:
    """A wrong spec is refused with exit code 2 before anything is written."""
    spec = tmp_path / "bad.toml"
    spec.write_text(
        'name = "bad"\ngam = "shogi"\n'
        '[[agents]]\nname = "a"\nkind = "random"\n'
        '[[agents]]\nname = "a"\nkind = "material"\n'
        '[[agents]]\nname = "c"\nkind = "checkpoint"\npath = "gone.pt"\n'
        '[[agents]]\nname = "e"\nkind = "usi"\ncommand = ["no-such-engine"]\nlimit = { nodes = 1 }\n'
        "[tournament]\ngames_per_encounter = 3\n"
    )

    done = banzuke("run", spec, "--store", "store")

    assert 2 == done.returncode
    assert "" == done.stdout
    assert 5 == len(done.stderr.splitlines()), done.stderr
    assert not (tmp_path / "store").exists()


def test_a_book_too_small_is_refused_before_anything_is_written(banzuke: Banzuke, tmp_path: Path) -> None:
    """The opening book is looked at together with the spec."""
    (tmp_path / "book.sfen").write_text("startpos moves 7g7f 3c3d\n")
    spec = tmp_path / "spec.toml"
    spec.write_text(
        'name = "x"\n[[agents]]\nname = "a"\nkind = "random"\n[[agents]]\nname = "b"\nkind = "random"\n'
        '[tournament]\ngames_per_encounter = 4\nopenings = "book.sfen"\n'
    )

    done = banzuke("run", spec, "--store", "store")

    assert 2 == done.returncode
    assert 1 == len(done.stderr.splitlines()), done.stderr
    assert not (tmp_path / "store").exists()


def test_same_whatever_the_order(banzuke: Banzuke, tmp_path: Path) -> None:
    """With one seed, deterministic agents make the same moves whatever the concurrency."""
    spec = tmp_path / "spec.toml"
    spec.write_text(
        'name = "order"\n'
        '[[agents]]\nname = "random"\nkind = "random"\n'
        '[[agents]]\nname = "material"\nkind = "material"\ndepth = 2\n'
        f'[[agents]]\nname = "net"\nkind = "checkpoint"\npath = "{CHECKPOINT}"\n'
        f'[[agents]]\nname = "net-warm"\nkind = "checkpoint"\npath = "{CHECKPOINT}"\ntemperature = 1.0\n'
        "[tournament]\ngames_per_encounter = 4\nmax_plies = 100\n"
    )

    one = banzuke("run", spec, "--store", "one", "--run-id", "one", "--concurrency", 1, "--json")
    two = banzuke("run", spec, "--store", "two", "--run-id", "two", "--concurrency", 2, "--json")

    assert (0, 0) == (one.returncode, two.returncode), one.stderr + two.stderr
    expected = moves_of(tmp_path / "one", "one")
    assert 24 == len(expected)
    assert expected == moves_of(tmp_path / "two", "two")


def test_an_unfit_agent_is_left_out_visibly_and_may_be_repaired(banzuke: Banzuke, tmp_path: Path) -> None:
    """A broken engine costs its own games only; repaired, the same command plays them."""
    engine = tmp_path / "engine.py"
    engine.write_text("#!/usr/bin/env python3\nimport sys\nsys.exit(3)\n")
    engine.chmod(0o755)
    spec = tmp_path / "spec.toml"
    spec.write_text(
        'name = "unfit"\n'
        '[[agents]]\nname = "random"\nkind = "random"\n'
        '[[agents]]\nname = "material"\nkind = "material"\n'
        '[[agents]]\nname = "broken"\nkind = "usi"\ncommand = ["./engine.py"]\nlimit = { nodes = 1 }\n'
        "[tournament]\ngames_per_encounter = 2\nmax_plies = 60\n"
    )

    done = banzuke("run", spec, "--store", "store", "--run-id", "r", "--json")

    assert 3 == done.returncode, done.stderr
    summary = json.loads(done.stdout)
    assert (6, 2, 4, 0) == (summary["planned"], summary["counting"], summary["missing"], summary["voids"])
    assert ["broken"] == [agent["agent"] for agent in summary["unfit"]]
    assert "engine.py exited with code 3" in summary["unfit"][0]["reason"]
    broken = next(row for row in summary["standings"] if row["agent"] == "broken")
    assert (False, None) == (broken["rated"], broken["elo"])
    assert "unfit" in broken["reason"]

    engine.write_text("#!/usr/bin/env python3\n" + SLOW_ENGINE.format(delay=0))
    repaired = banzuke("run", spec, "--store", "store", "--run-id", "r", "--json")

    assert 0 == repaired.returncode, repaired.stdout + repaired.stderr
    assert (6, []) == (json.loads(repaired.stdout)["counting"], json.loads(repaired.stdout)["unfit"])


def test_a_changed_spec_or_agent_is_not_resumed(banzuke: Banzuke, small_spec: Callable[..., Path]) -> None:
    """A run goes on only with what it was planned from; limits alone may change."""
    spec = small_spec(games=2)
    assert 0 == banzuke("run", spec, "--store", "store", "--run-id", "r").returncode

    text = spec.read_text()
    spec.write_text(text.replace("seed = 7", "seed = 8"))
    other_seed = banzuke("run", spec, "--store", "store", "--run-id", "r")
    spec.write_text(text.replace("depth = 2", "depth = 1"))
    other_agent = banzuke("run", spec, "--store", "store", "--run-id", "r")

    assert (2, 2) == (other_seed.returncode, other_agent.returncode)
    assert "tournament.seed changed" in other_seed.stderr
    assert "agent 'other' has changed and has counting games" in other_agent.stderr
    assert 1 == len(other_agent.stderr.splitlines())


def test_the_command_may_say_the_rules(banzuke: Banzuke, small_spec: Callable[..., Path], tmp_path: Path) -> None:
    """--rules holds in place of the spec's: in every game, and when the run is gone on with."""
    spec = small_spec(games=2)

    done = banzuke("run", spec, "--store", "store", "--run-id", "r", "--rules", "keisei")
    again = banzuke("run", spec, "--store", "store", "--run-id", "r", "--rules", "keisei", "--json")
    without = banzuke("run", spec, "--store", "store", "--run-id", "r")
    unknown = banzuke("run", spec, "--store", "store", "--rules", "chess")
    evaluated = banzuke("evaluate", spec, "--store", "other", "--rules", "keisei", "--json")

    assert (0, 0, 2, 2, 0) == tuple(run.returncode for run in (done, again, without, unknown, evaluated))
    assert {"keisei"} == set(pd.read_parquet(tmp_path / "store" / "games").rules)
    assert 6 == json.loads(again.stdout)["counting"]
    assert "tournament.rules changed" in without.stderr
    assert "'chess' is not one of" in unknown.stderr


def test_nothing_lost_when_the_command_is_killed(
    banzuke: Banzuke,
    banzuke_started: Callable[..., subprocess.Popen[str]],
    small_spec: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """After kill -9 nothing is left running, what was recorded stays, and the same run id plays the rest."""
    spec = small_spec(games=80)
    store = tmp_path / "store"
    process = banzuke_started("run", spec, "--store", store, "--run-id", "r", "--json")
    wait_until(lambda: len(parts(store, "r")) >= 3, process)
    family = psutil.Process(process.pid).children(recursive=True)

    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    _, alive = psutil.wait_procs(family, timeout=STOP_SECONDS)
    assert [] == [survivor for survivor in alive if survivor.status() != psutil.STATUS_ZOMBIE]
    before = {path: pq.read_table(path)["attempt_id"].to_pylist() for path in parts(store, "r")}
    recorded = {attempt for attempts in before.values() for attempt in attempts}
    assert recorded

    resumed = banzuke("run", spec, "--store", store, "--run-id", "r", "--json")

    assert 0 == resumed.returncode, resumed.stdout + resumed.stderr
    games = pd.read_parquet(store / "games" / "r")
    assert (240, 240) == (len(games), games.game_id.nunique())
    assert recorded <= set(games.attempt_id)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_keeps_what_is_finished(
    banzuke: Banzuke,
    banzuke_started: Callable[..., subprocess.Popen[str]],
    small_spec: Callable[..., Path],
    tmp_path: Path,
    number: signal.Signals,
    code: int,
) -> None:
    """A stopped run ends soon, says how to go on, and resumed has the moves of an undisturbed one."""
    spec = small_spec(games=60)
    store = tmp_path / "store"
    process = banzuke_started("run", spec, "--store", store, "--run-id", "r")
    wait_until(lambda: len(parts(store, "r")) >= 3, process)

    process.send_signal(number)
    out, err = process.communicate(timeout=STOP_SECONDS)

    assert code == process.returncode, out + err
    assert err.splitlines()[-1] == (
        f"stopped; everything finished is kept. Go on with: banzuke run {spec} --store {store} --run-id r"
    )
    kept = pd.read_parquet(store / "games" / "r")
    counting = kept[kept.status != "void"]
    assert 0 < len(counting) < 180
    assert {"cancelled"} >= set(kept[kept.status == "void"].termination)

    resumed = banzuke("run", spec, "--store", store, "--run-id", "r", "--json")
    undisturbed = banzuke("run", spec, "--store", tmp_path / "other", "--run-id", "u", "--json")

    assert (0, 0) == (resumed.returncode, undisturbed.returncode), resumed.stderr
    assert moves_of(store, "r") == moves_of(tmp_path / "other", "u")


def test_backfill_plays_what_has_no_counting_result(banzuke: Banzuke, tmp_path: Path) -> None:
    """Void games are reported by cause, played again by a backfill, and the earlier attempts stay readable."""
    engine = tmp_path / "engine.py"
    marker = tmp_path / "broken"
    marker.touch()
    engine.write_text(
        "#!/usr/bin/env python3\n"
        + SLOW_ENGINE.format(delay=0)
        .replace(
            'print("bestmove resign", flush=True)',
            f'import os\n        if os.path.exists("{marker}") and "moves" in position: os._exit(7)\n'
            '        print("bestmove resign", flush=True)',
        )
        .replace(
            "    word = line.split()",
            '    position = line if line.startswith("position") else globals().get("position", "")',
        )
    )
    engine.chmod(0o755)
    spec = tmp_path / "spec.toml"
    spec.write_text(
        'name = "voids"\n'
        '[[agents]]\nname = "random"\nkind = "random"\n'
        '[[agents]]\nname = "flaky"\nkind = "usi"\ncommand = ["./engine.py"]\nlimit = { nodes = 1 }\n'
        "[tournament]\ngames_per_encounter = 2\nmax_plies = 60\n[limits]\nretries = 1\n"
    )

    done = banzuke("run", spec, "--store", "store", "--run-id", "r", "--json")

    assert 3 == done.returncode, done.stdout + done.stderr
    assert (0, 2) == (json.loads(done.stdout)["counting"], json.loads(done.stdout)["voids"])
    shown = banzuke("show", "r", "--store", "store")
    assert "void: 2 games by agent_crash, the fault of flaky; last: engine.py exited with code 7" in shown.stdout
    dry = banzuke("backfill", "--store", "store", "--dry-run")
    assert "2 games of 1 runs would be played" in dry.stdout
    other_cause = banzuke("backfill", "--store", "store", "--dry-run", "--cause", "memory_limit")
    assert "0 games of 0 runs would be played" in other_cause.stdout
    faults = banzuke("standings", "--store", "store", "--count-faults", "--json")
    assert {"random": 2, "flaky": 0} == {row["agent"]: row["wins"] for row in json.loads(faults.stdout)["standings"]}

    marker.unlink()
    backfilled = banzuke("backfill", "--store", "store")

    assert 0 == backfilled.returncode, backfilled.stdout + backfilled.stderr
    assert "[2/2] r--g" in backfilled.stdout
    games = pd.read_parquet(tmp_path / "store" / "games" / "r")
    assert Counter({"void": 4, "played": 2}) == Counter(games.status)
    assert {"agent_crash"} == set(games[games.status == "void"].termination)
    assert games[games.status == "void"].detail.str.contains("exited with code 7").all()


def test_evaluate_answers_the_same_whatever_the_concurrency(banzuke: Banzuke, tmp_path: Path) -> None:
    """The suite's answers do not depend on how many positions are asked at once; no game is planned."""
    spec = tmp_path / "spec.toml"
    text = (
        'name = "eval"\n'
        '[[agents]]\nname = "material"\nkind = "material"\ndepth = 2\n'
        f'[[agents]]\nname = "net"\nkind = "checkpoint"\npath = "{CHECKPOINT}"\n'
        f'[evaluate]\nsuite = "{PROJECT}/examples/suites/mate-in-1.sfen"\n[limits]\nconcurrency = '
    )
    answers = []
    for concurrency in (1, 2):
        spec.write_text(text + str(concurrency) + "\n")
        done = banzuke("evaluate", spec, "--store", f"store{concurrency}", "--json")
        assert 0 == done.returncode, done.stderr
        rows = pd.read_parquet(tmp_path / f"store{concurrency}" / "evaluations")
        answers.append({(row.agent, row.probe, row.position_id): row.answer for row in rows.itertuples()})
        scores = {agent["agent"]: agent["suite_passed"] for agent in json.loads(done.stdout)["agents"]}

    assert answers[0] == answers[1]
    assert scores["material"] > scores["net"] > 0
    assert not (tmp_path / "store1" / "plans").exists()


def test_a_position_that_takes_too_long_fails_the_position_not_the_agent(banzuke: Banzuke, tmp_path: Path) -> None:
    """An engine that never answers suite positions in time still enters, with each of them timed out."""
    engine = tmp_path / "engine.py"
    engine.write_text("#!/usr/bin/env python3\n" + SLOW_ENGINE.format(delay=1.0))
    engine.chmod(0o755)
    suite = tmp_path / "suite.sfen"
    lines = (PROJECT / "examples" / "suites" / "mate-in-1.sfen").read_text().splitlines()
    suite.write_text("\n".join([line for line in lines if not line.startswith("#")][:3]) + "\n")
    spec = tmp_path / "spec.toml"
    spec.write_text(
        'name = "slow"\n'
        '[[agents]]\nname = "random"\nkind = "random"\n'
        '[[agents]]\nname = "slow"\nkind = "usi"\ncommand = ["./engine.py"]\nlimit = { nodes = 1 }\n'
        '[evaluate]\nsuite = "suite.sfen"\nposition_seconds = 0.2\n'
    )

    done = banzuke("evaluate", spec, "--store", "store", "--json")

    assert 0 == done.returncode, done.stdout + done.stderr
    rows = pd.read_parquet(tmp_path / "store" / "evaluations")
    slow = rows[(rows.agent == "slow") & (rows.probe == "suite")]
    assert (["timeout"] * 3, [False] * 3) == (list(slow.status), list(slow.passed))
    assert slow.time_ms.max() < 1000


def test_zero_games_is_a_failure(banzuke: Banzuke, tmp_path: Path) -> None:
    """A run in which no agent may play does not exit 0, and says so."""
    engine = tmp_path / "engine.py"
    engine.write_text("#!/usr/bin/env python3\n")
    engine.chmod(0o755)
    spec = tmp_path / "spec.toml"
    spec.write_text(
        'name = "none"\n'
        + "".join(
            f'[[agents]]\nname = "{name}"\nkind = "usi"\ncommand = ["./engine.py"]\nlimit = {{ nodes = 1 }}\n'
            for name in "ab"
        )
        + "[tournament]\ngames_per_encounter = 2\n"
    )

    done = banzuke("run", spec, "--store", "store", "--json")

    assert 3 == done.returncode, done.stderr
    summary = json.loads(done.stdout)
    assert (0, 2, 2) == (summary["counting"], summary["missing"], len(summary["unfit"]))


def test_the_command_explains_unknown_runs_and_ids(banzuke: Banzuke, tmp_path: Path) -> None:
    """What is not there is named in one line, with exit code 2."""
    spec = tmp_path / "spec.toml"
    spec.write_text('name = "x"\n[[agents]]\nname = "a"\nkind = "random"\n[[agents]]\nname = "b"\nkind = "random"\n')

    cases: Mapping[str, subprocess.CompletedProcess[str]] = {
        "no run r in store": banzuke("show", "r", "--store", "store"),
        "there is no run in store": banzuke("standings", "--store", "store"),
        "--run-id: '../x' is no run id": banzuke("run", spec, "--run-id", "../x", "--store", "store"),
        "--cause: 'bored' is no cause": banzuke("backfill", "--cause", "bored", "--store", "store"),
        "--since: '3' is no age": banzuke("backfill", "--since", "3", "--store", "store"),
        "cannot be read": banzuke("run", "gone.toml", "--store", "store"),
    }

    for line, done in cases.items():
        assert (2, 1) == (done.returncode, len(done.stderr.splitlines())), (line, done.stderr)
        assert line in done.stderr
    assert not (tmp_path / "store").exists()


def test_workers_load_only_what_they_need(tmp_path: Path) -> None:
    """No worker imports Prefect or Parquet, and one without networks does not import torch."""
    program = "import sys, banzuke.workers.child; print(sorted({m.split('.')[0] for m in sys.modules}))"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True)

    assert not {"prefect", "pyarrow", "pandas", "torch"}.intersection(json.loads(done.stdout.replace("'", '"')))


def test_a_backfill_does_not_mix_agents_under_one_name(
    banzuke: Banzuke,
    banzuke_started: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
) -> None:
    """A checkpoint that was overwritten since it has counting games is refused by a backfill as by a resume."""
    network = tmp_path / "net.pt"
    network.write_bytes(CHECKPOINT.read_bytes())
    spec = tmp_path / "spec.toml"
    spec.write_text(
        'name = "mixed"\n[[agents]]\nname = "random"\nkind = "random"\n'
        '[[agents]]\nname = "net"\nkind = "checkpoint"\npath = "net.pt"\n'
        # Two games at a time: it must still be playing when it is stopped.
        "[tournament]\ngames_per_encounter = 480\nmax_plies = 200\n[limits]\nconcurrency = 1\nlanes = 2\n"
    )
    store = tmp_path / "store"
    process = banzuke_started("run", spec, "--store", store, "--run-id", "r")
    wait_until(lambda: len(parts(store, "r")) >= 2, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=STOP_SECONDS)
    before = len(pd.read_parquet(store / "games" / "r"))

    network.write_bytes((PROJECT / "examples" / "checkpoints" / "epoch_00006.pt").read_bytes())
    done = banzuke("backfill", "--run", "r", "--store", store)

    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stdout + done.stderr
    assert "agent 'net' has changed and has counting games" in done.stderr
    assert len(pd.read_parquet(store / "games" / "r")) == before


def test_a_store_that_cannot_be_one_is_a_fault_of_the_command_line(
    banzuke: Banzuke, small_spec: Callable[..., Path], tmp_path: Path
) -> None:
    """A file in the store's place is named in one line with exit code 2."""
    (tmp_path / "file").write_text("")

    done = banzuke("run", small_spec(), "--store", "file")

    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert done.stderr.startswith("--store: ")


def test_one_damaged_run_does_not_hide_the_others(
    banzuke: Banzuke, small_spec: Callable[..., Path], tmp_path: Path
) -> None:
    """`banzuke runs` lists what can be read, and names what cannot."""
    assert banzuke("run", small_spec(games=2), "--store", "store", "--run-id", "good").returncode == 0
    for name, text in {"empty": "", "other": "{}", "list": "[]"}.items():
        folder = tmp_path / "store" / "runs" / name
        folder.mkdir()
        (folder / "run.json").write_text(text)

    done = banzuke("runs", "--store", "store")
    backfill = banzuke("backfill", "--dry-run", "--store", "store")

    assert (done.returncode, done.stderr) == (0, "")
    assert (backfill.returncode, backfill.stdout) == (0, "0 games of 0 runs would be played\n")
    named = [line for line in backfill.stderr.splitlines() if line.startswith("left out: ")]
    assert ["empty", "list", "other"] == sorted(Path(line.split(": ")[1]).parent.name for line in named)
    assert "good " in done.stdout
    assert ["damaged: empty: ", "damaged: list: C", "damaged: other: "] == sorted(
        line[:16] for line in done.stdout.splitlines() if line.startswith("damaged")
    )


def test_a_signal_ends_the_command_although_its_server_is_dead(
    banzuke_started: Callable[..., subprocess.Popen[str]], small_spec: Callable[..., Path], tmp_path: Path
) -> None:
    """Prefect's client would wait for minutes; the command does not, and leaves nothing running."""
    store = tmp_path / "store"
    process = banzuke_started("run", small_spec(games=100), "--store", store, "--run-id", "r")
    wait_until(lambda: len(parts(store, "r")) >= 2, process)
    family = psutil.Process(process.pid).children(recursive=True)
    next(child for child in family if "deployments.embedded_server" in child.cmdline()).kill()

    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=STOP_SECONDS)

    assert process.returncode == 143, out + err
    assert "everything finished is kept" in err.splitlines()[-1]
    _, alive = psutil.wait_procs(family, timeout=STOP_SECONDS)
    assert [] == [survivor for survivor in alive if survivor.status() != psutil.STATUS_ZOMBIE]
