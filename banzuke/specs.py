"""The spec: what a person writes in TOML, validated once, frozen afterwards.

:func:`load_spec` reports every fault it can find at once, one line each; nothing is written before it succeeds.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from banzuke.errors import SpecError
from banzuke.faults import MOST_FAULTS_SHOWN, describe, distinct, shown, unknown, visible_keys
from banzuke.toml_file import read_toml

NAME_PATTERN = r"^(?!.*--)[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"  # `$` would let a newline follow
ENGINE_FOLDERS = ("/usr/games",)
LARGEST_CHECKPOINT_BYTES = 4 << 30
"""What is larger is not even hashed."""
LONGEST_PATH_SHOWN = 200
LONGEST_LIMIT_MS = 7 * 24 * 3600 * 1000


def is_name(text: str) -> bool:
    """Whether ``text`` may name an agent, a spec or a run (and so become part of a path)."""
    return re.match(NAME_PATTERN, text) is not None


_Model = TypeVar("_Model", bound=BaseModel)
Name = Annotated[str, Field(pattern=re.compile(NAME_PATTERN))]
Milliseconds = Annotated[int, Field(ge=1, le=LONGEST_LIMIT_MS)]
# A NUL ends a text for every program that is written in C.
Text = Annotated[str, Field(pattern=r"^[^\x00]*$", max_length=10_000)]
Seconds = Annotated[float, Field(gt=0, le=7 * 24 * 3600, allow_inf_nan=False)]


def usable_cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0))


def _check_bits(value: bool | float | str) -> bool | float | str:
    """Checked afterwards: a whole number that is too large would else be taken for a fraction, and rounded."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("more than 64 bits")
    return value


Setting = Annotated[
    bool | int | Annotated[float, Field(allow_inf_nan=False)] | Text,
    AfterValidator(_check_bits),
]


class Section(BaseModel):
    """A part of what people write: frozen, without keys that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class SearchLimit(Section):
    """How long an engine may think about a move. Exactly one kind of limit."""

    nodes: int | None = Field(None, ge=1, lt=2**63)
    depth: int | None = Field(None, ge=1, le=1000)
    movetime_ms: Milliseconds | None = None
    byoyomi_ms: Milliseconds | None = None
    base_ms: int | None = Field(None, ge=0, le=LONGEST_LIMIT_MS)
    increment_ms: Milliseconds | None = None
    margin_ms: int = Field(100, ge=0, le=LONGEST_LIMIT_MS)
    """Allowed beyond a clock before it is a time forfeit."""

    @property
    def is_clock(self) -> bool:
        """Whether the agent plays under a clock of its own."""
        return self.nodes is None and self.depth is None

    def longest_game_ms(self, own_moves: int) -> int:
        """What this agent's own clock allows it in a game of so many moves of its own; 0 without a clock."""
        if not self.is_clock:
            return 0
        per_move = (self.movetime_ms or 0) + (self.byoyomi_ms or 0) + (self.increment_ms or 0)
        return (self.base_ms or 0) + own_moves * (per_move + self.margin_ms)

    def longest_move_ms(self, own_moves: int) -> int:
        """The longest single move its clock can allow in such a game; 0 without a clock."""
        if not self.is_clock:
            return 0
        saved = (self.increment_ms or 0) * own_moves
        return (self.movetime_ms or 0) + (self.byoyomi_ms or 0) + (self.base_ms or 0) + saved + self.margin_ms

    def kind_fault(self) -> str | None:
        """What is wrong with the combination of fields, or None."""
        given = {
            "nodes": self.nodes is not None,
            "depth": self.depth is not None,
            "movetime_ms": self.movetime_ms is not None,
            "byoyomi_ms": self.byoyomi_ms is not None,
            "increment_ms": self.increment_ms is not None,
        }
        kinds = [name for name, present in given.items() if present]
        if len(kinds) > 1:
            return f"{' and '.join(kinds)} exclude each other"
        if not kinds:
            return "needs one of nodes, depth, movetime_ms, byoyomi_ms (+ base_ms), base_ms + increment_ms"
        if self.base_ms is not None and kinds[0] not in {"byoyomi_ms", "increment_ms"}:
            return f"base_ms does not go with {kinds[0]}"
        if kinds[0] == "increment_ms" and self.base_ms is None:
            return "increment_ms needs base_ms"
        return None


