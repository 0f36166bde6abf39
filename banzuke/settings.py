"""What the environment of this machine says: where its catalogue and its store are, and what it is called.

Runs that are started from a Prefect server name agents, never a path or a command: what is meant by a name is decided
here, by whoever set up the machine that plays.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from banzuke.errors import SpecError

_NO_PART_OF_A_HOST = re.compile(r"[^A-Za-z0-9._-]+")


def _host_name() -> str:
    return _NO_PART_OF_A_HOST.sub("-", socket.gethostname()).strip("-") or "localhost"


class Settings(BaseSettings):
    """Of a machine that plays; each is an environment variable, ``BANZUKE_`` and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="BANZUKE_", frozen=True, extra="ignore", env_ignore_empty=True)

    catalogue: Path | None = None
    """The TOML file of the agents that can play here."""
    store: str | None = None
    """Where runs that a server starts are kept: a folder or an fsspec URL."""
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")] = Field(default_factory=_host_name)
    """What this machine is called in games and in the names of limits."""
    backfills: Annotated[int, Field(ge=0, le=100)] = 3
    """How often at most a run that ended badly is taken up again by itself."""


def settings() -> Settings:
    """The settings as they are now.

    Raises:
        SpecError: one of them makes no sense; a line for each.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise SpecError(
            *(f"BANZUKE_{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors())
        ) from error
