# %% [markdown]
# # Five questions to a store
#
# Open this file as a notebook (VS Code and Jupyter with jupytext know the format), or run it:
#
#     python examples/five_questions.py demo-store
#
# The tables are those of docs/datasets.md. A game with a result is a row of `results`; `seats` has it twice, once from
# the point of view of each agent; `pairs` has the two games that share an opening, sides swapped.

# %%
import os
import sys

import cshogi
import pandas as pd
from scipy import stats

from banzuke.errors import BanzukeError
from storage.queries import connect

STORE = sys.argv[1] if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else os.environ.get("STORE", "demo-store")
DAYS = int(os.environ.get("DAYS", "7"))
ENOUGH = 10
"""Fewer pairs or games say nothing that is worth a sentence."""

pd.set_option("display.width", 160, "display.max_columns", 20, "display.precision", 3)
try:
    db = connect(STORE)
except BanzukeError as error:
    sys.exit(str(error))
print(db.sql("select run_id, count(*) as games, min(started_at) as begun from results group by all order by begun"))

# %% [markdown]
# ## 1. Does this checkpoint do worse as second mover?
#
# In each pair an agent has every opening once from either side, so the opening cancels out: what is left is the score
# as second mover less the score as first mover, from -1 to 1. The interval is that of a mean, over pairs.

# %%
sides = db.sql("""
    with swapped as (
        select agent_id, agent, run_id, pair_no, sum(case side when 'second' then score else -score end) as change
        from seats group by all having count(*) = 2
    )
    select max(agent) as agent, count(*) as pairs, avg(change) as change, stddev_samp(change) as deviation
    from swapped join (select distinct agent_id, kind from agents) using (agent_id)
    where kind = 'checkpoint' group by agent_id order by agent
""").df()
half = stats.t.ppf(0.975, (sides.pairs - 1).clip(lower=1)) * sides.deviation / sides.pairs**0.5
sides["low"], sides["high"] = sides.change - half, sides.change + half
sides["answer"] = "no difference seen"
sides.loc[sides.high < 0, "answer"] = "worse as second mover"
sides.loc[sides.low > 0, "answer"] = "better as second mover"
sides.loc[(sides.pairs < ENOUGH) | ~(sides.deviation > 0), "answer"] = "too few pairs that differ"
print("\n1. Does a checkpoint do worse as second mover?\n")
print(sides.drop(columns="deviation").to_string(index=False) if len(sides) else "There is no checkpoint in this store.")

# %% [markdown]
# ## 2. Which openings decide?
#
# An opening decides a pair when the same side of the board wins both games, whoever sits there. Two games between
# equals do that by chance, too, half of the time if there are no draws; so an opening is named only where the first
# mover's score is away from one half by more than chance allows, with as many tests as there are openings (Bonferroni).

# %%
openings = db.sql("""
    select opening_id, sum(games)::int as games, sum(pairs)::int as pairs, sum(one_sided)::int as one_sided,
        sum(draws)::int as draws, sum(first_score * games) / sum(games) as score_of_first
    from openings group by opening_id
""").df()
won = (openings.score_of_first * openings.games - openings.draws / 2).round().astype(int)
decided = openings.games - openings.draws
openings["p"] = [stats.binomtest(k, n).pvalue if n else 1.0 for k, n in zip(won, decided, strict=True)]
openings = openings.sort_values(["p", "games", "opening_id"], ascending=[True, False, True])
deciding = openings[openings.p * len(openings) < 0.05]
print("\n2. Which openings decide?\n")
print(openings.head(8).to_string(index=False))
print(
    f"Of {len(openings)} openings {len(deciding)} decide: {', '.join(deciding.opening_id)}"
    if len(deciding)
    else f"None of {len(openings)} openings favours a side by more than chance."
)

# %% [markdown]
# ## 3. How long until the first repetition?
#
# The ply at which a position (board, hands and side to move) is there for the second time. For this games are replayed,
# some thousand per second; of a large store choose runs, or a sample: `db.sql("from results using sample 10000")`.


# %%
def first_repetition(start_position: str, moves: list[str]) -> int | None:
    """The first ply after which a position has been there before; None for no such ply."""
    board = cshogi.Board(start_position)
    seen = {board.zobrist_hash()}
    for ply, move in enumerate(moves, start=1):
        board.push_usi(move)
        if board.zobrist_hash() in seen:
            return ply
        seen.add(board.zobrist_hash())
    return None


