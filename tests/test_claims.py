"""Claims: where numbers are found, what a rule makes of them, and what a slip in the file says."""

import csv
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from griddispatch.errors import InputError
from griddispatch.evaluation import best_policy, claims, selectors
from griddispatch.evaluation.claims import APART, FAILS, HOLDS, OPEN, RULES, decide
from griddispatch.evaluation.selectors import Found, Range, Results
from griddispatch.reporting import claims as report
from griddispatch.reporting.palette import VERDICT

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT / "paper/claims.yaml"

ROWS = """policy,scope,mean,low,high,network
PPO,test,90.5,89.0,92.0,25
PPO,stress,84.0,80.0,88.0,25
Rule,test,95.0,93.0,97.0,34
Rule,stress,,,,34
"""
TIMES = "network,backend,us\n25,slow,100\n25,fast,10\n34,slow,90\n34,fast,3\n34,none,0\n"
SUMMARY = {
    "claims": {"zero": {"holds": True, "value": 0}, "odd: one": {"value": 1.5}},
    "index": [0.25, 2.0],
    "speed": [38, 47],
    "gains": [{"what": "a", "value": 3.0, "low": 1.0, "high": 5.0}, {"what": "b", "value": -1.0}],
    "material": {"mono-Si": {"share": 1.0}, "CdTe": {"share": 0.75}},
    "null": None,
}
NUMBER = st.floats(-100, 100)
COMPARED = ("at least", "at most", "above", "below", "equal", "within", "covers")


@pytest.fixture
def results(tmp_path: Path) -> Results:
    (tmp_path / "x.csv").write_text(ROWS, encoding="utf-8")
    (tmp_path / "times.csv").write_text(TIMES, encoding="utf-8")
    (tmp_path / "x.json").write_text(json.dumps(SUMMARY), encoding="utf-8")
    return Results(lambda name: tmp_path / Path(name).name)


def found(results: Results, **selector: Any) -> Found:
    return results.look_up(selectors.to_selector(selector, "here"), "here")


def one(**changes: Any) -> dict[str, Any]:
    """A claim that holds, with some keys changed; None takes a key away."""
    content = {
        "id": "one",
        "name": "One",
        "claim": "PPO is good.",
        "where": "Table 1",
        "test": "Captured value.",
        "unit": "%",
        "bound": 80,
        "ours": {
            "file": "x.csv",
            "where": {"policy": "PPO", "scope": "test"},
            "value": "mean",
            "low": "low",
            "high": "high",
        },
        "rule": "at least",
    }
    return {key: value for key, value in {**content, **changes}.items() if value is not None}


def catalogue(tmp_path: Path, *written: Any, use: Any = None) -> claims.Catalogue:
    section = {"source": "A paper", "claims": list(written)}
    file = tmp_path / "claims.yaml"
    content = {"System": section if use is None else {**section, "use": use}}
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return claims.read(file)


def row(tmp_path: Path, results: Results, **changes: Any) -> dict[str, Any]:
    return claims.evaluate(catalogue(tmp_path, one(**changes)).claims[0], results)


# -- selectors ----------------------------------------------------------------------------


def test_a_row_gives_its_value_and_its_interval(results: Results) -> None:
    where = {"policy": "PPO", "scope": "test"}
    got = found(results, file="x.csv", where=where, value="mean", low="low", high="high")
    assert got == Found(90.5, 89.0, 92.0)


def test_a_list_means_any_of_them_and_a_star_any_ending(results: Results) -> None:
    rows = {"file": "x.csv", "take": "largest", "value": "mean"}
    assert found(results, **rows, where={"policy": ["PPO", "Rule"], "scope": "test"}).value == 95
    assert found(results, **rows, where={"policy": "P*"}).value == 90.5


def test_numbers_are_compared_as_numbers(results: Results) -> None:
    where = {"network": 25.0, "scope": "test"}
    assert found(results, file="x.csv", where=where, value="mean").value == 90.5