class _Agent(Section):
    name: Name


class RandomAgent(_Agent):
    """Plays a random legal move."""

    kind: Literal["random"]


class MaterialAgent(_Agent):
    """Built-in alpha-beta on material."""

    kind: Literal["material"]
    depth: int = Field(2, ge=1, le=3)


class UsiAgent(_Agent):
    """An external engine that speaks USI."""

    kind: Literal["usi"]
    command: tuple[Text, ...] = Field(min_length=1, max_length=1000)
    """Program and arguments; never a shell line."""
    options: dict[str, Setting] = Field(default_factory=dict, max_length=1000)
    limit: SearchLimit
    version: Text | None = None
    """Stands for the program's bytes in the content hash."""
    directory: str = ""
    """Where the spec lies; relative arguments are found there. Filled in by :func:`load_spec`."""


class NetworkReading(Section):
    """How a checkpoint's file is read and its moves are chosen."""

    format: Literal["auto", "keisei-new", "keisei-old", "exported"] = "auto"
    encoding: Literal["keisei-46", "keisei-50"] | None = None
    """The planes an exported program takes; None for the other formats, which say it themselves."""
    moves: Literal["keisei-11259", "keisei-13527"] | None = None
    """What an exported program's policy numbers; None for the other formats."""
    trained_max_plies: int | None = Field(None, ge=1, le=100_000)
    """Scale of the move-counter plane; None: 512 for NEW files, 500 for OLD ones."""
    temperature: float = Field(0.0, ge=0.0, le=100.0, allow_inf_nan=False)
    """0 is greedy; otherwise moves are sampled from the game's own seed."""
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")

    def format_fault(self) -> str | None:
        """What is wrong with the combination of format, encoding and moves, or None."""
        given = {"encoding": self.encoding is not None, "moves": self.moves is not None}
        said = [name for name, present in given.items() if present]
        if self.format == "exported":
            lacking = [name for name in given if name not in said]
            return f'format = "exported" needs {" and ".join(lacking)}' if lacking else None
        return f'only format = "exported" has {" and ".join(said)}' if said else None


class CheckpointAgent(NetworkReading, _Agent):
    """A PyTorch checkpoint of Keisei's families, or any network as a program that ``torch.export.save`` wrote."""

    kind: Literal["checkpoint"]
    path: str
    """Absolute after :func:`load_spec`."""


class ExternalAgent(_Agent):
    """Somebody whose games were imported. It cannot play here, and no spec that a person writes has one."""

    kind: Literal["external"]
    played_as: Text
    """Its name in the games, which is all that is known of it."""


AnyAgent = RandomAgent | MaterialAgent | UsiAgent | CheckpointAgent | ExternalAgent
AgentSpec = Annotated[AnyAgent, Field(discriminator="kind")]


class EvaluateSpec(Section):
    """What an agent must pass before it may enter."""

    suite: str | None = None
    """Absolute after :func:`load_spec`."""
    position_seconds: Seconds = 2.0


class TournamentSpec(Section):
    """Who meets whom, how often, from which openings, under which rules."""

    format: Literal["round-robin", "gauntlet", "adaptive"] = "round-robin"
    challengers: tuple[str, ...] = ()
    games_per_encounter: int = Field(20, ge=2, le=1_000_000)
    """Of an adaptive tournament: at most."""
    target_error: float | None = Field(None, gt=0, le=10_000, allow_inf_nan=False)
    """Elo: half the width that every agent's 95 % interval shall have at most; of an adaptive tournament."""
    max_games: int | None = Field(None, ge=2, le=10_000_000)
    """At most, in an adaptive tournament; None: as many as everybody against everybody would be."""
    openings: str | None = None
    """Absolute after :func:`load_spec`; None: the book that comes with the package."""
    rules: Literal["csa", "keisei"] = "csa"
    max_plies: int = Field(320, ge=2, le=10_000)
    seed: int = Field(1, ge=0, lt=2**63)


