"""A part of the page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page, with what only it needs.

    The page defines the colours ``--ink``, ``--muted``, ``--paper``, ``--line``, ``--accent``, ``--good`` and ``--bad``
    as variables of CSS.
    """

    anchor: str
    """What its heading is known by in links within the page."""
    title: str
    html: str
    """What stands below the heading; everything that agents said is escaped in it."""
    css: str = ""
    js: str = ""
    """Run once, at the end of the page, in a function of its own."""
