"""The spec: what a person writes in TOML, validated once, frozen afterwards.

:func:`load_spec` reports every fault it can find at once, one line each; nothing is written before it succeeds.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import stat
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from banzuke.errors import SpecError

NAME_PATTERN = r"^(?!.*--)[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"  # `$` would let a newline follow
ENGINE_FOLDERS = ("/usr/games",)
LARGEST_SPEC_BYTES = 4 << 20
LARGEST_CHECKPOINT_BYTES = 4 << 30
"""What is larger is not even hashed."""
MOST_FAULTS_SHOWN = 20
MOST_HINTS_AMONG = 200
"""Words among which a near one is looked for; that takes time for each."""
_ENDLESS_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){64}""")
"""A dotted key of so many parts: the parser takes time quadratic in their number."""
LONGEST_LIMIT_MS = 7 * 24 * 3600 * 1000


def is_name(text: str) -> bool:
    """Whether ``text`` may name an agent, a spec or a run (and so become part of a path)."""
    return re.match(NAME_PATTERN, text) is not None


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


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class SearchLimit(_Section):
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


class _Agent(_Section):
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


class CheckpointAgent(_Agent):
    """A PyTorch checkpoint of Keisei's families, or any network as a program that ``torch.export.save`` wrote."""

    kind: Literal["checkpoint"]
    path: str
    """Absolute after :func:`load_spec`."""
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


AgentSpec = Annotated[RandomAgent | MaterialAgent | UsiAgent | CheckpointAgent, Field(discriminator="kind")]


class EvaluateSpec(_Section):
    """What an agent must pass before it may enter."""

    suite: str | None = None
    """Absolute after :func:`load_spec`."""
    position_seconds: Seconds = 2.0


class TournamentSpec(_Section):
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


class LimitsSpec(_Section):
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


class RatingsSpec(_Section):
    """The scale of the ratings."""

    anchor: str | None = None
    """None: the mean of the pool."""
    anchor_elo: float = Field(0.0, ge=-100_000, le=100_000, allow_inf_nan=False)


class Spec(_Section):
    """A whole tournament."""

    spec_version: Literal[1] = 1
    name: Name
    game: Literal["shogi"] = "shogi"
    agents: tuple[AgentSpec, ...]
    evaluate: EvaluateSpec = EvaluateSpec()
    tournament: TournamentSpec = TournamentSpec()
    limits: LimitsSpec = LimitsSpec()
    ratings: RatingsSpec = RatingsSpec()

    def agent(self, name: str) -> RandomAgent | MaterialAgent | UsiAgent | CheckpointAgent:
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
    try:
        reader = _Reader(_parsed(_spec_text(path)), path.resolve().parent)
        spec = reader.read()
    except RecursionError as error:
        raise SpecError(f"{path}: is nested too deeply") from error
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # also of numbers with more digits than Python takes
        raise SpecError(f"{path}: is not TOML: {_clipped(_one_line(str(error)))}") from error
    if spec is None or reader.faults:
        raise SpecError(*(f"{path}: {fault}" for fault in reader.shown_faults()))
    return spec


def _parsed(text: str) -> dict[str, Any]:
    if _ENDLESS_KEY.search(text):
        raise RecursionError("a key of too many parts")
    return tomllib.loads(text)


def _spec_text(path: Path) -> str:
    # A named pipe would be waited for until somebody writes to it.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is no regular file")
        if status.st_size > LARGEST_SPEC_BYTES:
            raise OSError(f"it has {status.st_size:,} bytes, more than the {LARGEST_SPEC_BYTES:,} that are read")
        return file.read(LARGEST_SPEC_BYTES).decode("utf-8")


