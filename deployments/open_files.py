"""How many files this process may have open: every worker costs a few, and shells are often told to allow little."""

from __future__ import annotations

import contextlib
import resource

from banzuke.errors import BanzukeError

WANTED = 16_384
"""Enough for the largest concurrency a spec can have."""
FOR_OURSELVES = 40
"""Event loops, libraries and the store: 15 were seen."""
FOR_A_WORKER = 8
"""Pipes to it, and its thread's connections to the server: 7.4 were seen."""


class TooFewFilesError(BanzukeError):
    """The system allows this process too few open files for what it is to do."""


def raise_open_files_limit() -> None:
    """Raise the soft limit (``ulimit -S -n``) as far as is of use and as the hard one allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def check_open_files(workers: int) -> None:
    """Nothing to see where so many workers can be had.

    Raises:
        TooFewFilesError: they cannot; with what to do.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = FOR_OURSELVES + FOR_A_WORKER * workers
    if soft != resource.RLIM_INFINITY and soft < needed:
        raise TooFewFilesError(
            f"{soft} open files are allowed (ulimit -n), and {workers} workers need {needed}: "
            "allow more, or ask for a smaller --concurrency"
        )
