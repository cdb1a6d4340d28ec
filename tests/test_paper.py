"""The paper: it compiles from files alone, always to the same bytes, and never with a blank."""

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import invented_claims
import invented_cvar_td3
import invented_deltanet
import invented_dromarl
import invented_scale
import invented_tft_mpc
import pandas as pd
import pytest
import typst

from griddispatch.errors import InputError
from griddispatch.pipeline import verify_paper
from griddispatch.reporting import paper
from griddispatch.reporting.tables import Column, write_table

HERE = Path(__file__).resolve().parent.parent
FIGURES = (
    "02_marginals",
    "02_profiles",
    "03_feeder_34",
    "03_voltage_comparison",
    "10_settings",
    "10_training_curves",
    "10_dispatch",
    "10_training_time",
    "10_printed_bound",
    *invented_deltanet.FIGURES,
    *invented_cvar_td3.FIGURES,
    *invented_tft_mpc.FIGURES,
    *invented_dromarl.FIGURES,
    *invented_claims.FIGURES,
)
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="245" height="150"><rect width="9"/></svg>'

# Values that no real run gives; the tests look for them on the page.
DATA = {
    "feeder_34": {
        "steps": 16224,
        "days": 169,
        "first_day": "2020-07-17",
        "last_day": "2021-01-01",
        "repaired_lines": 1,
        "repaired_cells": 36,
        "bad_row": 3828,
        "equal_price_blocks": {"0": 0.012, "15": 0.999, "30": 0.01, "45": 0.01},
        "negative_prices": 8,
        "negative_loads": 726,
        "still_share": 0.0123,
        "pv_deviation_kw": 2.5e-9,
        "mean_correlation": 0.44,
    },
    "feeder_25": {
        "days": 365,
        "copied_price_days": 0.98,
        "copied_pv_days": 0.97,
        "mean_correlation": 0.01,
    },
    "split": {
        "test": 30,
        "stress": 14,
        "fit": {"1 month": 22, "3 months": 65, "all": 104},
        "validation": {"1 month": 4, "3 months": 13, "all": 21},
    },
}
PRIMARIES = ("1 month", "3 months", "all")
LEARNERS = ("DDPG", "TD3", "SAC", "PPO", "Pathwise")
SETTINGS = {
    "seeds": 5,
    "episodes": 6400,
    "environments": 64,
    "batch": 256,
    "lr": 0.002,
    "lr_end": 0.0001,
    "gamma": 1,
    "hidden": [64, 64],
    "entropy": 0.0,
    "huber": None,
    "shaping": True,
    "random_soc": True,
    "privileged_critic": True,
    "keep_best": True,
}
SUMMARY = {
    "interval_percent": 95,
    "case": {
        "battery_nodes": [12, 16, 27, 34],
        "power_kw": 50,
        "capacity_kwh": 300,
        "soc_min": 0.2,
        "soc_max": 0.8,
        "soc_initial": 0.4,
        "efficiency": 1,
        "step_hours": 0.25,
        "sigma": 400,
    },
    "no_battery": {
        "voltage_min": 0.936,
        "voltage_max": 1.037,
        "low_percent": 5.1,
        "low_percent_test": 0.04,
        "low_percent_stress": 14.2,
    },
    "optimum": {"days": 44, "days_beaten": 0},
    "learners": {
        **{name: {"paper": SETTINGS, "tuned": SETTINGS} for name in ("DDPG", "TD3", "SAC", "PPO")},
        "Pathwise": {"tuned": {**SETTINGS, "updates": 250, "paired_days": 1024}},
    },
    "days_as_printed": {"DDPG": 20, "TD3": 20, "SAC": 20, "PPO": 1000},
    "augmented_ppo": {
        "test": {"value": 9.6, "low": 8.0, "high": 11.0},
        "stress": {"value": 0.4, "low": -1.0, "high": 2.0},
    },
    "printed_bound": {
        "constant": 1.7125,
        "rms_points": 0.893,
        "largest_points": 2.007,
        "cells": 32,
    },
}
METHODS = ("Gaussian", "Student-t", "mixtures alone")
AUGMENTATION = {
    "chosen": "Gaussian",
    "columns": {"load": 3264, "price": 49, "pv": 77},
    "components": {primary: [1600, 1400, 300, 90] for primary in PRIMARIES},
    "correlation_gap": {
        of: {"Gaussian": 0.031, "mixtures alone": 0.387} for of in ("nodes", "times")
    },
    "held_out_days": 21,
    "nu": 197.6,
    "power": {"PV + 50 %": 0.1, "independent columns": 0.85, "none": 0.05},
    "shrinkage": {primary: {"load": 0.22} for primary in PRIMARIES},
}
OTHER = {
    "ours_minus_theirs": {"value": -2.4, "low": -7.9, "high": 3.1},
    "sizes": {"days": 60, "seeds": 5},
}
SECONDS = {"tuned, all, none, history, free": {"seconds": 321.0}}
MACHINE = {
    "cores": 47,
    "processor": "Abacus",
    "python": "3.11.0",
    "numpy": "2.0.0",
    "torch": "2.0.0",
    "numba": "0.60.0",
    "pandapower": "3.0.0",
}
PARAMS = """profile: reduced
run:
  workers: 53
deltanet:
  seeds: {smoke: 1, reduced: 3, paper: 59}
  signals: {smoke: [], reduced: [RegA, fast], paper: [RegA, fast]}
tft_mpc:
  batch: 67
"""
SYSTEMS = ("rl_adn", "deltanet", "cvar_td3", "tft_mpc", "dromarl")
SKELETON = ["The source", "Model", "Defects found", "Repair", "Experiment", "Results", "Verdicts"]