@pytest.mark.parametrize(("take", "value"), [("smallest", 3), ("largest", 100), ("mean", 50.75)])
def test_of_several_rows_one_number_is_made(results: Results, take: str, value: float) -> None:
    where = {"backend": ["slow", "fast"]}
    assert found(results, file="times.csv", where=where, take=take, value="us").value == value


def test_ratios_are_taken_where_a_column_is_the_same(results: Results) -> None:
    fast = {"file": "times.csv", "where": {"backend": "fast"}, "value": "us"}
    slow = {**fast, "where": {"backend": "slow"}, "by": "network", "per": fast}
    assert found(results, **slow, take="smallest").value == 10
    assert found(results, **slow, take="largest").value == 30


def test_rows_with_the_same_partner_all_count(tmp_path: Path) -> None:
    lines = ("none,1,70", "1 year,1,80", "5 years,1,90", "none,2,60", "1 year,2,63")
    text = "\n".join(("augmented,primary,share", *lines))
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    without = {"file": "x.csv", "where": {"augmented": "none"}, "value": "share"}
    augmented = {**without, "where": {"augmented": ["1 year", "5 years"]}}
    pairs = {**augmented, "by": "primary", "minus": without, "take": "mean"}
    assert found(Results(lambda name: tmp_path / name), **pairs).value == (10 + 20 + 3) / 3


def test_a_difference_and_a_scale(results: Results) -> None:
    rule = {"file": "x.csv", "where": {"policy": "Rule", "scope": "test"}, "value": "mean"}
    own = {**rule, "where": {"policy": "PPO", "scope": "test"}}
    assert found(results, **rule, minus=own, scale=10).value == 45
    ends = {"low": "low", "high": "high", "scale": -1}
    assert found(results, **own, **ends) == Found(-90.5, -92.0, -89.0)


def test_a_json_file_is_read_by_dotted_keys(results: Results) -> None:
    kept = found(results, file="x.json", value="claims.zero.value", holds="claims.zero.holds")
    assert kept == Found(0.0, holds=True)
    assert found(results, file="x.json", value="claims.odd: one.value").value == 1.5
    assert found(results, file="x.json", value="index.1").value == 2.0


def test_records_of_a_json_file_are_rows(results: Results) -> None:
    gain = {"file": "x.json", "rows": "gains", "where": {"what": "a"}, "value": "value"}
    assert found(results, **gain, low="low", high="high") == Found(3.0, 1.0, 5.0)
    named = {"file": "x.json", "rows": "material", "value": "share"}
    assert found(results, **named, take="smallest").value == 0.75
    assert found(results, **named, where={"key": "mono-Si"}).value == 1.0


def test_a_file_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(ROWS, encoding="utf-8")
    asked: list[str] = []

    def find(name: str) -> Path:
        asked.append(name)
        return tmp_path / name

    results = Results(find)
    for scope in ("test", "stress"):
        found(results, file="x.csv", where={"policy": "PPO", "scope": scope}, value="mean")
    assert asked == ["x.csv"]


