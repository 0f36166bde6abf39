"""The ``banzuke`` command. Says what went wrong in one line, and never shows a traceback for what a person can mend."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from banzuke import __version__
from banzuke.errors import (
    BanzukeError,
    NoServerError,
    NoSuchRunError,
    NotDeployedError,
    RefusedError,
    RunBusyError,
    RunChangedError,
    SpecError,
    StorageError,
    UnknownRunError,
)
from banzuke.specs import LimitsSpec, Spec, load_spec
from deployments.calc import app as calc_app
from deployments.control import app as control_app
from deployments.damage import damage_named, one_line
from deployments.hosting import app as hosting_app
from deployments.notation import app as notation_app
from deployments.open_files import raise_open_files_limit
from deployments.options import DEFAULT_STORE, AsJson, Store
from deployments.reporting import app as reporting_app
from deployments.streams import last_line, make_streams_safe, print_json
from deployments.watch import app as watch_app
from flows.stopping import StoppedError, stopping_signals

if TYPE_CHECKING:
    from storage.game_store import GameStore
    from tasks.summary import Summary

OK, FAULT_OF_OURS, BAD_SPEC, DEGRADED = 0, 1, 2, 3
END_SECONDS = 10.0
"""For libraries to put away what they have, events on their way to a server say."""
MENDED_BY_WHO_ASKS = (
    SpecError,
    RunBusyError,
    RunChangedError,
    UnknownRunError,
    NoServerError,
    NotDeployedError,
    NoSuchRunError,
    RefusedError,
)

app = typer.Typer(
    name="banzuke",
    help="Rated tournaments for game-playing agents: every game kept, every rating with its error bar.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(calc_app)
app.add_typer(hosting_app)
app.add_typer(control_app)
app.add_typer(notation_app)
app.add_typer(reporting_app)
app.add_typer(watch_app)

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the logs of Prefect and of the tasks.")]
SpecFile = Annotated[Path, typer.Argument(metavar="SPEC", help="The tournament, a TOML file.")]
ChosenRules = Annotated[
    Literal["csa", "keisei"] | None,
    typer.Option("--rules", help="Which rules, instead of those that the spec says."),
]
COMPLETE = "stopped, but everything was complete by then: nothing is left to be played"
MOST_FAULTS_SHOWN = 25
HIGHEST_ANCHOR = 100_000.0


@app.command()
def run(
    spec: SpecFile,
    *,
    store: Store = DEFAULT_STORE,
    run_id: Annotated[
        str | None,
        typer.Option("--run-id", metavar="ID", help="Name of the run; an earlier one is gone on with."),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", min=1, max=1024, help="Worker processes at once.")
    ] = None,
    rules: ChosenRules = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Play a tournament: evaluate the agents, play every game, rate, publish.

    Exit code 0 if every agent was fit and every game counts, 3 if not; 2 if the spec is at fault.
    """
    from deployments.running import run_tournament  # noqa: PLC0415 - loads Parquet; --help does not need it

    loaded = _with_rules(_with_concurrency(load_spec(spec), concurrency), rules)
    started = time.monotonic()
    chosen = run_id or _new_run_id(loaded.name)
    _opened(store)
    given = _rules_given(rules)
    again = _going_on(f"banzuke run {shlex.quote(str(spec))} --store {shlex.quote(store)} --run-id {chosen}{given}")
    ended = run_tournament(loaded, store, chosen, live=not as_json, verbose=verbose, again=again)
    _is_over(complete=ended.result.has_ended)
    _report([ended.result], store, as_json=as_json, seconds=time.monotonic() - started)
    _leave(complete=ended.result.has_ended, stopped_by=ended.stopped_by, again=again)


