"""A Postgres of the test's own, for servers that several workers write to at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def is_installed() -> bool:
    """Whether there is a Postgres; on CI one is missed."""
    return os.environ.get("CI") == "true" or bool(_programs())


@contextmanager
def own_postgres() -> Iterator[Postgres]:
    """A database that ends with the block."""
    programs = programs_of_postgres()
    # Pytest's own folders are closed to the user that it runs as.
    with tempfile.TemporaryDirectory(prefix="banzuke-pg-") as folder:
        database = Postgres(programs, Path(folder))
        database.start()
        yield database
        database.stop()


class Postgres:
    """A database server of the test's own, behind a socket in a folder that nobody else may enter.

    Args:
        programs: the folder of Postgres' programs.
        folder: where everything is; new, short (a socket's path has a hundred characters).
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs = programs
        self.folder = folder
        self.settings = {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://postgres@/prefect?host={folder}"
        }
        """Of a Prefect server that keeps its history here."""
        # It refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(folder, self._user)

    def start(self) -> None:
        """Until it answers, with an empty database."""
        self("initdb", "--auth", "trust", "--username", "postgres", "--pgdata", self.folder / "cluster")
        settings = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c fsync=off"
        self._control("start", "--log", self.folder / "log", "--options", settings)
        self("createdb", "--host", self.folder, "--username", "postgres", "prefect")

    def stop(self) -> None:
        """Until it has ended."""
        self._control("stop", "--mode", "fast")

    def ask(self, question: str) -> str:
        """The answer to one query."""
        to = ("--host", self.folder, "--username", "postgres", "--dbname", "prefect")
        return self("psql", *to, "--no-align", "--tuples-only", "--command", question).strip()

    def _control(self, *arguments: str | Path) -> None:
        self("pg_ctl", *arguments, "--wait", "--pgdata", self.folder / "cluster")

    def __call__(self, program: str, *arguments: str | Path) -> str:
        with tempfile.TemporaryFile("w+") as output:
            # No pipes: the server that is started would hold them open.
            done = subprocess.run(
                [self.programs / program, *arguments],
                cwd=self.folder,
                user=self._user,
                stdout=output,
                stderr=output,
                timeout=60,
                check=False,
            )
            output.seek(0)
            said = output.read()
        assert done.returncode == 0, said
        return said


def programs_of_postgres() -> Path:
    """The folder of its newest version; skips where it is not installed, fails there on CI."""
    found = _programs()
    if found:
        return found[max(found)]
    if os.environ.get("CI") == "true":
        pytest.fail("Postgres is not installed")
    pytest.skip("Postgres is not installed")


def _programs() -> dict[int, Path]:
    """The folder of each version."""
    return {int(path.parent.name): path for path in Path("/usr/lib/postgresql").glob("[0-9]*/bin")}
