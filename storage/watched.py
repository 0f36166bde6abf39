"""What is remembered of a folder of checkpoints that is watched: what was there before, what was seen since.

A checkpoint is its content: each that was seen has a small document under its SHA-256, and that there is one says it
all. What a machine saw of the files themselves is only there so that nothing is read twice; lost, it is made anew.
"""

from __future__ import annotations

import json
import re
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from banzuke.errors import CorruptPartError, GameAlreadyRecordedError
from storage import layout
from storage.atomic import open_files
from storage.locks import my_note

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_SHA256 = re.compile(r"[0-9a-f]{64}")
_JSON = ".json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Glimpse:
    """How a file looked; while all of it is the same, so is its content."""

    size: int
    """In bytes."""
    mtime_ns: int
    ctime_ns: int
    inode: int
    sha256: str | None = None
    """Of its content; None while it was being written."""

    def has_changed(self, now: Glimpse) -> bool:
        """Whether the file may have another content now."""
        return replace(self, sha256=None) != replace(now, sha256=None)


class WatchedFolder:
    """What a store remembers of one folder.

    Args:
        uri: of the store.
        folder: its name in the catalogue.

    Raises:
        StorageError: the store's address is of no known kind. Every method raises it when the filesystem refuses.
        UnknownRunError: the name can be no part of a path.
    """

    def __init__(self, uri: str, folder: str) -> None:
        self._files = open_files(uri)
        self._name = folder
        self._folder = layout.watched_folder(folder)

    def watching(self) -> AbstractContextManager[bool]:
        """Hold the right to look at the folder while the block lasts; False, at once, where somebody else does."""
        return self._files.exclusive(layout.watching_lock(self._name), my_note())

    def passed_over(self) -> frozenset[str] | None:
        """The contents that the first look found and that nobody was to be told of; None before the first look.

        Raises:
            CorruptPartError: that is not what the file says.
        """
        name = layout.passed_over_document(self._name)
        try:
            return _hashes(_object(self._files.read(name))["passed_over"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, RecursionError) as error:
            raise CorruptPartError(
                f"{self._files.place(name)}: not what a first look leaves ({error}); restore it from a copy, or delete "
                "it: whatever is in the folder counts as found by the first look then"
            ) from error

    def pass_over(self, hashes: Collection[str], document: Mapping[str, Any]) -> frozenset[str]:
        """Keep what the first look passes over, unless another one has come first; what is passed over."""
        payload = _payload({"folder": self._name, **document, "passed_over": sorted(hashes)})
        with suppress(GameAlreadyRecordedError):
            self._files.publish(layout.passed_over_document(self._name), payload)
        return self.passed_over() or frozenset()

    def seen(self) -> frozenset[str]:
        """The contents that were seen since; their SHA-256."""
        named = (name.removesuffix(_JSON) for name in self._files.files(self._folder) if name.endswith(_JSON))
        return frozenset(filter(_SHA256.fullmatch, named))

    def remember(self, sha256: str, document: Mapping[str, Any]) -> None:
        """Keep that a content was seen, and what was done about it; what is kept already stays as it is."""
        payload = _payload({"folder": self._name, "sha256": sha256, **document})
        with suppress(GameAlreadyRecordedError):
            self._files.publish(layout.seen_document(self._name, sha256), payload)

    def glimpses(self, host: str) -> dict[str, Glimpse]:
        """How the files looked to a machine last, by the agent's name; nothing where that cannot be read."""
        try:
            document = _object(self._files.read(layout.glimpses_document(self._name, host)))
            return {name: _glimpse(seen) for name, seen in document["files"].items()}
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}

    def keep_glimpses(self, host: str, glimpses: Mapping[str, Glimpse]) -> None:
        """Keep how the files look to a machine now."""
        files = {name: asdict(glimpse) for name, glimpse in glimpses.items()}
        payload = _payload({"folder": self._name, "host": host, "files": files})
        self._files.publish(layout.glimpses_document(self._name, host), payload, replace=True)


def _hashes(found: object) -> frozenset[str]:
    if not isinstance(found, list) or not all(isinstance(one, str) and _SHA256.fullmatch(one) for one in found):
        raise ValueError("no list of hashes")
    return frozenset(found)


def _glimpse(document: Mapping[str, Any]) -> Glimpse:
    glimpse = Glimpse(**document)
    numbers = (glimpse.size, glimpse.mtime_ns, glimpse.ctime_ns, glimpse.inode)
    if any(type(number) is not int for number in numbers):
        raise ValueError("no numbers")
    if glimpse.sha256 is not None and not _SHA256.fullmatch(glimpse.sha256):
        raise ValueError("no hash")
    return glimpse


def _object(payload: bytes) -> dict[str, Any]:
    document = json.loads(payload)
    if not isinstance(document, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - the file is at fault
    return document


def _payload(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1, allow_nan=False).encode() + b"\n"
