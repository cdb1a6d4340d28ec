"""Results of DROMARL's stage that no run gives, for the tests of the paper."""

import csv
import json

FIGURES = ("14_high_price", "14_panels")
HEAD = "DROMARL, enumerated"
FORMS = ("DROMARL, GP-literal", "DROMARL, one-sided", "DROMARL, Lipschitz")
PARTS = ("world model", "robust critic", "inertia", "uncertainty")
OTHERS = (
    *(f"DROMARL, no {part}" for part in PARTS),
    *FORMS,
    "Domain randomisation",
    "MADDPG",
    "Margin rule",
    "Priority list",
    HEAD,
)
POLICIES = ("DROMARL", *OTHERS, f"{HEAD}, no robust critic", "Perfect foresight, 41 days")
METRICS = {"mean": 26317.0, "cvar10": 29713.0, "balanced": 98.7, "reward": -549.0}
SUMMARY = {
    "sizes": {"test": 397, "seeds": 7, "bound": 41, "scenarios": 19},
    "head": HEAD,
    "premium": 3.1,
    "apart": 0.037,
    "within": 19.73,
    "pure": [[0, 0], [1, 1]],
    "corner": {"p_H": 0.983, "from f_t": 1.1e-16},
    "margin": {"margin_kw": 7.0, "gain": 0.9, "memory": 0.25},
    "reach": {"at once": 557.0, "later": 27.0, "later, %": 4.7},
    "clipped": {"c_99": {"mean +20 %": 13.7}},
    "shedding": {
        "as_published": {"saved": 30.9, "taken_kwh": 76.3},
        "repaired": {"saved": 2.9, "taken_kwh": 27.7},
    },
    "signs": {
        "as needed": {"cost": 28411.0, "reward": 15977.0},
        "all at full output": {"cost": 110437.0, "reward": 24871.0},
    },
    "skill": {
        "published, VRNN": {"value": 1.3, "low": -0.7, "high": 3.3},
        "day types, VRNN": {"value": 7.3, "low": 5.9, "high": 8.7},
        "day types, GRU mixture": {"value": 7.1, "low": 5.7, "high": 8.3},
    },
    "claims": {
        "near_equilibrium": {"holds": True, "value": 0.00233, "reach": 0.003},
        "near_bound": {"holds": True, "value": 7.7, "low": 6.9, "high": 8.3},
        "balanced": {"holds": False, "value": 98.7, "low": 97.3, "high": 99.1},
        "balanced_shifted": {"holds": True, "value": 95.9, "low": 95.3, "high": 96.1},
        "balanced_swings": {"holds": True, "value": 97.1},
        "inertia_known": {"holds": False, "value": 0.013, "low": -0.091, "high": 0.117},
        "bound_holds": {"holds": True, "value": 0.0},
    },
    "intervals": {
        "balanced_above_rule": {"value": -1.3, "low": -1.9, "high": -0.7},
    },
}


def results():
    """A row per policy, shift and metric."""
    for policy in POLICIES:
        for shift in ("nominal", "combined"):
            for metric, mean in METRICS.items():
                ends = sorted((0.97 * mean, 1.03 * mean))
                interval = {"mean": mean, "low": ends[0], "high": ends[1]}
                yield {"policy": policy, "shift": shift, "metric": metric, **interval}


def differences(value=11.3):
    """Paired differences, all of one size."""
    neutral = "DROMARL, no robust critic"
    pairs = [("DROMARL", name) for name in OTHERS] + [(form, neutral) for form in FORMS]
    seconds = (f"{HEAD}, no robust critic", "Margin rule", "Domain randomisation", "MADDPG")
    pairs += [(HEAD, name) for name in seconds]
    interval = {"value": value, "low": value - 2, "high": value + 2}
    return [
        {"first": first, "second": second, "shift": shift, "metric": metric, **interval}
        for first, second in pairs
        for shift in ("nominal", "combined")
        for metric in ("mean", "cvar10")
    ]


def radius():
    """Two families with two candidates each."""
    numbers = {"nominal": 26137.0, "premium": 1.3, "tail": 31337.0}
    return [
        {"radius": rho, "carried": rho > 0, **numbers, "chosen": rho > 0, "family": family}
        for family in ("DROMARL", HEAD)
        for rho in (0.0, 0.15)
    ]


def world():
    """A row per model of the demand with day types."""
    numbers = {"nll": 2.317, "crps": 1.373, "coverage 50": 51.3, "coverage 90": 89.7}
    models = ("VRNN", "GRU mixture", "Full history", "AR(1)")
    return [{"model": model, **numbers, "demand": "day types"} for model in models]


def write(root):
    """All that the paper reads of DROMARL."""
    folder = root / "results"
    folder.mkdir(exist_ok=True)
    files = {"": list(results()), "_differences": differences()}
    files |= {"_radius": radius(), "_world": world()}
    for name, lines in files.items():
        with (folder / f"dromarl{name}.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(lines[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
    (folder / "dromarl_summary.json").write_text(json.dumps(SUMMARY), encoding="utf-8")