@app.command()
def sprt(
    spec: SpecFile,
    *,
    elo0: Annotated[float | None, typer.Option(help="How much stronger it is if not enough. Default: 0.")] = None,
    elo1: Annotated[float | None, typer.Option(help="How much stronger it is if enough. Default: 50.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Chance of accepting elo1 in error. Default: 0.05.")] = None,
    beta: Annotated[float | None, typer.Option(help="Chance of accepting elo0 in error. Default: 0.05.")] = None,
    model: Annotated[
        Literal["logistic", "normalized"] | None,
        typer.Option(help="Whether they are Elo or normalized Elo. Default: logistic."),
    ] = None,
    store: Store = DEFAULT_STORE,
    run_id: Annotated[
        str | None, typer.Option("--run-id", metavar="ID", help="Name of the run; an earlier one is gone on with.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", min=1, max=1024, help="Worker processes at once.")
    ] = None,
    rules: ChosenRules = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Play two agents until it is decided how much stronger one is: a sequential test, at most to the planned games.

    Exit code 0 with a verdict, or where every planned game counts without one; 3 if games are void or missing.
    """
    from deployments.running import run_test  # noqa: PLC0415 - see run
    from tasks.sequential import hypotheses_of  # noqa: PLC0415 - see run

    loaded = _with_rules(_with_concurrency(load_spec(spec), concurrency), rules)
    started = time.monotonic()
    chosen = run_id or _new_run_id(loaded.name)
    given = {"elo0": elo0, "elo1": elo1, "alpha": alpha, "beta": beta, "model": model}
    hypotheses = hypotheses_of(_opened(store), chosen, given)
    again = _going_on(
        f"banzuke sprt {shlex.quote(str(spec))} --store {shlex.quote(store)} --run-id {chosen}{_rules_given(rules)}"
        + "".join(f" --{name} {value}" for name, value in given.items() if value is not None)
    )
    ended = run_test(loaded, store, chosen, hypotheses, live=not as_json, verbose=verbose, again=again)
    _is_over(complete=ended.result.has_ended)
    _report([ended.result], store, as_json=as_json, seconds=time.monotonic() - started)
    _leave(complete=ended.result.has_ended, stopped_by=ended.stopped_by, again=again)


@app.command()
def evaluate(
    spec: SpecFile,
    *,
    store: Store = DEFAULT_STORE,
    rules: ChosenRules = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Probe and score the agents of a spec, without playing a game."""
    from deployments.printing import print_evaluation  # noqa: PLC0415 - see run
    from deployments.running import run_evaluation  # noqa: PLC0415 - see run

    loaded = _with_rules(load_spec(spec), rules)
    evaluation_id = _new_run_id(loaded.name)
    _opened(store)
    given = _rules_given(rules)
    again = _going_on(f"banzuke evaluate {shlex.quote(str(spec))} --store {shlex.quote(store)}{given}")
    ended = run_evaluation(loaded, store, evaluation_id, live=not as_json, verbose=verbose, again=again)
    found = ended.result
    if as_json:
        print_json({"evaluation_id": evaluation_id, "store": store, "agents": found})
    else:
        print_evaluation(found)
    _leave(complete=all(agent["fit"] for agent in found), stopped_by=ended.stopped_by, again=again)


@app.command()
def standings(
    *,
    store: Store = DEFAULT_STORE,
    run_ids: Annotated[
        list[str] | None,
        typer.Option("--run", metavar="ID", help="Which run, or a pattern ('night-*'); repeat for several."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All runs of the store, rated together.")] = False,
    since: Annotated[
        str | None, typer.Option("--since", metavar="AGE", help="Only runs begun within 90m, 12h, 7d; all of them.")
    ] = None,
    rules: Annotated[
        Literal["csa", "keisei"] | None,
        typer.Option("--rules", help="Of the runs chosen, only those under these rules."),
    ] = None,
    agents: Annotated[
        list[str] | None,
        typer.Option(
            "--agent",
            metavar="PATTERN",
            help="Show only these agents ('epoch-*'); repeat for several. All agents are rated together all the same.",
        ),
    ] = None,
    anchor: Annotated[
        str | None,
        typer.Option("--anchor", metavar="NAME", help="Whose rating is fixed (at 0), instead of the run's anchor."),
    ] = None,
    anchor_elo: Annotated[
        float | None, typer.Option("--anchor-elo", metavar="ELO", help="At what rating the anchor is fixed.")
    ] = None,
    count_faults: Annotated[
        bool, typer.Option("--count-faults", help="A game still void counts as a loss of the side at fault.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Rate the stored games of one or several runs (default: the newest run; --all: every run, on one scale)."""
    from deployments.printing import print_standings, standings_json  # noqa: PLC0415 - see run
    from tasks.rating import publish, rate_runs  # noqa: PLC0415 - see run
    from tasks.selection import matching_agents, select_runs  # noqa: PLC0415 - see run
    from tasks.summary import incomplete  # noqa: PLC0415 - see run

    if anchor_elo is not None and not abs(anchor_elo) <= HIGHEST_ANCHOR:
        raise SpecError(f"--anchor-elo: {anchor_elo:g} is no rating; those are within ±{HIGHEST_ANCHOR:,.0f}")
    games = _opened(store)
    begun = None if since is None else datetime.now(UTC) - _age(since)
    selected = select_runs(games, named=run_ids or (), everything=everything, since=begun, rules=rules)
    for line in selected.left_out:
        _say(line)
    chosen = selected.run_ids
    with damage_named(chosen):
        rated = rate_runs(games, chosen, count_faults=count_faults, anchor=anchor, anchor_elo=anchor_elo)
    shown = rated if not agents else rated.only(matching_agents(rated, agents))
    if len(chosen) == 1 and not count_faults and anchor is None and anchor_elo is None:
        try:
            publish(games, chosen[0], rated.standings)
        except StorageError as error:
            _say(f"note: not published: {error}")
    if as_json:
        print_json(standings_json(shown, chosen))
    else:
        print_standings(shown, chosen, incomplete(games, chosen))
    raise typer.Exit(OK if any(row.games for row in rated.standings.rows) else DEGRADED)


@app.command()
def backfill(
    *,
    store: Store = DEFAULT_STORE,
    run_ids: Annotated[
        list[str] | None,
        typer.Option("--run", metavar="ID", help="Which run; repeat for several. Default: all."),
    ] = None,
    cause: Annotated[
        str,
        typer.Option("--cause", metavar="WORD,…", help="Only games void for these reasons, or 'missing'."),
    ] = "",
    since: Annotated[
        str | None, typer.Option("--since", metavar="AGE", help="Only runs begun within 90m, 12h, 7d.")
    ] = None,
    parallel: Annotated[
        int | None, typer.Option("--parallel", min=1, max=1024, help="Worker processes at once.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be played, and play nothing.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Play the void and missing games of earlier runs, and publish their standings."""
    from deployments.running import run_backfill  # noqa: PLC0415 - see run
    from tasks.backfill import choose_runs, obstacles, parse_causes, void_and_missing  # noqa: PLC0415 - see run

    causes = parse_causes(cause)
    chosen = choose_runs(_opened(store), run_ids or [], None if since is None else datetime.now(UTC) - _age(since))
    found = void_and_missing(store, chosen, causes, mending=not dry_run)
    if found.left_out and run_ids:
        raise next(iter(found.left_out.values()))
    for error in found.left_out.values():
        _say(f"left out: {error}")
    for line in found.set_aside:
        _say(line)
    wanted = found.games
    todo = {run_id: games for run_id, games in wanted.items() if games}
    if dry_run:
        for line in obstacles(store, todo):
            _say(line)
        _print_dry_run(todo, store, as_json=as_json)
        raise typer.Exit(OK)
    started = time.monotonic()
    if not todo:
        _report_nothing_to_play(list(wanted), store, causes, as_json=as_json)
    options = [("run", run_id) for run_id in run_ids or []] + [
        ("cause", cause),
        ("since", since),
        ("parallel", parallel),
    ]
    given = "".join(f" --{name} {shlex.quote(str(value))}" for name, value in options if value)
    again = _going_on(f"banzuke backfill --store {shlex.quote(store)}{given}")
    expected = sum(map(len, todo.values()))
    ended = run_backfill(store, list(todo), causes, parallel, expected, live=not as_json, verbose=verbose, again=again)
    complete = len(ended.result) == len(todo) and all(summary.is_complete for summary in ended.result)
    _is_over(complete=complete)
    if ended.result or as_json:
        _report(ended.result, store, as_json=as_json, seconds=time.monotonic() - started)
    _leave(complete=complete, stopped_by=ended.stopped_by, again=again)


def _print_dry_run(todo: Mapping[str, Mapping[str, str]], store: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"store": store, "games": {run_id: sorted(games) for run_id, games in todo.items()}})
        return
    for run_id, games in todo.items():
        for game_id, cause in sorted(games.items()):
            typer.echo(f"{game_id} {cause}")
        counts = ", ".join(f"{count} {cause}" for cause, count in Counter(games.values()).most_common())
        typer.echo(f"{run_id}: {len(games)} games ({counts})")
    typer.echo(f"{sum(map(len, todo.values()))} games of {len(todo)} runs would be played")


def _report_nothing_to_play(run_ids: Sequence[str], store: str, causes: Sequence[str], *, as_json: bool) -> NoReturn:
    from storage.game_store import GameStore  # noqa: PLC0415 - see run
    from tasks.summary import summarise  # noqa: PLC0415 - see run

    summaries = [summarise(GameStore(store), run_id) for run_id in run_ids]
    if as_json:
        _report(summaries, store, as_json=True, seconds=0.0)
    else:
        of_cause = f" of cause {', '.join(causes)}" if causes else ""
        others = sum(summary.outstanding for summary in summaries)
        rest = f"; {others} of other causes are left" if others else ""
        typer.echo(f"nothing to play: no void or missing game{of_cause} in {len(run_ids)} runs of {store}{rest}")
    raise typer.Exit(OK if summaries and all(summary.is_complete for summary in summaries) else DEGRADED)


@app.command()
def runs(*, store: Store = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """List the runs in a store, newest first."""
    from deployments.printing import print_runs  # noqa: PLC0415 - see run
    from tasks.summary import describe_runs  # noqa: PLC0415 - see run

    found = describe_runs(_opened(store))
    if as_json:
        print_json({"store": store, "runs": found})
    else:
        print_runs(found, store)


@app.command()
def show(
    run_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Which run. Default: the newest.")] = None,
    *,
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Show one run: what was planned, what counts, what went wrong, and the standings."""
    from deployments.printing import print_run, summary_json  # noqa: PLC0415 - see run
    from tasks.rating import rate_runs, rows_of  # noqa: PLC0415 - see run
    from tasks.selection import select_runs  # noqa: PLC0415 - see run
    from tasks.summary import health, summarise  # noqa: PLC0415 - see run

    games = _opened(store)
    chosen = run_id or select_runs(games).run_ids[0]
    with damage_named([chosen]):
        summary = summarise(games, chosen)
        # Of the games as they are now: those that were published may be older.
        rated = rate_runs(games, [chosen]).standings
        summary = replace(summary, standings=tuple(rows_of(chosen, rated)))
        condition = health(games, summary, rated.warnings)
        if as_json:
            print_json(summary_json(summary, store) | {"health": condition})
        else:
            print_run(summary, condition, games.read_run(chosen))


def _version(value: bool) -> None:
    if value:
        typer.echo(f"banzuke {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version_asked: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options of the command itself."""


def _opened(store: str) -> GameStore:
    """The store, without what commands that were killed have left in it."""
    from storage.game_store import GameStore  # noqa: PLC0415 - see run

    games = GameStore(store)
    games.sweep()
    return games


def _with_concurrency(spec: Spec, concurrency: int | None) -> Spec:
    if concurrency is None:
        return spec
    limits = LimitsSpec(**{**spec.limits.model_dump(), "concurrency": concurrency})
    return spec.model_copy(update={"limits": limits})


def _with_rules(spec: Spec, rules: Literal["csa", "keisei"] | None) -> Spec:
    if rules is None:
        return spec
    return spec.model_copy(update={"tournament": spec.tournament.model_copy(update={"rules": rules})})


def _rules_given(rules: str | None) -> str:
    return "" if rules is None else f" --rules {rules}"


def _new_run_id(name: str) -> str:
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return f"{name[: 64 - len(stamp) - 1].rstrip('-')}-{stamp}"


def _age(text: str) -> timedelta:
    units = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
    if len(text) < 2 or not text[:-1].isdecimal() or text[-1] not in units or len(text) > 7:
        raise SpecError(f"--since: {text!r} is no age; write 90m, 12h, 7d or 2w")
    return timedelta(**{units[text[-1]]: int(text[:-1])})


def _report(summaries: Sequence[Summary], store: str, *, as_json: bool, seconds: float) -> None:
    from deployments.printing import merged_json, print_summary  # noqa: PLC0415 - see run

    if as_json:
        print_json(merged_json(summaries, store, seconds=seconds))
    else:
        for summary in summaries:
            print_summary(summary, store, seconds=seconds)


def _going_on(again: str) -> str:
    last_line[0] = f"stopped; everything finished is kept. Go on with: {again}"
    return again


def _is_over(*, complete: bool) -> None:
    if complete:
        last_line[0] = COMPLETE


def _leave(*, complete: bool, stopped_by: int | None, again: str) -> NoReturn:
    """End with the exit code of the contract; the last line of a stopped command says how to go on."""
    if stopped_by is not None:
        _say(COMPLETE if complete else f"stopped; everything finished is kept. Go on with: {again}")
        raise typer.Exit(128 + stopped_by)
    raise typer.Exit(OK if complete else DEGRADED)


def _say(line: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(line + "\n")


class _Ended(SystemExit):
    """No error, so that nothing that survives errors survives it."""


def _end_at_once(number: int, _frame: FrameType | None) -> NoReturn:
    """While no game is being played there is nothing to finish; blocks that opened something still close it."""
    raise _Ended(128 + number)


def main() -> NoReturn:
    """Entry point of the ``banzuke`` command."""
    make_streams_safe()
    for number in stopping_signals():
        signal.signal(number, _end_at_once)
    try:
        raise_open_files_limit()
        app()
    except MENDED_BY_WHO_ASKS as error:
        _say(_clipped(str(error)))
        sys.exit(BAD_SPEC)
    except StoppedError as error:
        _say(last_line[0])
        sys.exit(128 + error.number)
    except _Ended:
        _say(last_line[0])
        raise
    except BanzukeError as error:
        _say(f"banzuke: {error}")
        sys.exit(FAULT_OF_OURS)
    except Exception as error:
        if os.environ.get("BANZUKE_TRACEBACK"):
            raise
        _say(f"banzuke: a fault of ours: {one_line(error)} (BANZUKE_TRACEBACK=1 shows where)")
        sys.exit(FAULT_OF_OURS)
    finally:
        _end_in_time()
    sys.exit(OK)


def _end_in_time() -> None:
    """A thread that some library left running, or waits for when the process ends, keeps nobody waiting for long."""
    # A reader may take all the time there is.
    sys.stdout.flush()
    error = sys.exc_info()[1]
    ended = error.code or OK if isinstance(error, SystemExit) else OK if error is None else FAULT_OF_OURS
    timer = threading.Timer(END_SECONDS, os._exit, (ended if isinstance(ended, int) else FAULT_OF_OURS,))
    timer.daemon = True
    timer.start()


def _clipped(faults: str) -> str:
    lines = faults.splitlines()
    more = len(lines) - MOST_FAULTS_SHOWN
    return faults if more <= 0 else "\n".join([*lines[:MOST_FAULTS_SHOWN], f"… and {more} more"])


if __name__ == "__main__":
    main()
