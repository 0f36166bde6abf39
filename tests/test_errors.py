"""The tree of errors: drawn as it is, and able to travel between processes."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from banzuke import errors
from banzuke.errors import BanzukeError, SpecError, WorkerTimeoutError

CLASSES = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, BaseException)
]  # in the order of their names


def drawn_tree() -> dict[str, str | None]:
    """Every name in the module's drawing, with the name it hangs from."""
    parents: dict[str, str | None] = {}
    line_of_descent: list[tuple[int, str]] = []
    for line in inspect.getdoc(errors).splitlines():  # type: ignore[union-attr]
        found = re.match(r"(?P<branch>[│├└─ ]*)(?P<name>[A-Z]\w*Error)\b", line)
        if found is None:
            continue
        depth = len(found["branch"])
        while line_of_descent and line_of_descent[-1][0] >= depth:
            line_of_descent.pop()
        parents[found["name"]] = line_of_descent[-1][1] if line_of_descent else None
        line_of_descent.append((depth, found["name"]))
    return parents


def test_the_tree_is_drawn_as_it_is() -> None:
    """The drawing names every class once and hangs it from its first base."""
    actual = {kind.__name__: None if kind is BanzukeError else kind.__bases__[0].__name__ for kind in CLASSES}

    assert actual == drawn_tree()


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("arguments", [(), ("one line",), ("one line", "another, with ümlauts")])
def test_errors_survive_pickling(kind: type[BanzukeError], arguments: tuple[str, ...]) -> None:
    """Class, arguments and text are the same on the other side."""
    error = kind(*arguments)

    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - made on the line before

    assert (kind, arguments, str(error)) == (type(copy), copy.args, str(copy))


def test_a_spec_error_speaks_a_line_for_each_fault() -> None:
    """The faults stay apart and in their order."""
    error = SpecError("a: is wrong", "b: is missing")

    assert ("a: is wrong", "b: is missing") == error.faults
    assert "a: is wrong\nb: is missing" == str(error)


def test_a_workers_timeout_is_a_timeout() -> None:
    """Who knows only Python's own errors catches it as one."""
    assert issubclass(WorkerTimeoutError, TimeoutError)