def accuracy():
    for network in (25, 34, 69, 123):
        for backend, error in (("Dense", 1.2e-9), ("Sweep", 2.34e-9)):
            yield {
                "network": network,
                "backend": backend,
                "mean_error_percent": error,
                "p99_error_percent": 10 * error,
                "max_error_percent": 30 * error,
                "iterations_mean": 4.2,
                "iterations_max": 5,
                "failed": 0,
            }


def timings():
    for network in (25, 34, 69, 123):
        for backend, batch, flow, step in (
            ("pandapower", 1, 11500.0, 12345.0),
            ("Dense", 1, 210.0, ""),
            ("Sweep", 1, 55.0, 155.0),
            ("Dense", 10000, 2.1, ""),
            ("Sweep", 10000, 0.78, 1.23),
        ):
            times = {"power_flow_us": flow * network / 34, "env_step_us": step}
            yield {"network": network, "backend": backend, "batch": batch, **times}


def optimum():
    for day in range(44):
        objective = 20.0 + day
        yield {
            "end_soc": "free",
            "date": f"day {day}",
            "scope": "test" if day < 30 else "stress",
            "objective": objective,
            "simulated": objective * (1 + 1e-5),
        }


def kinds():
    """Every policy of the results: name, measured days, generated days, information, end."""
    for end in ("free", "initial"):
        yield "Do nothing", "", "", "", end
        yield "Price threshold", "all", "", "", end
        yield "Yesterday's schedule", "", "", "", end
        yield "Fixed schedule", "all", "", "", end
    for information in ("now", "history", "day-ahead"):
        yield "MPC", "all", "none", information, "free"
    yield "MPC", "all", "none", "history", "initial"
    for name in LEARNERS:
        if name != "Pathwise":
            yield f"{name} as printed, 20 days", "all", "none", "printed", "free"
        for primary in PRIMARIES:
            for augmented in ("none", "1 year", "5 years"):
                if (primary, augmented) != ("all", "1 year"):
                    yield name, primary, augmented, "history", "free"
        if name in ("TD3", "PPO"):
            yield name, "all", "none", "now", "free"
            yield name, "all", "none", "day-ahead", "free"
            yield name, "all", "none", "history", "initial"
    for end in ("free", "initial"):
        yield "Optimum", "", "", "", end


