"""Claims of the sources beside what was found: tables, and one figure of all verdicts."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from griddispatch.evaluation.claims import APART, VERDICTS
from griddispatch.evaluation.comparison import BEST, IDLE
from griddispatch.pipeline import records
from griddispatch.reporting.figures import FULL
from griddispatch.reporting.palette import TIMED, TIMED_EDGE, VERDICT
from griddispatch.reporting.tables import MISSING, Column, format_number, write_table

_ASKED = {
    "at least": "\N{GREATER-THAN OR EQUAL TO} ",
    "at most": "\N{LESS-THAN OR EQUAL TO} ",
    "above": "> ",
    "below": "< ",
    "covers": "covers ",
}
# What a policy of the feeder is; all others are rules.
_KINDS = {
    IDLE.policy: "",
    BEST.policy: "bound",
    "MPC": "planned",
    "Pathwise": "learned, through the physics",
    **dict.fromkeys(("DDPG", "TD3", "SAC", "PPO"), "learned, from rewards"),
}
_COLUMNS = {
    "number": Column("No.", digits=0),
    "system": Column("System"),
    "claim": Column("Claim"),
    "where": Column("Where"),
    "test": Column("Test"),
    "published_text": Column("Published"),
    "asked": Column("Asked"),
    "ours_text": Column("Here"),
    "unit": Column("Unit"),
    "verdict": Column("Verdict"),
    "reason": Column("Reason"),
}
Row = Mapping[Any, Any]


def with_texts(claims: pd.DataFrame) -> pd.DataFrame:
    """Add published_text, asked and ours_text to `claims.table`: numbers as they are printed."""
    rows = claims.to_dict("records")
    return claims.assign(
        published_text=[_span(row, row["published"], row["published_high"]) for row in rows],
        asked=[_asked(row) for row in rows],
        ours_text=[_ours(row) for row in rows],
    )


def _number(row: Row, value: float) -> str:
    """With the digits of the claim, or else so that there are three that mean something."""
    if not pd.isna(row["digits"]):
        return format_number(value, int(row["digits"]))
    size = abs(value)
    digits = 0 if math.isnan(size) or size == 0 else max(0, 2 - math.floor(math.log10(size)))
    return format_number(value, digits)


def _span(row: Row, low: float, high: float) -> str:
    if math.isnan(low):
        return MISSING
    ends = (low,) if low == high else (low, high)
    return "\N{EN DASH}".join(_plain(row, end) for end in ends)


def _asked(row: Row) -> str:
    """What the rule asks for, such as "> 0"."""
    rule, low, high = row["rule"], row["bound"], row["bound_high"]
    if rule == APART or math.isnan(low):
        return MISSING
    if rule in ("at most", "below"):
        return _ASKED[rule] + _plain(row, high)
    if rule in ("at least", "above", "covers"):
        return _ASKED[rule] + _plain(row, low)
    spread = f" ± {row['tolerance']:g}" if row["tolerance"] else ""
    return ("" if spread or low != high else "= ") + _span(row, low, high) + spread


def _plain(row: Row, value: float) -> str:
    """A bound; whole ones have no digits after the point."""
    return format_number(value, 0) if value == round(value) else _number(row, value)


def _ours(row: Row) -> str:
    text = _number(row, row["ours"])
    if math.isnan(row["low"]):
        return text
    return f"{text} [{_number(row, row['low'])}, {_number(row, row['high'])}]"


def write(claims: pd.DataFrame, uses: pd.DataFrame) -> None:
    """Write the claims, and what to use when, for readers and for the paper.

    Claims about measured times, which differ from run to run, go to `results/timings/claims.csv`,
    all others to `results/claims.csv` and `paper/tables/claims.*`; what to use when goes to
    `results/what_to_use.csv` and `paper/tables/what_to_use.*`.
    """
    shown = with_texts(claims)
    lasting = shown[~shown["timed"]].drop(columns="timed")
    records.write_csv("results/claims.csv", lasting)
    timed = shown[shown["timed"]].drop(columns="timed")
    records.write_csv("results/timings/claims.csv", timed, digits=3)
    caption = (
        "Claims of the sources and what holds here, with 95 % intervals. "
        "Claims about measured times are in results/timings/claims.csv."
    )
    write_table(lasting, "claims", caption, _COLUMNS)
    records.write_csv("results/what_to_use.csv", uses)
    columns = {
        "system": Column("System"),
        "when": Column("When"),
        "policy": Column("Best policy"),
        "metric": Column("By"),
        "shown": Column("Value"),
        "also": Column("Interval reaches it"),
    }
    lines = uses.assign(shown=[_use_text(row) for row in uses.to_dict("records")])
    caption = (
        "What to use when: the best policy, and those whose 95 % interval reaches that of it, "
        "without those that a paired difference shows to be worse."
    )
    write_table(lines, "what_to_use", caption, columns)


def _use_text(row: Row) -> str:
    return _ours({"digits": 1, "ours": row["value"], "low": row["low"], "high": row["high"]})


def storage_dispatch(results: pd.DataFrame) -> pd.DataFrame:
    """Policies of all kinds on the same days of the feeder, one line each.

    Parameters
    ----------
    results
        `Comparison.results` with the column end_soc. Of learners, those trained on all measured
        days are taken; of all, those that may end the day as they like.

    Returns
    -------
    lines
        policy, kind, information; per scope captured value in % and its interval, as SCOPE,
        SCOPE low, SCOPE high. In the order of the lowest captured value on any scope.
    """
    part = results.fillna({"primary": "", "augmented": "", "information": ""})
    part = part[part["metric"].eq("captured") & part["end_soc"].eq("free")]
    part = part[part["primary"].isin(["", "all"]) & part["augmented"].isin(["", "none"])]
    part = part[part["information"].ne("printed")]  # trained for some days only
    scopes = list(part["scope"].unique())
    lines = part[["policy", "information"]].drop_duplicates().reset_index(drop=True)
    for scope in scopes:
        own = part[part["scope"].eq(scope)]
        named = {"mean": scope, "low": f"{scope} low", "high": f"{scope} high"}
        own = own[["policy", "information", *named]].rename(columns=named)
        lines = lines.merge(own, on=["policy", "information"], how="left", validate="1:1")
    lines.insert(1, "kind", [_KINDS.get(name, "rule") for name in lines["policy"]])
    worst = lines[scopes].min(axis=1)
    return lines.loc[worst.sort_values(kind="stable").index].reset_index(drop=True)


def write_storage(lines: pd.DataFrame, scopes: Sequence[str]) -> None:
    """Write `storage_dispatch` as `paper/tables/storage_dispatch.*`."""
    columns = {
        "policy": Column("Policy"),
        "kind": Column("Kind"),
        "information": Column("Prices known"),
    }
    for scope in scopes:
        ends = (f"{scope} low", f"{scope} high")
        columns[scope] = Column(f"Captured, {scope} days", "%", interval=ends, digits=1)
    caption = (
        "Storage dispatch on the 34-node feeder by policies of all kinds on the same days: "
        "share of the achievable value, with 95 % intervals."
    )
    write_table(lines, "storage_dispatch", caption, columns)


def draw_verdicts(claims: pd.DataFrame) -> Figure:
    """Draw a row of numbered tiles per system, one for each claim, in the look of its verdict.

    Claims about measured times get an empty tile: their verdict belongs to a machine, and the
    figure is the same on all.
    """
    systems = list(claims["system"].unique())
    longest = int(claims["number"].max())
    fig, ax = plt.subplots(figsize=(FULL, 0.55 + 0.27 * len(systems)))
    for row in claims.to_dict("records"):
        tile, ink = TIMED if row["timed"] else VERDICT[row["verdict"]]
        x, y = row["number"], systems.index(row["system"])
        ax.add_patch(_tile(x, y, tile))
        ax.text(x, y, str(x), color=ink, ha="center", va="center", fontsize=7)
    ax.set(xlim=(0.4, longest + 0.6), ylim=(len(systems) - 0.5, -0.5), xticks=[])
    ax.set_yticks(range(len(systems)), systems)
    ax.tick_params(length=0)
    ax.grid(visible=False)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    found = claims.loc[~claims["timed"], "verdict"].value_counts()
    words = [f"{verdict}: {found.get(verdict, 0)}" for verdict in VERDICTS]
    handles = [_tile(0, 0, VERDICT[verdict][0]) for verdict in VERDICTS]
    if claims["timed"].any():
        words.append(f"measured times, see table: {claims['timed'].sum()}")
        handles.append(_tile(0, 0, TIMED[0]))
    fig.legend(handles, words, loc="outside upper center", ncols=len(words))
    return fig


def _tile(x: float, y: float, colour: str) -> Rectangle:
    edge = {"edgecolor": TIMED_EDGE, "linewidth": 0.6} if colour == TIMED[0] else {"linewidth": 0}
    return Rectangle((x - 0.46, y - 0.42), 0.92, 0.84, facecolor=colour, **edge)
