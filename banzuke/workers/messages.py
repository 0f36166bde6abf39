"""What the parent and a worker say to each other: one JSON object a line, checked on arrival."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from banzuke.match.recording import Attempt
from banzuke.record import GameRecord
from banzuke.specs import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """From now on agents are those of this spec; players of another one are closed."""

    kind: Literal["prepare"] = "prepare"
    spec: Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """Play one game, and answer with :class:`Played`."""

    kind: Literal["play"] = "play"
    attempt: Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Admit:
    """Games on lanes may be of this spec from now on."""

    kind: Literal["admit"] = "admit"
    number: int
    """Names the spec in :class:`Join`."""
    spec: Spec
    lanes: int
    """How many games may advance together, as far as the limits allow it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """Play one game on a lane beside others, and answer with :class:`LanePlayed`."""

    kind: Literal["join"] = "join"
    spec: int
    """An admitted one."""
    entry: int
    """Names the game on the deadline board."""
    attempt: Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A position put to an agent."""

    agent: str
    position_id: str
    position: str
    """Four-field SFEN; empty to ask only that the agent opens."""
    seconds: float
    """Hard limit of the answer, opening not included."""
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Put a position to an agent, and answer with :class:`Posed`."""

    kind: Literal["pose"] = "pose"
    question: Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """Close every player and end."""

    kind: Literal["leave"] = "leave"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The worker has imported what it needs."""

    kind: Literal["ready"] = "ready"
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A game has ended."""

    kind: Literal["played"] = "played"
    record: GameRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class LanePlayed:
    """A game on a lane has ended."""

    kind: Literal["lane_played"] = "lane_played"
    entry: int
    record: GameRecord
    positions: int
    """How many positions networks were asked about here so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remarked:
    """What whoever reads the results has to know about an agent's network on this device."""

    kind: Literal["remarked"] = "remarked"
    agent: str
    remark: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an agent said to a :class:`Question`."""

    position_id: str
    status: Literal["ok", "timeout", "error"]
    move: str | None
    legal: bool
    time_ms: int
    """Of the answer; of the opening where that was the question."""
    detail: str | None = None
    opened: bool = True
    """False where the agent could not even be opened."""
    description: str | None = None
    """What the agent says of itself (an engine's name and author, a network's family and size)."""
    epoch: int | None = None
    step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Posed:
    """An agent has answered, or failed to."""

    kind: Literal["posed"] = "posed"
    answer: Answer


Order = Prepare | Play | Pose | Admit | Join | Leave
Report = Ready | Played | Posed | LanePlayed | Remarked

ORDER: TypeAdapter[Order] = TypeAdapter(Annotated[Order, Field(discriminator="kind")])
REPORT: TypeAdapter[Report] = TypeAdapter(Annotated[Report, Field(discriminator="kind")])
