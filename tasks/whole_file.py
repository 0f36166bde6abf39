"""A file for people that is there whole, or as it was before."""

from __future__ import annotations

import secrets
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any

from banzuke.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def whole_file(path: Path, mode: str, **how: Any) -> Iterator[IO[Any]]:  # noqa: ANN401 - what open() takes
    """A new file that takes the place of ``path`` at the end of the block; its folder is made if need be.

    Raises:
        StorageError: it cannot be written; what was there still is.
    """
    draft = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open(mode, **how) as output:
            yield output
        draft.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