class LimitsSpec(Section):
    """Hard limits, on the wall, whatever the agents do."""

    concurrency: int = Field(default_factory=usable_cores, ge=1, le=1024)
    """Worker processes at once."""
    move_seconds: Seconds = 10.0
    game_seconds: Seconds = 1800.0
    start_seconds: Seconds = 120.0
    worker_memory_mb: int = Field(4096, ge=64, le=1 << 30)
    """Resident memory of a worker and all its descendants."""
    retries: int = Field(2, ge=0, le=100)
    """Further attempts at a void game, per invocation."""
    put_off_after: int = Field(5, ge=0, le=1_000_000)
    """An agent whose first so many different games of an invocation are void by its own fault has its others put off;
    0: never."""
    lanes: int | None = Field(None, ge=1, le=4096)
    """Games without engines that advance together in a worker; None: as many as suit the number of networks."""


class RatingsSpec(Section):
    """The scale of the ratings."""

    anchor: str | None = None
    """None: the mean of the pool."""
    anchor_elo: float = Field(0.0, ge=-100_000, le=100_000, allow_inf_nan=False)


class Spec(Section):
    """A whole tournament."""

    spec_version: Literal[1] = 1
    name: Name
    game: Literal["shogi"] = "shogi"
    agents: tuple[AgentSpec, ...]
    evaluate: EvaluateSpec = EvaluateSpec()
    tournament: TournamentSpec = TournamentSpec()
    limits: LimitsSpec = LimitsSpec()
    ratings: RatingsSpec = RatingsSpec()

    def agent(self, name: str) -> AnyAgent:
        """The agent of that name.

        Raises:
            KeyError: there is none.
        """
        for agent in self.agents:
            if agent.name == name:
                return agent
        raise KeyError(name)

    @property
    def has_clocks(self) -> bool:
        """Whether an engine of this run plays under a clock of its own."""
        return any(isinstance(agent, UsiAgent) and agent.limit.is_clock for agent in self.agents)

    def needs_table(self, agents: Iterable[str]) -> bool:
        """Whether a game between these agents has an engine in it, and is played on a worker of its own."""
        return any(isinstance(self.agent(name), UsiAgent) for name in agents)

    @property
    def needs_torch(self) -> bool:
        """Whether a worker of this run loads a network."""
        return any(agent.kind == "checkpoint" for agent in self.agents)


def load_spec(path: Path) -> Spec:
    """Read and validate a spec file.

    Raises:
        SpecError: with one line for every fault found; the file may be missing, not TOML, or wrong in any part.
    """
    reader = SpecReader(read_toml(path), path.resolve().parent)
    spec = reader.read()
    if spec is None:
        raise SpecError(*(f"{path}: {fault}" for fault in reader.shown_faults()))
    return spec


