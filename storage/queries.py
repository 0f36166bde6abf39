"""The games of a store as tables to ask questions of, in SQL or as data frames.

::

    from storage.queries import connect
    connect("banzuke-store").sql("select termination, count(*) from results group by all")

Nothing is copied: a view is a question to the Parquet files, of which only the columns and the stretches are read that
the answer needs. ``docs/datasets.md`` has every view and column.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import closing, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import duckdb
import pyarrow as pa

from banzuke.errors import SpecError, StorageError, UnknownRunError
from storage import layout
from storage.atomic import open_files
from storage.parts import part_names
from storage.repeats import MergedMeanwhileError, recorded_files, repeated_games
from storage.schemas import AGENTS, EVALUATIONS, GAMES, PLAN, STANDINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    import numpy as np
    import pandas as pd
    import polars as pl
    from numpy.typing import NDArray

    from storage.atomic import Files
    from storage.repeats import RecordedFile, Repeated

Answer = TypeVar("Answer")

_MEMORY = "1GiB"
"""What DuckDB may hold; sorts and groups of more go through a temporary folder."""
_MOST_TRIES = 20
"""To catch the store between two compactions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A table that is made of others."""

    about: str
    columns: Mapping[str, str]
    """Name and meaning of those that it does not take over from another."""
    sql: str


DATASETS: Mapping[str, tuple[str, pa.Schema]] = {
    "games": (layout.GAMES, GAMES),
    "plans": (layout.PLANS, PLAN),
    "agents": (layout.AGENTS, AGENTS),
    "evaluations": (layout.EVALUATIONS, EVALUATIONS),
    "standings": (layout.STANDINGS, STANDINGS),
}
"""By the name of the view that is the dataset itself: its folder and columns."""

VIEWS: Mapping[str, View] = {
    "results": View(
        about="One row per game with a result: the row of `games` that counts, with all its columns.",
        columns={"first_score": "1 for a win of the first agent, 0.5 for a draw, 0."},
        sql="""
            select *, case winner when 'first' then 1.0 when 'second' then 0.0 else 0.5 end as first_score
            from counting
        """,
    ),
    "voids": View(
        about="One row per attempt without a result: who was at fault, and what for.",
        columns={"culprit": "Name of the agent at fault; null where it was none."},
        sql="""
            select *, case fault when 'first' then first_agent when 'second' then second_agent end as culprit
            from games where status = 'void'
        """,
    ),
    "seats": View(
        about="Two rows per game with a result, one from the point of view of each agent.",
        columns={
            "side": "`first` or `second`.",
            "agent": "Whose row it is.",
            "agent_id": "Its content hash.",
            "opponent": "Who sat opposite.",
            "opponent_id": "Its content hash.",
            "score": "1 for a win of the agent, 0.5 for a draw, 0.",
            "time_ms": "The agent's thinking time, summed.",
            "max_move_ms": "Its longest move.",
        },
        sql="""
            select run_id, game_id, pair_id, game_no, pair_no, encounter, opening_id, status, termination, plies,
                started_at, host, 'first' as side, first_agent as agent, first_agent_id as agent_id,
                second_agent as opponent, second_agent_id as opponent_id, first_score as score,
                first_time_ms as time_ms, first_max_move_ms as max_move_ms
            from results
            union all
            select run_id, game_id, pair_id, game_no, pair_no, encounter, opening_id, status, termination, plies,
                started_at, host, 'second', second_agent, second_agent_id, first_agent, first_agent_id,
                1 - first_score, second_time_ms, second_max_move_ms
            from results
        """,
    ),
    "pairs": View(
        about="One row per pair of games with both results: the unit of the pentanomial.",
        columns={
            "agent": "The one of the two whose name comes first.",
            "opponent": "The other one.",
            "points": "Of the agent in both games: 0, 0.5, 1, 1.5 or 2.",
            "plies": "Of both games together.",
        },
        sql="""
            select run_id, pair_id, pair_no, encounter, any_value(opening_id) as opening_id,
                min(agent) as agent, max(agent) as opponent,
                sum(score) filter (agent < opponent) as points, sum(plies) // 2 as plies
            from seats group by run_id, pair_id, pair_no, encounter having count(*) = 4
        """,
    ),
    "encounters": View(
        about="One row per run and ordered pair of agents: what the agent did against the opponent.",
        columns={
            "agent": "Whose row it is.",
            "opponent": "Who sat opposite.",
            "games": "With a result.",
            "wins": "Of the agent.",
            "draws": "Drawn games.",
            "losses": "Of the agent.",
            "score": "Points per game, 0 to 1.",
            "score_as_first": "Likewise, of the games in which it had the first move; null for none.",
            "score_as_second": "Likewise, of the others.",
            "forfeits": "Games that ended by a forfeit of either side.",
            "plies": "Mean length of the games.",
        },
        sql="""
            select run_id, agent, opponent, count(*) as games, count_if(score = 1) as wins,
                count_if(score = 0.5) as draws, count_if(score = 0) as losses, avg(score) as score,
                avg(score) filter (side = 'first') as score_as_first,
                avg(score) filter (side = 'second') as score_as_second,
                count_if(status = 'forfeit') as forfeits, avg(plies) as plies
            from seats group by run_id, agent, opponent
        """,
    ),
    "openings": View(
        about="One row per run and opening: how often it was played, and whom it favours.",
        columns={
            "opening_id": "Which line of the book.",
            "games": "With a result.",
            "first_score": "Points per game of whoever has the first move, 0 to 1.",
            "draws": "Drawn games.",
            "pairs": "Pairs with both results.",
            "one_sided": "Of them, those in which the same side of the board won both games: the opening decided.",
            "plies": "Mean length of the games.",
        },
        sql="""
            with twins as (
                select run_id, pair_no, any_value(opening_id) as opening_id,
                    count(*) = 2 and min(first_score) = max(first_score) and min(first_score) <> 0.5 as is_one_sided,
                    count(*) = 2 as is_whole
                from results group by run_id, pair_no
            ), decided as (
                select run_id, opening_id, count_if(is_whole) as pairs, count_if(is_one_sided) as one_sided
                from twins group by run_id, opening_id
            ), played as (
                select run_id, opening_id, count(*) as games, avg(first_score) as first_score,
                    count_if(first_score = 0.5) as draws, avg(plies) as plies
                from results group by run_id, opening_id
            )
            select run_id, opening_id, games, first_score, draws, pairs, one_sided, plies
            from played join decided using (run_id, opening_id)
        """,
    ),
    "moves": View(
        about="One row per move of a game with a result.",
        columns={
            "ply": "From 1.",
            "side": "Who made it: `first` or `second`.",
            "agent": "That agent's name.",
            "move": "In USI.",
            "time_ms": "Wall time; 0 for moves of the book.",
            "eval_cp": "The mover's own score in centipawns; null where it reports none.",
            "is_book": "Whether it came from the opening book.",
        },
        sql="""
            select run_id, game_id, game_no, ply,
                case ply % 2 when 1 then 'first' else 'second' end as side,
                case ply % 2 when 1 then first_agent else second_agent end as agent,
                move, time_ms, eval_cp, ply <= opening_plies as is_book
            from (
                select run_id, game_id, game_no, first_agent, second_agent, opening_plies,
                    unnest(range(1, len(moves) + 1)) as ply, unnest(moves) as move,
                    unnest(move_times_ms) as time_ms, unnest(evals) as eval_cp
                from results where len(moves) > 0
            )
        """,
    ),
}
"""In the order in which they are made of each other."""


def connect(store: str, run_ids: Sequence[str] = ()) -> duckdb.DuckDBPyConnection:
    """A database in memory whose views are the datasets and :data:`VIEWS`.

    What was recorded later is not in it: it holds the files that there are now.

    Args:
        store: local path or fsspec URL.
        run_ids: which runs, or shell patterns of their ids; none for all. What is left out is not even opened.

    Raises:
        UnknownRunError: there is no such run, or none at all.
        StorageError: the store cannot be read.
    """
    for _ in range(_MOST_TRIES):
        with suppress(MergedMeanwhileError):
            return _connected(store, [run_ids] if isinstance(run_ids, str) else run_ids)
    raise StorageError(f"{store} is being compacted again and again; try later")


def _connected(store: str, run_ids: Sequence[str]) -> duckdb.DuckDBPyConnection:
    files = open_files(store)
    chosen = _chosen(store, files.folders(layout.RUNS), run_ids)
    recorded = recorded_files(files, chosen)
    repeated = repeated_games(files, recorded)
    database = duckdb.connect(":memory:", config=_settings())
    try:
        _add_games(database, files, recorded, repeated)
        for name, (folder, schema) in DATASETS.items():
            if name != "games":
                _add_dataset(database, name, _places(files, folder, chosen), schema)
        for name, view in VIEWS.items():
            database.execute(f"create view {name} as {view.sql}")
    except duckdb.Error as error:
        database.close()
        raise _fault(store, error) from error
    return database


def _chosen(store: str, known: Sequence[str], run_ids: Sequence[str]) -> list[str]:
    if not known:
        raise UnknownRunError(f"there is no run in {store}")
    for wanted in run_ids:
        if not any(fnmatchcase(run_id, wanted) for run_id in known):
            raise UnknownRunError(f"no run in {store} is called {wanted}")
    return [run_id for run_id in known if not run_ids or any(fnmatchcase(run_id, wanted) for wanted in run_ids)]


def _fault(what: str, error: duckdb.Error) -> StorageError | SpecError:
    """The error as one of ours: of who asks, of a compaction in between, or of the store."""
    said = f"{what}: {' '.join(str(error).split())}"
    if isinstance(error, duckdb.IOException):
        return MergedMeanwhileError(said)
    # A file that is no Parquet is "invalid input", too; nothing that can be asked is.
    is_ours = isinstance(error, duckdb.InvalidInputException)
    is_theirs = isinstance(error, duckdb.ProgrammingError | duckdb.DataError) and not is_ours
    return SpecError(said) if is_theirs else StorageError(said)


def _settings() -> dict[str, str | bool | int | float | list[str]]:
    return {
        "preserve_insertion_order": False,
        "memory_limit": _MEMORY,
        # Where what does not fit goes; by default that would be the folder that the user is in.
        "temp_directory": str(Path(tempfile.gettempdir()) / f"banzuke-{os.getpid()}"),
    }


def _add_games(
    database: duckdb.DuckDBPyConnection,
    files: Files,
    recorded: Sequence[RecordedFile],
    repeated: Sequence[Repeated],
) -> None:
    """The dataset ``games``, every attempt once, and ``counting``, its rows that count."""
    places = [files.place(file.name) for file in recorded]
    # Every file has the columns of the contract; one of a later version may have more of them.
    by_name = any(file.has_further_columns for file in recorded)
    if not repeated:
        _add_parquet(database, "games", places, GAMES, with_further_columns=by_name)
        database.execute("create view counting as select * from games where status <> 'void'")
        return
    database.read_parquet(places, filename=True, file_row_number=True, union_by_name=by_name).create_view("recorded")
    for name in ("copies", "beaten"):
        database.execute(f"create table {name} (filename varchar, file_row_number bigint)")
    for run in repeated:
        _add_superfluous(database, [files.place(name) for name in run.names], run.numbers)
    rows = "select * exclude (filename, file_row_number) from recorded anti join"
    database.execute(f"create view games as {rows} copies using (filename, file_row_number)")
    database.execute(f"create view counting as {rows} beaten using (filename, file_row_number) where status <> 'void'")


def _add_superfluous(database: duckdb.DuckDBPyConnection, places: list[str], numbers: NDArray[np.int64]) -> None:
    """Which rows are there a second time, and which results lost a race, of these games of a run."""
    database.register("contested", pa.table({"game_no": pa.array(numbers)}))
    database.read_parquet(places, filename=True, file_row_number=True).create_view("held", replace=True)
    database.execute("""
        create or replace temp table ranked as select filename, file_row_number, status,
            row_number() over (partition by attempt_id order by filename, file_row_number) as copy,
            row_number() over (
                partition by game_no, status = 'void'
                order by attempt, started_at, attempt_id, filename, file_row_number
            ) as place
        from held semi join contested using (game_no)
    """)
    for name, condition in (("copies", "copy > 1"), ("beaten", "place > 1 and status <> 'void'")):
        database.execute(f"insert into {name} select filename, file_row_number from ranked where {condition}")  # noqa: S608 - own words
    for kind, name in (("table", "ranked"), ("view", "held"), ("view", "contested")):
        database.execute(f"drop {kind} {name}")


def read_pandas(
    store: str, view: str = "results", *, columns: Sequence[str] = (), where: str = "", run_ids: Sequence[str] = ()
) -> pd.DataFrame:
    """A view as a pandas data frame; rows and columns that are not wanted are not read from the files.

    Args:
        store: local path or fsspec URL.
        view: a dataset or one of :data:`VIEWS`.
        columns: which; none for all.
        where: a condition in SQL; empty for all rows.
        run_ids: as of :func:`connect`.

    Raises:
        SpecError: there is no such view or column, or the condition is none.
        UnknownRunError: there is no such run.
        StorageError: the store cannot be read.
    """
    frame: pd.DataFrame = _read(store, run_ids, view, columns, where, lambda wanted: wanted.df())
    return frame


def read_polars(
    store: str, view: str = "results", *, columns: Sequence[str] = (), where: str = "", run_ids: Sequence[str] = ()
) -> pl.DataFrame:
    """As :func:`read_pandas`, a polars data frame; polars is to be installed for it."""
    frame: pl.DataFrame = _read(store, run_ids, view, columns, where, lambda wanted: wanted.pl())
    return frame


def _read(
    store: str,
    run_ids: Sequence[str],
    view: str,
    columns: Sequence[str],
    where: str,
    fetch: Callable[[duckdb.DuckDBPyRelation], Any],
) -> Any:  # noqa: ANN401 - what fetch makes of it
    if view not in DATASETS and view not in VIEWS:
        raise SpecError(f"there is no view {view!r}; there are {', '.join([*DATASETS, *VIEWS])}")
    return ask(store, run_ids, lambda database: fetch(_wanted(database.view(view), view, columns, where)), view)


def ask(
    store: str, run_ids: Sequence[str], question: Callable[[duckdb.DuckDBPyConnection], Answer], about: str = "games"
) -> Answer:
    """What is answered by the views, asked again where a compaction took files away in between.

    Args:
        store: local path or fsspec URL.
        run_ids: as of :func:`connect`.
        question: fetches its answer whole: the database is closed afterwards.
        about: what an error is said to be about.

    Raises:
        SpecError: what was asked is no question.
        UnknownRunError: there is no such run.
        StorageError: the store cannot be read.
    """
    for _ in range(_MOST_TRIES):
        with suppress(MergedMeanwhileError), closing(connect(store, run_ids)) as database:
            try:
                return question(database)
            except duckdb.Error as error:
                raise _fault(f"{store}, {about}", error) from error
    raise StorageError(f"{store}, {about}: files of it come and go, or cannot be read; try later")


def _wanted(found: duckdb.DuckDBPyRelation, view: str, columns: Sequence[str], where: str) -> duckdb.DuckDBPyRelation:
    unknown = [name for name in columns if name not in found.columns]
    if unknown:
        raise SpecError(f"{view} has no column {unknown[0]!r}; there are {', '.join(found.columns)}")
    found = found.filter(where) if where else found
    return found.project(*map(duckdb.ColumnExpression, columns)) if columns else found


def _places(files: Files, folder: str, run_ids: Sequence[str]) -> list[str]:
    return [
        files.place(f"{folder}/{run_id}/{name}")
        for run_id in run_ids
        for name in part_names(files, f"{folder}/{run_id}")
    ]


def _add_dataset(database: duckdb.DuckDBPyConnection, name: str, places: list[str], schema: pa.Schema) -> None:
    """A damaged file is in nobody's way who asks for something else."""
    try:
        _add_parquet(database, name, places, schema)
    except duckdb.IOException:
        raise
    except duckdb.Error as error:
        database.register(f"no_{name}", schema.empty_table())
        said = f"{name}: {' '.join(str(error).split())}".replace("'", "''")
        database.execute(
            f"create view {name} as select no_{name}.* from range(1) left join no_{name} on true "  # noqa: S608 - quoted
            f"where error('{said}') is null"
        )


def _add_parquet(
    database: duckdb.DuckDBPyConnection,
    name: str,
    places: list[str],
    schema: pa.Schema,
    *,
    with_further_columns: bool = False,
) -> None:
    if not places:
        database.register(name, schema.empty_table())
    elif with_further_columns:
        database.read_parquet(places, union_by_name=True).create_view(name)
    else:
        # By name, so that no footer is read but the first one's: every file has these columns.
        columns = map(duckdb.ColumnExpression, schema.names)
        database.read_parquet(places).project(*columns).create_view(name)
