"""An exported program's file read as data, without ``torch.export.load``.

That one is not for files of strangers: torch 2.13 evaluates the sizes in the text as Python (``sympify``), writes the
names in it into source code that it executes, takes whatever function below ``torch`` a step names, and unpickles the
example inputs, and weights that say so, without ``weights_only``. Here the text is parsed as JSON and nothing more,
weights are raw bytes, and no pickle is opened.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from banzuke.players.networks.archive import (
    MAX_PARAMETERS,
    MAX_SMALL_ENTRY_BYTES,
    UnusableError,
    check_size,
    opened,
    reading,
    shown,
)
from banzuke.specs import LARGEST_CHECKPOINT_BYTES

if TYPE_CHECKING:
    import zipfile
    from pathlib import Path

MAX_PROGRAM_BYTES = 32 << 20
"""Largest text of an exported program, of which Python makes five times as much; that of 40 blocks has 2.3 MB."""
_TEXT = "models/model.json"
_WEIGHTS, _CONSTANTS = "data/weights/", "data/constants/"
_INDEXES = {_WEIGHTS: "model_weights_config.json", _CONSTANTS: "model_constants_config.json"}
_NUMBERS = {_WEIGHTS: re.compile(r"weight_\d{1,9}"), _CONSTANTS: re.compile(r"tensor_\d{1,9}")}
# The example inputs are a pickle: never opened. What begins with a dot is the zip writer's own.
_NOT_READ = re.compile(r"data/sample_inputs/model\.pt|byteorder|\.(?:data/)?\w+")
_HARMFUL = {
    "data/aotinductor/": "compiled code",
    "data/executorch/": "compiled code",
    "data/constants/custom_obj_": "a custom object",
    "data/constants/opaque_obj_": "a pickled object",
    "data/weights/model.pt": "pickled weights, as former versions of torch wrote them; save it again with torch 2.13",
    "data/constants/model.pt": "pickled weights, as former versions of torch wrote them; save it again with torch 2.13",
}
_ELEMENTS = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
"""By their numbers in the text (``ScalarType`` of ``torch/_export/serde/schema.py``)."""
_STRIDED = 7


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredProgram:
    """An exported program as it lies in its file."""

    text: dict[str, Any]
    """The JSON of the program; nothing in it was looked at."""
    weights: dict[str, torch.Tensor]
    """Parameters and persistent buffers by name, on the CPU."""
    constants: dict[str, torch.Tensor]
    """The other tensors by name, on the CPU."""


def read_program(path: Path) -> StoredProgram:
    """What ``torch.export.save`` wrote into a file.

    Raises:
        AgentStartError: the file cannot be read, is no such archive, is damaged or too large, or holds anything but
            a program and its numbers. One line, with the file's base name.
    """
    return reading(path, _stored_program)


def element_type(number: object) -> torch.dtype:
    """The type of a tensor's elements from its number in a program's text.

    Raises:
        UnusableError: it is none that networks are made of.
    """
    if not isinstance(number, int) or number not in _ELEMENTS:
        raise UnusableError(f"has tensors of the element type number {shown(number)}, which is not allowed")
    return _ELEMENTS[number]


def _stored_program(path: Path) -> StoredProgram:
    with opened(path, written_by="torch.export.save") as archive:
        members = _members(archive)
        _check_layout(archive, members)
        text = json.loads(archive.read(members[_TEXT]))
        weights, constants = (_tensors(archive, members, folder) for folder in (_WEIGHTS, _CONSTANTS))
    if not isinstance(text, dict):
        raise UnusableError(f"holds a {type(text).__name__} where a program belongs")
    return StoredProgram(text=text, weights=weights, constants=constants)


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The entries by their names below the archive's one root."""
    members: dict[str, zipfile.ZipInfo] = {}
    roots = {entry.filename.partition("/")[0] for entry in archive.infolist()}
    for entry in archive.infolist():
        name = entry.filename.partition("/")[2]
        if name in members or len(roots) > 1:
            raise UnusableError(f"is no program saved by torch.export.save: {shown(entry.filename)} is one too many")
        members[name] = entry
    return members