def results():
    sizes = {"profit": 14.0, "penalty": 31.0, "reward": 13.0, "captured": 90.0}
    for rank, (policy, primary, augmented, information, end_soc) in enumerate(kinds()):
        for scope in ("test", "stress"):
            for metric, size in sizes.items():
                mean = size * (1 - 0.01 * rank)
                yield {
                    "policy": policy,
                    "primary": primary,
                    "augmented": augmented,
                    "information": information,
                    "end_soc": end_soc,
                    "scope": scope,
                    "metric": metric,
                    "mean": mean,
                    "low": "" if policy == "Do nothing" else mean - 0.05 * size,
                    "high": "" if policy == "Do nothing" else mean + 0.06 * size,
                }


def gains(points=2.5):
    for policy in (*LEARNERS, "MPC"):
        for scope in ("test", "stress"):
            interval = {"points": points, "low": points - 1, "high": points + 1}
            yield {"policy": policy, "scope": scope, **interval}


def effects(points=2.5):
    views = [("policy", name) for name in LEARNERS] + [("primary", p) for p in PRIMARIES]
    views += [("augmented", "1 year"), ("augmented", "5 years"), ("all rows", "all rows")]
    for by, which in views:
        for scope in ("test", "stress"):
            interval = {"points": points, "low": points - 1, "high": points + 1}
            yield {"by": by, "which": which, "scope": scope, "pairs": 5, **interval}


def energy_tests():
    for method, p in zip(METHODS, (0.81, 0.79, 0.002), strict=True):
        yield {"method": method, "p_value": p}


def generated_days():
    columns = ("number", "load energy", "PV energy", "mean price", "price range", "penalty")
    for primary in PRIMARIES:
        for source in ("measured", "generated"):
            yield {"primary": primary, "source": source, **dict.fromkeys(columns, 37.5)}


def training_times():
    for policy in ("DDPG", "TD3", "SAC", "PPO"):
        for backend, hours in (("Sweep", 0.5), ("pandapower", 2.5)):
            yield {"policy": policy, "backend": backend, "printed_days": 1000, "hours": hours}


def foreign_rewards():
    for library in ("stable-baselines3", "griddispatch"):
        for seed in range(5):
            yield {"library": library, "seed": seed, "reward": 11.0 + seed}


def write_csv(path, table):
    table = list(table)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(table[0]))
        writer.writeheader()
        writer.writerows(table)


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_project(root):
    """A project folder with the real paper and invented results."""
    shutil.copytree(
        HERE / "paper", root / "paper", ignore=shutil.ignore_patterns("*.pdf", "tables")
    )
    (root / "params.yaml").write_text(PARAMS, encoding="utf-8")
    write_json(root / "results/data_summary.json", DATA)
    write_json(root / "results/rl_adn_summary.json", SUMMARY)
    write_csv(root / "results/power_flow_accuracy.csv", accuracy())
    write_csv(root / "results/timings/table4.csv", timings())
    write_csv(root / "results/optimal_dispatch.csv", optimum())
    write_csv(root / "results/rl_adn_results.csv", results())
    write_csv(root / "results/rl_adn_gains.csv", gains())
    write_csv(root / "results/rl_adn_augmentation.csv", effects())
    write_json(root / "results/augmentation.json", AUGMENTATION)
    write_csv(root / "results/augmentation.csv", energy_tests())
    write_csv(root / "results/augmentation_days.csv", generated_days())
    write_csv(root / "results/timings/training_time.csv", training_times())
    for name in LEARNERS:
        write_json(root / f"results/timings/train_{name.lower()}.json", SECONDS)
    write_csv(root / "results/interoperability.csv", foreign_rewards())
    write_json(root / "results/own_task.json", OTHER)
    write_json(root / "results/timings/machine.json", MACHINE)
    invented_deltanet.write(root)
    invented_cvar_td3.write(root)
    invented_tft_mpc.write(root)
    invented_dromarl.write(root)
    invented_claims.write(root)
    invented_scale.write(root)
    for name in FIGURES:
        figure = root / "figures" / f"{name}.svg"
        figure.parent.mkdir(exist_ok=True)
        figure.write_text(SVG, encoding="utf-8")
    return root