PPO = {"policy": "PPO", "scope": "test"}
EMPTY = {"policy": "Rule", "scope": "stress"}


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ({"file": "x.csv", "where": PPO, "value": "median"}, r"here: x.csv has no 'median'; there"),
        ({"file": "x.csv", "where": {"who": "PPO"}, "value": "mean"}, "no 'who'; there is policy"),
        ({"file": "x.csv", "where": {"policy": "A3C"}, "value": "mean"}, "no row with policy = 'A"),
        ({"file": "x.csv", "where": {"policy": "PPO"}, "value": "mean"}, "2 such rows; .*add take"),
        (
            {"file": "x.csv", "where": {"policy": "Rule", "scope": "stress"}, "value": "low"},
            "is ''",
        ),
        ({"file": "x.json", "value": "claims.one"}, "no 'claims.one'; there is zero"),
        ({"file": "x.json", "value": "null"}, "null is None where a number is needed"),
        ({"file": "x.json", "value": "index.7"}, "no 'index.7'"),
        ({"file": "x.json", "value": "claims.zero.holds"}, "is True where a number is needed"),
        ({"file": "x.json", "value": "index.0", "holds": "index.0"}, "choose a key that is yes or"),
        (
            {"file": "x.csv", "where": PPO, "value": "mean", "low": "low"},
            "low and high go together",
        ),
        (
            {"file": "x.csv", "take": "mean", "value": "mean", "low": "low", "high": "high"},
            "low beside take",
        ),
        ({"file": "x.csv", "where": PPO, "value": "mean", "by": "scope"}, "by is only for per"),
        ({"file": "x.csv", "take": "median", "value": "mean"}, "take is 'median'; write one of"),
        ({"file": "x.csv", "valeu": "mean"}, "the key 'value' is missing"),
        ({"file": "x.csv", "value": "mean", "wehre": {}}, "the key 'wehre' is unknown; known are"),
        (
            {
                "file": "x.csv",
                "where": PPO,
                "value": "mean",
                "per": {"file": "times.csv", "where": {"backend": "none"}, "value": "us"},
            },
            "us is 0; choose another",
        ),
    ],
)
def test_a_slip_in_a_selector_is_named(
    results: Results, selector: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        found(results, **selector)


# -- rules --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "ours", "verdict"),
    [
        ("at least", Found(5.0), HOLDS),
        ("above", Found(5.0), FAILS),
        ("at most", Found(5.0), HOLDS),
        ("below", Found(5.0), FAILS),
        ("above", Found(6.0, 5.5, 7.0), HOLDS),
        ("above", Found(6.0, 4.5, 7.0), OPEN),
        ("above", Found(4.0, 3.0, 4.5), FAILS),
        ("below", Found(4.0, 3.0, 4.5), HOLDS),
        ("at least", Found(5.5, 5.0, 6.0), HOLDS),
        ("at most", Found(4.5, 4.0, 5.0), HOLDS),
        ("equal", Found(5.9), HOLDS),
        ("equal", Found(6.1), FAILS),
        ("equal", Found(5.9, 5.5, 6.5), OPEN),
        ("covers", Found(6.0, 4.0, 8.0), HOLDS),
        ("covers", Found(6.0, 5.5, 8.0), FAILS),
    ],
)
def test_what_a_rule_says(rule: str, ours: Found, verdict: str) -> None:
    assert decide(rule, ours, Range(5.0, 5.0), tolerance=1.0 if rule == "equal" else 0.0) == verdict


def test_within_a_pair() -> None:
    pair = Range(38.0, 47.0)
    assert decide("within", Found(38.0), pair) == HOLDS
    assert decide("within", Found(37.9), pair) == FAILS
    assert decide("within", Found(40.0, 37.0, 41.0), pair) == OPEN


def test_a_verdict_that_the_stage_has_kept() -> None:
    assert decide("stated", Found(1.0, holds=True), None) == HOLDS
    assert decide("stated", Found(1.0, holds=False), None) == FAILS
    assert decide(APART, Found(math.nan), None) == APART


def interval(value: float, below: float, above: float) -> Found:
    return Found(value, value - below, value + above)


WIDTH = st.floats(0, 50)


@given(rule=st.sampled_from(COMPARED), value=NUMBER, bound=NUMBER)
def test_a_point_is_always_decided(rule: str, value: float, bound: float) -> None:
    assert decide(rule, Found(value), Range(bound, bound)) in (HOLDS, FAILS)


@given(st.sampled_from(COMPARED[:-1]), NUMBER, NUMBER, WIDTH, WIDTH, st.floats(0, 20))
def test_a_wider_interval_never_decides_more(
    rule: str, value: float, bound: float, below: float, above: float, more: float
) -> None:
    narrow = decide(rule, interval(value, below, above), Range(bound, bound))
    wide = decide(rule, interval(value, below + more, above + more), Range(bound, bound))
    assert wide in (narrow, OPEN)


@given(NUMBER, NUMBER, WIDTH, WIDTH)
def test_opposite_rules_have_opposite_verdicts(
    value: float, bound: float, below: float, above: float
) -> None:
    opposite = {HOLDS: FAILS, FAILS: HOLDS, OPEN: OPEN}
    ours, at = interval(value, below, above), Range(bound, bound)
    assert decide("above", ours, at) == opposite[decide("at most", ours, at)]
    assert decide("below", ours, at) == opposite[decide("at least", ours, at)]


