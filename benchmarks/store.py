"""A store of ten million games: what questions to it take, beside plain DuckDB and pandas on the same files.

Every measurement is a process of its own; those that are compared take turns. Seconds are of the work without Python's
start and imports, or of a whole command; memory is the greatest of the whole process.

    python benchmarks/store.py [--games 10000000] [--runs 200] [--agents 1000] [--agents-of-a-run 60]
                               [--folder KEPT] [--repeats 3] [--only sizes,count,...] [--quick]

``--folder`` keeps the store, and uses the one that is there. Ten million games need 6 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from synthetic_store import Shape, games_table, make_store, play_before, texts_of

ROOT = Path(__file__).resolve().parent.parent
_MIB = 1024.0**2
_PLAYED_BEFORE = 600
_SAMPLE = 20_000
"""Games whose size is compared with that of text."""
_PARTS, _GAMES_OF_A_PART = 10_000, 4
QUICK = {"games": 20_000, "runs": 4, "agents": 40, "agents_of_a_run": 10, "repeats": 1}
SHORT = {"games": 200_000, "runs": 20, "agents": 100, "agents_of_a_run": 30, "repeats": 3}

AGGREGATE = """
    select first_agent, termination, count(*), avg(plies), max(first_max_move_ms),
        avg(case winner when 'first' then 1.0 when 'second' then 0.0 else 0.5 end)
    from {} group by all order by all