@pytest.fixture
def project(tmp_path):
    return write_project(tmp_path / "a project")


def leaves(content, prefix=""):
    for key, value in content.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def without(content, path):
    first, _, rest = path.partition(".")
    if not rest:
        return {k: v for k, v in content.items() if k != first}
    return {**content, first: without(content[first], rest)}


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def ask(project, source, **arguments):
    """What Typst finds in a document of its own inside the project."""
    (project / "ask.typ").write_text(source, encoding="utf-8")
    return typst.query(
        str(project / "ask.typ"),
        "<answer>",
        field="value",
        one=True,
        root=str(project),
        **arguments,
    )


# -- bytes --------------------------------------------------------------------------------


def test_two_folders_give_the_same_bytes(project, tmp_path):
    first = paper.compile_paper(project)
    again = paper.compile_paper(write_project(tmp_path / "b"))
    assert first.path.read_bytes() == again.path.read_bytes()
    assert (first.sha256, first.pages) == (again.sha256, again.pages)
    assert first.path.read_bytes().startswith(b"%PDF")
    assert first.pages >= 4


def test_two_processes_give_the_same_bytes(project):
    command = [sys.executable, "-m", "griddispatch.reporting.paper"]
    digests = []
    for seed in ("1", "2"):
        environment = {**os.environ, "GRIDDISPATCH_ROOT": str(project), "PYTHONHASHSEED": seed}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        digests.append(done.stdout.split()[-1])
    assert digests[0] == digests[1]
    content = (project / "paper/paper.pdf").read_bytes()
    assert hashlib.sha256(content).hexdigest() == digests[0]


def test_the_pdf_carries_no_date(project):
    assert b"CreationDate" not in paper.compile_paper(project).path.read_bytes()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("results/data_summary.json", "16224", "16225"),
        ("results/rl_adn_summary.json", '"sigma": 400', '"sigma": 401'),
        ("results/rl_adn_results.csv", "85.5", "85.1"),
        ("results/rl_adn_gains.csv", "2.5", "2.7"),
        ("results/deltanet.csv", "0.9717", "0.9727"),
        ("results/deltanet_gains.csv", "13.7", "13.8"),
        ("results/deltanet_summary.json", "450003", "350003"),
        ("results/cvar_td3.csv", "263.9", "264.9"),
        ("results/cvar_td3_differences.csv", "11.3", "11.4"),
        ("results/cvar_td3_gaps.csv", "3.7", "3.8"),
        ("results/cvar_td3_summary.json", "2.0627", "2.0637"),
        ("results/tft_mpc_scores.csv", "1.73", "1.74"),
        ("results/tft_mpc.csv", "149.7", "147.7"),
        ("results/tft_mpc_summary.json", "96.3", "96.4"),
        ("results/dromarl.csv", "29713.0", "29813.0"),
        ("results/dromarl_differences.csv", "11.3", "11.4"),
        ("results/dromarl_radius.csv", "31337.0", "31437.0"),
        ("results/dromarl_world.csv", "1.373", "1.383"),
        ("results/dromarl_summary.json", "19.73", "19.83"),
        ("results/claims.csv", "29.3", "29.4"),
        ("results/timings/claims.csv", "4.3", "4.4"),
        ("results/scale.csv", "53.9", "54.9"),
        ("results/scale_networks.csv", "0.00137", "0.00237"),
        ("results/timings/scale.csv", "0.0137", "0.0167"),
        ("results/timings/scale_growth.csv", "1.73", "1.83"),
        ("results/what_to_use.csv", "93.7", "93.8"),
        ("results/rl_adn_augmentation.csv", "2.5", "2.7"),
        ("results/timings/training_time.csv", "0.5", "0.6"),
        ("results/timings/table4.csv", "11500.0", "11900.0"),
        ("results/timings/machine.json", "Abacus", "Slide rule"),
        ("params.yaml", "59", "61"),
        ("paper/printed/rladn_table4.csv", "28.08", "28.18"),
    ],
)
def test_a_changed_number_changes_the_page(project, file, old, new):
    before = paper.compile_paper(project)
    text = (project / file).read_text(encoding="utf-8")
    assert old in text
    (project / file).write_text(text.replace(old, new), encoding="utf-8")
    assert paper.compile_paper(project).sha256 != before.sha256