class SectionReader:
    """Collects faults section by section, so that one wrong section does not hide the faults of another.

    Args:
        raw: what was written, by section.
        directory: what relative paths begin at.
    """

    def __init__(self, raw: Mapping[str, Any], directory: Path) -> None:
        self.raw = raw
        self.directory = directory
        self.faults: list[str] = []
        self.more = 0
        """Faults that were only counted."""

    def shown_faults(self) -> list[str]:
        """The first faults, and how many more there are."""
        more = self.more + max(0, len(self.faults) - MOST_FAULTS_SHOWN)
        return [*self.faults[:MOST_FAULTS_SHOWN], *([f"… and {more:,} more faults"] if more else [])]

    @property
    def has_enough(self) -> bool:
        """Whether further faults are only counted; looking for near words takes time."""
        return len(self.faults) > MOST_FAULTS_SHOWN

    def section_at(self, name: str) -> str:
        """What a section is called before its keys in a line about them."""
        return f"[{name}]"

    def at(self, section: str, key: str) -> str:
        """What a key is called in a line about it."""
        return f"[{section}]: {key}"

    def validate(self, model: type[_Model], value: object, where: str, also_known: Iterable[str] = ()) -> _Model | None:
        """The value as a model, or None with its faults kept; ``where`` begins their lines."""
        try:
            return model.model_validate(value)
        except ValidationError as error:
            room = max(0, MOST_FAULTS_SHOWN + 1 - len(self.faults))
            found = distinct(error)
            self.faults.extend(describe(found[:room], model, where, also_known))
            self.more += len(found[room:])
            return None

    def section(self, name: str, model: type[_Model]) -> _Model | None:
        """A section as its model, or None with its faults kept."""
        value = self.raw.get(name, {})
        if not isinstance(value, dict):
            self.faults.append(f"{name}: must be a table, [{name}]")
            return None
        return self.validate(model, value, self.section_at(name))

    def agents(self) -> list[AgentSpec]:
        """Those of the ``[[agents]]`` that are not at fault, with their paths absolute."""
        raw = self.raw.get("agents", [])
        if not isinstance(raw, list):
            self.faults.append("agents: must be tables, [[agents]]")
            raw = []
        agents: list[AgentSpec] = []
        for index, entry in enumerate(raw):
            where = f"agents[{index}]"
            if isinstance(entry, dict) and isinstance(entry.get("name"), str):
                where = f"agent {shown(entry['name'])}"
            kind = entry.get("kind") if isinstance(entry, dict) else None
            model = _KINDS.get(kind) if isinstance(kind, str) else None
            if model is None and self.has_enough:
                self.more += 1
                continue
            if model is None:
                word = kind if isinstance(kind, str) else "" if kind is None else shown(kind)
                self.faults.append(f"{where}: kind: {unknown(word, _KINDS, 'kind of agent')}")
                continue
            if "directory" in entry:
                self.faults.append(f"{where}: {unknown('directory', visible_keys(model), 'key')}")
            agent = self.validate(model, entry, where)
            if isinstance(agent, UsiAgent) and (fault := agent.limit.kind_fault()):
                self.faults.append(f"{where}: limit: {fault}")
            if isinstance(agent, CheckpointAgent) and (fault := agent.format_fault()):
                self.faults.append(f"{where}: {fault}")
            if agent is not None:
                agents.append(_located(agent, self.directory))
        return agents

    def names(self) -> list[str]:
        """Every name that is given, also those of agents that are at fault otherwise."""
        raw = self.raw.get("agents")
        entries = raw if isinstance(raw, list) else []
        return [e["name"] for e in entries if isinstance(e, dict) and isinstance(e.get("name"), str)]