def _check_layout(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> None:
    if "archive_format" not in members:
        if "data.pkl" in members:
            raise UnusableError("holds weights or TorchScript, not a program saved by torch.export.save")
        raise UnusableError("is no program saved by torch.export.save, or by a torch that was too old")
    for name, entry in members.items():
        for sign, what in _HARMFUL.items():
            if name.startswith(sign):
                raise UnusableError(f"refused: its entry {shown(name)} is {what}")
        check_size(entry, _most_bytes(name))
    if lacking := {"archive_version", _TEXT, *(folder + index for folder, index in _INDEXES.items())} - members.keys():
        raise UnusableError(f"lacks {shown(min(lacking))}")
    found = [archive.read(members[name])[:80] for name in ("archive_format", "archive_version")]
    if found != [b"pt2", b"0"]:
        raise UnusableError(f"is of the archive format {found[0]!r}, version {found[1]!r}; torch 2.13 writes pt2, 0")
    if "byteorder" in members and archive.read(members["byteorder"]).decode() != sys.byteorder:
        raise UnusableError("was saved on a machine of the other byte order")


def _most_bytes(name: str) -> int:
    if name == _TEXT or name in {folder + index for folder, index in _INDEXES.items()}:
        return MAX_PROGRAM_BYTES
    if any(name.startswith(folder) and number.fullmatch(name, len(folder)) for folder, number in _NUMBERS.items()):
        return LARGEST_CHECKPOINT_BYTES
    if name in {"archive_format", "archive_version"} or _NOT_READ.fullmatch(name):
        return LARGEST_CHECKPOINT_BYTES if name.startswith("data/") else MAX_SMALL_ENTRY_BYTES
    raise UnusableError(f"refused: its entry {shown(name)} is no part of a program and its numbers")


def _tensors(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], folder: str) -> dict[str, torch.Tensor]:
    index = json.loads(archive.read(members[folder + _INDEXES[folder]]))["config"]
    shapes: dict[str, list[tuple[str, _Shape]]] = defaultdict(list)
    numbers = 0
    for name, meta in index.items():
        file = meta["path_name"]
        if meta["use_pickle"] is not False:
            raise UnusableError(f"refused: its tensor {shown(name)} is pickled")
        if not isinstance(file, str) or not _NUMBERS[folder].fullmatch(file) or folder + file not in members:
            raise UnusableError(f"lacks the numbers of {shown(name)}")
        shape = _Shape.of(name, meta["tensor_meta"])
        if shape.end > members[folder + file].file_size:
            raise UnusableError(f"has too few numbers for {shown(name)}")
        numbers += math.prod(shape.sizes)
        shapes[file].append((name, shape))
    if numbers > MAX_PARAMETERS:
        raise UnusableError(f"claims {numbers:,} weights, more than the {MAX_PARAMETERS:,} allowed")
    tensors: dict[str, torch.Tensor] = {}
    for file, named in shapes.items():
        content = bytearray(archive.read(members[folder + file]))
        for name, shape in named:
            tensors[name] = shape.read(content)
    return tensors


@dataclass(frozen=True, slots=True)
class _Shape:
    """How a tensor lies in its bytes."""

    element: torch.dtype
    sizes: list[int]
    strides: list[int]
    offset: int

    @classmethod
    def of(cls, name: str, meta: dict[str, Any]) -> _Shape:
        sizes, strides = ([_whole(size) for size in meta[key]] for key in ("sizes", "strides"))
        if len(sizes) != len(strides) or meta["layout"] != _STRIDED:
            raise UnusableError(f"{shown(name)} is not a dense tensor")
        return cls(element_type(meta["dtype"]), sizes, strides, _whole(meta["storage_offset"]))

    @property
    def end(self) -> int:
        """Bytes up to the end of the last number."""
        if 0 in self.sizes:
            return 0
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.sizes, self.strides, strict=True))
        return (last + 1) * self.element.itemsize

    def read(self, content: bytearray) -> torch.Tensor:
        """A copy, so that a view that repeats a number becomes plain."""
        if 0 in self.sizes:
            return torch.empty(self.sizes, dtype=self.element)
        flat = torch.frombuffer(content, dtype=self.element, count=len(content) // self.element.itemsize)
        return flat.as_strided(self.sizes, self.strides, self.offset).clone()


def _whole(size: dict[str, Any]) -> int:
    number = size["as_int"]
    if not isinstance(number, int) or not 0 <= number < 1 << 40:
        raise UnusableError(f"has a tensor with the impossible size {shown(number)}")
    return number
