"""The plots of the page: SVG whose text stays text, drawn wide for a screen and narrow for a phone.

Matplotlib draws them, by objects alone: there is no display, and no state that a program around us would see. The same
numbers give the same bytes.
"""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any
from unicodedata import east_asian_width

from matplotlib import rc_context, rcdefaults, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FixedLocator, FuncFormatter, Locator, LogLocator, MaxNLocator, NullFormatter, NullLocator

INK, MUTED, LINE, ACCENT, GOOD, BAD, PALE = (
    "#211e1a",
    "#5d574e",
    "#ddd6c9",
    "#1d4f7c",
    "#1f6a45",
    "#a3302a",
    "#9dbcd8",
)
"""As in ``page.css``; a drawn game is ``LINE``-like, a loss of the first mover ``PALE``."""
DRAWN = "#c9bfae"
WIDE, NARROW = 800, 340
"""Units of a drawing, which are pixels at its full size. ``page.css`` says from where on which is shown."""
TEXT = 13
"""Size of the text, in these units."""
NARROW_SPACE = "\u202f"
"""No line is broken at it."""
MOST_ROWS = 100
"""Agents in one drawing."""
_LEAST_MS = 0.1
"""Where nothing stands on a logarithmic axis. Times are kept in whole milliseconds."""
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_FAMILY = "DejaVu Sans"
_LACKING = "Glyph .* missing from"
_LONG = 30
"""Rows from which on they stand closer to each other."""
_BESIDE = 0.29
"""Part of a drawing that names may take beside its rows."""
_BETWEEN = 6
"""Room between the numbers of two ticks."""
_END = 8
"""Letters that stay of the end of a name: there is the number of a checkpoint."""
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.family": _FAMILY,  # comes with matplotlib; wider than what readers have, so that theirs fit
    "font.size": TEXT,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.unicode_minus": True,
    "grid.color": LINE,
    "grid.linewidth": 1.0,
    "xtick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.color": LINE,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 4,
    "ytick.major.size": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A plot as two pieces of SVG, of which the page shows one."""

    title: str
    """What it says, for who does not see it."""
    wide: str
    narrow: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """One row of :func:`draw_intervals`."""

    name: str
    middle: float
    low: float
    high: float


def draw_intervals(key: str, title: str, rows: Sequence[Interval], fixed: float | None, label: str) -> Drawing:
    """Points with their intervals, one below the other.

    Args:
        key: tells its parts from those of other drawings of the page.
        title: what it says.
        rows: from top to bottom.
        fixed: where a line stands that they are compared with; None for no line.
        label: of the axis.
    """

    def draw(axes: Axes) -> None:
        for place, row in enumerate(rows):
            if row.high > row.low:
                axes.plot([row.low, row.high], [place, place], color=ACCENT, linewidth=3, solid_capstyle="round")
            marker = "o" if row.high > row.low else "D"
            axes.plot([row.middle], [place], marker, color=ACCENT, markersize=8, markeredgecolor="white")
        if fixed is not None:
            axes.axvline(fixed, color=MUTED, linewidth=1, dashes=(4, 3), zorder=0)
        axes.set_xlabel(label)

    return _in_rows(key, title, [row.name for row in rows], draw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One row of :func:`draw_spans`; milliseconds."""

    name: str
    mean: float
    longest: float
    limit: float | None


def draw_spans(key: str, title: str, rows: Sequence[Span], label: str) -> Drawing:
    """From mean to longest on a logarithmic axis, with the limit where there is one; otherwise as draw_intervals."""

    def draw(axes: Axes) -> None:
        axes.set_xscale("log")
        for place, row in enumerate(rows):
            ends = [max(row.mean, _LEAST_MS), max(row.longest, _LEAST_MS)]
            axes.plot(ends, [place, place], color=PALE, linewidth=3, solid_capstyle="round")
            axes.plot(ends[:1], [place], "o", color=ACCENT, markersize=8, markeredgecolor="white")
            axes.plot(ends[1:], [place], "|", color=ACCENT, markersize=12, markeredgewidth=2)
            if row.limit is not None:
                axes.plot([row.limit], [place], "|", color=BAD, markersize=16, markeredgewidth=3)
        axes.xaxis.set_major_locator(LogLocator(numticks=5))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(
            FuncFormatter(lambda value, _: milliseconds(value) if value > _LEAST_MS else "0")
        )
        axes.set_xlabel(label)

    return _in_rows(key, title, [row.name for row in rows], draw)


