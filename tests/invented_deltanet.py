"""Results of DeltaNet's stage that no run gives, for the tests of the paper."""

import csv
import json

FIGURES = tuple(
    f"11_{name}"
    for name in ("architecture", "theorem", "learning", "dispatch", "orders", "dead_times")
)
PATHWISE, FACTORED = "DeltaNet (pathwise)", "DeltaNet (PPO)"
MONOLITHIC, SPLIT, BEST = "Monolithic PPO, increments", "Tuned split", "Perfect foresight"
SHORT = f"{PATHWISE}, short"
METRICS = {
    "total": 0.9717,
    "precision": 0.9371,
    "objective": 0.0373,
    "l1": 0.0217,
    "useful": 17.3,
    "cost": 7317.0,
    "violations": 0.0,
    "energy_error": 0.173,
}
SUMMARY = {
    "sizes": {"train": 257, "validation": 33, "test": 103, "lp_hours": 17},
    "signals": {"RegA": {"std": 0.637, "mileage": 6.17}, "RegD": {"std": 0.417, "mileage": 19.73}},
    "states": 100_003,
    "rounding": {"float32": {"limit": 0.0, "sum": 3.7e-5}},
    "score": {"sum": {"delay": 0.9873}, "correlation": {"delay": 0.9673}},
    "still": {"RegA": 0.137, "RegD": 0.0017},
    "ratio": [
        {"kind": kind, "error": "noise", "size": size, "mean": mean}
        for kind, size, mean in (
            ("RegD", 0.01, 1.017),
            ("RegD", 0.8, 1.487),
            ("RegA", 0.01, 1.257),
            ("RegA", 0.005, 1.173),
        )
    ],
    "claims": {
        "no_violations": {"holds": True, "value": 0, "setpoints": 450_003},
    },
    "hours_beaten": [],
}


def rows(policies, **columns):
    """A row per policy and metric."""
    for policy in policies:
        for metric, mean in METRICS.items():
            interval = {"mean": mean, "low": 0.97 * mean, "high": 1.03 * mean}
            yield {"policy": policy, **columns, "metric": metric, **interval}


def gains(value=13.7):
    """Paired differences, all of one size."""
    pairs = [(PATHWISE, SPLIT), (PATHWISE, FACTORED), (PATHWISE, MONOLITHIC)]
    pairs += [(FACTORED, MONOLITHIC), (FACTORED, SPLIT), (BEST, PATHWISE)]
    found = [(first, "", second, "objective") for first, second in pairs]
    found += [(FACTORED, "", MONOLITHIC, metric) for metric in ("precision", "cost")]
    changes = ("order EV last", "balance setpoints", "nested yes", "preview True")
    found += [(SHORT, changed, SHORT, "objective") for changed in changes]
    names = ("first", "changed", "second", "metric")
    interval = {"value": value, "low": value - 2, "high": value + 2}
    return [dict(zip(names, row, strict=True)) | interval for row in found]


def write(root):
    """All that the paper reads of DeltaNet."""
    folder = root / "results"
    short = rows([SHORT, f"{SPLIT}, short"], dead_time=2.0)
    tables = {
        "deltanet.csv": rows([SPLIT, MONOLITHIC, FACTORED, PATHWISE, BEST]),
        "deltanet_ablations.csv": short,
        "deltanet_gains.csv": gains(),
    }
    for name, table in tables.items():
        lines = list(table)
        with (folder / name).open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(lines[0]))
            writer.writeheader()
            writer.writerows(lines)
    (folder / "deltanet_summary.json").write_text(json.dumps(SUMMARY), encoding="utf-8")