games = db.sql("select encounter, start_position, moves, plies, termination from results").df()
games["repeats_at"] = [first_repetition(*row) for row in zip(games.start_position, games.moves, strict=True)]
repeating = games.groupby("encounter").repeats_at.agg(games="size", repeating="count", first="min", median="median")
print("\n3. How long until the first repetition?\n")
print(repeating.sort_values("repeating", ascending=False).head(8).to_string())
ended = int((games.termination == "repetition").sum())
print(
    f"A position comes back in {games.repeats_at.notna().mean():.1%} of {len(games)} games, "
    f"first after {games.repeats_at.median():.0f} plies (median); {ended} games were drawn by the fourth time."
    if games.repeats_at.notna().any()
    else f"No position comes back in any of {len(games)} games."
)

# %% [markdown]
# ## 4. Did the hang cluster on one host?
#
# Each host's hangs among its attempts, against those of all the others (Fisher's exact test, one for each host).

# %%
hosts = db.sql("""
    select host, count(*) as attempts,
        count_if(termination in ('agent_stall', 'game_timeout', 'batch_timeout'))::int as hangs
    from games group by host order by hangs desc, host
""").df()
attempts, hangs = int(hosts.attempts.sum()), int(hosts.hangs.sum())
hosts["p"] = [
    stats.fisher_exact([[h, n - h], [hangs - h, attempts - n - hangs + h]], alternative="greater").pvalue
    for h, n in zip(hosts.hangs, hosts.attempts, strict=True)
]
clustered = hosts[hosts.p * len(hosts) < 0.05]
print("\n4. Did the hang cluster on one host?\n")
print(hosts.to_string(index=False))
if not hangs:
    print(f"Nothing hung in {attempts} attempts: it happens in fewer than {3 / max(attempts, 3):.2%} of them (95 %).")
elif len(hosts) == 1:
    print(f"{hangs} of {attempts} attempts hung; there is only one host, so that is no question.")
elif len(clustered):
    print(f"Yes: on {', '.join(clustered.host)}, more than chance explains.")
else:
    print(f"No: {hangs} hangs are spread over the hosts as chance would do it.")

# %% [markdown]
# ## 5. Has anything changed since last week?
#
# Who is new, whose content is another one under the same name, and which scores have moved: those of two agents that
# met before and since, by pairs, with as many tests as there are such encounters (Welch's t, Bonferroni).

# %%
since = pd.Timestamp.now("UTC") - pd.Timedelta(days=DAYS)
db.execute("set variable since = ?", [since.to_pydatetime()])
seen = db.sql("""
    select agent, agent_id, min(started_at) < getvariable('since') as before, max(started_at) >= getvariable('since')
        as after from seats group by all order by agent
""").df()
before, after = seen[seen.before], seen[seen.after]
new = sorted(set(after.agent) - set(before.agent))
other = sorted(
    name
    for name in set(after.agent) & set(before.agent)
    if set(after.agent_id[after.agent == name]) - set(before.agent_id[before.agent == name])
)
moved = db.sql("""
    with scored as (
        select least(agent_id, opponent_id) as one, greatest(agent_id, opponent_id) as two, run_id, pair_no,
            max(case when agent_id < opponent_id then agent end) as agent,
            max(case when agent_id < opponent_id then opponent end) as opponent,
            avg(score) filter (agent_id < opponent_id) as score, min(started_at) >= getvariable('since') as is_new
        from seats where agent_id <> opponent_id group by all
    )
    select max(agent) as agent, max(opponent) as opponent,
        count_if(not is_new)::int as pairs_before, count_if(is_new)::int as pairs_since,
        avg(score) filter (not is_new) as before, avg(score) filter (is_new) as since,
        stddev_samp(score) filter (not is_new) as deviation_before,
        stddev_samp(score) filter (is_new) as deviation_since
    from scored group by one, two having least(pairs_before, pairs_since) >= 2 order by agent, opponent
""").df()
said = moved[["since", "deviation_since", "pairs_since", "before", "deviation_before", "pairs_before"]].to_numpy(float)
moved["p"] = stats.ttest_ind_from_stats(*said.T, equal_var=False).pvalue
changed = moved[moved.p * len(moved) < 0.05]
print(f"\n5. Has anything changed since {since:%Y-%m-%d}?\n")
print(f"New: {', '.join(new) or 'nobody'}. Another agent under the same name: {', '.join(other) or 'nobody'}.")
if not len(moved):
    print("No two agents met both before and since, so no score can be compared.")
else:
    print(moved.drop(columns=["deviation_before", "deviation_since"]).to_string(index=False))
    print(
        "Changed: " + "; ".join(f"{row.agent} against {row.opponent}" for row in changed.itertuples())
        if len(changed)
        else "No score has changed by more than chance."
    )