def test_a_smoke_build_says_so_on_its_first_page(project):
    before = paper.compile_paper(project)
    (project / "params.yaml").write_text("profile: smoke\n", encoding="utf-8")
    assert paper.compile_paper(project).sha256 != before.sha256
    source = '#import "/paper/lib.typ": is-test-build\n#metadata(is-test-build) <answer>'
    assert ask(project, source) == "true"


# Left out where they are missing, or, of the prices of four quarter-hours, only two are printed.
OPTIONAL = (
    "printed_bound.",
    "feeder_34.equal_price_blocks.",
    "learners.",
    "days_as_printed.",
    "power.PV",
    "power.independent",
)

# -- what is missing ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("data_summary", DATA),
        ("rl_adn_summary", SUMMARY),
        ("augmentation", AUGMENTATION),
        ("own_task", OTHER),
        ("timings/machine", MACHINE),
    ],
)
def test_every_missing_number_is_named(project, file, content):
    path = project / f"results/{file}.json"
    for key in leaves(content):
        if key.startswith(OPTIONAL):
            continue
        write_json(path, without(content, key))
        with pytest.raises(InputError) as error:
            paper.compile_paper(project)
        assert f"results/{file}.json has no {key};" in str(error.value)


def test_a_learner_without_settings_is_named(project):
    path = project / "results/rl_adn_summary.json"
    write_json(path, without(SUMMARY, "learners.SAC.tuned"))
    with pytest.raises(InputError, match=r"rl_adn_summary\.json has no learners\.SAC\.tuned"):
        paper.compile_paper(project)


def test_a_null_is_a_missing_number(project):
    content = {**SUMMARY, "case": {**SUMMARY["case"], "sigma": None}}
    write_json(project / "results/rl_adn_summary.json", content)
    with pytest.raises(InputError, match=r"results/rl_adn_summary\.json has no case\.sigma"):
        paper.compile_paper(project)


def test_the_printed_bound_is_discussed_only_where_it_was_studied(project):
    before = paper.compile_paper(project)
    write_json(project / "results/rl_adn_summary.json", without(SUMMARY, "printed_bound"))
    assert paper.compile_paper(project).sha256 != before.sha256


@pytest.mark.parametrize(
    ("file", "column"),
    [
        ("power_flow_accuracy", "mean_error_percent"),
        ("timings/table4", "env_step_us"),
        ("optimal_dispatch", "simulated"),
        ("rl_adn_results", "high"),
        ("rl_adn_gains", "points"),
        ("rl_adn_augmentation", "low"),
        ("augmentation", "p_value"),
        ("augmentation_days", "mean price"),
        ("timings/training_time", "hours"),
        ("interoperability", "reward"),
    ],
)
def test_a_missing_column_is_named(project, file, column):
    path = project / f"results/{file}.csv"
    write_csv(path, [without(row, column) for row in read_csv(path)])
    with pytest.raises(InputError, match=f"results/{file}.csv has no column {column}"):
        paper.compile_paper(project)


