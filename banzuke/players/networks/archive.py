"""A checkpoint's file read as data: looked through before anything of it is unpickled or given memory.

``torch.load(weights_only=True)`` runs no code, but it lets a file name constructors that take as much memory
as the file asks for (``bytearray(n)``, ``torch.Tensor(n)``), and it unpacks compressed entries. So the names
a pickle may use are fewer here, and entries are read in place, never unpacked.
"""

from __future__ import annotations

import pickletools
import zipfile
from typing import IO, TYPE_CHECKING

import torch

from banzuke.errors import AgentStartError
from banzuke.specs import LARGEST_CHECKPOINT_BYTES

if TYPE_CHECKING:
    from pathlib import Path

"""Largest file that is looked at; 53 million weights with their optimizer's state are 0.64 GB."""
MAX_PICKLE_BYTES = 4 << 20
"""Largest pickle; that of 40 blocks with the optimizer's state is a tenth of it."""
_MAX_SMALL_ENTRY_BYTES = 64 << 10
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
    try:
        _look_through(path)
        stored: object = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except _RefusedError as refused:
        raise AgentStartError(f"{path.name}: {refused}") from None
    except OSError as error:
        raise AgentStartError(f"{path.name}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # whatever a parser makes of hostile bytes, it is the file's fault
        raise AgentStartError(f"{path.name}: is no readable PyTorch file: {_first_line(error)}") from error
    return stored


class _RefusedError(ValueError):
    """What is wrong with the file, without its name."""


def _look_through(path: Path) -> None:
    size = path.stat().st_size
    if size > LARGEST_CHECKPOINT_BYTES:
        raise _RefusedError(f"has {size:,} bytes, more than the {LARGEST_CHECKPOINT_BYTES:,} allowed")
    with path.open("rb") as file:
        try:
            archive = zipfile.ZipFile(file)
        except zipfile.BadZipFile:
            raise _RefusedError("is not a file of torch.save's zip format, or is cut short") from None
        with archive:
            pickles = [_checked(entry) for entry in archive.infolist() if _is_pickle(entry)]
            if len(pickles) != 1:
                raise _RefusedError(f"holds {len(pickles)} pickles where torch.save writes one")
            for entry in archive.infolist():
                _checked(entry)
            with archive.open(pickles[0]) as pickled:
                _check_names(pickled)


def _is_pickle(entry: zipfile.ZipInfo) -> bool:
    return entry.filename.endswith(".pkl")


def _checked(entry: zipfile.ZipInfo) -> zipfile.ZipInfo:
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise _RefusedError(f"its entry {entry.filename[:80]!r} is compressed, which torch.save never does")
    if _is_pickle(entry):
        most = MAX_PICKLE_BYTES
    elif "/data/" in entry.filename:
        most = LARGEST_CHECKPOINT_BYTES
    else:
        most = _MAX_SMALL_ENTRY_BYTES
    if entry.file_size > most:
        raise _RefusedError(
            f"its entry {entry.filename[:80]!r} has {entry.file_size:,} bytes, more than the {most:,} allowed"
        )
    return entry


def _check_names(pickled: IO[bytes]) -> None:
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name in {"GLOBAL", "INST", "STACK_GLOBAL"} and argument not in _ALLOWED_NAMES:
            named = str(argument).replace(" ", ".")[:80]
            raise _RefusedError(f"refused: its pickle asks for {named!r}, which is no part of a set of weights")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
