"""Claims and advice that no run gives, for the tests of the paper."""

import csv

FIGURES = ("15_claims",)
VERDICTS = ("holds", "does not hold", "not decided", "not comparable")
SYSTEMS = ("RL-ADN", "DeltaNet", "CVaR-TD3", "TFT-MPC", "DROMARL")


def claims(numbers):
    """A row per system and place."""
    for system in SYSTEMS:
        for number in numbers:
            yield {
                "number": number,
                "system": system,
                "name": f"Name {number} of {system}",
                "claim": f"Claim {number} of {system}.",
                "where": "Table 7",
                "test": "By how much it is better.",
                "unit": "points",
                "verdict": VERDICTS[number % 4],
                "reason": "" if number % 4 == 0 else "Because 29.3 % are not enough.",
                "published_text": "16.7",
                "asked": "> 0",
                "ours_text": f"{number}.3 [\N{MINUS SIGN}0.7, 4.1]",
            }


def uses():
    """What to use in a situation of each system."""
    for system in SYSTEMS:
        yield {
            "system": system,
            "when": f"A task of {system}",
            "policy": "Tuned rule",
            "metric": "captured value, %",
            "value": 93.7,
            "low": 91.3,
            "high": 95.9,
            "also": "PPO, now; MPC, history",
        }


def write(root):
    """All that the paper reads of the claims."""
    lasting = [number for number in range(1, 18) if number != 4]
    for name, table in (
        ("claims.csv", claims(lasting)),
        ("timings/claims.csv", claims([4])),
        ("what_to_use.csv", uses()),
    ):
        lines = list(table)
        file = root / "results" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(lines[0]))
            writer.writeheader()
            writer.writerows(lines)
