"""Parameters that no run may begin with, whatever the catalogue holds: for ``compose``, and for a real server."""

from __future__ import annotations

from typing import Any


def _nested(depth: int) -> list[Any]:
    nest: list[Any] = []
    for _ in range(depth):
        nest = [nest]
    return nest


HOSTILE: dict[str, dict[str, Any]] = {
    # Paths where names are asked for.
    "agent-traversal": {"agents": ["../../../etc/passwd"]},
    "agent-traversal-pattern": {"agents": ["../*"]},
    "agent-absolute": {"agents": ["/etc/passwd"]},
    "suite-traversal": {"suite": "../../../../etc/passwd"},
    "suite-absolute": {"suite": "/etc/passwd"},
    "openings-device": {"openings": "/dev/zero"},
    "openings-url": {"openings": "file:///etc/passwd"},
    "name-traversal": {"name": "../../outside"},
    "name-absolute": {"name": "/srv/outside"},
    "name-too-long-for-a-run": {"name": "n" * 64},
    "run-id-traversal": {"run_id": "../../outside"},
    "run-id-hidden": {"run_id": ".hidden"},
    "anchor-traversal": {"anchor": "../random"},
    "challenger-traversal": {"format": "gauntlet", "challengers": ["../epoch"]},
    # Commands and templates.
    "agent-shell": {"agents": ["x; rm -rf /"]},
    "agent-substitution": {"agents": ["$(touch owned)"]},
    "name-backticks": {"name": "`touch owned`"},
    "suite-variable": {"suite": "$HOME"},
    "agent-format": {"agents": ["{stem.__class__.__mro__}"]},
    "name-jinja": {"name": "{{ prefect.blocks.secret.x }}"},
    "agent-dunder": {"agents": ["__class__"]},
    "parameter-dunder": {"__class__": "os"},
    "parameter-command": {"command": ["sh", "-c", "touch owned"]},
    "parameter-path": {"catalogue_path": "/etc/passwd"},
    # Signs that are not seen, or are not what they look like.
    "agent-nul": {"agents": ["random\0"]},
    "suite-nul": {"suite": "\0"},
    "name-newline": {"name": "night\nFlow run completed"},
    "agent-newline": {"agents": ["random\n"]},
    "agent-escapes": {"agents": ["\x1b[2J\x1b[31mrandom\x1b]0;owned\x07"]},
    "name-controls": {"name": "".join(map(chr, range(1, 32)))},
    "agent-look-alike": {"agents": ["r\u0430ndom"]},  # a Cyrillic a
    "agent-right-to-left": {"agents": ["\u202emodnar"]},
    "agent-zero-width": {"agents": ["ran\u200bdom"]},
    "name-full-width": {"name": "\uff4e\uff49\uff47\uff48\uff54"},
    "agent-surrogate": {"agents": ["\ud800"]},
    # Numbers.
    "games-odd": {"games_per_encounter": 7},
    "games-enormous": {"games_per_encounter": 10**30},
    "games-negative": {"games_per_encounter": -20},
    "plies-enormous": {"max_plies": 10**4000},
    "plies-beyond-writing": {"max_plies": 10**5000},
    "seed-enormous": {"seed": 2**64},
    "seed-fraction": {"seed": 0.5},
    "concurrency-enormous": {"concurrency": 10**9},
    "concurrency-over-the-machine": {"concurrency": 1024},
    "concurrency-negative": {"concurrency": -1},
    "newest-negative": {"newest": -1},
    "newest-enormous": {"newest": 10**18},
    "hosts-none": {"hosts": 0},
    "hosts-enormous": {"hosts": 10**9},
    "target-nan": {"format": "adaptive", "target_error": float("nan")},
    "target-zero": {"format": "adaptive", "target_error": 0.0},
    "target-unused-but-nan": {"target_error": float("nan")},
    "anchor-elo-infinite": {"anchor_elo": float("inf")},
    "anchor-elo-enormous": {"anchor_elo": 10**400},
    "margin-negative": {"regression_margin": -1e308},
    # Other types than asked for.
    "games-word": {"games_per_encounter": "twenty"},
    "games-digits": {"games_per_encounter": "9" * 10**6},
    "games-table": {"games_per_encounter": {"$ref": "#"}},
    "seed-null": {"seed": None},
    "agents-text": {"agents": "*"},
    "agents-table": {"agents": {"*": True}},
    "agents-numbers": {"agents": [1, 2]},
    "agents-null": {"agents": None},
    "agents-nothing": {"agents": []},
    "agents-blank": {"agents": ["", ""]},
    "agents-nested": {"agents": _nested(10**4)},
    "challengers-nested": {"format": "gauntlet", "challengers": [_nested(10**4)]},
    "name-nested": {"name": _nested(10**4)},
    "suite-list": {"suite": ["mate-in-1"]},
    "format-unknown": {"format": "knock-out"},
    "rules-list": {"rules": ["csa"]},
    # Too much.
    "agents-a-million": {"agents": [f"epoch-{number}" for number in range(10**6)]},
    "agents-a-million-times-one": {"agents": ["random"] * 10**6},
    "challengers-a-million": {"format": "gauntlet", "challengers": ["x"] * 10**6},
    "agents-patterns": {"agents": [f"*{number}*" for number in range(1000)]},
    "agent-of-ten-megabytes": {"agents": ["a" * 10**7]},
    "name-of-ten-megabytes": {"name": "a" * 10**7},
    "suite-of-ten-megabytes": {"suite": "\x1b" * 10**7},
    "anchor-of-ten-megabytes": {"anchor": "a" * 10**7},
    "pattern-that-explodes": {"agents": ["*a" * 120 + "*b"]},
    "pattern-of-sets": {"agents": ["[" * 200]},
    "pattern-of-ten-megabytes": {"agents": ["*" * 10**7]},
}

NOT_JSON = frozenset(
    {
        "target-nan",
        "target-unused-but-nan",
        "anchor-elo-infinite",
        "plies-beyond-writing",
        "agents-nested",
        "challengers-nested",
        "name-nested",
    }
)
"""What ``json.dumps`` refuses; a hostile client writes it by hand."""
