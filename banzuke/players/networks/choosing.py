"""From logits to moves, for a whole batch: the same choice as for each position alone."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from banzuke.players.networks.actions import ActionMap

MAX_EVAL_CP = 32_000
_NO_ACTION = np.iinfo(np.int32).max
_MOVE16_MASK = (1 << 15) - 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LegalActions:
    """The legal moves of B positions as actions, M the most that any of them has.

    Rows are sorted by action, so that ties go to the lowest one and a lot means the same whatever order moves were
    generated in.
    """

    actions: NDArray[np.int64]
    """``(B, M)``; 0 where a position has no more moves."""
    is_move: NDArray[np.bool_]
    """``(B, M)``."""
    moves: NDArray[np.int64]
    """``(B, M)``, as cshogi's integers."""


def legal_actions(
    moves: Sequence[Sequence[int]], movers: NDArray[np.intp], action_map: ActionMap, *, in_order: bool
) -> LegalActions:
    """The legal moves of a batch as actions.

    Args:
        moves: of every position, at least one, as cshogi gives them.
        movers: ``(B,)``, cshogi's colour of the side to move.
        action_map: the network's.
        in_order: whether rows are to be sorted by action; without, only a greedy choice is well defined.
    """
    counts = np.fromiter(map(len, moves), dtype=np.intp, count=len(moves))
    flat = np.array(list(itertools.chain.from_iterable(moves)), dtype=np.int64)
    width = int(counts.max())
    is_move = np.arange(width) < counts[:, None]
    padded = np.zeros(is_move.shape, dtype=np.int64)
    padded[is_move] = flat
    actions = action_map.index_of[movers[:, None], padded & _MOVE16_MASK]
    if in_order:
        actions = np.where(is_move, actions, _NO_ACTION)
        order = actions.argsort(axis=1, kind="stable")
        actions = np.take_along_axis(actions, order, axis=1)
        padded = np.take_along_axis(padded, order, axis=1)
    return LegalActions(actions=np.where(is_move, actions, 0).astype(np.int64), is_move=is_move, moves=padded)


def greedy(logits: NDArray[np.float32], legal: LegalActions) -> NDArray[np.intp]:
    """The column of the greatest logit, of the lowest action among equals.

    Args:
        logits: ``(B, M)``, finite where there is a move.
        legal: of the same positions, in any order.

    Returns:
        ``(B,)``.
    """
    masked = np.where(legal.is_move, logits, -np.inf)
    best = masked == masked.max(axis=1, keepdims=True)
    columns: NDArray[np.intp] = np.where(best, legal.actions, _NO_ACTION).argmin(axis=1)
    return columns


def sampled(
    logits: NDArray[np.float32],
    legal: LegalActions,
    *,
    temperatures: NDArray[np.float64],
    uniforms: NDArray[np.float64],
) -> NDArray[np.intp]:
    """A column drawn from each row's softmax of ``logits / temperature``, by inverting its distribution function.

    In float64 and row by row: sums over the whole batch would round differently in another batch.

    Args:
        logits: ``(B, M)``, finite where there is a move.
        legal: of the same positions, rows in order.
        temperatures: ``(B,)``, above 0.
        uniforms: ``(B,)``, in [0, 1).

    Returns:
        ``(B,)``.
    """
    wide = np.where(legal.is_move, logits, -np.inf).astype(np.float64)
    with np.errstate(over="ignore"):  # a tiny temperature sends the others to minus infinity, which is meant
        weights = np.exp((wide - wide.max(axis=1, keepdims=True)) / temperatures[:, None])
    cumulative = weights.cumsum(axis=1)
    drawn = uniforms * cumulative[:, -1]
    columns: NDArray[np.intp] = (cumulative <= drawn[:, None]).sum(axis=1)
    within: NDArray[np.intp] = np.minimum(columns, legal.is_move.sum(axis=1) - 1)
    return within


def centipawns(win_probability: NDArray[np.float32]) -> list[int | None]:
    """Chances of winning on Elo's scale, ``400 log10(p / (1 - p))``, within +-32,000; None for NaN.

    Shogi engines' centipawns differ by program; 100 here is a chance of 64 %.
    """
    chance = win_probability.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = 400 * np.log10(chance / (1 - chance))
    scaled = np.where(chance <= 0, -np.inf, np.where(chance >= 1, np.inf, scaled))
    shown = np.rint(np.clip(scaled, -MAX_EVAL_CP, MAX_EVAL_CP))
    return [None if value != value else int(value) for value in shown.tolist()]  # noqa: PLR0124 - NaN
