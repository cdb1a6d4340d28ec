"""Figures, tables and verdicts of the virtual power plant study."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from drawings import lines

from griddispatch.agents.dromarl_config import PRESETS
from griddispatch.agents.vpp_rules import MarginRule, Numbers, mean_demand
from griddispatch.data.vpp_demand import SHIFTS, draw_days
from griddispatch.envs.vpp import COSTS
from griddispatch.evaluation import vpp_comparison as comparison
from griddispatch.evaluation import vpp_experiments as experiments
from griddispatch.evaluation.paired import block
from griddispatch.evaluation.statistics import Interval
from griddispatch.evaluation.vpp_experiments import Cell
from griddispatch.reporting import vpp, vpp_figures

pytestmark = pytest.mark.usefixtures("drawing_project")

DAYS = 6
LEARNED = ("DROMARL", "DROMARL, no inertia", "MADDPG")
P_HIGH = np.linspace(0.3, 0.75, 12)


@cache
def rules():
    mean = mean_demand(draw_days(20, 0, "train"))
    made = {
        name: MarginRule(mean, Numbers(margin, 0.9, 0.25), load)
        for name, margin, load in zip(LEARNED, (6.0, 3.0, 1.0), (0.1, 0.0, -0.2), strict=True)
    }
    return made | {"Margin rule": MarginRule(mean, Numbers(8.0, 0.9, 0.25))}


@cache
def table():
    seeds = dict.fromkeys(LEARNED, (0, 1)) | {"Margin rule": (0,)}
    return pd.concat(
        [
            experiments.judged(environment(shift), rule, name, shift, seed)
            for shift in SHIFTS
            for name, rule in rules().items()
            for seed in seeds[name]
        ],
        ignore_index=True,
    )


@cache
def environment(shift="nominal"):
    return experiments.environment("test", DAYS, P_HIGH, shift)


@cache
def drawn():
    return comparison.resample(table(), draws=20)


@cache
def results():
    return comparison.results(drawn())


@cache
def differences():
    pairs = [("DROMARL", name) for name in rules() if name != "DROMARL"]
    return pd.DataFrame(
        [
            comparison.difference(drawn(), *pair, shift, metric)
            for pair in pairs
            for shift in ("nominal", "combined")
            for metric in ("mean", "cvar10")
        ]
    )


@cache
def watched(name="DROMARL", shift="nominal"):
    return experiments.watch(environment(shift), rules()[name])


@cache
def study():
    rng = np.random.default_rng(0)
    curve = pd.DataFrame(
        [
            {"policy": name, "seed": seed, "update": 100 * at, "reward": -900 + 80 * at + seed}
            | {
                "balanced": 80 + 2 * at,
                "adjustment": 5.0 + at,
                "comfort": 0.1 * at,
                "loss": 2 - at / 9,
            }
            for name in LEARNED
            for seed in (0, 1)
            for at in range(6)
        ]
    )
    parts = table()[table()["shift"].eq("nominal")].groupby("policy", sort=False)[list(COSTS)]
    return vpp_figures.Study(
        curve=curve,
        played=watched(),
        stiff=watched("DROMARL, no inertia"),
        p_high=P_HIGH,
        response=environment().response.double().numpy(),
        kappa=environment().days.kappa,
        kappa_hat=rng.uniform(0.4, 0.6, DAYS),
        demand={s: draw_days(30, 0, "test", shift=s).demand_kw for s in ("nominal", "combined")},
        parts=parts.mean() / 1000,
        shifted=results(),
        levels={"VRNN": rng.random((1, 40, 12)), "AR(1)": rng.random((1, 40, 12)) ** 1.1},
    )


# -- figures ------------------------------------------------------------------------------


def test_all_panels_stand_on_one_page_and_each_has_its_number_and_name():
    fig = vpp_figures.every_panel(study())
    titles = [ax.get_title(loc="left") for ax in fig.axes if ax.get_title(loc="left")]
    assert titles == [f"{i}  {title}" for i, (_, title, *_) in enumerate(vpp_figures.PANELS, 1)]
    assert len(titles) == 16


@pytest.mark.parametrize("number", range(1, 17))
def test_each_panel_stands_alone_with_named_axes(number):
    fig = vpp_figures.panel(study(), number)
    ax = fig.axes[0]
    assert ax.get_title(loc="left") == vpp_figures.PANELS[number - 1][1]
    assert ax.get_ylabel() or number == 14
    assert ax.get_xlabel() or number == 15


def test_every_panel_alone_is_a_file(drawing_project):
    vpp_figures.save_each(study())
    found = sorted(f.name for f in (drawing_project / "scratch/figures").glob("*.svg"))
    assert found == [
        f"14_panel_{i:02}_{name}.svg" for i, (name, *_) in enumerate(vpp_figures.PANELS, 1)
    ]


def test_training_is_drawn_as_the_mean_of_the_seeds():
    drawn_lines = lines(vpp_figures.panel(study(), 1).axes[0])
    assert list(drawn_lines) == list(LEARNED)
    np.testing.assert_allclose(drawn_lines["DROMARL"].get_ydata(), -899.5 + 80 * np.arange(6))
    np.testing.assert_allclose(drawn_lines["DROMARL"].get_xdata(), np.arange(6) / 5)


def test_generation_with_reserve_meets_the_demand_but_for_the_imbalance():
    found = lines(vpp_figures.panel(study(), 6).axes[0])
    gap = found["demand"].get_ydata() - found["generation"].get_ydata()
    np.testing.assert_allclose(gap, watched().imbalance_kw.mean(0), atol=1e-4)


def test_units_are_shaded_by_the_share_of_days_on_which_they_run():
    (shown,) = vpp_figures.panel(study(), 9).axes[0].get_images()
    np.testing.assert_allclose(shown.get_array(), 100 * watched().on.mean(0).T)


def test_the_change_of_the_adjustment_starts_from_none():
    found = lines(vpp_figures.panel(study(), 10).axes[0])
    with_inertia = 100 * np.abs(np.diff(watched().adjustment, axis=1, prepend=0)).mean(0)
    np.testing.assert_allclose(found["with inertia"].get_ydata(), with_inertia)
    np.testing.assert_allclose(found["without"].get_ydata(), 0)


def test_what_was_asked_for_is_the_load_action_in_percent():
    found = lines(vpp_figures.panel(study(), 11).axes[0])
    np.testing.assert_allclose(found["asked for"].get_ydata(), 4.0, rtol=1e-5)
    np.testing.assert_allclose(found["came"].get_ydata(), 100 * watched().adjustment.mean(0))


def test_costs_are_stacked_to_their_sum():
    bars = vpp_figures.panel(study(), 14).axes[0].patches
    ends = {}
    for bar in bars:
        ends[bar.get_y()] = max(ends.get(bar.get_y(), 0), bar.get_x() + bar.get_width())
    whole = study().parts.sum(axis=1).to_numpy()
    np.testing.assert_allclose([ends[y] for y in sorted(ends, reverse=True)], whole)


def test_the_reward_is_drawn_for_every_shift_in_order():
    ax = vpp_figures.panel(study(), 15).axes[0]
    own = results()[results()["policy"].eq("MADDPG") & results()["metric"].eq("reward")]
    np.testing.assert_allclose(lines(ax)["MADDPG"].get_ydata(), own["mean"])
    assert len(ax.get_xticks()) == len(SHIFTS)


def test_a_variant_has_the_colour_of_its_policy_and_a_dash_of_its_own():
    names = ("DROMARL", "DROMARL, no inertia", "DROMARL, no uncertainty")
    looks = [vpp_figures.look(name, names) for name in names]
    assert len({look["color"] for look in looks}) == 1
    assert len({str(look["linestyle"]) for look in looks}) == 3
    assert len({look["marker"] for look in looks}) == 3


# -- tables -------------------------------------------------------------------------------


def test_the_schedule_adds_up():
    day = vpp.schedule(environment(), watched(), 0)
    left = day["demand_kw"] - day["output_kw"] - day["reserve_kw"] - day["imbalance_kw"]
    np.testing.assert_allclose(left, 0, atol=1e-4)
    own = table().query("policy == 'DROMARL' and shift == 'nominal' and seed == 0 and day == 0")
    assert day["cost"].sum() == pytest.approx(own["cost"].iloc[0], rel=1e-6)
    first = [int(n) - 1 for n in day["units"].iloc[5].split()]
    assert first == list(np.flatnonzero(watched().on[0, 5] > 0.5))


def test_four_tables_are_written_for_three_readers(drawing_project):
    vpp.write_tables(results(), differences(), vpp.schedule(environment(), watched(), 0), DAYS)
    folder = drawing_project / "scratch/paper/tables"
    for name in ("schedule", "totals", "ablation", "robustness"):
        assert {f.suffix for f in folder.glob(f"dromarl_{name}.*")} == {".csv", ".tex", ".md"}
    head, *body = (folder / "dromarl_ablation.csv").read_text().splitlines()
    assert head.startswith("Policy,Nominal mean (1000/day),Combined CVaR10 (1000/day)")
    assert body[0].startswith("DROMARL,")
    assert len(body) == len(rules())
    totals = pd.read_csv(folder / "dromarl_totals.csv").set_index("Policy")
    mean = table().query("policy == 'Margin rule' and shift == 'nominal'")["cost"].mean() / 1000
    assert float(totals.loc["Margin rule", "Cost (1000/day)"].split()[0]) == pytest.approx(
        mean, abs=0.1
    )


# -- verdicts -----------------------------------------------------------------------------

GOOD, NONE = Interval(12.0, 8.0, 16.0), Interval(12.0, -1.0, 20.0)


def judged_claims(**changed):
    names = ("tail", "margin", "maddpg", "literal", "crps", "inertia_known")
    gains = dict.fromkeys((*names, *(f"part {p}" for p in vpp.PARTS)), GOOD)
    gains |= {"gap": Interval(7.0, 5.0, 9.0), "premium": Interval(2.0, 1.0, 3.0)}
    facts = {"exploitability": 0.002, "balanced": 99.5, "balanced_shifted": 96.0}
    facts |= {"balanced_swings": 97.0, "violations": 0.0, "beaten": 0.0}
    for name, value in changed.items():
        (gains if name in gains else facts)[name] = value
    found = vpp.claims(gains, facts)
    return {name for name, claim in found.items() if claim["holds"]}


@pytest.mark.parametrize(
    ("changed", "lost"),
    [
        ({"exploitability": 0.0031}, "near_equilibrium"),
        ({"gap": Interval(10.5, 9.0, 12.0)}, "near_bound"),
        ({"balanced": 98.9}, "balanced"),
        ({"balanced_shifted": 94.9}, "balanced_shifted"),
        ({"tail": NONE}, "robust_tail"),
        ({"tail": Interval(9.0, 5.0, 12.0)}, "robust_tail"),
        ({"premium": Interval(3.5, 3.0, 4.0)}, "robust_tail"),
        ({"crps": Interval(4.9, 4.0, 6.0)}, "world_model"),
        ({"margin": NONE}, "beats_margin_rule"),
        ({"maddpg": NONE}, "beats_maddpg"),
        ({"literal": NONE}, "literal_helps"),
        ({"inertia_known": NONE}, "inertia_known"),
        ({"balanced_swings": 90.0}, "balanced_swings"),
        ({"violations": 1.0}, "no_violations"),
        ({"beaten": 1.0}, "bound_holds"),
        ({"part world model": NONE}, "part_world_model"),
        ({"part robust critic": NONE}, "part_robust_critic"),
        ({"part inertia": NONE}, "part_inertia"),
        ({"part uncertainty": NONE}, "part_uncertainty"),
    ],
)
def test_verdicts_follow_the_numbers(changed, lost):
    every = judged_claims()
    assert len(every) == 17
    assert judged_claims(**changed) == every - {lost}


def test_swings_count_only_periods_that_far_from_the_base():
    played = watched("DROMARL", "combined")
    share = vpp.balanced_swings([played], 0.0, 10.0)
    assert share == pytest.approx(100 * (np.abs(played.imbalance_kw) <= 1).mean())
    assert vpp.balanced_swings([played]) != share


# -- what is handed on --------------------------------------------------------------------


class Saved:
    """A policy that can be saved."""

    saved = {"config": 1.0}  # noqa: RUF012


def test_policies_costs_curves_and_times_are_handed_on(drawing_project):
    own = table()[table()["policy"].eq("DROMARL")]
    curve = study().curve[study().curve["policy"].eq("DROMARL")].assign(seconds=1.0)
    made = Cell("DROMARL", PRESETS["DROMARL"], curve, own, own, [Saved(), Saved()], 2.0, 7, 4)
    vpp.hand_on([made], own, torch.nn.Linear(1, 1), P_HIGH, {"milp_s": 0.1234})
    kept = torch.load(drawing_project / "scratch/data/models/dromarl.pt")
    assert kept["policies"] == {"DROMARL": [Saved.saved] * 2}
    expected = block(comparison.rows(own, ("DROMARL", "combined")), "cost")
    np.testing.assert_array_equal(kept["costs"]["DROMARL; combined"].numpy(), expected)
    np.testing.assert_array_equal(kept["p_high"].numpy(), P_HIGH)
    assert set(kept["world"]) == {"weight", "bias"}
    written = pd.read_csv(drawing_project / "scratch/results/dromarl_curve.csv")
    assert "seconds" not in written
    timed = (drawing_project / "scratch/results/timings/dromarl.json").read_text()
    assert '"milp_s": 0.123' in timed
    assert vpp.settings(made)["rho"] == PRESETS["DROMARL"].rho
