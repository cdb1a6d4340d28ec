"""Claims of the published sources, each put to a test that paper/claims.yaml writes down.

A system of that file has a `source`, a list of `claims` and, if it has rows to choose among, a list
`use`. A claim has an `id`, a short `name`, the `claim` in words, `where` the source makes it, a
`test` in words, `ours` (a selector, see `evaluation.selectors`), a `rule`, and, where they apply,
`published`, `bound`, `tolerance`, `unit`, `digits`, `reason` and `numbers`. A bound or a published
value is a number, a pair [from, to], or a selector; without a bound, the published value is it.
A reason is a text, for a claim that does not hold, or a map with one for some of the verdicts;
{NAME:.1f} in it is a number of the map `numbers`.

Rules name the values that are allowed: "at least", "at most", "above", "below" the bound, "equal"
to it within the tolerance, or "within" a pair. "covers" asks whether our interval covers the bound,
"stated" takes the verdict that the stage has kept under the key `holds`, and "not comparable" sets
two numbers beside each other of which no test can be made.
"""

import math
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from griddispatch.errors import InputError
from griddispatch.evaluation.best_policy import Use, to_use
from griddispatch.evaluation.selectors import (
    Found,
    Range,
    Results,
    Selector,
    build,
    check_keys,
    to_bound,
    to_selector,
)

HOLDS, FAILS, OPEN, APART = VERDICTS = (
    "holds",
    "does not hold",
    "not decided",
    "not comparable",
)
RULES = ("at least", "at most", "above", "below", "equal", "within", "covers", "stated", APART)
TIMINGS = "results/timings/"
MINUS = "\N{MINUS SIGN}"
# A number in prose that was typed, not injected; names such as TD3 or Table 4 are none.
_TYPED = re.compile(r"(?<!\bTable )(?<!\bFig\. )(?<![\w.])\d")


@dataclass(frozen=True)
class Claim:
    """One claim; the fields are described at the top of this module."""

    system: str
    id: str
    name: str
    claim: str
    where: str
    test: str
    rule: str
    ours: Selector | None = None
    published: "Range | Selector | None" = None
    bound: "Range | Selector | None" = None
    tolerance: float = 0.0
    unit: str = ""
    digits: int | None = None
    reason: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, Selector] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """How errors name it."""
        return f"claim {self.id}"

    def files(self) -> set[str]:
        """Every file that is read."""
        parts = [self.ours, self.published, self.bound, *self.numbers.values()]
        return {name for part in parts if isinstance(part, Selector) for name in part.files()}

    @property
    def timed(self) -> bool:
        """Whether it is about measured times, which differ from run to run."""
        return any(name.startswith(TIMINGS) for name in self.files())


class Catalogue(NamedTuple):
    """All that the file declares, in its order, and the source of each system."""

    claims: list[Claim]
    uses: list[Use]
    sources: dict[str, str]


# ---------------------------------------------------------------- reading the file


# Reasons where a claim gives none.
_USUAL = {
    FAILS: "What was found is on the other side of the bound.",
    OPEN: "The interval has values on both sides of the bound.",
}


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in one map; YAML alone would keep the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen = [key.value for key, _ in node.value]
        twice = {name for name in seen if seen.count(name) > 1}
        if twice:
            line = node.start_mark.line + 1
            raise InputError(f"line {line}: {min(twice)!r} stands twice in one map; keep one")
        return super().construct_mapping(node, deep)