@given(st.sampled_from(("at least", "above")), NUMBER, NUMBER, WIDTH, st.floats(0, 50))
def test_a_better_value_never_loses(
    rule: str, value: float, bound: float, width: float, better: float
) -> None:
    ranks = (FAILS, OPEN, HOLDS)
    at = Range(bound, bound)
    before = decide(rule, interval(value, width, width), at)
    after = decide(rule, interval(value + better, width, width), at)
    assert ranks.index(after) >= ranks.index(before)


# -- claims -------------------------------------------------------------------------------


def test_a_claim_becomes_a_row(tmp_path: Path, results: Results) -> None:
    got = row(tmp_path, results)
    assert (got["system"], got["id"], got["verdict"], got["reason"]) == ("System", "one", HOLDS, "")
    assert (got["ours"], got["low"], got["high"], got["bound"]) == (90.5, 89.0, 92.0, 80.0)
    assert math.isnan(got["published"])


def test_without_a_bound_the_published_value_is_it(tmp_path: Path, results: Results) -> None:
    got = row(tmp_path, results, bound=None, published={"file": "x.json", "value": "speed"})
    assert (got["bound"], got["published_high"], got["verdict"]) == (38.0, 47.0, HOLDS)


def test_a_bound_may_stand_in_a_file(tmp_path: Path, results: Results) -> None:
    rule = {"file": "x.csv", "where": {"policy": "Rule", "scope": "test"}, "value": "mean"}
    assert row(tmp_path, results, bound=rule)["verdict"] == FAILS


def test_numbers_of_a_reason_are_looked_up(tmp_path: Path, results: Results) -> None:
    numbers = {
        "loss": {"file": "x.json", "rows": "gains", "where": {"what": "b"}, "value": "value"}
    }
    reason = "PPO and TD3 lose {loss:.1f} % in Table 4."
    got = row(tmp_path, results, bound=99, reason=reason, numbers=numbers)
    assert got["reason"] == "PPO and TD3 lose \N{MINUS SIGN}1.0 % in Table 4."
    assert row(tmp_path, results, reason=reason, numbers=numbers)["reason"] == ""


def test_a_verdict_against_a_claim_never_stands_without_a_reason(
    tmp_path: Path, results: Results
) -> None:
    assert row(tmp_path, results, bound=99)["reason"]
    assert row(tmp_path, results, bound=90, reason="No.")["reason"].startswith("The interval")
    assert (
        row(tmp_path, results, bound=90, reason={OPEN: "Days differ."})["reason"] == "Days differ."
    )


def test_what_cannot_be_compared_says_why(tmp_path: Path, results: Results) -> None:
    reason = {APART: "Other data."}
    got = row(tmp_path, results, rule=APART, ours=None, bound=None, published=75, reason=reason)
    assert (got["verdict"], got["reason"], got["published"]) == (APART, "Other data.", 75.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ruel": "above"}, "claim one: the key 'ruel' is unknown; known are"),
        ({"test": None}, "claim one: the key 'test' is missing; add it"),
        ({"rule": "more"}, "claim one: rule is 'more'; write one of at least"),
        ({"ours": None}, "claim one: ours is missing"),
        ({"bound": None}, "claim one: neither published nor bound is given"),
        ({"rule": "stated"}, "claim one: rule 'stated' needs the key holds in ours"),
        ({"ours": {"file": "x.csv", "value": "mean"}, "rule": "covers"}, "needs low and high in"),
        ({"rule": APART}, "claim one: say under reason, not comparable, why"),
        ({"reason": "It gains 3.2 points."}, r"claim one: reason types the number at '3.2 points"),
        ({"reason": {"fails": "No."}}, "claim one: reason for 'fails'; verdicts are holds"),
        ({"reason": 5}, "claim one: reason is 5; write a text"),
        ({"numbers": ["a"]}, "claim one: numbers is no map"),
        ({"bound": [5, 3]}, r"claim one, bound is \[5, 3\]; write a number, or two in rising"),
        ({"bound": "much"}, "claim one, bound is 'much'; write a number"),
        ({"ours": {"file": "x.csv"}}, "claim one, ours: the key 'value' is missing"),
        ({"numbers": {"n": {"value": "a"}}}, "claim one, numbers, n: the key 'file' is missing"),
    ],
)
def test_a_slip_in_a_claim_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        catalogue(tmp_path, one(**changes))