def draw_curve(
    key: str, title: str, points: Sequence[tuple[float, Interval]], across: str, *, is_line: bool
) -> Drawing:
    """Points with intervals over a number.

    Args:
        key: as of :func:`draw_intervals`.
        title: likewise.
        points: with the number that each stands at, ascending.
        across: what that number is.
        is_line: whether they are one after the other, and joined.
    """

    def draw(axes: Axes) -> None:
        where = [at for at, _ in points]
        middle = [point.middle for _, point in points]
        low, high = [point.low for _, point in points], [point.high for _, point in points]
        if is_line:
            axes.fill_between(where, low, high, color=ACCENT, alpha=0.13, linewidth=0)
            axes.plot(where, middle, color=ACCENT, linewidth=2)
        axes.vlines(where, low, high, color=ACCENT, linewidth=1.5)
        axes.plot(where, middle, "o", color=ACCENT, markersize=8 if len(points) < _LONG else 5, markeredgecolor="white")
        axes.set_xlabel(across)
        axes.xaxis.set_major_locator(_places(axes, where))

    return _plain(key, title, draw, "Elo")


def _places(axes: Axes, where: Sequence[float]) -> Locator:
    """Ticks at the points themselves, or round numbers where theirs would touch each other."""
    start, end = axes.get_xlim()
    room = axes.bbox.width / (end - start)
    wide = {at: _width(f"{at:g}") for at in where}
    if all(room * (after - at) >= (wide[at] + wide[after]) / 2 + _BETWEEN for at, after in pairwise(sorted(wide))):
        return FixedLocator(sorted(wide))
    return MaxNLocator(nbins=8, integer=True)


def draw_lengths(key: str, title: str, bins: Sequence[tuple[int, int, int, int]], width: int) -> Drawing:
    """A histogram of plies; see :class:`tasks.report.how_played.Lengths`."""

    def draw(axes: Axes) -> None:
        starts = [start for start, *_ in bins]
        below = [0] * len(bins)
        for kind, colour in enumerate((ACCENT, DRAWN, PALE), start=1):
            games = [counts[kind] for counts in bins]
            axes.bar(starts, games, width=0.92 * width, bottom=below, align="edge", color=colour)
            below = [least + more for least, more in zip(below, games, strict=True)]
        axes.set_xlabel("plies")
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))

    return _plain(key, title, draw, "games")


def milliseconds(value: float) -> str:
    """A time in the unit in which it is short."""
    for unit, name in ((60_000, "min"), (1000, "s")):
        if value >= unit:
            return f"{value / unit:.3g}{NARROW_SPACE}{name}"
    return f"{round(value, 1) if value < 10 else value:.3g}{NARROW_SPACE}ms"


def _plain(key: str, title: str, draw: Callable[[Axes], None], upwards: str) -> Drawing:
    drawn = []
    for width, height in ((WIDE, 300), (NARROW, 250)):
        with _drawing(f"{key}-{width}", width, height) as (figure, finish):
            axes = figure.add_axes((52 / width, 48 / height, (width - 70) / width, (height - 78) / height))
            draw(axes)
            axes.margins(y=0.08)
            figure.text(0.0, 1.0 - 12 / height, upwards, color=MUTED, va="center")
            drawn.append(finish())
    return Drawing(title=title, wide=drawn[0], narrow=drawn[1])


def _in_rows(key: str, title: str, names: Sequence[str], draw: Callable[[Axes], None]) -> Drawing:
    return Drawing(title=title, wide=_rows(key, WIDE, names, draw), narrow=_rows(key, NARROW, names, draw))


