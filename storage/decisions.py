"""What a sequential test keeps beside the games: its verdict, and the pairs it passes over.

The verdict could be found again from the games, the pairs passed over could not: a game that was void when its pair was
passed over may have a result today. So the latter are kept before the test goes on, and the former never overwrites
another.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from banzuke.errors import CorruptPartError
from storage.layout import decision_document, skipped_document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from storage.atomic import Files

_KINDS = {
    "decided_at": str,
    "decided_at_pair": int,
    "verdict": str,
    "llr": float,
    "lower": float,
    "upper": float,
    "pairs": int,
    "counts": list,
    "skipped": list,
}

_VERDICTS = ("accept_h0", "accept_h1")
_KINDS_OF_PAIRS = 5
_MOST_PAIRS = 2**31
"""More than any plan has."""


def write_decision(files: Files, run_id: str, document: Mapping[str, Any], *, replace: bool) -> None:
    """Keep a verdict, whole and durable.

    Raises:
        GameAlreadyRecordedError: there is one, and ``replace`` is not asked for.
        StorageError: it cannot be written.
    """
    files.publish(decision_document(run_id), _payload({"run_id": run_id, **document}), replace=replace)


def read_decision(files: Files, run_id: str) -> dict[str, Any] | None:
    """The verdict that was kept; None where there is none.

    Raises:
        CorruptPartError: the file holds none; deleted, it is made anew from the games.
    """
    name = decision_document(run_id)
    try:
        return _checked_decision(_read(files, name, run_id, _KINDS))
    except FileNotFoundError:
        return None
    except CorruptPartError as error:
        raise CorruptPartError(
            f"{files.place(name)}: {error}; delete it and go on with the test: the games say the same again"
        ) from error


def write_skipped(files: Files, run_id: str, pairs: Sequence[int]) -> None:
    """Keep the numbers of all pairs that are passed over, in place of those kept before.

    Raises:
        StorageError: they cannot be written.
    """
    document = {"run_id": run_id, "skipped": sorted(map(int, pairs))}
    files.publish(skipped_document(run_id), _payload(document), replace=True)


def read_skipped(files: Files, run_id: str) -> tuple[int, ...]:
    """The numbers of the pairs that are passed over; none where nothing was kept.

    Raises:
        CorruptPartError: the file holds none.
    """
    name = skipped_document(run_id)
    try:
        pairs = _pairs(_read(files, name, run_id, {"skipped": list})["skipped"])
    except FileNotFoundError:
        return ()
    except CorruptPartError as error:
        raise CorruptPartError(f"{files.place(name)}: {error}; restore it from a copy") from error
    return pairs


def _checked_decision(document: dict[str, Any]) -> dict[str, Any]:
    """Whether a test could have ended so. Whoever doctors it consistently is found out by the games."""
    if document["verdict"] not in _VERDICTS:
        raise CorruptPartError("its 'verdict' is none")
    if not 0 <= document["decided_at_pair"] < _MOST_PAIRS:
        raise CorruptPartError("its 'decided_at_pair' is the number of no pair")
    if not all(math.isfinite(document[key]) for key in ("llr", "lower", "upper")):
        raise CorruptPartError("its figures are not finite")
    _pairs(document["skipped"])
    _check_counts(document)
    final = document.get("final")
    if final is not None:
        if not isinstance(final, dict) or not isinstance(final.get("llr"), float | None):
            raise CorruptPartError("its 'final' is no count of all games")
        _check_counts(final)
    return document


def _check_counts(holder: Mapping[str, Any]) -> None:
    """Five kinds of pairs, and how many there are of all."""
    counts = holder.get("counts")
    if not isinstance(counts, list) or len(counts) != _KINDS_OF_PAIRS:
        raise CorruptPartError("its 'counts' are not five")
    if not all(type(count) is int and 0 <= count < _MOST_PAIRS for count in counts) or sum(counts) != holder.get(
        "pairs"
    ):
        raise CorruptPartError("its 'counts' do not add up to its 'pairs'")


def _pairs(numbers: list[Any]) -> tuple[int, ...]:
    if not all(type(number) is int and 0 <= number < _MOST_PAIRS for number in numbers):
        raise CorruptPartError("what is skipped is no list of pairs")
    if len(set(numbers)) != len(numbers):
        raise CorruptPartError("what is skipped names a pair twice")
    return tuple(numbers)


def _payload(document: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(document), indent=2, allow_nan=False).encode() + b"\n"


def _read(files: Files, name: str, run_id: str, kinds: Mapping[str, type]) -> dict[str, Any]:
    try:
        document = json.loads(files.read(name))
    except (ValueError, RecursionError) as error:
        raise CorruptPartError(f"no JSON: {error}") from error
    if not isinstance(document, dict) or document.get("run_id") != run_id:
        raise CorruptPartError(f"no document of run {run_id}")
    for key, kind in kinds.items():
        if type(document.get(key)) is not kind:
            raise CorruptPartError(f"its {key!r} is no {kind.__name__}")
    return document