def test_an_empty_cell_is_a_dash_in_a_table_and_an_error_in_a_sentence(project):
    path = project / "results/rl_adn_results.csv"
    table = read_csv(path)
    in_table = next(
        r for r in table if r["policy"] == "Price threshold" and r["metric"] == "profit"
    )
    write_csv(path, [{**r, "mean": ""} if r is in_table else r for r in table])
    paper.compile_paper(project)
    chosen = {"policy": "Fixed schedule", "primary": "all", "scope": "test", "metric": "captured"}
    write_csv(path, [{**r, "mean": ""} if chosen.items() <= r.items() else r for r in table])
    with pytest.raises(InputError, match=r"rl_adn_results.csv has an empty mean .*Fixed schedule"):
        paper.compile_paper(project)


def test_a_missing_row_is_named(project):
    path = project / "results/rl_adn_results.csv"
    kept = [r for r in read_csv(path) if (r["policy"], r["primary"]) != ("TD3", "all")]
    write_csv(path, kept)
    with pytest.raises(InputError, match=r"rl_adn_results.csv has no row with .*TD3.*all"):
        paper.compile_paper(project)


def test_a_row_that_stands_twice_is_named(project):
    path = project / "results/rl_adn_results.csv"
    table = read_csv(path)
    write_csv(path, [*table, table[-1]])
    with pytest.raises(InputError, match="has several rows with"):
        paper.compile_paper(project)


@pytest.mark.parametrize(
    "name",
    [
        "results/data_summary.json",
        "results/timings/table4.csv",
        "results/timings/train_ppo.json",
        "results/timings/machine.json",
        "results/rl_adn_gains.csv",
        "results/deltanet_summary.json",
        "results/cvar_td3_gaps.csv",
        "results/tft_mpc.csv",
        "results/dromarl.csv",
        "results/timings/scale_growth.csv",
        *(f"figures/{figure}.svg" for figure in FIGURES),
    ],
)
def test_a_missing_file_is_named_and_leaves_no_pdf(project, name):
    pdf = paper.compile_paper(project).path
    (project / name).unlink()
    with pytest.raises(InputError, match=f"paper/main.typ needs {name}, which does not exist"):
        paper.compile_paper(project)
    assert not list(pdf.parent.glob("paper.p*"))


def test_a_slip_in_the_source_is_located(project):
    source = project / "paper/main.typ"
    lines = source.read_text(encoding="utf-8").splitlines()
    source.write_text("\n".join([*lines, "#nothing"]), encoding="utf-8")
    with pytest.raises(InputError, match=rf"main\.typ:{len(lines) + 1}:\d+: unknown variable"):
        paper.compile_paper(project)


def test_the_command_ends_with_one_line(project, monkeypatch, capsys):
    monkeypatch.setenv("GRIDDISPATCH_ROOT", str(project))
    assert paper.main() == 0
    assert capsys.readouterr().out.startswith("paper/paper.pdf: ")
    (project / "results/rl_adn_results.csv").unlink()
    assert paper.main() == 1
    error = capsys.readouterr().err
    assert error.startswith("error: paper/main.typ needs results/rl_adn_results.csv")
    assert error.count("\n") == 1


# -- what the numbers decide ----------------------------------------------------------------


def on_page(project, label):
    """One element of the paper as JSON text."""
    source = str(project / "paper/main.typ")
    return typst.query(source, label, root=str(project), ignore_system_fonts=True)


def test_a_variant_that_was_not_run_is_left_out(project):
    before = on_page(project, "<information>")
    assert "TD3" in before
    assert "SAC" not in before
    path = project / "results/rl_adn_results.csv"
    table = read_csv(path)
    learners = [r for r in table if r["policy"] != "MPC"]
    others = [r for r in table if r["policy"] == "MPC"]
    known = [r for r in learners if r["information"] != "day-ahead"]
    write_csv(path, [*known, *others])
    assert on_page(project, "<information>") != before
    write_csv(path, [r for r in known if r["information"] != "now"] + others)
    assert "TD3" not in on_page(project, "<information>")
    paper.compile_paper(project)
    learned = ("TD3", "PPO")
    kept = [r for r in table if (r["policy"] not in learned or r["end_soc"] == "free")]
    write_csv(path, kept)
    assert "TD3" not in on_page(project, "<ends>")


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (2.5, "clearly less than"),
        (-2.5, "clearly more than"),
        (0.5, "neither clearly more nor clearly less than"),
    ],
)
def test_who_beats_the_schedule_follows_from_the_intervals(project, points, words):
    write_csv(project / "results/rl_adn_gains.csv", gains(points))
    source = """
    #import "/paper/rl_adn.typ": beside-schedule
    #metadata(repr(beside-schedule("stress"))) <answer>
    """
    found = json.loads(ask(project, source))
    assert words in found
    assert "every learner" in found
    assert found.count("clearly") == words.count("clearly")