class _Reader:
    """Collects faults section by section, so that one wrong section does not hide the faults of another."""

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

    def read(self) -> Spec | None:
        top = {key: value for key, value in self.raw.items() if key not in _SECTIONS and key != "agents"}
        self._validate(_Top, top, "")
        agents = self._agents()
        sections = {name: self._section(name, model) for name, model in _SECTIONS.items()}
        self._check_names(agents)
        self._check_tournament(sections["tournament"])
        self._check_adaptive(sections["tournament"])
        self._check_anchor(sections["ratings"])
        self._check_game_seconds(agents, sections["limits"], sections["tournament"])
        resolved = self._resolve(agents, sections)
        if self.faults:
            return None
        return Spec(**top, **resolved)

    def _validate(self, model: type[BaseModel], value: object, where: str) -> BaseModel | None:
        try:
            return model.model_validate(value)
        except ValidationError as error:
            room = max(0, MOST_FAULTS_SHOWN + 1 - len(self.faults))
            found = _distinct(error)
            self.faults.extend(_describe(found[:room], model, where))
            self.more += len(found[room:])
            return None

    def _agents(self) -> list[_Agent]:
        raw = self.raw.get("agents")
        if not isinstance(raw, list) or len(raw) < 2:
            self.faults.append("agents: at least two [[agents]] are needed")
            raw = raw if isinstance(raw, list) else []
        agents: list[_Agent] = []
        for index, entry in enumerate(raw):
            where = f"agents[{index}]"
            if isinstance(entry, dict) and isinstance(entry.get("name"), str):
                where = f"agent {_shown(entry['name'])}"
            kind = entry.get("kind") if isinstance(entry, dict) else None
            model = _KINDS.get(kind) if isinstance(kind, str) else None
            if model is None and len(self.faults) > MOST_FAULTS_SHOWN:
                self.more += 1  # looking for near words takes time
                continue
            if model is None:
                word = kind if isinstance(kind, str) else "" if kind is None else _shown(kind)
                self.faults.append(f"{where}: kind: {_unknown(word, _KINDS, 'kind of agent')}")
                continue
            if "directory" in entry:
                self.faults.append(f"{where}: {_unknown('directory', _visible(model), 'key')}")
            agent = self._validate(model, entry, where)
            if isinstance(agent, UsiAgent) and (fault := agent.limit.kind_fault()):
                self.faults.append(f"{where}: limit: {fault}")
            if isinstance(agent, CheckpointAgent) and (fault := agent.format_fault()):
                self.faults.append(f"{where}: {fault}")
            if isinstance(agent, _Agent):
                agents.append(agent)
        return agents

    def _section(self, name: str, model: type[BaseModel]) -> Any:  # noqa: ANN401 - one of four models
        value = self.raw.get(name, {})
        if not isinstance(value, dict):
            self.faults.append(f"{name}: must be a table, [{name}]")
            return None
        return self._validate(model, value, f"[{name}]")

    def _names(self) -> list[str]:
        """Every name the file gives, also those of agents that are at fault otherwise."""
        raw = self.raw.get("agents")
        entries = raw if isinstance(raw, list) else []
        return [e["name"] for e in entries if isinstance(e, dict) and isinstance(e.get("name"), str)]

    def _check_names(self, agents: Sequence[_Agent]) -> None:
        for name, times in sorted(Counter(self._names()).items()):
            if times > 1:
                self.faults.append(f"agent {_shown(name)}: the name is given {times} times; names are unique")
        folded: dict[str, str] = {}
        for agent in agents:
            other = folded.setdefault(agent.name.lower(), agent.name)
            if other != agent.name:
                self.faults.append(f"agent {agent.name!r}: differs from {other!r} in capitals only")

    def _check_tournament(self, tournament: TournamentSpec | None) -> None:
        if tournament is None:
            return
        if tournament.games_per_encounter % 2:
            self.faults.append(
                f"[tournament]: games_per_encounter: {tournament.games_per_encounter} is odd; "
                "every opening is played twice, sides swapped"
            )
        if tournament.format == "gauntlet" and not tournament.challengers:
            self.faults.append('[tournament]: challengers: a gauntlet needs them, e.g. challengers = ["epoch-10"]')
        if tournament.format != "gauntlet" and tournament.challengers:
            self.faults.append('[tournament]: challengers: only format = "gauntlet" has them')
        names = dict.fromkeys(self._names())
        for challenger in tournament.challengers:
            if challenger not in names:
                self.faults.append(f"[tournament]: challengers: {_unknown(challenger, names, 'agent')}")
        if len(set(tournament.challengers)) < len(tournament.challengers):
            self.faults.append("[tournament]: challengers: an agent is named twice")

    def _check_adaptive(self, tournament: TournamentSpec | None) -> None:
        if tournament is None:
            return
        if tournament.format != "adaptive":
            self.faults += [
                f'[tournament]: {key}: only format = "adaptive" has it'
                for key in ("target_error", "max_games")
                if getattr(tournament, key) is not None
            ]
            return
        if tournament.target_error is None:
            self.faults.append(
                "[tournament]: target_error: an adaptive tournament needs it, in Elo, e.g. target_error = 20"
            )
        if tournament.max_games is None:
            return
        if tournament.max_games % 2:
            self.faults.append(
                f"[tournament]: max_games: {tournament.max_games} is odd; every opening is played twice, sides swapped"
            )
        names = len(set(self._names()))
        if tournament.max_games < 2 * (names - 1):
            self.faults.append(
                f"[tournament]: max_games: {tournament.max_games} games do not connect {names} agents; "
                f"at least {2 * (names - 1)} do"
            )

    def _check_anchor(self, ratings: RatingsSpec | None) -> None:
        names = self._names()
        if ratings is not None and ratings.anchor is not None and ratings.anchor not in names:
            self.faults.append(f"[ratings]: anchor: {_unknown(ratings.anchor, names, 'agent')}")

    def _check_game_seconds(
        self, agents: Sequence[_Agent], limits: LimitsSpec | None, tournament: TournamentSpec | None
    ) -> None:
        if limits is None or tournament is None:
            return
        own_moves = (tournament.max_plies + 1) // 2
        engines = [agent for agent in agents if isinstance(agent, UsiAgent) and not agent.limit.kind_fault()]
        for engine in engines:
            longest = engine.limit.longest_move_ms(own_moves) / 1000
            if longest > limits.move_seconds and engine.limit.increment_ms is None:
                self.faults.append(
                    f"[limits]: move_seconds: {limits.move_seconds:g} is less than the {longest:g} s that the clock "
                    f"of {engine.name!r} allows for one move"
                )
        # The two slowest are the slowest pair, and there may be a million pairs.
        slowest = sorted(engines, key=lambda engine: engine.limit.longest_game_ms(own_moves), reverse=True)[:2]
        longest = sum(engine.limit.longest_game_ms(own_moves) for engine in slowest) / 1000
        if longest > limits.game_seconds:
            names = " and ".join(repr(engine.name) for engine in slowest)
            self.faults.append(
                f"[limits]: game_seconds: {limits.game_seconds:g} is less than the {longest:g} s that the clocks of "
                f"{names} allow in {tournament.max_plies} plies"
            )

    def _resolve(self, agents: Sequence[_Agent], sections: Mapping[str, Any]) -> dict[str, Any]:
        resolved = [self._resolve_agent(agent) for agent in agents]
        evaluate, tournament = sections["evaluate"], sections["tournament"]
        if evaluate is not None and evaluate.suite is not None:
            suite = self._file(evaluate.suite, "[evaluate]: suite")
            evaluate = evaluate.model_copy(update={"suite": suite})
        if tournament is not None and tournament.openings is not None:
            openings = self._file(tournament.openings, "[tournament]: openings")
            tournament = tournament.model_copy(update={"openings": openings})
        return {"agents": tuple(resolved), **sections, "evaluate": evaluate, "tournament": tournament}

    def _resolve_agent(self, agent: _Agent) -> _Agent:
        if isinstance(agent, CheckpointAgent):
            path = self._file(agent.path, f"agent {agent.name!r}: path", most_bytes=LARGEST_CHECKPOINT_BYTES)
            return agent.model_copy(update={"path": path})
        if isinstance(agent, UsiAgent):
            try:
                find_program(agent.command[0], self.directory)
            except FileNotFoundError as error:
                self.faults.append(f"agent {agent.name!r}: command: {error}")
            return agent.model_copy(update={"directory": str(self.directory)})
        return agent

    def _file(self, name: str, where: str, *, most_bytes: int | None = None) -> str:
        path = self.directory / name
        try:
            status = path.stat()
        except (FileNotFoundError, ValueError):  # no file has a NUL in its name
            self.faults.append(f"{where}: no such file: {_shown(name)} (looked in {self.directory})")
        except OSError as error:
            self.faults.append(f"{where}: {_shown(name)}: {error.strerror}")
        else:
            if not stat.S_ISREG(status.st_mode):
                self.faults.append(f"{where}: {_shown(name)} is no regular file")
            elif most_bytes is not None and status.st_size > most_bytes:
                self.faults.append(
                    f"{where}: {_shown(name)} has {status.st_size:,} bytes, more than the {most_bytes:,} allowed"
                )
        return str(path)


