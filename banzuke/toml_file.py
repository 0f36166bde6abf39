"""TOML files that people write, read once and within bounds."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

from banzuke.errors import SpecError
from banzuke.faults import clipped, one_line

LARGEST_TOML_BYTES = 4 << 20
_ENDLESS_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){64}""")
"""A dotted key of so many parts: the parser takes time quadratic in their number."""


def read_toml(path: Path) -> dict[str, Any]:
    """What a TOML file says.

    Raises:
        SpecError: one line: the file is missing, too large, no regular file, or no TOML.
    """
    try:
        return _parsed(_text(path))
    except RecursionError as error:
        raise SpecError(f"{path}: is nested too deeply") from error
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # also of numbers with more digits than Python takes
        raise SpecError(f"{path}: is not TOML: {clipped(one_line(str(error)))}") from error


def _parsed(text: str) -> dict[str, Any]:
    if _ENDLESS_KEY.search(text):
        raise RecursionError("a key of too many parts")
    return tomllib.loads(text)


def _text(path: Path) -> str:
    # A named pipe would be waited for until somebody writes to it.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is no regular file")
        if status.st_size > LARGEST_TOML_BYTES:
            raise OSError(f"it has {status.st_size:,} bytes, more than the {LARGEST_TOML_BYTES:,} that are read")
        return file.read(LARGEST_TOML_BYTES).decode("utf-8")
