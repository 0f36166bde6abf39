"""Games as lines of the USI protocol, which engines read: ``position … moves …``."""

from __future__ import annotations

from banzuke.games.positions import START_POSITION
from banzuke.record import GameRecord
from storage.notation.remark import remark_of


def to_usi(record: GameRecord) -> str:
    """Two comment lines and one line that may be sent to an engine as it is."""
    start = "startpos" if record.start_position == START_POSITION else f"sfen {record.start_position}"
    moves = f" moves {' '.join(record.moves)}" if record.moves else ""
    return f"# {record.first_agent} {record.second_agent}\n# {remark_of(record)}\nposition {start}{moves}\n"
