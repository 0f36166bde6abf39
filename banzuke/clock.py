"""An agent's own clock: what its time control allows it, apart from the hard limits of the run."""

from __future__ import annotations

from dataclasses import dataclass

from banzuke.specs import SearchLimit


@dataclass(slots=True)
class Clock:
    """One player's time in one game. Milliseconds throughout.

    Byoyomi is spent anew on every move after the base is gone; an increment is added *before* the move, as USI
    has it. A fixed time per move counts as a clock too. Limits in nodes or depth have no clock.
    """

    limit: SearchLimit | None
    remaining_ms: int = 0

    @classmethod
    def start(cls, limit: SearchLimit | None) -> Clock:
        """A clock at the beginning of a game."""
        return cls(limit, limit.base_ms or 0 if limit else 0)

    @property
    def allowed_ms(self) -> int | None:
        """What the next move may take before it is a time forfeit, margin included; None without a clock."""
        if self.limit is None or not self.limit.is_clock:
            return None
        if self.limit.movetime_ms is not None:
            return self.limit.movetime_ms + self.limit.margin_ms
        extra = (self.limit.byoyomi_ms or 0) + (self.limit.increment_ms or 0)
        return self.remaining_ms + extra + self.limit.margin_ms

    def charge(self, elapsed_ms: int) -> bool:
        """Take a move's time off; False where the clock (and its margin) was overstepped."""
        allowed = self.allowed_ms
        if allowed is None or self.limit is None:
            return True
        if self.limit.movetime_ms is None:
            before = self.remaining_ms + (self.limit.increment_ms or 0)
            self.remaining_ms = max(0, before - elapsed_ms)
        return elapsed_ms <= allowed
