"""From the parameters of a run that a server starts to its spec. What they name, the catalogue of this machine says.

Parameters are hostile: whatever is in them, each fault is one line that names the parameter, and nothing outside the
catalogue is looked at. A form sends every default, also of fields that do not matter for the format chosen, and nothing
for a field that is blank: so those are no faults, and a blank is the default.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from pydantic import BaseModel, Field

from banzuke.catalogue import EVERYBODY, Catalogue, is_pattern, named_words
from banzuke.errors import SpecError
from banzuke.faults import hint, shown, shown_name, unknown
from banzuke.specs import AgentSpec, LimitsSpec, Name, Section, Spec, SpecReader, TournamentSpec, is_name

RUN_ID_ENDING = "-20260101-000000-0123abcd"
"""What a run's id has after the name, where none is given: when it was due, and of which flow run."""
TARGET_ERROR = 20.0
TEST_GAMES = 480
"""At most, of a test: all that the book of the package has openings for."""

_Model = TypeVar("_Model", bound=BaseModel)


class RunParameters(TypedDict, total=False):
    """What every run from a server may be given."""

    name: str
    games_per_encounter: int
    openings: str
    suite: str
    rules: Literal["csa", "keisei"]
    max_plies: int
    seed: int
    concurrency: int
    """0: what the catalogue allows."""
    hosts: int
    run_id: str


class TournamentParameters(RunParameters, total=False):
    """What a tournament from a server may be given; each has the default of a spec."""

    agents: Sequence[str]
    newest: int
    format: Literal["round-robin", "gauntlet", "adaptive"]
    challengers: Sequence[str]
    target_error: float
    """Used in an adaptive tournament alone."""
    anchor: str
    anchor_elo: float
    regression_margin: float


class SequentialTestParameters(RunParameters, total=False):
    """What a sequential test from a server may be given; ``games_per_encounter`` is its cap."""

    agent: str
    versus: str


def compose(catalogue: Catalogue, /, **parameters: Unpack[TournamentParameters]) -> Spec:
    """The spec of a tournament.

    ``hosts``, ``regression_margin`` and ``run_id`` are no part of it; they are checked here with the others, so that
    nothing begins before all parameters are known to be good.

    Raises:
        SpecError: a line for each fault, beginning with the parameter's name.
    """
    return _TournamentReader(catalogue, {"name": "tournament", **_filled_in(parameters)}).compose()


def compose_test(catalogue: Catalogue, /, **parameters: Unpack[SequentialTestParameters]) -> Spec:
    """The spec of a sequential test: two agents, of whom ``versus`` is the anchor, so it is ``agent`` that is tested.

    Raises:
        SpecError: a line for each fault, beginning with the parameter's name.
    """
    given = {"name": "test", "games_per_encounter": TEST_GAMES, **_filled_in(parameters)}
    return _TestReader(catalogue, given).compose()


def _filled_in(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in parameters.items() if not (isinstance(value, str) and value == "")}


class _Beside(Section):
    """Parameters that are no part of a spec."""

    newest: int = Field(0, ge=0, le=1_000_000)
    hosts: int = Field(1, ge=1, le=1024)
    regression_margin: float = Field(50.0, ge=0, le=10_000, allow_inf_nan=False)
    run_id: Name | None = None


_SECTION_OF = {
    "suite": "evaluate",
    "format": "tournament",
    "challengers": "tournament",
    "games_per_encounter": "tournament",
    "target_error": "tournament",
    "openings": "tournament",
    "rules": "tournament",
    "max_plies": "tournament",
    "seed": "tournament",
    "concurrency": "limits",
    "anchor": "ratings",
    "anchor_elo": "ratings",
}


