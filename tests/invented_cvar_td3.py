"""Results of CVaR-TD3's stage that no run gives, for the tests of the paper."""

import csv
import json

FIGURES = tuple(f"12_{name}" for name in ("clock", "frontier", "costs", "training", "spike"))
AVERSE, NEUTRAL = "Pathwise, enumerated", "RU-TD3, cloned"
RULE, RU, PUBLISHED, PLAIN = "Tuned rule", "RU-TD3", "Published TD3", "TD3"
POLICIES = [
    ("CHP off", 0.0),
    *((policy, weight) for policy in (RULE, RU, AVERSE, PLAIN) for weight in (0.0, 0.3)),
    (NEUTRAL, 0.0),
    (PUBLISHED, 0.3),
]
METRICS = {
    "mean": 197.3,
    "var95": 251.7,
    "cvar95": 263.9,
    "objective": 217.1,
    "largest": 317.3,
    "outside": 0.0,
    "lost_kwh": 0.017,
    "cycles": 0.37,
}
SUMMARY = {
    "sizes": {"train": 2003, "validation": 503, "test": 1997, "bound": 43, "mpc": 7, "seeds": 6},
    "learners": {"RU-TD3, λ = 0.3": {"rounds": 53, "environments": 67}},
    "averse": AVERSE,
    "neutral": NEUTRAL,
    "best_neutral": RULE,
    "index": {"CVaR": [2.0627, 2.0631], "published index": [0.1086, 0.1087]},
    "gradient": {
        "past": {"inverted": 0.0, "fixed": 0.0},
        "present": {"inverted": 1.37e-3, "fixed": 0.183},
        "through": {"inverted": 0.0699, "fixed": 3.17},
    },
    "chp_energy": {"as_published": 0.0, "rec": 1789.0},
    "bill_factor": 4.0,
    "balance": [5.3e-6, 5.7e-6],
    "scenarios": 9,
    "horizon": 23,
    "ten_units": {"cost": 563938.0, "bound": 563937.0, "published": 563938.0},
    "trades": {
        "rec": {"rules": 4, "cut": 13.3, "premium": 2.9},
        "as_printed_prices": {"rules": 1, "cut": 0.0, "premium": 0.0},
    },
    "shared_gain": {"value": 7.3, "low": 5.1, "high": 9.7},
    "claims": {
        "bound_holds": {"holds": True, "value": 0},
        "neutral_near_bound": {"holds": True, "value": 2.7, "low": 2.1, "high": 3.3},
    },
    "memory_mb": {"published": 103.0, "repaired": 147.0},
}


def results():
    """A row per policy, weight and metric."""
    for policy, weight in POLICIES:
        for metric, mean in METRICS.items():
            interval = {"mean": mean, "low": 0.97 * mean, "high": 1.03 * mean}
            yield {"policy": policy, "weight": weight, "metric": metric, **interval}


def differences(value=11.3):
    """Paired differences, all of one size."""
    rule, averse, ru = (RULE, 0.3), (AVERSE, 0.3), (RU, 0.3)
    pairs = [(rule, (RULE, 0.0)), (rule, ("CHP off", 0.0)), (averse, rule), (ru, rule)]
    pairs += [(averse, (NEUTRAL, 0.0)), (ru, (RU, 0.0)), ((PUBLISHED, 0.3), (PLAIN, 0.3))]
    names = ("first", "first_weight", "second", "second_weight", "metric")
    interval = {"value": value, "low": value - 2, "high": value + 2}
    return [
        dict(zip(names, (*first, *second, metric), strict=True)) | interval
        for first, second in pairs
        for metric in ("mean", "cvar95", "objective")
    ]


def gaps():
    """A row per policy."""
    interval = {"gap": 3.7, "low": 3.1, "high": 4.3}
    played = [(policy, weight, 43) for policy, weight in POLICIES] + [("MPC", 0.0, 7)]
    return [
        {"policy": policy, "weight": weight, "days": days, "mean": 191.3, **interval}
        for policy, weight, days in played
    ]


def write(root):
    """All that the paper reads of CVaR-TD3."""
    folder = root / "results"
    folder.mkdir(exist_ok=True)
    files = {"": list(results()), "_differences": differences(), "_gaps": gaps()}
    for name, lines in files.items():
        file = folder / f"cvar_td3{name}.csv"
        with file.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(lines[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
    (folder / "cvar_td3_summary.json").write_text(json.dumps(SUMMARY), encoding="utf-8")
