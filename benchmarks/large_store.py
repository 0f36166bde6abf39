"""A store of very many games that nobody played: real schemas and files, results drawn from the ratings' own model.

Games are in the plan's order (round by round over all encounters), merged as compaction leaves them. Moves are four,
and every text of a game is of the length it has in real ones.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import expit

from banzuke.ratings.elo import ELO_PER_NAT
from banzuke.record import AgentRow
from storage.compaction import FULL_FILE_ROWS
from storage.game_store import GameStore
from storage.layout import games_folder
from storage.parts import merged_name, to_parquet
from storage.schemas import GAMES

RUN_ID = "large"
_STARTED = np.datetime64("2026-11-01T00:00:00", "us")
_DRAWS = 0.2
_FIRST_MOVE = 30.0


def make_store(folder: Path, *, agents: int, games: int, seed: int) -> GameStore:
    """A store with one finished round-robin.

    Args:
        folder: where; a local path that does not exist yet.
        agents: how many there are.
        games: how many were played; even. Encounters get equally many pairs, or one more.
        seed: of strengths and results.
    """
    generator = np.random.default_rng(seed)
    names = np.array([f"epoch-{number:05d}" for number in range(agents)])
    contents = np.array([hashlib.sha256(name.encode()).hexdigest() for name in names.tolist()])
    elo = generator.normal(0.0, 200.0, agents)
    store = GameStore(str(folder))
    spec = {"name": RUN_ID, "ratings": {"anchor": str(names[0]), "anchor_elo": 0.0}}
    store.create_run(
        RUN_ID, {"run_id": RUN_ID, "spec": spec, "fingerprint": "0" * 64, "created_at": "2026-11-01T00:00:00+00:00"}
    )
    store.write_agents(
        RUN_ID, [_agent_row(name, content) for name, content in zip(names.tolist(), contents.tolist(), strict=True)]
    )
    place = folder / games_folder(RUN_ID)
    place.mkdir(parents=True)
    low, high = np.triu_indices(agents, k=1)
    for start in range(0, games, FULL_FILE_ROWS):
        number = np.arange(start, min(start + FULL_FILE_ROWS, games))
        pair, slot = np.divmod(number, 2)
        round_, encounter = np.divmod(pair, len(low))
        first = np.where(slot == 0, low[encounter], high[encounter])
        second = np.where(slot == 0, high[encounter], low[encounter])
        score = expit((elo[first] - elo[second] + _FIRST_MOVE) / ELO_PER_NAT)
        drawn = 2.0 * _DRAWS * np.minimum(score, 1.0 - score)
        chance = generator.random(len(number))
        winner = np.where(
            chance < score - drawn / 2.0,
            "first",
            np.where(chance < score + drawn / 2.0, None, "second"),  # type: ignore[arg-type]
        )
        columns = {
            "game_no": number,
            "pair_no": pair,
            "round": round_,
            "slot": slot,
            "game_id": _numbered(f"{RUN_ID}--g", number, 7),
            "pair_id": _numbered(f"{RUN_ID}--p", pair, 7),
            "encounter": pc.binary_join_element_wise(pa.array(names[low[encounter]]), names[high[encounter]], "--"),
            "attempt_id": _attempt_ids(number, generator),
            "first_agent": names[first],
            "second_agent": names[second],
            "first_agent_id": contents[first],
            "second_agent_id": contents[second],
            "opening_id": _numbered("opening-", round_, 4),
            "seed": generator.integers(0, 2**62, len(number)),
            "winner": winner,
            "started_at": _STARTED + 1_000_003 * number.astype("timedelta64[us]"),
            "finished_at": _STARTED + 1_000_003 * number.astype("timedelta64[us]") + np.timedelta64(900, "ms"),
        }
        table = _with_the_same_everywhere(columns, len(number))
        (place / merged_name(table)).write_bytes(to_parquet(table))
    return store


def _agent_row(name: str, content: str) -> AgentRow:
    return AgentRow(
        run_id=RUN_ID,
        agent=name,
        agent_id=content,
        kind="checkpoint",
        fit=True,
        reason=None,
        sha256=content,
        epoch=None,
        step=None,
        description=None,
    )


_CONSTANT: dict[str, Any] = {
    "run_id": RUN_ID,
    "attempt": 1,
    "game": "shogi",
    "rules": "csa",
    "start_position": "lnsgkgsnl/1r5b1/ppppppppp/9/9/9/PPPPPPPPP/1B5R1/LNSGKGSNL b -",
    "opening_plies": 2,
    "status": "played",
    "termination": "checkmate",
    "plies": 4,
    "moves": ["7g7f", "3c3d", "8h2b+", "5a6b"],
    "move_times_ms": [0, 0, 12, 7],
    "evals": [None, None, 250, None],
    "first_time_ms": 12,
    "second_time_ms": 7,
    "first_max_move_ms": 12,
    "second_max_move_ms": 7,
    "host": "kyoto",
    "device": "cpu",
    "worker_pid": 4711,
    "banzuke_version": "0.1.0",
    "schema_version": 1,
}


def _with_the_same_everywhere(columns: dict[str, Any], rows: int) -> pa.Table:
    arrays = []
    for field in GAMES:
        if field.name in columns:
            arrays.append(pa.array(columns[field.name]).cast(field.type))
        else:
            arrays.append(pa.repeat(pa.scalar(_CONSTANT.get(field.name), field.type), rows))
    return pa.Table.from_arrays(arrays, schema=GAMES)


def _numbered(prefix: str, numbers: Any, digits: int) -> Any:  # noqa: ANN401 - pyarrow's own arrays
    padded = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), digits, "0")
    return pc.binary_join_element_wise(prefix, padded, "")


def _attempt_ids(number: Any, generator: np.random.Generator) -> Any:  # noqa: ANN401 - see _numbered
    drawn = generator.bytes(6 * len(number)).hex()
    suffix = pa.array([drawn[start : start + 12] for start in range(0, len(drawn), 12)])
    return pc.binary_join_element_wise(_numbered(f"{RUN_ID}--g", number, 7), suffix, "--a1-")