@pytest.mark.parametrize("verdict", invented_claims.VERDICTS)
def test_the_text_says_the_verdict_of_the_table(project, verdict):
    path = project / "results/claims.csv"
    table = [
        {**row, "verdict": verdict if row["id"] == "low-cost" else row["verdict"]}
        for row in read_csv(path)
    ]
    write_csv(path, table)
    source = """
    #import "/paper/claims.typ": verdict-of
    #metadata(repr(verdict-of("low-cost"))) <answer>
    """
    said = json.loads(ask(project, source))
    words = {"not decided": "is not decided", "not comparable": "cannot be compared"}
    assert words.get(verdict, verdict) in said


def test_a_claim_that_the_text_names_must_exist(project):
    path = project / "results/claims.csv"
    write_csv(path, [row for row in read_csv(path) if row["id"] != "low-cost"])
    with pytest.raises(InputError, match="has no claim low-cost"):
        paper.compile_paper(project)


def test_a_step_that_was_not_timed_has_a_dash(project):
    dashes = on_page(project, "<verdicts>").count("\N{EM DASH}")
    path = project / "results/timings/table4.csv"
    write_csv(path, [{**row, "env_step_us": ""} for row in read_csv(path)])
    assert on_page(project, "<verdicts>").count("\N{EM DASH}") == dashes + 1  # dense had one


# -- one paper ------------------------------------------------------------------------------


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_is_told_in_the_same_order(system):
    text = (HERE / f"paper/{system}.typ").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^= (?!.*<)(.*)$", text) == SKELETON
    assert text.count("#footnote[Equations of\n") + text.count("#footnote[Equations of this") == 1


def test_every_file_of_code_that_is_named_exists():
    named = set()
    for part in (HERE / "paper").glob("*.typ"):
        text = part.read_text(encoding="utf-8")
        for note in re.findall(r"#footnote\[(.*?)\.\]", text, flags=re.DOTALL):
            named |= set(re.findall(r"`([\w/]+\.py)`", note))
    assert len(named) > 20
    package = HERE / "src/griddispatch"
    homes = (package, package / "agents")  # a list of agents names their folder once
    assert not [name for name in named if not any((home / name).is_file() for home in homes)]


def test_every_reference_is_cited_and_no_citation_is_left_open():
    text = "".join(p.read_text(encoding="utf-8") for p in (HERE / "paper").glob("*.typ"))
    entries = re.findall(r"(?m)^@\w+\{([\w-]+),", (HERE / "paper/references.bib").read_text())
    assert len(entries) == len(set(entries)) > 40
    assert not [key for key in entries if not re.search(rf"@{key}\b|<{key}>", text)]


def test_every_figure_and_table_is_traced_to_files(project):
    shutil.copy(HERE / "dvc.yaml", project / "dvc.yaml")
    found = verify_paper.floats(project)
    labels = {one.label for one in found}
    assert labels >= {"storage", "systems", "use", "counts", "claims-in-full", "vpp-claims"}
    assert {one.label for one in found if not one.files} == {"sources", "symbols", "profiles-table"}


def test_parameters_stand_in_the_appendix_by_profile(project):
    found = on_page(project, "<profiles-table>")
    assert '"59"' in found
    assert '"RegA, fast"' in found
    assert found.count('"67"') == 3  # the same in all profiles
    assert '"53"' not in found  # how stages are run changes no result