def read(path: Path) -> Catalogue:
    """Read and check the claims.

    Raises
    ------
    InputError
        The file is no such YAML file, a key is unknown or missing, an id stands twice, a rule does
        not fit what is given, or a reason types a number instead of injecting it.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, InputError) as error:
        raise InputError(f"{path.name}: {error}") from error
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path.name} holds no systems; write 'NAME:' with source and claims")
    found = Catalogue([], [], {})
    for system, section in content.items():
        check_keys(section, {"source", "claims"}, {"use"}, f"{path.name}, {system}")
        for key in ("claims", "use"):
            if not isinstance(section.get(key, []), list):
                raise InputError(f"{path.name}, {system}: {key} is no list; write '- ' before each")
        found.sources[system] = str(section["source"])
        found.claims.extend(_claim(one, system, path.name) for one in section["claims"])
        found.uses.extend(
            to_use(one, system, f"{path.name}, {system}, use") for one in section.get("use", [])
        )
    ids = [claim.id for claim in found.claims]
    for name in ids:
        if ids.count(name) > 1:
            raise InputError(
                f"{path.name}: claim {name} stands {ids.count(name)} times; rename one"
            )
    return found


def _claim(content: Any, system: str, file: str) -> Claim:
    name = content.get("id", "without an id") if isinstance(content, dict) else content
    place = f"{file}, claim {name}"
    if not isinstance(content, dict):
        raise InputError(f"{place} is no map; write id, name, claim, where, test and rule")
    made = {"system": system, **content}
    for key in ("published", "bound"):
        if key in made:
            made[key] = to_bound(made[key], f"{place}, {key}")
    if "ours" in made:
        made["ours"] = to_selector(made["ours"], f"{place}, ours")
    numbers = made.get("numbers", {})
    if not isinstance(numbers, dict):
        raise InputError(f"{place}: numbers is no map; write 'NAME: {{file: ..., value: ...}}'")
    made["numbers"] = {k: to_selector(v, f"{place}, numbers, {k}") for k, v in numbers.items()}
    reason = made.get("reason", {})
    made["reason"] = {FAILS: reason} if isinstance(reason, str) else reason
    claim: Claim = build(Claim, made, place)
    _check_rule(claim, place)
    return claim


def _check_rule(claim: Claim, place: str) -> None:
    if claim.rule not in RULES:
        raise InputError(f"{place}: rule is {claim.rule!r}; write one of {', '.join(RULES)}")
    if claim.rule != APART and claim.ours is None:
        raise InputError(f"{place}: ours is missing; say where our value stands")
    if claim.rule not in (APART, "stated") and claim.published is None and claim.bound is None:
        raise InputError(f"{place}: neither published nor bound is given; give one to compare with")
    if claim.rule == "stated" and not (claim.ours and claim.ours.holds):
        raise InputError(f"{place}: rule 'stated' needs the key holds in ours; name it")
    if claim.rule == "covers" and not (claim.ours and claim.ours.low and claim.ours.high):
        raise InputError(f"{place}: rule 'covers' needs low and high in ours; name them")
    if claim.rule == APART and APART not in claim.reason:
        raise InputError(f"{place}: say under reason, {APART}, why it cannot be compared")
    if not isinstance(claim.reason, Mapping):
        raise InputError(f"{place}: reason is {claim.reason!r}; write a text, or one per verdict")
    for verdict, text in claim.reason.items():
        if verdict not in VERDICTS:
            raise InputError(f"{place}: reason for {verdict!r}; verdicts are {', '.join(VERDICTS)}")
        if typed := _TYPED.search(re.sub(r"\{[^}]*\}", "", text)):
            raise InputError(
                f"{place}: reason types the number at {text[typed.start() :][:12]!r}; name it "
                "under numbers and write {NAME}"
            )


# ---------------------------------------------------------------- the verdict


def decide(rule: str, ours: Found, bound: Range | None, tolerance: float = 0.0) -> str:
    """Say whether our value, with its interval, meets a rule.

    All but two rules name the numbers that are allowed. The claim holds if the whole interval is
    allowed, does not hold if none of it is, and is not decided otherwise. "covers" asks whether the
    bound lies inside the interval, "stated" takes the verdict that the file keeps.
    """
    if rule == APART:
        return APART
    if rule == "stated":
        return HOLDS if ours.holds else FAILS
    assert bound is not None  # `read` asks for one
    low, high = (ours.value if end is None else end for end in (ours.low, ours.high))
    if rule == "covers":
        return HOLDS if low <= bound.low and bound.high <= high else FAILS
    if rule in ("above", "below"):  # the bound itself is not allowed
        a, b = (bound.low, math.inf) if rule == "above" else (-math.inf, bound.high)
        inside, outside = a < low and high < b, high <= a or low >= b
    else:
        a = -math.inf if rule == "at most" else bound.low - tolerance
        b = math.inf if rule == "at least" else bound.high + tolerance
        inside, outside = a <= low and high <= b, high < a or low > b
    return HOLDS if inside else FAILS if outside else OPEN


class _Printed(float):
    """A number that is printed with a true minus sign."""

    def __format__(self, spec: str) -> str:
        return super().__format__(spec).replace("-", MINUS)


def _reason(claim: Claim, verdict: str, results: Results) -> str:
    numbers = {
        name: _Printed(results.look_up(selector, f"{claim.place}, numbers, {name}").value)
        for name, selector in claim.numbers.items()
    }
    try:
        reason = claim.reason.get(verdict, "").format_map(numbers)
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(
            f"{claim.place}: the reason cannot be filled in ({error!r}); add it under numbers"
        ) from error
    return reason or _USUAL.get(verdict, "")


def evaluate(claim: Claim, results: Results) -> dict[str, Any]:
    """One row of the table of claims: what is published, what was found, the verdict and why."""
    ours = Found(math.nan)
    if claim.ours:
        ours = results.look_up(claim.ours, f"{claim.place}, ours")
    published = results.range_of(claim.published, f"{claim.place}, published")
    bound = results.range_of(claim.bound, f"{claim.place}, bound") or published
    verdict = decide(claim.rule, ours, bound, claim.tolerance)
    none = Range(math.nan, math.nan)
    return {
        "system": claim.system,
        "id": claim.id,
        "name": claim.name,
        "claim": claim.claim,
        "where": claim.where,
        "test": claim.test,
        "unit": claim.unit,
        "published": (published or none).low,
        "published_high": (published or none).high,
        "ours": ours.value,
        "low": math.nan if ours.low is None else ours.low,
        "high": math.nan if ours.high is None else ours.high,
        "rule": claim.rule,
        "bound": (bound or none).low,
        "bound_high": (bound or none).high,
        "tolerance": claim.tolerance,
        "digits": claim.digits,
        "verdict": verdict,
        "reason": _reason(claim, verdict, results),
    }


def table(catalogue: Catalogue, results: Results) -> pd.DataFrame:
    """One row per claim, in the order of the file, as by `evaluate`, with its place in a system.

    Returns
    -------
    table
        Besides the columns of `evaluate`: number, its place among the claims of its system, and
        timed, whether it is about measured times.
    """
    lines: list[dict[str, Any]] = []
    for claim in catalogue.claims:
        number = 1 + sum(line["system"] == claim.system for line in lines)
        lines.append({"number": number, **evaluate(claim, results), "timed": claim.timed})
    return pd.DataFrame(lines).astype({"digits": "Int64"})


def counts(claims: pd.DataFrame) -> pd.DataFrame:
    """Number of claims per system (rows) and verdict (columns), in their order."""
    found = pd.crosstab(claims["system"], claims["verdict"])
    return found.reindex(index=claims["system"].unique(), columns=VERDICTS, fill_value=0)