class _Top(_Section):
    spec_version: Literal[1] = 1
    name: Name
    game: Literal["shogi"] = "shogi"


_SECTIONS: dict[str, type[_Section]] = {
    "evaluate": EvaluateSpec,
    "tournament": TournamentSpec,
    "limits": LimitsSpec,
    "ratings": RatingsSpec,
}
_KINDS: dict[str, type[_Agent]] = {
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
    raise FileNotFoundError(f"no program {_shown(name)} on PATH, in {', '.join(ENGINE_FOLDERS)} or in {directory}")


def _is_program(path: Path) -> bool:
    try:
        return path.is_file() and os.access(path, os.X_OK)
    except OSError:  # a name too long to be one
        return False


def _distinct(error: ValidationError) -> list[ErrorDetails]:
    """The faults of a section; an option's value, which may be of several kinds, is at fault once, not once a kind."""
    found: dict[tuple[int | str, ...], ErrorDetails] = {}
    for fault in error.errors(include_url=False):
        loc = fault["loc"]
        found.setdefault(loc[:2] if loc[:1] == ("options",) else loc, fault)
    return list(found.values())


def _describe(faults: Iterable[ErrorDetails], model: type[BaseModel], where: str) -> Iterator[str]:
    known = ["agents", *_SECTIONS, *model.model_fields] if model is _Top else _visible(model)
    for fault in faults:
        place = ".".join(_word(part) for part in fault["loc"])
        prefix = f"{where}: {place}" if where and place else where or place
        if fault["type"] == "extra_forbidden":
            fields = SearchLimit.model_fields if len(fault["loc"]) > 1 and fault["loc"][0] == "limit" else known
            yield f"{where + ': ' if where else ''}{_unknown('.'.join(map(str, fault['loc'])), fields, 'key')}"
        elif fault["loc"][:1] == ("options",) and len(fault["loc"]) > 1:
            yield (
                f"{where}: options.{_word(fault['loc'][1])}: {_shown(fault['input'])} is no value of an option: "
                "true or false, a number (finite, at most 64 bits), or text (without NUL)"
            )
        elif fault["type"] == "missing":
            yield f"{prefix}: is missing"
        elif fault["type"] == "string_pattern_mismatch" and "\0" in str(fault["input"]) and place != "name":
            yield f"{prefix}: {_shown(fault['input'])} holds a NUL, which ends a text for other programs"
        elif fault["type"] == "string_pattern_mismatch" and place == "name":
            yield (
                f"{prefix}: {_shown(fault['input'])} is no name: 1 to 64 letters, digits, '.', '_' or '-', "
                "beginning with a letter or digit, without '--'"
            )
        else:
            message = fault["msg"][:1].lower() + fault["msg"][1:]
            yield f"{prefix}: {message}, not {_shown(fault['input'])}"


def _visible(model: type[BaseModel]) -> list[str]:
    """The keys that a person may write; the directory is filled in by the loader."""
    return [name for name in model.model_fields if name != "directory"]


def _unknown(word: str, known: Iterable[str], noun: str) -> str:
    options = sorted(set(known))
    if len(options) > MOST_HINTS_AMONG or len(word) > MOST_HINTS_AMONG:
        return f"unknown {noun} {_shown(word)}"
    near = difflib.get_close_matches(word.rpartition(".")[2], options, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(options)}" if options else "there is none"
    return f"unknown {noun} {_shown(word)}; {_clipped(hint, 400)}"


def _word(part: str | int) -> str:
    """A key as it may stand in a line: hostile ones are quoted and cut."""
    text = str(part)
    return text if len(text) <= 80 and text.isprintable() else _shown(text)


def _shown(value: object) -> str:
    try:
        return _clipped(repr(value))
    except ValueError:  # written in hexadecimal, a number may have more digits than Python will write in decimal
        return f"a number of {value.bit_length():,} bits" if isinstance(value, int) else "what was given"


def _clipped(text: str, length: int = 80) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


def _one_line(text: str) -> str:
    return " ".join(text.split())