class SpecReader(SectionReader):
    """Reads a whole spec and checks what its sections say about each other."""

    def read(self) -> Spec | None:
        """The spec, or None with its faults kept."""
        top = {key: value for key, value in self.raw.items() if key not in _SECTIONS and key != "agents"}
        self.validate(_Top, top, "", also_known=["agents", *_SECTIONS])
        agents = self.agents()
        evaluate = self.section("evaluate", EvaluateSpec)
        tournament = self.section("tournament", TournamentSpec)
        limits = self.section("limits", LimitsSpec)
        ratings = self.section("ratings", RatingsSpec)
        self._check_names(agents)
        if tournament is not None:
            self._check_tournament(tournament)
            self._check_adaptive(tournament)
        if ratings is not None and ratings.anchor is not None:
            self.check_known([ratings.anchor], "ratings", "anchor")
        if limits is not None and tournament is not None:
            self._check_clocks(agents, limits, tournament)
        self._check_files(agents)
        sections = {"evaluate": evaluate, "tournament": tournament, "limits": limits, "ratings": ratings}
        if evaluate is not None and evaluate.suite is not None:
            suite = self._file(evaluate.suite, self.at("evaluate", "suite"))
            sections["evaluate"] = evaluate.model_copy(update={"suite": suite})
        if tournament is not None and tournament.openings is not None:
            openings = self._file(tournament.openings, self.at("tournament", "openings"))
            sections["tournament"] = tournament.model_copy(update={"openings": openings})
        return None if self.faults else Spec(**top, agents=tuple(agents), **sections)

    def agents(self) -> list[AgentSpec]:
        """As written, and at least two."""
        raw = self.raw.get("agents", [])
        if isinstance(raw, list) and len(raw) < 2:
            self.faults.append("agents: at least two [[agents]] are needed")
        return super().agents()

    def check_known(self, words: Sequence[str], section: str, key: str) -> None:
        """Keep a fault for each word that names no agent."""
        names = dict.fromkeys(self.names())
        for word in words:
            if word in names:
                continue
            if self.has_enough:
                self.more += 1
            else:
                self.faults.append(f"{self.at(section, key)}: {self.unknown_agent(word, names)}")

    def unknown_agent(self, word: str, names: Iterable[str]) -> str:
        """What is said of a word that names no agent."""
        return unknown(word, names, "agent")

    def agent_at(self, name: str) -> str:
        """What an agent is called in a line about it."""
        return f"agent {shown(name)}"

    def _check_names(self, agents: Sequence[AgentSpec]) -> None:
        for name, times in sorted(Counter(self.names()).items()):
            if times > 1:
                self.faults.append(f"{self.agent_at(name)}: the name is given {times} times; names are unique")
        folded: dict[str, str] = {}
        for agent in agents:
            other = folded.setdefault(agent.name.lower(), agent.name)
            if other != agent.name:
                self.faults.append(f"{self.agent_at(agent.name)}: differs from {other!r} in capitals only")

    def _check_tournament(self, tournament: TournamentSpec) -> None:
        if tournament.games_per_encounter % 2:
            self.faults.append(
                f"{self.at('tournament', 'games_per_encounter')}: {tournament.games_per_encounter} is odd; "
                "every opening is played twice, sides swapped"
            )
        challengers = self.at("tournament", "challengers")
        if tournament.format == "gauntlet" and not tournament.challengers:
            self.faults.append(f'{challengers}: a gauntlet needs them, e.g. challengers = ["epoch-10"]')
        if tournament.format != "gauntlet" and tournament.challengers:
            self.faults.append(f'{challengers}: only format = "gauntlet" has them')
        self.check_known(tournament.challengers, "tournament", "challengers")
        if len(set(tournament.challengers)) < len(tournament.challengers):
            self.faults.append(f"{challengers}: an agent is named twice")

    def _check_adaptive(self, tournament: TournamentSpec) -> None:
        if tournament.format != "adaptive":
            self.faults += [
                f'{self.at("tournament", key)}: only format = "adaptive" has it'
                for key in ("target_error", "max_games")
                if getattr(tournament, key) is not None
            ]
            return
        if tournament.target_error is None:
            self.faults.append(
                f"{self.at('tournament', 'target_error')}: an adaptive tournament needs it, in Elo, "
                "e.g. target_error = 20"
            )
        if tournament.max_games is None:
            return
        max_games = self.at("tournament", "max_games")
        if tournament.max_games % 2:
            self.faults.append(
                f"{max_games}: {tournament.max_games} is odd; every opening is played twice, sides swapped"
            )
        names = len(set(self.names()))
        if tournament.max_games < 2 * (names - 1):
            self.faults.append(
                f"{max_games}: {tournament.max_games} games do not connect {names} agents; "
                f"at least {2 * (names - 1)} do"
            )

    def _check_clocks(self, agents: Sequence[AgentSpec], limits: LimitsSpec, tournament: TournamentSpec) -> None:
        own_moves = (tournament.max_plies + 1) // 2
        engines = [agent for agent in agents if isinstance(agent, UsiAgent) and not agent.limit.kind_fault()]
        for engine in engines:
            longest = engine.limit.longest_move_ms(own_moves) / 1000
            if longest > limits.move_seconds and engine.limit.increment_ms is None:
                self.faults.append(
                    f"{self.at('limits', 'move_seconds')}: {limits.move_seconds:g} is less than the {longest:g} s that "
                    f"the clock of {engine.name!r} allows for one move"
                )
        # The two slowest are the slowest pair, and there may be a million pairs.
        slowest = sorted(engines, key=lambda engine: engine.limit.longest_game_ms(own_moves), reverse=True)[:2]
        longest = sum(engine.limit.longest_game_ms(own_moves) for engine in slowest) / 1000
        if longest > limits.game_seconds:
            names = " and ".join(repr(engine.name) for engine in slowest)
            self.faults.append(
                f"{self.at('limits', 'game_seconds')}: {limits.game_seconds:g} is less than the {longest:g} s that the "
                f"clocks of {names} allow in {tournament.max_plies} plies"
            )

    def _check_files(self, agents: Sequence[AgentSpec]) -> None:
        for agent in agents:
            where = self.agent_at(agent.name)
            if isinstance(agent, CheckpointAgent):
                self._file(agent.path, f"{where}: path", most_bytes=LARGEST_CHECKPOINT_BYTES)
            elif isinstance(agent, UsiAgent):
                try:
                    find_program(agent.command[0], self.directory)
                except FileNotFoundError as error:
                    self.faults.append(f"{where}: command: {error}")

    def _file(self, name: str, where: str, *, most_bytes: int | None = None) -> str:
        path, said = self.directory / name, shown(name, LONGEST_PATH_SHOWN)
        try:
            status = path.stat()
        except (FileNotFoundError, ValueError):  # no file has a NUL in its name
            looked = "" if Path(name).is_absolute() else f" (looked in {self.directory})"
            self.faults.append(f"{where}: no such file: {said}{looked}")
        except OSError as error:
            self.faults.append(f"{where}: {said}: {error.strerror}")
        else:
            if not stat.S_ISREG(status.st_mode):
                self.faults.append(f"{where}: {said} is no regular file")
            elif most_bytes is not None and status.st_size > most_bytes:
                self.faults.append(
                    f"{where}: {said} has {status.st_size:,} bytes, more than the {most_bytes:,} allowed"
                )
        return str(path)


