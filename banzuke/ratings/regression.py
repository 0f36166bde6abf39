"""Whether the newest checkpoint of a training run is weaker than the one before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banzuke.ratings.curve import moment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from banzuke.ratings.curve import Progress
    from banzuke.ratings.standings import Difference, Differences


def latest_step(
    checkpoints: Sequence[str], progress: Mapping[str, Progress], differences: Differences
) -> Difference | None:
    """How much stronger the newest rated checkpoint is than the newest one of before it; None without two of them.

    Where every rated checkpoint knows its epoch or its step, that says which is newer, and those written at the same
    moment are not compared. Otherwise it is the order in which they are given.

    Args:
        checkpoints: their names in the standings, as the catalogue has them, the newest last.
        progress: by name, of those that know it.
        differences: of the standings.
    """
    rated = [name for name in checkpoints if name in differences.agents]
    if all(name in progress for name in rated):
        moments = {name: moment(progress[name]) for name in rated}
        rated.sort(key=lambda name: (moments[name], name))
        rated = [name for name in rated if moments[name] < moments[rated[-1]]] + rated[-1:]
    return differences.between(rated[-1], rated[-2]) if len(rated) > 1 else None


def has_regressed(step: Difference, margin: float) -> bool:
    """Whether the loss is more than ``margin`` Elo and its 95 % interval leaves no doubt that it is one."""
    return -step.elo > margin and step.high < 0.0
