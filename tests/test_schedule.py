"""Stages at the same time: the order that files demand, and what a failure leaves undone."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

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
    ("workers", "jobs", "each"), [(1, 1, 1), (2, 2, 1), (3, 2, 1), (4, 2, 2), (8, 4, 2), (16, 4, 4)]
)
def test_the_processors_are_divided(workers: int, jobs: int, each: int) -> None:
    assert schedule.shared(workers) == (jobs, each)


def test_each_stage_is_told_its_share(tmp_path: Path) -> None:
    root = project(tmp_path, {"only": (["seed.txt"], "echo $GRIDDISPATCH_WORKERS > only.txt")})
    schedule.reproduce(root, 8, smoke.environment(ROOT))
    assert (root / "only.txt").read_text() == "2\n"


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


def test_the_time_of_a_schedule_is_that_of_its_longest_line() -> None:
    declared = stages.load(ROOT)
    seconds = {name: 60 * stage.minutes for name, stage in declared.items()}
    total = sum(seconds.values())
    assert schedule.elapsed(declared, seconds, 1) == pytest.approx(total)
    assert total / 2 <= schedule.elapsed(declared, seconds, 2) < 0.6 * total
    longest = max(schedule.longest_way(declared).values())
    assert schedule.elapsed(declared, seconds, len(declared)) == pytest.approx(60 * longest)


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