def test_an_id_stands_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="claim one stands 2 times; rename one"):
        catalogue(tmp_path, one(), one())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no systems"),
        ("A: {source: x, claims: [], claims: []}", "line 1: 'claims' stands twice in one map"),
        ("A: {source: x}", "A: the key 'claims' is missing"),
        ("A: {source: x, claims: [7]}", "claim 7 is no map"),
        ("A: {source: x, claims: 7}", "A: claims is no list"),
        ("A: {source: x, claims: [], use: [7]}", "A, use: 7 is no map"),
        ("A: [", "claims.yaml: "),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "claims.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        claims.read(file)


def test_a_missing_row_names_the_claim(tmp_path: Path, results: Results) -> None:
    ours = {"file": "x.csv", "where": {"policy": "A3C"}, "value": "mean"}
    with pytest.raises(InputError, match="claim one, ours: x.csv has no row with policy = 'A3C'"):
        row(tmp_path, results, ours=ours)


def test_a_reason_with_an_unknown_name_names_the_claim(tmp_path: Path, results: Results) -> None:
    with pytest.raises(InputError, match="claim one: the reason cannot be filled in"):
        row(tmp_path, results, bound=99, reason="It loses {loss:.1f} points.")


# -- what to use --------------------------------------------------------------------------

USE = {
    "when": "A day",
    "rows": {
        "file": "x.csv",
        "where": {"scope": "test"},
        "value": "mean",
        "low": "low",
        "high": "high",
    },
    "name": ["policy", "scope"],
    "best": "largest",
    "metric": "captured value, %",
}


