"""A checkpoint's file read as data: looked through before anything of it is unpickled or given memory.

``torch.load(weights_only=True)`` runs no code, but it lets a file name constructors that take as much memory
as the file asks for (``bytearray(n)``, ``torch.Tensor(n)``), and it unpacks compressed entries. So the names
a pickle may use are fewer here, and entries are read in place, never unpacked.
"""

from __future__ import annotations

import contextlib
import pickletools
import zipfile
from typing import IO, TYPE_CHECKING, TypeVar

import torch

from banzuke.errors import AgentStartError
from banzuke.specs import LARGEST_CHECKPOINT_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Content = TypeVar("Content")

MAX_PARAMETERS = 1 << 28
"""Most numbers a network may have (1 GiB in float32); Keisei's largest has 53 million."""
MAX_PICKLE_BYTES = 4 << 20
"""Largest pickle; that of 40 blocks with the optimizer's state is a tenth of it."""
MAX_SMALL_ENTRY_BYTES = 64 << 10
_ALLOWED_NAMES = frozenset(
    {
        "collections OrderedDict",
        "_codecs encode",
        "torch Size",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_parameter",
        *(
            f"torch {element}Storage"
            for element in (
                "Float",
                "Double",
                "Half",
                "BFloat16",
                "Long",
                "Int",
                "Short",
                "Char",
                "Byte",
                "Bool",
            )
        ),
    }
)


def read_archive(path: Path) -> object:
    """What ``torch.save`` wrote into a file.

    Tensors are views of the file, mapped copy-on-write: reading them costs memory only when they are copied,
    and they must be copied before the file may change.

    Raises:
        AgentStartError: the file cannot be read, is not of ``torch.save``'s zip format, is damaged or too
            large, or asks for more than tensors, numbers, text, lists and dicts. One line, with the file's
            base name.
    """
    return reading(path, _weights_file)


class UnusableError(ValueError):
    """What is wrong with a file's content, without the file's name."""


def reading(path: Path, read: Callable[[Path], Content]) -> Content:
    """What ``read`` makes of a file, every fault of the file as an :class:`AgentStartError` of one line."""
    try:
        return read(path)
    except UnusableError as refused:
        raise AgentStartError(f"{path.name}: {refused}") from None
    except OSError as error:
        raise AgentStartError(f"{path.name}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # whatever a parser makes of hostile bytes, it is the file's fault
        raise AgentStartError(f"{path.name}: is no readable PyTorch file: {first_line(error)}") from error


@contextlib.contextmanager
def opened(path: Path, *, written_by: str) -> Iterator[zipfile.ZipFile]:
    """The archive of a file that is not too large.

    Raises:
        UnusableError: it is too large or no archive.
    """
    size = path.stat().st_size
    if size > LARGEST_CHECKPOINT_BYTES:
        raise UnusableError(f"has {size:,} bytes, more than the {LARGEST_CHECKPOINT_BYTES:,} allowed")
    with path.open("rb") as file:
        try:
            archive = zipfile.ZipFile(file)
        except zipfile.BadZipFile:
            raise UnusableError(f"is not a file of {written_by}'s zip format, or is cut short") from None
        with archive:
            yield archive


def _weights_file(path: Path) -> object:
    with opened(path, written_by="torch.save") as archive:
        if any(entry.filename.partition("/")[2] == "archive_format" for entry in archive.infolist()):
            raise UnusableError(
                'is a program saved by torch.export.save; say format = "exported", with its encoding and moves'
            )
        pickles = [entry for entry in archive.infolist() if _is_pickle(entry)]
        if len(pickles) != 1:
            raise UnusableError(f"holds {len(pickles)} pickles where torch.save writes one")
        for entry in archive.infolist():
            check_size(entry, _most_bytes(entry))
        with archive.open(pickles[0]) as pickled:
            _check_names(pickled)
    stored: object = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return stored


def _is_pickle(entry: zipfile.ZipInfo) -> bool:
    return entry.filename.endswith(".pkl")


def check_size(entry: zipfile.ZipInfo, most: int) -> None:
    """Refuse an entry that is compressed, and so may be of any size, or larger than ``most`` bytes.

    Raises:
        UnusableError: it is.
    """
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise UnusableError(f"its entry {shown(entry.filename)} is compressed, which torch.save never does")
    if entry.file_size > most:
        raise UnusableError(
            f"its entry {shown(entry.filename)} has {entry.file_size:,} bytes, more than the {most:,} allowed"
        )


def _most_bytes(entry: zipfile.ZipInfo) -> int:
    if _is_pickle(entry):
        return MAX_PICKLE_BYTES
    return LARGEST_CHECKPOINT_BYTES if "/data/" in entry.filename else MAX_SMALL_ENTRY_BYTES


def _check_names(pickled: IO[bytes]) -> None:
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name in {"GLOBAL", "INST", "STACK_GLOBAL"} and argument not in _ALLOWED_NAMES:
            named = str(argument).replace(" ", ".")[:80]
            raise UnusableError(f"refused: its pickle asks for {named!r}, which is no part of a set of weights")


def shown(value: object) -> str:
    """What a hostile file says, short enough for a line."""
    return repr(value)[:80]


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its name."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
