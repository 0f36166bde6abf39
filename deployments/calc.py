"""``banzuke calc``: the arithmetic of two agents alone, on counts from anywhere."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from banzuke.errors import RatingError, SpecError
from deployments.options import AsJson
from deployments.streams import print_json

if TYPE_CHECKING:
    from banzuke.ratings.sprt import Hypotheses, SprtResult, StoppedEstimate
    from banzuke.ratings.two_agents import TwoAgentFigures

_MOST_DIGITS = 15

app = typer.Typer(name="calc", help="The arithmetic alone: no spec, no store, no game.", no_args_is_help=True)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SpecError(f"{text[:40]!r} is no number") from None


Wdl = Annotated[str | None, typer.Option("--wdl", metavar="W,D,L", help="Games won, drawn and lost.")]
Pentanomial = Annotated[
    str | None,
    typer.Option("--pentanomial", metavar="A,B,C,D,E", help="Pairs of games by score: LL, LD, DD+WL, WD, WW."),
]


@app.command()
def elo(*, wdl: Wdl = None, pentanomial: Pentanomial = None, as_json: AsJson = False) -> None:
    """How much stronger one of two agents is: Elo, normalised Elo, likelihood of superiority, with 95 % intervals."""
    counts = _counts(wdl, pentanomial)
    from banzuke.ratings.two_agents import compare  # noqa: PLC0415 - loads scipy; --help does not need it

    figures = compare(counts)
    if as_json:
        print_json(asdict(figures), remains="ask again")
    else:
        typer.echo("\n".join(_elo_lines(figures)))


@app.command()
def sprt(
    *,
    elo0: Annotated[
        float, typer.Option("--elo0", metavar="ELO", parser=_number, help="The difference of the null hypothesis.")
    ],
    elo1: Annotated[
        float, typer.Option("--elo1", metavar="ELO", parser=_number, help="The difference of the alternative.")
    ],
    wdl: Wdl = None,
    pentanomial: Pentanomial = None,
    alpha: Annotated[
        float, typer.Option(metavar="P", parser=_number, help="Chance of accepting elo1 when elo0 is true.")
    ] = 0.05,
    beta: Annotated[
        float, typer.Option(metavar="P", parser=_number, help="Chance of accepting elo0 when elo1 is true.")
    ] = 0.05,
    model: Annotated[
        Literal["logistic", "normalized"], typer.Option(help="Scale of elo0 and elo1: Elo, or normalised Elo.")
    ] = "logistic",
    as_json: AsJson = False,
) -> None:
    """Whether a sequential test of two hypotheses has ended, and what strength is to be read from it."""
    counts = _counts(wdl, pentanomial)
    from banzuke.ratings.sprt import Hypotheses, estimate_after_stop, test  # noqa: PLC0415 - see elo

    try:
        hypotheses = Hypotheses(elo0, elo1, alpha, beta, model)
    except RatingError as error:
        raise SpecError(str(error)) from error
    result, estimate = test(counts, hypotheses), estimate_after_stop(counts, hypotheses)
    if as_json:
        print_json(asdict(result) | {"estimate": asdict(estimate)}, remains="ask again")
    else:
        typer.echo("\n".join(_sprt_lines(hypotheses, result, estimate)))


def _counts(wdl: str | None, pentanomial: str | None) -> list[int]:
    """Ascending by score, from the one option that was given."""
    if wdl is not None and pentanomial is None:
        return _whole_numbers("--wdl", wdl, "W,D,L")[::-1]
    if pentanomial is not None and wdl is None:
        return _whole_numbers("--pentanomial", pentanomial, "LL,LD,DD+WL,WD,WW")
    raise SpecError("give the counts as --wdl W,D,L or as --pentanomial LL,LD,DD+WL,WD,WW, one of the two")


def _whole_numbers(option: str, text: str, form: str) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    if len(words) != form.count(",") + 1:
        raise SpecError(f"{option}: {form} are {form.count(',') + 1} counts, not {len(words)}")
    for word in words:
        if not (word.isascii() and word.isdecimal() and len(word) <= _MOST_DIGITS):
            raise SpecError(f"{option}: {word[:40]!r} is no count; a whole number of up to {_MOST_DIGITS} digits is")
    return [int(word) for word in words]


def _elo_lines(figures: TwoAgentFigures) -> list[str]:
    pairs = "" if figures.pairs is None else f" in {figures.pairs} pairs"
    return [
        f"{figures.games} games{pairs}, score {_shown(figures.score, 4)}",
        f"Elo   {_with_interval(figures.elo, figures.elo_low, figures.elo_high)}",
        f"nElo  {_with_interval(figures.nelo, figures.nelo_low, figures.nelo_high)}",
        f"stronger with a chance of {_percent(figures.los)}",
        *([] if figures.pairs is None else [f"pairs won by pairs lost: {_shown(figures.pairs_ratio, 3)}"]),
        *_note(figures.reason),
    ]


def _sprt_lines(hypotheses: Hypotheses, result: SprtResult, estimate: StoppedEstimate) -> list[str]:
    unit = "nElo" if hypotheses.model == "normalized" else "Elo"
    meaning = {
        "accept_h0": f"accepted is H0, {hypotheses.elo0:g} {unit}",
        "accept_h1": f"accepted is H1, {hypotheses.elo1:g} {unit}",
        "continue": "the test goes on",
    }
    bounds = f"bounds {result.lower:.3f} and {result.upper:.3f}"
    interval = _with_interval(estimate.elo, estimate.elo_low, estimate.elo_high)
    return [
        f"LLR {_shown(result.llr, 3)}, {bounds}: {meaning[result.verdict]}",
        *_note(result.reason),
        f"if the games end here: Elo {interval}, stronger with a chance of {_percent(estimate.los)}",
        *_note(estimate.reason),
    ]


def _with_interval(figure: float | None, low: float | None, high: float | None) -> str:
    return f"{_shown(figure, 2)}  (95 %: {_shown(low, 2)} to {_shown(high, 2)})"


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.2f} %"


def _shown(figure: float | None, digits: int) -> str:
    return "unknown" if figure is None else f"{figure:.{digits}f}"


def _note(reason: str | None) -> list[str]:
    return [] if reason is None else [f"note: {reason}"]