def test_the_best_policy_of_a_situation(tmp_path: Path, results: Results) -> None:
    (use,) = catalogue(tmp_path, one(), use=[USE]).uses
    line = best_policy.best(use, results)
    assert (line["policy"], line["value"], line["also"]) == ("Rule, test", 95.0, "")
    (use,) = catalogue(tmp_path, one(), use=[{**USE, "without": {"policy": ["R*"]}}]).uses
    assert best_policy.best(use, results)["policy"] == "PPO, test"
    (use,) = catalogue(tmp_path, one(), use=[{**USE, "best": "smallest"}]).uses
    assert best_policy.best(use, results)["policy"] == "PPO, test"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"best": "highest"}, "best is largest or smallest"),
        ({"without": {"policy": ["R*", "PPO"]}}, "A day: all rows are left out"),
        ({"name": ["who"]}, "no 'who'; there is policy"),
        ({"without": {"who": "PPO"}}, "no 'who'; there is policy"),
    ],
)
def test_a_slip_in_a_use_is_named(
    tmp_path: Path, results: Results, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        best_policy.best(catalogue(tmp_path, one(), use=[{**USE, **changes}]).uses[0], results)


@given(
    st.lists(st.tuples(NUMBER, WIDTH, WIDTH), min_size=1, max_size=6),
    st.sampled_from(("largest", "smallest")),
)
def test_the_best_has_the_best_value_and_those_beside_it_reach_it(
    rows: list[tuple[float, float, float]], wanted: str
) -> None:
    use = best_policy.to_use({**USE, "best": wanted, "name": ["policy"]}, "System", "here")
    table = [
        {"policy": f"p{k}", "scope": "test", "mean": v, "low": v - a, "high": v + b}
        for k, (v, a, b) in enumerate(rows)
    ]
    results = Results(lambda name: pytest.fail(f"reads {name}"))
    results._read["x.csv"] = table
    line = best_policy.best(use, results)
    pick = max if wanted == "largest" else min
    assert line["value"] == pick(r["mean"] for r in table)
    also = set(line["also"].split("; ")) - {""}
    assert line["policy"] not in also
    for r in table:
        apart = r["high"] < line["low"] if wanted == "largest" else r["low"] > line["high"]
        assert (r["policy"] in also) == (not apart and r["policy"] != line["policy"])


PAIRS = """first,second,value,low,high
Rule,PPO,1.0,0.5,1.5
Rule,SAC,1.0,-0.5,2.5
PPO,Rule,9.0,8.0,9.9
"""


def test_who_is_clearly_worse_in_a_pair_is_not_named(tmp_path: Path) -> None:
    rows = "policy,scope,mean,low,high\nRule,test,95,90,99\nPPO,test,94,89,98\nSAC,test,93,88,97\n"
    for name, text in {"x.csv": rows, "pairs.csv": PAIRS}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    results = Results(lambda name: tmp_path / name)
    paired = {"file": "pairs.csv", "value": "value", "low": "low", "high": "high"}
    use = {**USE, "name": ["policy"]}
    (alone,) = catalogue(tmp_path, one(), use=[use]).uses
    (both,) = catalogue(tmp_path, one(), use=[{**use, "paired": paired}]).uses
    assert best_policy.best(alone, results)["also"] == "PPO; SAC"
    assert best_policy.best(both, results)["also"] == "SAC"


# -- tables and figure --------------------------------------------------------------------


def judged(tmp_path: Path, results: Results) -> pd.DataFrame:
    timed = {"file": "results/timings/times.csv", "take": "largest", "value": "us"}
    read = catalogue(
        tmp_path,
        one(),
        one(id="two", bound=99, digits=2),
        one(id="three", ours=timed, bound=None, published=[38, 47]),
        one(id="four", rule="equal", bound=None, published=90, tolerance=0.5),
    )
    return claims.table(read, results)


def test_the_table_numbers_claims_and_knows_times(tmp_path: Path, results: Results) -> None:
    table = judged(tmp_path, results)
    assert list(table["number"]) == [1, 2, 3, 4]
    assert list(table["timed"]) == [False, False, True, False]
    assert list(table["verdict"]) == [HOLDS, FAILS, HOLDS, OPEN]
    assert claims.counts(table).loc["System"].to_dict() == {HOLDS: 2, FAILS: 1, OPEN: 1, APART: 0}


def test_numbers_are_printed_with_what_is_asked(tmp_path: Path, results: Results) -> None:
    shown = report.with_texts(judged(tmp_path, results))
    assert list(shown["asked"]) == ["≥ 80", "≥ 99", "≥ 38", "90 ± 0.5"]
    assert list(shown["published_text"]) == ["—", "—", "38–47", "90"]
    assert list(shown["ours_text"])[:3] == [
        "90.5 [89.0, 92.0]",
        "90.50 [89.00, 92.00]",
        "100",
    ]


def test_measured_times_are_kept_apart(
    tmp_path: Path, results: Results, drawing_project: Path
) -> None:
    line = {"system": "System", "when": "A day", "policy": "Rule", "metric": "%", "also": ""}
    uses = pd.DataFrame([{**line, "value": 95.0, "low": 93.0, "high": 97.0}])
    report.write(judged(tmp_path, results), uses)
    out = drawing_project / "scratch"
    for name, wanted in (
        ("results/claims.csv", ["one", "two", "four"]),
        ("results/timings/claims.csv", ["three"]),
    ):
        with (out / name).open(encoding="utf-8") as stream:
            assert [r["id"] for r in csv.DictReader(stream)] == wanted
    assert "three" not in (out / "results/claims.csv").read_text(encoding="utf-8")
    shown = (out / "paper/tables/claims.md").read_text(encoding="utf-8")
    assert r"90.50 \[89.00, 92.00\]" in shown
    assert "38" not in re.sub(r"95 %", "", shown)
    advice = (out / "paper/tables/what_to_use.csv").read_text(encoding="utf-8")
    assert '"95.0 [93.0, 97.0]"' in advice


def test_every_claim_has_a_tile_in_the_look_of_its_verdict(
    tmp_path: Path, results: Results, drawing_project: Path
) -> None:
    fig = report.draw_verdicts(judged(tmp_path, results))
    ax = fig.axes[0]
    looks = [tile.get_facecolor() for tile in ax.patches]
    assert [text.get_text() for text in ax.texts] == ["1", "2", "3", "4"]
    assert len(set(looks)) == 4  # holds, does not hold, a time, not decided
    assert set(VERDICT) == set(claims.VERDICTS)
    assert looks[2] == (1.0, 1.0, 1.0, 1.0)
    words = [text.get_text() for text in fig.legends[0].get_texts()]
    assert words[0] == "holds: 1"
    assert words[-1] == "measured times, see table: 1"


def test_storage_dispatch_holds_each_policy_once_in_the_order_of_its_worse_side() -> None:
    lines = [
        ("Do nothing", "", "", "", 0, 0),
        ("Fixed schedule", "all", "", "", 95, 68),
        ("PPO", "all", "none", "history", 90, 85),
        ("PPO", "all", "5 years", "history", 99, 99),
        ("PPO", "1 month", "none", "history", 99, 99),
        ("PPO as printed, 3 days", "all", "none", "printed", 2, -3),
        ("MPC", "all", "none", "now", 95, 92),
    ]
    frame = pd.DataFrame(
        [
            {
                "policy": policy,
                "primary": primary or math.nan,
                "augmented": augmented or math.nan,
                "information": information or math.nan,
                "scope": scope,
                "metric": metric,
                "end_soc": end,
                "mean": value,
                "low": value - 1,
                "high": value + 1,
            }
            for policy, primary, augmented, information, *both in lines
            for scope, value in zip(("test", "stress"), both, strict=True)
            for metric in ("captured", "reward")
            for end in ("free", "initial")
        ]
    )
    table = report.storage_dispatch(frame)
    assert list(table["policy"]) == ["Do nothing", "Fixed schedule", "PPO", "MPC"]
    assert list(table["kind"]) == ["", "rule", "learned, from rewards", "planned"]
    assert table.loc[2, ["test", "stress low"]].tolist() == [90, 84]


# -- the claims of the project ------------------------------------------------------------


def published(claim: claims.Claim) -> bool:
    return all((ROOT / name).exists() for name in claim.files())


def test_the_claims_of_the_project_are_well_formed() -> None:
    read = claims.read(REAL)
    assert len(read.claims) >= 45
    assert all(claim.rule in RULES for claim in read.claims)
    assert {use.system for use in read.uses} == set(read.sources)


def test_every_claim_about_published_results_has_a_verdict() -> None:
    read = claims.read(REAL)
    there = [claim for claim in read.claims if published(claim)]
    missing = {claim.system for claim in read.claims} - {claim.system for claim in there}
    assert {claim.system for claim in read.claims if not published(claim)} == missing
    results = Results(lambda name: ROOT / name)
    lines = claims.table(read._replace(claims=there), results)
    assert set(lines["verdict"]) <= set(claims.VERDICTS)
    against = lines[lines["verdict"].ne(HOLDS)]
    assert against["reason"].str.len().gt(0).all()


def test_another_number_in_the_results_changes_a_verdict(tmp_path: Path) -> None:
    claim = next(c for c in claims.read(REAL).claims if c.id == "tracks-better")
    (name,) = claim.files()
    copy = tmp_path / Path(name).name
    shutil.copy(ROOT / name, copy)
    content = json.loads(copy.read_text(encoding="utf-8"))
    gain = content["claims"]["tracks_better"]
    before = claims.evaluate(claim, Results(lambda _: copy))["verdict"]
    gain.update({key: -gain[key] for key in ("value", "low", "high")})
    copy.write_text(json.dumps(content), encoding="utf-8")
    after = claims.evaluate(claim, Results(lambda _: copy))["verdict"]
    assert {before, after} == {HOLDS, FAILS}