class _ParameterReader(SpecReader, ABC):
    """Reads parameters as the sections of a spec, and calls every key by its parameter."""

    takes: frozenset[str]
    """The names of the parameters that there are."""

    def __init__(self, catalogue: Catalogue, parameters: Mapping[str, Any]) -> None:
        self.catalogue = catalogue
        self.given = parameters
        self.parameters = {key: value for key, value in parameters.items() if key in self.takes}
        self.chosen: tuple[AgentSpec, ...] | None = None
        """None where nobody could be chosen: what names agents is not held against them then."""
        super().__init__({}, catalogue.directory)

    def compose(self) -> Spec:
        self._check_keys()
        beside = self.validate(_Beside, self._some_of(_Beside.model_fields), "")
        self.chosen = self.choose(0 if beside is None else beside.newest)
        self.raw = self.sections()
        spec = self.read()
        if beside is not None and beside.run_id is None and spec is not None:
            self._check_room(spec.name)
        if spec is None or self.faults:
            raise SpecError(*self.shown_faults())
        return spec

    @abstractmethod
    def choose(self, newest: int) -> tuple[AgentSpec, ...] | None:
        """Who plays, or None with the faults kept."""

    def sections(self) -> dict[str, Any]:
        """The parameters in the places that they have in a spec."""
        raw: dict[str, Any] = {name: {} for name in ("evaluate", "tournament", "ratings")}
        raw["name"] = self.parameters["name"]
        raw["limits"] = self.catalogue.limits.model_dump()
        for key, value in self._some_of(_SECTION_OF).items():
            raw[_SECTION_OF[key]][key] = value
        if raw["limits"]["concurrency"] == 0:
            raw["limits"]["concurrency"] = self.catalogue.limits.concurrency
        raw["evaluate"] |= self._path("suite", self.catalogue.suite)
        raw["tournament"] |= self._path("openings", self.catalogue.openings)
        return raw

    def agents(self) -> list[AgentSpec]:
        """Those chosen: the catalogue's, validated when it was loaded."""
        return list(self.chosen or ())

    def names(self) -> list[str]:
        """Of those chosen."""
        return [agent.name for agent in self.chosen or ()]

    def section(self, name: str, model: type[_Model]) -> _Model | None:
        """As of a spec; without what does not matter, and within what the catalogue allows."""
        section = super().section(name, model)
        if isinstance(section, TournamentSpec) and section.format != "adaptive":
            return section.model_copy(update={"target_error": None})
        if isinstance(section, LimitsSpec) and section.concurrency > self.catalogue.limits.concurrency:
            self.faults.append(
                f"concurrency: {section.concurrency} is more than the {self.catalogue.limits.concurrency} that the "
                "catalogue of this machine allows; 0 takes what it allows"
            )
        return section

    def section_at(self, name: str) -> str:  # noqa: ARG002 - parameters have no sections
        """Nothing: a parameter says it all."""
        return ""

    def agent_at(self, name: str) -> str:
        """The parameter that names it."""
        return f"agents: {shown(name)}"

    def at(self, section: str, key: str) -> str:
        """The parameter that decides it."""
        return _DECIDED_BY.get((section, key), key)

    def check_known(self, words: Sequence[str], section: str, key: str) -> None:
        """As of a spec, if anybody was chosen."""
        if self.chosen is not None:
            super().check_known(words, section, key)

    def unknown_agent(self, word: str, names: Iterable[str]) -> str:
        """Whether it is at least in the catalogue."""
        if any(agent.name == word for agent in self.catalogue.agents):
            return f"{shown(word)} is in the catalogue, but not among the agents chosen; name it in agents, too"
        return f"nobody is called {shown_name(word)}; {hint(word, names)}"

    def _some_of(self, keys: Iterable[str]) -> dict[str, Any]:
        return {key: self.parameters[key] for key in keys if key in self.parameters}

    def _check_keys(self) -> None:
        for key in sorted(self.given.keys() - self.takes):
            if self.has_enough:
                self.more += 1
            else:
                self.faults.append(unknown(key, self.takes, "parameter"))

    def _check_room(self, name: str) -> None:
        if not is_name(name + RUN_ID_ENDING):
            self.faults.append(
                f"name: {shown_name(name)} makes no name of a run: '{RUN_ID_ENDING}' is put behind it; "
                + ("no '--' is allowed" if name.endswith("-") else "64 characters are allowed")
            )

    def _path(self, key: str, look_up: Callable[[str], str | None]) -> dict[str, str | None]:
        try:
            return {key: look_up(self.parameters.get(key, ""))}
        except SpecError as error:
            self._keep(key, error)
            return {key: None}

    def _keep(self, key: str, error: SpecError) -> None:
        self.faults += [f"{key}: {fault}" for fault in error.faults]


_DECIDED_BY = {
    ("limits", "move_seconds"): "agents: move_seconds of the catalogue",
    ("limits", "game_seconds"): "max_plies: game_seconds of the catalogue",
}


class _TournamentReader(_ParameterReader):
    takes = frozenset(TournamentParameters.__annotations__)

    def choose(self, newest: int) -> tuple[AgentSpec, ...] | None:
        try:
            chosen = self.catalogue.choose(self.parameters.get("agents", (EVERYBODY,)), newest=newest)
        except SpecError as error:
            self._keep("agents", error)
            return None
        if len(chosen) < 2:
            self.faults.append(f"agents: only {shown(chosen[0].name)} is chosen; a tournament needs at least two")
        return chosen

    def sections(self) -> dict[str, Any]:
        raw = super().sections()
        raw["tournament"].setdefault("target_error", TARGET_ERROR)
        try:
            raw["tournament"]["challengers"] = self._challengers(named_words(self.parameters.get("challengers", ())))
        except SpecError as error:
            self._keep("challengers", error)
            del raw["tournament"]["challengers"]
            if raw["tournament"].get("format") == "gauntlet":  # which would be said to have none, too
                del raw["tournament"]["format"]
        return raw

    def _challengers(self, words: Sequence[str]) -> list[str]:
        """Those named, and for a pattern those of the agents chosen that it matches; one that matches nobody stays."""
        found: dict[str, None] = {}
        for word in words:
            matched = [name for name in self.names() if fnmatchcase(name, word)] if is_pattern(word) else []
            found.update(dict.fromkeys(matched or [word]))
        return list(found)


class _TestReader(_ParameterReader):
    takes = frozenset(SequentialTestParameters.__annotations__)

    def choose(self, newest: int) -> tuple[AgentSpec, ...] | None:  # noqa: ARG002 - two agents by name
        found: list[AgentSpec] = []
        for key in ("agent", "versus"):
            if key not in self.parameters:
                self.faults.append(f"{key}: is missing; a test is of one agent against another")
                continue
            try:
                found.append(self.catalogue.agent(self.parameters[key]))
            except SpecError as error:
                self._keep(key, error)
        if len(found) < 2:
            return None
        if found[0].name == found[1].name:
            self.faults.append(f"versus: {shown(found[1].name)} is the agent itself; a test is of one against another")
            return None
        return tuple(found)

    def sections(self) -> dict[str, Any]:
        raw = super().sections()
        raw["ratings"]["anchor"] = self.chosen[1].name if self.chosen else None
        return raw

    def agent_at(self, name: str) -> str:
        """The parameter that names it."""
        return f"{'versus' if self.parameters['versus'] == name else 'agent'}: {shown(name)}"
