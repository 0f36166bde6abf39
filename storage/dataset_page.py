"""docs/datasets.md: every column of every dataset and view, from the schemas and what the code says of them.

``python -m storage.dataset_page > docs/datasets.md`` writes the page anew; a test compares.
"""

from __future__ import annotations

import ast
import inspect
import sys
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import pyarrow as pa

from banzuke import record
from banzuke.record import AgentRow, EvaluationRow, GameRecord, PlannedGame, Standing
from storage import layout
from storage.queries import VIEWS, View
from storage.schemas import SCHEMA_OF

if TYPE_CHECKING:
    from collections.abc import Mapping

INTRODUCTION = """\
# The datasets

Plain directories of Parquet files below the store (`./banzuke-store` unless said otherwise); pandas, polars, DuckDB and
pyarrow read them without help. A dataset's folder appears with its first file. Every file has all columns with their
types; further columns may follow in later versions, and none is ever taken away. Files of more than a
handful of rows are compressed with zstd. What begins with a dot is being written, a lock, or shown to whoever
watches a run (`runs/<run_id>/.shown-*`), and no part of a dataset.

A row of `games` with another `status` than `void` is a result; at rest there is one for each game. Beside the datasets
lie `runs/<run_id>/run.json` (the effective spec, versions, host, when it was begun), `sprt/` (verdicts), `watched/`
(what is remembered of folders of checkpoints), `damaged/` and `raced/` (files set aside, never read).
"""

VIEWS_INTRODUCTION = """\
## Views

`storage.queries` has these questions asked already. `connect` gives a DuckDB database in memory in which the datasets
and the views below are tables; nothing is copied, and of the files only what an answer needs is read. `read_pandas` and
`read_polars` (polars is to be installed for it) give a data frame of some columns and rows of one of them.

```python
from storage.queries import connect, read_pandas

store = connect("banzuke-store", ["night-*"])  # or all runs
store.sql("select agent, avg(score) from seats where side = 'second' group by all order by all").show()
frame = read_pandas("banzuke-store", "moves", columns=["game_id", "ply", "time_ms"], where="agent = 'mine'")
```

Only columns that a view does not take over from another are listed.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dataset:
    name: str
    row: type
    files: str
    about: str


_DATASETS = (
    _Dataset(
        name=layout.GAMES,
        row=GameRecord,
        files=f"{layout.GAMES}/<run_id>/*.parquet",
        about="One row per attempt at a game, recorded within a second of its end.",
    ),
    _Dataset(
        name=layout.PLANS,
        row=PlannedGame,
        files=f"{layout.PLANS}/<run_id>/plan*.parquet",
        about="One row per planned game, written before the first is played; adaptive tournaments add a file per step.",
    ),
    _Dataset(
        name=layout.AGENTS,
        row=AgentRow,
        files=f"{layout.AGENTS}/<run_id>/agents.parquet",
        about="One row per agent of a run.",
    ),
    _Dataset(
        name=layout.EVALUATIONS,
        row=EvaluationRow,
        files=f"{layout.EVALUATIONS}/<run_id>/*.parquet",
        about="One row per probe or suite position that was put to an agent.",
    ),
    _Dataset(
        name=layout.STANDINGS,
        row=Standing,
        files=f"{layout.STANDINGS}/<run_id>/standings.parquet",
        about="One row per agent, best first; derived, and made anew by `banzuke standings`.",
    ),
)


def page() -> str:
    """The whole page, Markdown."""
    views = [_view_section(name, view) for name, view in VIEWS.items()]
    return "\n".join([INTRODUCTION, *map(_section, _DATASETS), VIEWS_INTRODUCTION, *views])


def _view_section(name: str, view: View) -> str:
    rows = [f"| `{column}` | {text} |" for column, text in view.columns.items()]
    return f"### {name}\n\n{view.about}\n\n| column | |\n|---|---|\n" + "\n".join(rows) + "\n"


def _section(dataset: _Dataset) -> str:
    said = column_texts(dataset.row)
    rows = [
        f"| `{field.name}` | {_kind(field.type)}{', null' if field.nullable else ''} | {_markdown(said[field.name])} |"
        for field in SCHEMA_OF[dataset.row]
    ]
    head = f"## {dataset.name}\n\n`{dataset.files}`: {dataset.about}\n\n| column | type | |\n|---|---|---|\n"
    return head + "\n".join(rows) + "\n"


def column_texts(row: type) -> Mapping[str, str]:
    """What is said of each field of a row type, in the text below it in its source."""
    module = ast.parse(inspect.getsource(record))
    (described,) = (node for node in module.body if isinstance(node, ast.ClassDef) and node.name == row.__name__)
    return {
        field.target.id: below.value.value
        for field, below in pairwise(described.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }


def _kind(kind: pa.DataType) -> str:
    if isinstance(kind, pa.ListType):
        return f"list of {_kind(kind.value_type)}"
    return {"string": "text", "bool": "true or false", "double": "float64"}.get(str(kind), str(kind))


def _markdown(text: str) -> str:
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
