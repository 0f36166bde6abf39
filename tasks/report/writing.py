"""The page into its file, which is there whole or as it was before."""

from __future__ import annotations

import os
from pathlib import Path

from banzuke.errors import SpecError
from tasks.whole_file import whole_file


def check_writable(path: Path) -> None:
    """Before anything is computed: whether a report could be written there.

    Raises:
        SpecError: its folder is missing or not to be written to, something else than a file is there, or no file can
            have that name.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise SpecError(f"-o: {path}: {error.strerror or error}") from error
    if path.is_dir():
        raise SpecError(f"-o: {path} is a folder; name the file, {path / 'report.html'} say")
    if path.exists() and not path.is_file():
        raise SpecError(f"-o: {path} is no file that could be replaced")
    if not path.parent.is_dir():
        raise SpecError(f"-o: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise SpecError(f"-o: the folder {path.parent} is not to be written to")


def write_report(path: Path, html: str) -> int:
    """Put the page in place of what was; its size in bytes.

    Raises:
        StorageError: it cannot be written; what was there still is.
    """
    payload = html.encode()
    with whole_file(path, "xb") as output:
        output.write(payload)
        output.flush()
        os.fsync(output.fileno())
    return len(payload)