def _located(agent: AgentSpec, directory: Path) -> AgentSpec:
    if isinstance(agent, CheckpointAgent):
        return agent.model_copy(update={"path": str(directory / agent.path)})
    if isinstance(agent, UsiAgent):
        return agent.model_copy(update={"directory": str(directory)})
    return agent


class _Top(Section):
    spec_version: Literal[1] = 1
    name: Name
    game: Literal["shogi"] = "shogi"


_SECTIONS: dict[str, type[Section]] = {
    "evaluate": EvaluateSpec,
    "tournament": TournamentSpec,
    "limits": LimitsSpec,
    "ratings": RatingsSpec,
}
_KINDS: dict[str, type[RandomAgent | MaterialAgent | UsiAgent | CheckpointAgent]] = {
    "random": RandomAgent,
    "material": MaterialAgent,
    "usi": UsiAgent,
    "checkpoint": CheckpointAgent,
}
SPEC = TypeAdapter(Spec)


def find_program(name: str, directory: Path) -> Path:
    """Where an engine's program is: relative to the spec, on PATH, or in /usr/games.

    Raises:
        FileNotFoundError: nowhere; the message says where was looked.
    """
    if "\0" not in name:
        local = directory / name
        if "/" in name and _is_program(local):
            return local
        found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *ENGINE_FOLDERS]))
        if found is not None and "/" not in name:
            return Path(found)
        if _is_program(local):
            return local
    raise FileNotFoundError(f"no program {shown(name)} on PATH, in {', '.join(ENGINE_FOLDERS)} or in {directory}")


def _is_program(path: Path) -> bool:
    try:
        return path.is_file() and os.access(path, os.X_OK)
    except OSError:  # a name too long to be one
        return False
