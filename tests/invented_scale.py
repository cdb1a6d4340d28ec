"""Networks of several sizes that no run gives, for the tests of the paper."""

import csv

NETWORKS = {"CIGRE MV": 16, "RL-ADN 34": 34, "synthetic 1300": 1300}
STEPS = {
    "Sweep": 1e-6,
    "Dense": 2e-6,
    "Dense, gradient": 1e-5,
    "Newton-Raphson": 0.0137,
    "Environment step": 7e-6,
    "TD3 training": 0.047,
    "Pathwise training": 0.043,
    "Linear program": 0.073,
    "Nonlinear program": 1.37,
}


def captured():
    """A row per network and policy."""
    for name, nodes in NETWORKS.items():
        for policy, value in (("TD3", 11.7), ("Pathwise", 53.9), ("Yesterday's schedule", 61.3)):
            yield {
                "network": name,
                "nodes": nodes,
                "policy": policy,
                "captured": value,
                "low": value - 7.1,
                "high": value + 9.3,
            }


def networks():
    """A row per network."""
    for name, nodes in NETWORKS.items():
        errors = {"dense_error": 3.7e-13, "sweep_error": 4.3e-13}
        yield {"network": name, "nodes": nodes, **errors, "gap_eur": 0.00137}


def times():
    """A row per network and step; the nonlinear program is not tried on the largest."""
    for name, nodes in NETWORKS.items():
        for step, seconds in STEPS.items():
            if (name, step) != ("synthetic 1300", "Nonlinear program"):
                own = {"seconds": seconds * nodes / 16, "megabytes": 0.317 * nodes}
                yield {"network": name, "nodes": nodes, "step": step, **own}


def growth():
    """A row per quantity and step; two networks give no interval."""
    for quantity in ("seconds", "megabytes"):
        for step in STEPS:
            two = step == "Nonlinear program"
            fit = {"exponent": 1.43, "low": "" if two else 0.93, "high": "" if two else 1.97}
            points = 2 if two else 3
            yield {"step": step, **fit, "last": 1.73, "points": points, "quantity": quantity}


def write(root):
    """All that the paper reads of larger networks."""
    for name, table in (
        ("scale.csv", captured()),
        ("scale_networks.csv", networks()),
        ("timings/scale.csv", times()),
        ("timings/scale_growth.csv", growth()),
    ):
        lines = list(table)
        file = root / "results" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(lines[0]))
            writer.writeheader()
            writer.writerows(lines)
