"""What a game must offer so that the core can play it. Colours live behind these protocols only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from banzuke.outcome import Outcome, Side


class Board(Protocol):
    """A position under play, with the whole history since its start position."""

    @property
    def start_position(self) -> str:
        """Four-field SFEN (FEN for chess) the game started from."""
        ...

    @property
    def moves(self) -> Sequence[str]:
        """Every move since the start position, in the game's notation (USI)."""
        ...

    @property
    def side_to_move(self) -> Side:
        """``Side.FIRST`` is whoever has the move at the start position."""
        ...

    def position(self) -> str:
        """The present position as a four-field SFEN."""
        ...

    def legal_moves(self) -> list[str]:
        """Every legal move, in a fixed order that depends on the position alone."""
        ...

    def is_legal(self, move: str) -> bool:
        """Whether ``move``, any text at all, is a legal move here. Never raises."""
        ...

    def push(self, move: str) -> None:
        """Play a legal move."""
        ...

    def outcome(self) -> Outcome | None:
        """How the rules end the game in the present position, or None while it goes on.

        ``max_plies`` is looked at last, so that it never overrides a mate on that ply (under Keisei's own rules
        it is looked at first, as Keisei does).
        """
        ...

    def may_declare_win(self) -> bool:
        """Whether the side to move may claim a win by declaration (the 27-point rule)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A position drawn with characters, for a terminal."""

    lines: tuple[str, ...]
    """From the top; what is one above the other has the same columns, of which a kanji takes two."""
    mark: tuple[int, int, int] | None
    """Where the last move went: line, and from which character to which, the latter left out."""


class Rules(Protocol):
    """The rules of one game, under one rule set."""

    @property
    def game(self) -> str:
        """The game's name in specs and records (``shogi``)."""
        ...

    @property
    def name(self) -> str:
        """The rule set's name in specs and records (``csa``)."""
        ...

    def start(self, start_position: str, *, max_plies: int) -> Board:
        """A board at ``start_position``.

        Args:
            start_position: four-field SFEN, no prefix.
            max_plies: the game is drawn when this many moves were made (book moves counted).

        Raises:
            ValueError: the position is malformed or cannot occur in a game.
        """
        ...

    def side_names(self) -> tuple[str, str]:
        """What people call whoever moves first and second at the game's usual start position."""
        ...

    def picture(
        self, position: str, *, mover: Side, players: Mapping[Side, str], last_move: str = "", letters: bool = False
    ) -> Picture:
        """A position as people of the game draw it.

        Args:
            position: four-field SFEN, any text at all.
            mover: who has the move in it.
            players: what they are called.
            last_move: that led to it, in the game's notation; empty for none.
            letters: in ASCII, for terminals that have nothing else and for who reads nothing else.

        Raises:
            ValueError: there is no such position.
        """
        ...