def test_verdicts_are_counted_by_system(project):
    found = on_page(project, "<counts>")
    for count in ("4", "5", "17", "85"):  # 17 claims of each system, numbered from 1
        assert f'"{count}"' in found


def test_policies_of_the_feeder_are_ranked_by_their_worse_days(project):
    source = """
    #import "/paper/across.typ": STORAGE
    #metadata(STORAGE.map(r => r.policy)) <answer>
    """
    ranked = json.loads(ask(project, source))
    assert ranked[0] == "Optimum"  # the invented values fall from row to row
    assert ranked[-1] == "Do nothing"
    assert not [name for name in ranked if "as printed" in name]
    assert ranked.count("PPO") == 3


# -- how numbers and names reach the page -------------------------------------------------

MINUS, DASH, THIN = "\N{MINUS SIGN}", "\N{EM DASH}", "\N{THIN SPACE}"


def test_numbers_on_the_page(project):
    source = """
    #import "/paper/lib.typ": fixed, whole, power
    #metadata((
      fixed(9.75, digits: 2), fixed(9, digits: 2), fixed(-0.04), fixed(-1.25, digits: 2),
      fixed(none),
      whole(1234), whole(16224), whole(-1234567), whole(-0.2),
      repr(power(9.96e-7)) == repr(power(1.0e-6)), repr(power(1e-9)) == repr(power(2e-9)),
      power(0), power(none),
    )) <answer>
    """
    assert json.loads(ask(project, source)) == [
        "9.75",
        "9.00",
        "0.0",
        f"{MINUS}1.25",
        DASH,
        "1234",
        f"16{THIN}224",
        f"{MINUS}1{THIN}234{THIN}567",
        "0",
        True,
        False,
        "0",
        DASH,
    ]


def test_markup_in_a_cell_is_printed_as_it_stands(project):
    special = "A #b *c* _d_ $e$ @f <g> [h] \\i // j"
    table = read_csv(project / "results/rl_adn_results.csv")
    named = [{**r, "policy": special} for r in table if r["policy"] == "Do nothing"]
    write_csv(project / "results/rl_adn_results.csv", [*table, *named])
    paper.compile_paper(project)
    frame = pd.DataFrame({"name": [special]})
    cells = write_table(frame, "t", "c", {"name": Column("Name")}, project / "paper/tables")
    source = f'#metadata(csv("/paper/tables/{cells.name}").last().first()) <answer>'
    assert json.loads(ask(project, source)) == special
    found = typst.query(
        str(project / "paper/main.typ"), "<money>", root=str(project), ignore_system_fonts=True
    )
    assert json.dumps(special) in found


@pytest.mark.parametrize(
    ("value", "words"),
    [(13.7, "lower than"), (-13.7, "higher than"), (0.5, "not clearly different")],
)
def test_who_regulates_better_follows_from_the_interval(project, value, words):
    write_csv(project / "results/deltanet_gains.csv", invented_deltanet.gains(value))
    source = """
    #import "/paper/deltanet.typ": PATHWISE, SPLIT, compared, gain-of
    #metadata(repr(compared(gain-of(PATHWISE, SPLIT)))) <answer>
    """
    assert words in ask(project, source)


@pytest.mark.parametrize(
    ("value", "words"),
    [(11.3, "lower than"), (-11.3, "higher than"), (0.5, "not clearly different")],
)
def test_whose_tail_is_shorter_follows_from_the_interval(project, value, words):
    write_csv(project / "results/cvar_td3_differences.csv", invented_cvar_td3.differences(value))
    source = """
    #import "/paper/deltanet.typ": compared
    #import "/paper/cvar_td3.typ": AVERSE, NEUTRAL, cut
    #metadata(repr(compared(cut(AVERSE, NEUTRAL, "cvar95")))) <answer>
    """
    assert words in ask(project, source)