"""
COUNT = "select winner, count(*) from {} group by all order by all"


def main() -> None:
    """Make the store and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--agents", type=int, default=1_000)
    parser.add_argument("--agents-of-a-run", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--short", action="store_true", help="200,000 games: less than a minute or two")
    parser.add_argument("--quick", action="store_true", help="20,000 games: does it run, not what it finds")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        _measure(*arguments.measure)
        return
    vars(arguments).update(QUICK if arguments.quick else SHORT if arguments.short else {})
    with _folder(arguments.folder) as folder:
        bench = Bench.at(folder, arguments)
        for name in arguments.only.split(","):
            SECTIONS[name](bench)


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        yield kept
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What is measured, and how often."""

    folder: Path
    store: str
    shape: Shape
    repeats: int

    @classmethod
    def at(cls, folder: Path, arguments: argparse.Namespace) -> Bench:
        """The store in the folder, made where there is none."""
        shape = Shape(
            games=arguments.games,
            runs=arguments.runs,
            agents=arguments.agents,
            agents_of_a_run=arguments.agents_of_a_run,
            seed=arguments.seed,
        )
        place = folder / "store"
        if not place.exists():
            started = time.perf_counter()
            make_store(place, shape, play_before(min(_PLAYED_BEFORE, 40 + shape.games // 5_000)))
            print(f"made in {time.perf_counter() - started:.0f} s", file=sys.stderr)
        return cls(folder=folder, store=str(place), shape=shape, repeats=arguments.repeats)

    @property
    def run_id(self) -> str:
        """The run in the middle."""
        return self.shape.run_id(self.shape.runs // 2)

    def compare(self, title: str, measurements: dict[str, list[str]]) -> None:
        """A table of what each takes, the first being what the others are compared with."""
        taken: dict[str, list[Taken]] = {name: [] for name in measurements}
        for _ in range(self.repeats):
            for name, words in measurements.items():
                taken[name].append(_taken(words))
        print(f"\n### {title}\n")
        _row(["", "seconds, median (least, most)", "seconds of a core", "of the first", "peak memory, MiB"])
        print("|" + "---|" * 5)
        first = statistics.median(each.seconds for each in next(iter(taken.values())))
        for name, several in taken.items():
            seconds = [each.seconds for each in several]
            median = statistics.median(seconds)
            _row(
                [
                    name,
                    f"{median:.2f} ({min(seconds):.2f}, {max(seconds):.2f})",
                    f"{statistics.median(each.cpu for each in several):.2f}",
                    f"{median / first:.2f}",
                    f"{max(each.peak for each in several):.0f}",
                ]
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """By one process."""

    seconds: float
    cpu: float
    peak: float
    """MiB."""


_LAUNCHER = """
import json, os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[2:])
_, status, used = os.wait4(process.pid, 0)
whole = time.perf_counter() - started
figures = {"code": os.waitstatus_to_exitcode(status), "seconds": whole}
figures |= {"cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss / 1024}
with open(sys.argv[1], "w") as output:
    json.dump(figures, output)
"""
"""Between us and what is measured: a process is charged with the memory of the one that started it."""


def _taken(words: Sequence[str]) -> Taken:
    """What a command, or a measurement of this file, takes."""
    is_command = words[0] == "banzuke"
    arguments = ["-m", "deployments.cli", *words[1:]] if is_command else [__file__, "--measure", *words]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        done = subprocess.run(
            [sys.executable, "-S", "-c", _LAUNCHER, str(report), sys.executable, *arguments],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
        )
        figures = json.loads(report.read_text())
    # A run with void games is no complete one, and says so.
    if figures.pop("code") not in ((0, 1) if is_command else (0,)):
        raise SystemExit(f"{' '.join(words)} failed")
    return Taken(**{**figures, **({} if is_command else json.loads(done.stdout))})


def _sizes(bench: Bench) -> None:
    """Bytes per game, beside text."""
    files = sorted(Path(bench.store).glob("games/*/*.parquet"))
    size = sum(path.stat().st_size for path in files)
    rows = sum(pq.read_metadata(path).num_rows for path in files)
    print(f"\n### {bench.shape.games:,} games, {bench.shape.runs} runs, {bench.shape.agents} agents\n")
    _row(["", "figure"])
    print("|---|---|")
    _row(["files; mean size, MiB; rows", f"{len(files)}; {size / len(files) / _MIB:.1f}; {rows:,}"])
    sample = pq.read_table(files[0]).slice(0, _SAMPLE)
    text = "".join(texts_of(sample)).encode()
    plies = sum(sample["plies"].to_pylist()) / sample.num_rows
    _row(["plies of a game, mean", f"{plies:.0f}"])
    _row(["the store, bytes a game", f"{size / rows:.0f}"])
    _row(["as text, not compressed, bytes a game", f"{len(text) / sample.num_rows:.0f}"])
    for level in (3, 19):
        compressed = len(pa.Codec("zstd", compression_level=level).compress(text, asbytes=True))
        by_game = compressed / sample.num_rows
        _row(
            [f"as text, zstd -{level}, bytes a game", f"{by_game:.0f} ({size / rows / by_game:.2f} of it in the store)"]
        )


def _count(bench: Bench) -> None:
    bench.compare(
        "The results of one run, by its name",
        {
            "plain DuckDB": ["plain-count", bench.store, bench.run_id],
            "storage.queries": ["count", bench.store, bench.run_id],
            "storage.counting": ["counting", bench.store, bench.run_id],
            "banzuke show, the whole command": ["banzuke", "show", bench.run_id, "--store", bench.store, "--json"],
        },
    )


def _scan(bench: Bench) -> None:
    bench.compare(
        "An aggregate over all games",
        {
            "plain DuckDB": ["plain-scan", bench.store],
            "storage.queries, connecting included": ["scan", bench.store],
            "storage.queries, asked again": ["scan-again", bench.store],
            "pandas": ["pandas-scan", bench.store],
        },
    )


def _standings(bench: Bench) -> None:
    bench.compare(
        "Standings with intervals",
        {
            "of one run, without warnings": ["rate", bench.store, bench.run_id],
            "of all runs, with all warnings": ["rate-all", bench.store],
            "banzuke standings --all, the whole command": ["banzuke", "standings", "--all", "--store", bench.store],
            "banzuke runs, the whole command": ["banzuke", "runs", "--store", bench.store],
        },
    )


def _frames(bench: Bench) -> None:
    bench.compare(
        "Data frames",
        {
            "all columns of a run": ["frame", bench.store, bench.run_id, ""],
            "three columns of it": ["frame", bench.store, bench.run_id, "game_no,winner,plies"],
            "three columns, one game in a thousand": [
                "frame",
                bench.store,
                bench.run_id,
                "game_no,winner,plies",
                "yes",
            ],
        },
    )


def _export(bench: Bench) -> None:
    out = bench.folder / "exported"
    words = ["banzuke", "export", bench.run_id, "--format", "usi", "-o", str(out), "--store", bench.store]
    bench.compare("Export of a run as USI", {"the whole command": words})
    out.unlink()


def _compaction(bench: Bench) -> None:
    """A run recorded as many small parts."""
    played = play_before(40)
    parts = _PARTS if bench.shape.games > QUICK["games"] else 600
    place = bench.folder / "parts"
    make_store(place, Shape(games=2, runs=1, agents=2, agents_of_a_run=2, seed=1), played)
    (run,) = (place / "games").iterdir()
    from storage.parts import part_name, to_parquet  # noqa: PLC0415 - nothing else here writes

    for path in run.iterdir():
        path.unlink()
    table = games_table(bench.shape, played, 0, np.arange(parts * _GAMES_OF_A_PART))
    for start in range(0, table.num_rows, _GAMES_OF_A_PART):
        piece = table.slice(start, _GAMES_OF_A_PART)
        (run / part_name(piece)).write_bytes(to_parquet(piece))
    before = [path.stat().st_size for path in run.iterdir()]
    taken = _taken(["compact", str(place), run.name])
    after = [path.stat().st_size for path in run.iterdir()]
    print("\n### Compaction of a run\n")
    _row(["", "files", "MiB", "seconds", "peak memory, MiB"])
    print("|" + "---|" * 5)
    _row(["before", str(len(before)), f"{sum(before) / _MIB:.1f}", "", ""])
    _row(["after", str(len(after)), f"{sum(after) / _MIB:.1f}", f"{taken.seconds:.1f}", f"{taken.peak:.0f}"])
    for path in run.iterdir():
        path.unlink()


SECTIONS: dict[str, Callable[[Bench], None]] = {
    "sizes": _sizes,
    "count": _count,
    "scan": _scan,
    "standings": _standings,
    "frames": _frames,
    "export": _export,
    "compaction": _compaction,
}


def _measure(name: str, store: str, *words: str) -> None:
    """In a process of its own: print how long the work took."""
    work = MEASUREMENTS[name](store, *words)
    started = time.perf_counter()
    work()
    print(json.dumps({"seconds": time.perf_counter() - started}))


# What is measured imports what it needs, so that nobody pays, in memory, for what another one needs.


def _plain(question: str, files: str) -> Callable[[], object]:
    import duckdb  # noqa: PLC0415 - see above

    found = f"read_parquet('{files}') where status <> 'void'"
    return lambda: duckdb.sql(question.format(found)).fetchall()


def _ours(question: str, store: str, *run_ids: str) -> Callable[[], object]:
    from storage.queries import connect  # noqa: PLC0415 - see above

    return lambda: connect(store, run_ids).sql(question.format("results")).fetchall()


def _again(store: str) -> Callable[[], object]:
    from storage.queries import connect  # noqa: PLC0415 - see above

    database = connect(store)
    question = AGGREGATE.format("results")
    database.sql(question).fetchall()
    return lambda: database.sql(question).fetchall()


def _with_pandas(store: str) -> Callable[[], object]:
    import pandas as pd  # noqa: PLC0415 - see above

    def work() -> object:
        columns = ["first_agent", "termination", "status", "winner", "plies", "first_max_move_ms"]
        games = pd.read_parquet(f"{store}/games", columns=columns)
        games = games[games["status"] != "void"]
        games["score"] = games["winner"].map({"first": 1.0, "second": 0.0}).fillna(0.5)
        return games.groupby(["first_agent", "termination"], observed=True).agg(
            {"status": "size", "plies": "mean", "first_max_move_ms": "max", "score": "mean"}
        )

    return work


def _counting(store: str, run_id: str) -> Callable[[], object]:
    from storage.counting import counting_games  # noqa: PLC0415 - see above
    from storage.game_store import GameStore  # noqa: PLC0415 - see above

    return lambda: counting_games(GameStore(store), [run_id])


def _rate(store: str, run_id: str) -> Callable[[], object]:
    from storage.game_store import GameStore  # noqa: PLC0415 - see above
    from tasks.rating import rated_now  # noqa: PLC0415 - see above

    return lambda: rated_now(GameStore(store), run_id)


def _rate_all(store: str) -> Callable[[], object]:
    from storage.game_store import GameStore  # noqa: PLC0415 - see above
    from tasks.rating import rate_runs  # noqa: PLC0415 - see above

    games = GameStore(store)
    return lambda: rate_runs(games, games.run_ids())


def _frame(store: str, run_id: str, columns: str, some: str = "") -> Callable[[], object]:
    from storage.queries import read_pandas  # noqa: PLC0415 - see above

    where = "game_no < 50" if some else ""
    names = columns.split(",") if columns else []
    return lambda: read_pandas(store, columns=names, where=where, run_ids=[run_id])


def _compact(store: str, run_id: str) -> Callable[[], object]:
    from storage.game_store import GameStore  # noqa: PLC0415 - see above

    return lambda: GameStore(store).compact(run_id)


MEASUREMENTS: dict[str, Callable[..., Callable[[], object]]] = {
    "plain-count": lambda store, run_id: _plain(COUNT, f"{store}/games/{run_id}/*.parquet"),
    "count": lambda store, run_id: _ours(COUNT, store, run_id),
    "counting": _counting,
    "plain-scan": lambda store: _plain(AGGREGATE, f"{store}/games/**/*.parquet"),
    "scan": lambda store: _ours(AGGREGATE, store),
    "scan-again": _again,
    "pandas-scan": _with_pandas,
    "rate": _rate,
    "rate-all": _rate_all,
    "frame": _frame,
    "compact": _compact,
}


def _row(cells: Sequence[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
