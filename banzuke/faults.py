"""Faults in words: one printable line each, however large, deep or hostile what was given is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, takewhile
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

MOST_FAULTS_SHOWN = 20
MOST_HINTS_AMONG = 200
"""Words among which a near one is looked for; that takes time for each. Also the longest word that has near ones."""
SAME_ENDS = 50
"""So many with the same beginning, and so many with the same end, are compared where there are more."""
NAME_RULE = "is no name: 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit, without '--'"


def describe(
    faults: Iterable[ErrorDetails], model: type[BaseModel], where: str, also_known: Iterable[str] = ()
) -> Iterator[str]:
    """A line for each fault that pydantic found.

    Args:
        faults: as :func:`distinct` gives them.
        model: what was validated; its fields are what an unknown key is compared with.
        where: the place, before the key; empty where the key says it all.
        also_known: keys that stand beside those of the model and are validated elsewhere.
    """
    known = [*also_known, *visible_keys(model)]
    for fault in faults:
        loc = fault["loc"]
        is_name = loc[-1:] in {("name",), ("run_id",), ("[key]",)}
        place = ".".join(as_word(part) for part in loc if part != "[key]")
        prefix = f"{where}: {place}" if where and place else where or place
        if fault["type"] == "extra_forbidden":
            fields = _fields_of(model, loc[0]) if len(loc) > 1 else known
            yield f"{where + ': ' if where else ''}{unknown('.'.join(map(str, loc)), fields, 'key')}"
        elif loc[:1] == ("options",) and len(loc) > 1:
            yield (
                f"{where}: options.{as_word(loc[1])}: {shown(fault['input'])} is no value of an option: "
                "true or false, a number (finite, at most 64 bits), or text (without NUL)"
            )
        elif fault["type"] == "missing":
            yield f"{prefix}: is missing"
        elif fault["type"] == "string_pattern_mismatch" and is_name:
            yield f"{prefix}: {shown_name(fault['input'])} {NAME_RULE}"
        elif fault["type"] == "string_pattern_mismatch" and "\0" in str(fault["input"]):
            yield f"{prefix}: {shown(fault['input'])} holds a NUL, which ends a text for other programs"
        else:
            message = fault["msg"][:1].lower() + fault["msg"][1:]
            yield f"{prefix}: {message}, not {shown(fault['input'])}"


def distinct(error: ValidationError) -> list[ErrorDetails]:
    """The faults of a section; an option's value, which may be of several kinds, is at fault once, not once a kind."""
    found: dict[tuple[int | str, ...], ErrorDetails] = {}
    for fault in error.errors(include_url=False):
        loc = fault["loc"]
        found.setdefault(loc[:2] if loc[:1] == ("options",) else loc, fault)
    return list(found.values())


def visible_keys(model: type[BaseModel]) -> list[str]:
    """The keys that a person may write; the directory is filled in by the loader."""
    return [name for name in model.model_fields if name != "directory"]


def _fields_of(model: type[BaseModel], key: int | str) -> Iterable[str]:
    inner: Any = model.model_fields[str(key)].annotation if key in model.model_fields else None
    return inner.model_fields if isinstance(inner, type) and issubclass(inner, BaseModel) else ()


def unknown(word: str, known: Iterable[str], noun: str) -> str:
    """What is said of a word that nothing is called by, with the nearest one that something is."""
    options = sorted(set(known))
    if len(options) > MOST_HINTS_AMONG or len(word) > MOST_HINTS_AMONG:
        return f"unknown {noun} {shown(word)}"
    close = near(word.rpartition(".")[2], options, most=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(options)}" if options else "there is none"
    return f"unknown {noun} {shown(word)}; {clipped(hint, 400)}"


def hint(word: str, known: Iterable[str]) -> str:
    """The names that were perhaps meant; where there are none, those that there are."""
    names = list(known)
    close = near(word, names, most=3)
    if close:
        return f"near: {some(sorted(close))}"
    return f"known: {some(names)}" if names else "there is none"


def some(names: Sequence[str], room: int = 130) -> str:
    """The first names, as many as there is room for in a line, and how many more there are."""
    ends = accumulate(len(name) + 2 for name in names)
    count = max(1, sum(1 for _ in takewhile(lambda end: end <= room, ends)))
    more = len(names) - count
    return ", ".join(names[:count]) + (f" and {more:,} more" if more > 0 else "")


def near(word: str, known: Iterable[str], *, most: int) -> list[str]:
    """The words most like this one, the nearest first, whatever their capitals.

    Of many words only those with the same ends are compared.
    """
    if len(word) > MOST_HINTS_AMONG:
        return []
    wanted = word.lower()
    options = {option.lower(): option for option in known}
    candidates = list(options) if len(options) <= MOST_HINTS_AMONG else _with_the_same_ends(wanted, options)
    return [options[option] for option in difflib.get_close_matches(wanted, candidates, n=most, cutoff=0.5)]


def _with_the_same_ends(word: str, options: Iterable[str]) -> list[str]:
    """Those with the longest common beginning, and those with the longest common end."""
    lengths = range(len(word), 0, -1)
    beginnings = (option for length in lengths for option in options if option.startswith(word[:length]))
    ends = (option for length in lengths for option in options if option.endswith(word[-length:]))
    return list(dict.fromkeys([*_first_different(beginnings), *_first_different(ends)]))


def _first_different(options: Iterable[str]) -> Iterable[str]:
    found: dict[str, None] = {}
    for option in options:
        found[option] = None
        if len(found) == SAME_ENDS:
            break
    return found


def as_word(part: str | int) -> str:
    """A key as it may stand in a line: hostile ones are quoted and cut."""
    text = str(part)
    return text if len(text) <= 80 and text.isprintable() else shown(text)


def shown(value: object, length: int = 80) -> str:
    """A value as it may stand in a line: quoted, without control characters, cut."""
    try:
        return clipped(repr(value[: length + 1] if isinstance(value, str | bytes) else value), length)
    except ValueError:  # written in hexadecimal, a number may have more digits than Python will write in decimal
        return f"a number of {value.bit_length():,} bits" if isinstance(value, int) else "what was given"
    except RecursionError:
        return "what is nested too deeply to be shown"


def shown_name(word: str) -> str:
    """What was given for a name. Names are ASCII: a letter that only looks like one of theirs is a number here."""
    return clipped(ascii(word[:81]))


def clipped(text: str, length: int = 80) -> str:
    """The text, or its beginning."""
    return text if len(text) <= length else text[: length - 3] + "..."


def one_line(text: str) -> str:
    """The text without line breaks."""
    return " ".join(text.split())
