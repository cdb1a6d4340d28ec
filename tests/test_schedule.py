"""Stages at the same time: the order that files demand, and what a failure leaves undone."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from griddispatch.pipeline import schedule, smoke, stages

ROOT = Path(__file__).resolve().parents[1]


def project(folder: Path, work: dict[str, tuple[list[str], str]]) -> Path:
    """Make a DVC project of stages: name -> (files read, a line of shell); each writes NAME.txt."""
    root = folder / "a project"
    root.mkdir()
    declared = {
        name: {"cmd": line, "deps": deps, "outs": [{f"{name}.txt": {"cache": False}}]}
        for name, (deps, line) in work.items()
    }
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": declared}, sort_keys=False))
    (root / "seed.txt").write_text("1\n")
    command = [sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"]
    subprocess.run(command, cwd=root, check=True, env=smoke.environment(ROOT))
    return root


def test_needs_are_those_of_the_files_and_folders() -> None:
    before = schedule.needs(stages.load(ROOT))
    assert "fetch" in before["data_preparation"]  # a file in a folder that another stage makes
    assert before["deltanet"] == set()
    assert {"train_td3", "optimal_dispatch"} <= before["rl_adn_results"]


def test_a_stage_does_not_need_itself_for_the_folder_it_writes_into() -> None:
    own = stages.Stage("own", "own", ("data",), ("data/own.txt",), (), 0.0)
    other = stages.Stage("other", "other", (), ("data/other.txt",), (), 0.0)
    assert schedule.needs({"own": own, "other": other}) == {"own": {"other"}, "other": set()}


def test_stages_without_need_of_each_other_run_at_the_same_time(tmp_path: Path) -> None:
    # Each waits for a sign of the other, so one after the other would never end well.
    meet = "touch {0}.here; for i in $(seq 150); do [ -e {1}.here ] && break; sleep 0.1; done; "
    meet += "[ -e {1}.here ] && echo {0} > {0}.txt"
    work = {
        "left": (["seed.txt"], meet.format("left", "right")),
        "right": (["seed.txt"], meet.format("right", "left")),
        "both": (["left.txt", "right.txt"], "cat left.txt right.txt > both.txt"),
    }
    root = project(tmp_path, work)
    done = schedule.reproduce(root, 2, smoke.environment(ROOT))
    assert {one.name for one in done} == set(work)
    assert done[-1].name == "both"
    assert (root / "both.txt").read_text() == "left\nright\n"
    lock = yaml.safe_load((root / "dvc.lock").read_text())
    assert set(lock["stages"]) == set(work)


def test_a_failure_is_named_and_what_needs_it_is_not_started(tmp_path: Path) -> None:
    work = {
        "good": (["seed.txt"], "echo good > good.txt"),
        "bad": (["good.txt"], "exit 3"),
        "after": (["bad.txt"], "echo after > after.txt"),
    }
    root = project(tmp_path, work)
    with pytest.raises(schedule.ScheduleError, match=r"failed: bad .*not started: after"):
        schedule.reproduce(root, 2, smoke.environment(ROOT))
    assert (root / "good.txt").exists()
    assert not (root / "after.txt").exists()


HOLD = """import time, zc.lockfile
lock = zc.lockfile.LockFile(".dvc/tmp/lock")
open("held", "w").close()
time.sleep(4)
"""


def test_a_stage_that_finishes_while_the_lock_is_held_does_not_run_again(tmp_path: Path) -> None:
    # DVC alone gives up after three seconds, and the finished stage counts as failed.
    hold = "python hold.py > hold.log 2>&1 & "
    wait = "for i in $(seq 300); do [ -e held ] && break; sleep 0.1; done; [ -e held ] && "
    work = {"only": (["seed.txt"], f"echo run >> runs; {hold}{wait}echo only > only.txt")}
    root = project(tmp_path, work)
    (root / "hold.py").write_text(HOLD)
    schedule.reproduce(root, 1, smoke.environment(ROOT))
    assert (root / "runs").read_text() == "run\n"


@pytest.mark.parametrize(
    ("workers", "jobs", "beside", "alone"),
    [(1, 1, 1, 1), (2, 2, 1, 2), (3, 2, 1, 3), (4, 2, 2, 4), (8, 4, 2, 8), (16, 4, 4, 16)],
)
def test_the_processors_are_divided(workers: int, jobs: int, beside: int, alone: int) -> None:
    declared = stages.load(ROOT)
    before = schedule.needs(declared)
    assert schedule.at_once(workers) == jobs
    assert schedule.share("dromarl", declared, before, workers) == beside
    last = ["rl_adn_results", "results_tables", "paper"]  # each needs the one before
    assert schedule.share("rl_adn_results", last, before, workers) == alone


def test_each_stage_is_told_its_share(tmp_path: Path) -> None:
    tell = "echo $GRIDDISPATCH_WORKERS > {0}.txt"
    work = {name: (["seed.txt"], tell.format(name)) for name in ("left", "right")}
    root = project(tmp_path, work | {"last": (["left.txt", "right.txt"], tell.format("last"))})
    schedule.reproduce(root, 4, smoke.environment(ROOT))
    told = {name: (root / f"{name}.txt").read_text() for name in ("left", "right", "last")}
    assert told == {"left": "2\n", "right": "2\n", "last": "4\n"}


@settings(max_examples=100)
@given(st.data())
def test_no_more_workers_than_there_are(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 8), "stages")
    workers = data.draw(st.integers(1, 20), "workers")
    before: dict[str, set[str]] = {}
    for name in map(str, range(count)):
        before[name] = data.draw(st.sets(st.sampled_from([*before] or ["0"])), name) - {name}
    left, running = set(before), dict[str, int]()
    while left:
        ready = sorted(name for name in left - {*running} if not before[name] & left)
        if ready and len(running) < schedule.at_once(workers):
            running[ready[0]] = schedule.share(ready[0], left, before, workers)
            assert running[ready[0]] >= 1
            assert sum(running.values()) <= workers
        else:
            ended = data.draw(st.sampled_from(sorted(running)), "ended")
            left.remove(ended)
            del running[ended]


def test_the_longest_way_begins_first(tmp_path: Path) -> None:
    note = "echo {0} >> order; echo {0} > {0}.txt"
    work = {
        "short": (["seed.txt"], note.format("short")),
        "head": (["seed.txt"], note.format("head")),
        "tail": (["head.txt"], note.format("tail")),
        "long": (["seed.txt"], note.format("long")),
    }
    root = project(tmp_path, work)
    declared = yaml.safe_load((root / "dvc.yaml").read_text())
    for name, minutes in {"short": 1, "head": 2, "tail": 9, "long": 10}.items():
        declared["stages"][name]["meta"] = {"minutes": minutes}
    (root / "dvc.yaml").write_text(yaml.safe_dump(declared, sort_keys=False))
    ways = schedule.longest_way(stages.load(root))
    assert ways == {"short": 1, "head": 11, "tail": 9, "long": 10}
    schedule.reproduce(root, 1, smoke.environment(ROOT))
    assert (root / "order").read_text().split() == ["head", "long", "tail", "short"]


def test_the_time_of_a_schedule_is_that_of_its_longest_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    declared = stages.load(ROOT)
    total = 60 * sum(stage.minutes for stage in declared.values())
    alike = {name: lambda _, one=stage: 60 * one.minutes for name, stage in declared.items()}
    assert schedule.elapsed(declared, alike, 1) == pytest.approx(total)
    assert total / 2 <= schedule.elapsed(declared, alike, 2) < 0.6 * total
    longest = 60 * max(schedule.longest_way(declared).values())
    assert longest <= schedule.elapsed(declared, alike, 8) < total / 2
    monkeypatch.setattr(schedule, "at_once", lambda _: len(declared))
    assert schedule.elapsed(declared, alike, len(declared)) == pytest.approx(longest)


def test_the_last_stages_have_all_workers_to_themselves() -> None:
    head = stages.Stage("head", "head", (), ("one",), (), 1.0)
    tail = stages.Stage("tail", "tail", ("one",), ("two",), (), 1.0)
    halved = {"head": lambda workers: 8.0 / workers, "tail": lambda workers: 4.0 / workers}
    assert schedule.elapsed({"head": head, "tail": tail}, halved, 4) == pytest.approx(3.0)


def test_only_what_changed_and_what_needs_it_runs_again(tmp_path: Path) -> None:
    work = {
        "a": (["seed.txt"], "cat seed.txt > a.txt"),
        "b": (["a.txt"], "echo b > b.txt"),
        "other": (["fixed.txt"], "echo other > other.txt"),
    }
    root = project(tmp_path, work)
    (root / "fixed.txt").write_text("1\n")
    assert schedule.stale(root, work) == set(work)
    assert schedule.stale(root, ["other"]) == {"other"}
    schedule.reproduce(root, 2, smoke.environment(ROOT))
    assert schedule.stale(root, work) == set()
    assert schedule.reproduce(root, 2, smoke.environment(ROOT), []) == []
    (root / "seed.txt").write_text("2\n")
    assert schedule.stale(root, work) == {"a", "b"}


def test_a_stage_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert schedule.main(["train_dpg"]) == 1
    assert "no stage 'train_dpg'; the stages are fetch, " in capsys.readouterr().err


def test_every_stage_says_how_long_it_takes() -> None:
    assert all(stage.minutes > 0 for stage in stages.load(ROOT).values())