def _rows(key: str, width: float, names: Sequence[str], draw: Callable[[Axes], None]) -> str:
    """The names stand beside their rows where there is room, and above them where there is none."""
    is_long, is_wide = len(names) > _LONG, width == WIDE
    is_beside = is_wide or all(_width(name) <= _BESIDE * width for name in names)
    shown = [_cut(name, _BESIDE * width if is_beside else width - 30) for name in names]
    left = 16.0 + (max(map(_width, shown), default=0.0) if is_beside else 0.0)
    step = (20 if is_long else 26) if is_beside else (36 if is_long else 44)
    height = step * max(1, len(names)) + 56
    with _drawing(f"{key}-{width}", width, height) as (figure, finish):
        axes = figure.add_axes((left / width, 50 / height, (width - left - 22) / width, (height - 54) / height))
        axes.grid(visible=True, axis="x")
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8 if is_wide else 4))
        axes.margins(x=0.04)
        draw(axes)
        axes.set_ylim(len(names) - 0.5, -0.5 if is_beside else -0.75)
        axes.set_yticks(range(len(names)), shown if is_beside else [])
        axes.tick_params(axis="y", labelcolor=INK)
        for place, name in enumerate([] if is_beside else shown):
            halo = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
            axes.text(0.0, place - 0.32, name, transform=axes.get_yaxis_transform(), va="center", bbox=halo)
        return finish()


def _cut(name: str, widest: float) -> str:
    """The name, without its middle where that is too wide."""
    if _width(name) <= widest:
        return name
    end = name[-_END:]
    start = name[:-_END]
    while start and _width(f"{start}…{end}") > widest:
        start = start[:-1]
    return f"{start}…{end}"


def _width(text: str) -> float:
    return sum(map(_advance, text))


@cache
def _advance(letter: str) -> float:
    """How much room a letter takes, of readers' fonts not less than of our own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_LACKING)
        width, _, _ = text_to_path.get_text_width_height_descent(
            letter, FontProperties(family=_FAMILY, size=TEXT), ismath=False
        )
    return max(float(width), TEXT if east_asian_width(letter) in "WF" else 0.0)


@contextmanager
def _drawing(key: str, width: float, height: float) -> Iterator[tuple[Figure, Callable[[], str]]]:
    """An empty figure, and what makes SVG of it."""
    with rc_context(), warnings.catch_warnings():
        # Its own font lacks what some names are written in; the reader's may have it.
        warnings.filterwarnings("ignore", message=_LACKING)
        rcdefaults()  # what a matplotlibrc in this folder says is about other figures
        rcParams.update({**_STYLE, "svg.hashsalt": key})
        # An inch of 72 points: a unit of the drawing is a point.
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)

        def finish() -> str:
            written = io.BytesIO()
            nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            figure.savefig(written, format="svg", transparent=True, metadata=nothing)
            return _inline(written.getvalue(), key, width, height)

        yield figure, finish


def _inline(svg: bytes, key: str, width: float, height: float) -> str:
    """The drawing as an element of a page: ids that are its own, the page's font, no rule for other elements."""
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    root = ET.fromstring(svg)  # noqa: S314 - ours, written a moment ago
    parents = {child: parent for parent in root.iter() for child in parent}
    used = set(re.findall(rb'(?:url\(|xlink:href=")#([\w.-]+)', svg))
    for element in list(root.iter()):
        if element.tag in {f"{{{_SVG}}}style", f"{{{_SVG}}}metadata"}:
            parents[element].remove(element)
        own = element.attrib.pop("id", None)
        if own is not None and own.encode() in used:
            element.set("id", f"{key}-{own}")
        for name, value in element.attrib.items():
            if name == f"{{{_XLINK}}}href":
                element.set(name, value.replace("#", f"#{key}-"))
            elif "url(#" in value:
                element.set(name, value.replace("url(#", f"url(#{key}-"))
        if element.tag == f"{{{_SVG}}}text":
            element.set("style", re.sub(r" ?font-family: [^;]*;?", "", element.get("style", "")))
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("viewBox", f"0 0 {width:g} {height:g}")
    root.set("aria-hidden", "true")  # the element around it has its words
    root.set("stroke-linejoin", "round")
    return re.sub(r"\n *", " ", ET.tostring(root, encoding="unicode"))
