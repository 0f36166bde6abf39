"""A sequential test as a server starts it: two agents of this machine's catalogue until the verdict.

In go two names and the hypotheses; everything else is ``run_sprt``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from flows import naming
from flows.run_sprt import run_sprt
from flows.serving import answered, patience, which_run
from flows.task_runner import threads
from tasks.beforehand import check_beforehand
from tasks.sequential import make_test
from tasks.served import take_order
from tasks.summary import Summary


# See play_tournament.
@flow(name="play-test", flow_run_name=naming.of_test, task_runner=threads(), validate_parameters=False)
def play_test(
    name: Annotated[str, Field(max_length=39)] = "test",
    agent: str = "",
    versus: str = "",
    elo0: Annotated[float, Field(ge=-10_000, le=10_000)] = 0.0,
    elo1: Annotated[float, Field(ge=-10_000, le=10_000)] = 50.0,
    alpha: Annotated[float, Field(ge=0.0001, le=0.49)] = 0.05,
    beta: Annotated[float, Field(ge=0.0001, le=0.49)] = 0.05,
    model: Literal["logistic", "normalized"] = "logistic",
    games_per_encounter: Annotated[int, Field(ge=2, le=1_000_000, multiple_of=2)] = 480,
    openings: str = "",
    rules: Literal["csa", "keisei"] = "csa",
    max_plies: Annotated[int, Field(ge=2, le=10_000)] = 320,
    seed: Annotated[int, Field(ge=0, le=2**53 - 1)] = 1,
    concurrency: Annotated[int, Field(ge=0, le=1024)] = 0,
    run_id: str = "",
) -> State[Summary]:
    """Play two agents of the catalogue until it is decided how much stronger one of them is.

    Args:
        name: What the test is called; its run id begins with it. Letters, digits, dots, underscores, hyphens.
        agent: Name of the agent in question.
        versus: Name of the agent it is compared with.
        elo0: How much stronger the agent is if it is not stronger enough.
        elo1: How much stronger it is if it is.
        alpha: Chance of accepting elo1 where elo0 is true.
        beta: Chance of accepting elo0 where elo1 is true.
        model: Whether elo0 and elo1 are Elo (logistic) or normalized Elo.
        games_per_encounter: At most so many; even, since every opening is played twice with sides swapped.
        openings: Name of an opening book of the catalogue; leave empty for the one that comes with Banzuke.
        rules: csa: those of the Computer Shogi Association; keisei: those that Keisei trains under.
        max_plies: A game is drawn after so many.
        seed: Decides openings and every random choice.
        concurrency: Worker processes at once; 0 for what the machine allows.
        run_id: Leave empty for a new run; the id of an earlier one of the same parameters goes on with it.
    """
    wish: dict[str, Any] = {
        "name": name,
        "agent": agent,
        "versus": versus,
        "games_per_encounter": games_per_encounter,
        "openings": openings,
        "rules": rules,
        "max_plies": max_plies,
        "seed": seed,
        "concurrency": concurrency,
        "run_id": run_id,
    }

    hypotheses: dict[str, Any] = {"elo0": elo0, "elo1": elo1, "alpha": alpha, "beta": beta, "model": model}

    def play() -> State[Summary]:
        chosen, again = which_run(name, run_id)
        order = take_order(chosen, wish, again=again)
        test = make_test(order.spec, hypotheses)
        check_beforehand(order.spec, order.store, chosen, test, patience=patience())
        return run_sprt.fn(order.spec_json, order.store, chosen, **hypotheses, served=order.wish)

    return answered(play)
