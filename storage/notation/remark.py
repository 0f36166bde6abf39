"""What no notation can say of a game of ours, as one line of JSON in a comment that other programs pass over."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from banzuke.outcome import Side, Status, Termination

if TYPE_CHECKING:
    from banzuke.record import GameRecord

MARK = "banzuke "


class Remark(BaseModel):
    """The exact ending, the exact times, how the game began, and where it is in a store.

    What older exports did not say has a default.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    game_id: str = ""
    rules: str = "csa"
    status: Status
    termination: Termination
    winner: Side | None = None
    fault: Side | None = None
    detail: str | None = None
    times_ms: tuple[int, ...] = ()
    """Per ply."""
    pair: str | None = None
    """Its ``pair_id``."""
    slot: Literal[0, 1] = 0
    opening: str = ""
    """Its ``opening_id``."""
    opening_plies: int = Field(0, ge=0)
    seed: int | None = Field(None, ge=0, lt=2**63)


def remark_of(record: GameRecord) -> str:
    """The line, without what makes it a comment."""
    document: dict[str, Any] = {
        "game_id": record.game_id,
        "rules": record.rules,
        "status": record.status,
        "termination": record.termination,
        "winner": record.winner,
        "fault": record.fault,
        "detail": record.detail,
        "times_ms": record.move_times_ms,
        "pair": record.pair_id,
        "slot": record.slot,
        "opening": record.opening_id,
        "opening_plies": record.opening_plies,
        "seed": record.seed,
    }
    # ASCII only: whatever an engine's last words hold, a KIF file of any encoding takes them.
    return MARK + json.dumps({name: value for name, value in document.items() if value is not None})


def read_remark(comment: str) -> Remark | None:
    """What :func:`remark_of` has written; None where the comment is another one, or was tampered with."""
    if not comment.startswith(MARK):
        return None
    try:
        return Remark.model_validate_json(comment.removeprefix(MARK))
    except ValidationError:
        return None
