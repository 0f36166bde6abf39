"""Options that several commands have, in the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Store = Annotated[str, typer.Option("--store", metavar="URI", help="Where the games are: a folder or an fsspec URL.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, and nothing else there.")]
DEFAULT_STORE = "./banzuke-store"
STDOUT = Path("-")
"""What ``-o`` calls it."""
