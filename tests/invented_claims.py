"""Claims and advice that no run gives, for the tests of the paper."""

import csv
import re
from pathlib import Path

from griddispatch.evaluation.claims import read

PAPER = Path(__file__).parents[1] / "paper"
FIGURES = ("15_claims",)
VERDICTS = ("holds", "does not hold", "not decided", "not comparable")
SYSTEMS = ("RL-ADN", "DeltaNet", "CVaR-TD3", "TFT-MPC", "DROMARL")


def ids(count):
    """So many ids of each system: those that the text names, and others that are made up."""
    text = "".join(path.read_text(encoding="utf-8") for path in PAPER.glob("*.typ"))
    named = set(re.findall(r'"([a-z0-9-]+)"', text))
    found = {system: [] for system in SYSTEMS}
    for claim in read(PAPER / "claims.yaml").claims:
        if claim.id in named:
            found[claim.system].append(claim.id)
    made_up = {system: [f"{system} {k}" for k in range(count)] for system in SYSTEMS}
    return {system: [*found[system], *made_up[system]][:count] for system in SYSTEMS}


def claims(numbers):
    """A row per system and place."""
    of = ids(17)
    for system in SYSTEMS:
        for number in numbers:
            yield {
                "number": number,
                "system": system,
                "id": of[system][number - 1],
                "name": f"Name {number} of {system}",
                "claim": f"Claim {number} of {system}.",
                "where": "Table 7",
                "test": "By how much it is better.",
                "unit": "points",
                "verdict": VERDICTS[number % 4],
                "reason": "" if number % 4 == 0 else "Because 29.3 % are not enough.",
                "published_text": "16.7",
                "asked": "> 0",
                "ours": number + 0.3,
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
