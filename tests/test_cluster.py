"""Cells on a Dask cluster: the same bytes, no finished cell lost, nothing goes on unwanted."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import LocalCluster

from griddispatch.errors import InputError
from griddispatch.pipeline import cells, cluster, executors, paths, worker
from griddispatch.pipeline.cells import CellError, run_cells


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(paths.ROOT, str(tmp_path))
    monkeypatch.delenv(executors.WORKERS, raising=False)
    monkeypatch.delenv(executors.CLUSTER, raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def two_workers() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as found:
        yield found


@pytest.fixture
def running(two_workers: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> LocalCluster:
    """Let cells of the test go to a running cluster."""
    two_workers.wait_for_workers(2, timeout=60)
    monkeypatch.setenv(executors.CLUSTER, two_workers.scheduler_address)
    return two_workers


def noted(x: int, folder: Path, act: str = "") -> int:
    """Return x and leave a file that says so; act once the other cells have done their part.

    kill worker
        When all others are kept, kill the Dask worker of this cell, the first time only.
    kill process
        Kill the process of this cell.
    wait
        Take a minute.
    last
        Return when another cell has begun to wait.
    """
    before = calls(folder).count(x)
    (folder / f"call-{x}-{os.getpid()}-{before}").touch()
    if act == "kill worker" and not before:
        wait_until(lambda: kept(folder) == 3)
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    if act == "kill process":
        os.kill(os.getpid(), signal.SIGKILL)
    if act == "wait":
        time.sleep(60)
    if act == "last":
        wait_until(lambda: len(calls(folder)) > 1)
    return x


def calls(folder: Path) -> list[int]:
    return sorted(int(file.name.split("-")[1]) for file in folder.glob("call-*"))


def kept(folder: Path) -> int:
    return len(list((folder / cells.STORE / "t").glob("*.pickle")))


def wait_until(condition: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def process_of(x: int, folder: Path) -> int:
    (file,) = folder.glob(f"call-{x}-*")
    return int(file.name.split("-")[2])


def trained(seeds: list[int]) -> Any:
    """Train tiny agents with the function that the training notebooks give to `run_cells`."""
    # Here, so that the workers of the other tests need not load them.
    from feeders import half_year, small_feeder

    from griddispatch.agents import pathwise
    from griddispatch.assets.storage import Storage
    from griddispatch.evaluation.experiments import SETTINGS, train_and_test

    tiny = {"updates": 2, "environments": 2, "hidden": (8,), "paired_days": 0}
    found = train_and_test(
        pathwise.train,
        pathwise.NAME,
        SETTINGS[0],
        "tuned",
        replace(pathwise.PRESETS["tuned"], **tiny),
        seeds,
        small_feeder().network,
        half_year(),
        Storage(nodes=(3, 6)),
    )
    weights = [actor["parameters"] for actor in found.actors]
    arrays = [{name: tensor.numpy() for name, tensor in one.items()} for one in weights]
    return arrays, found.days.to_csv(), found.curve.to_csv()


def surroundings() -> dict[str, Any]:
    names = [*executors.ONE_THREAD, "PYTHONHASHSEED"]
    return {
        "variables": {name: os.environ.get(name) for name in names},
        "main thread": threading.current_thread() is threading.main_thread(),
        "standard input": sys.stdin.read(),
    }


def test_training_on_a_cluster_gives_the_bytes_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = [{"seeds": [0]}, {"seeds": [1, 2]}]
    here = run_cells(trained, grid, label="t", store="here", workers=1)
    monkeypatch.setenv(executors.CLUSTER, executors.LOCAL)
    there = run_cells(trained, grid, label="t", store="there", workers=2)
    printed = capsys.readouterr().out
    assert "cells go to tcp://127.0.0.1:" in printed
    assert ": 2 workers, 2 threads" in printed
    assert "t: 2 of 2 cells finished" in printed
    assert len(here[1][0]) == 2
    assert here[0][1] != here[1][1]
    assert pickle.dumps(here) == pickle.dumps(there)
    start = cells._DIGEST + cells._SECONDS.size  # before it: what each run measured itself
    files = {
        folder: {f.name: f.read_bytes()[start:] for f in (tmp_path / folder / "t").iterdir()}
        for folder in ("here", "there")
    }
    assert files["here"] == files["there"]
    assert all(files["here"].values())
    assert len(files["here"]) == 2


@pytest.mark.usefixtures("running")
def test_a_cell_finds_the_same_surroundings_as_on_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    (there,) = run_cells(surroundings, [{}], label="t", store=None)
    assert there["variables"] == {**executors.ONE_THREAD, "PYTHONHASHSEED": "7"}
    assert there["main thread"]
    assert there["standard input"] == ""


@pytest.mark.usefixtures("running")
def test_a_killed_worker_loses_no_finished_cell(tmp_path: Path) -> None:
    grid = [{"x": x, "folder": tmp_path} for x in range(4)]
    grid[2]["act"] = "kill worker"
    assert run_cells(noted, grid, label="t") == [0, 1, 2, 3]
    assert calls(tmp_path) == [0, 1, 2, 2, 3]


@pytest.mark.usefixtures("running")
def test_a_cell_that_always_dies_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    grid = [{"x": x, "folder": tmp_path} for x in range(3)]
    grid[1]["act"] = "kill process"
    message = r"1 of 3 cells failed(?s:.*)cell 2 \(x=1, .* its worker died each time it was tried"
    with pytest.raises(CellError, match=message):
        run_cells(noted, grid, label="t")
    assert calls(tmp_path) == [0, 1, 1, 1, 2]
    assert kept(tmp_path) == 2


def test_a_cell_that_kills_workers_is_named_too(
    tmp_path: Path, running: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running.scheduler, "allowed_failures", 0)
    grid = [{"x": x, "folder": tmp_path} for x in range(4)]
    grid[2]["act"] = "kill worker"
    with pytest.raises(CellError, match=r"cell 3 \(x=2, .* its worker died each time"):
        run_cells(noted, grid, label="t")
    assert kept(tmp_path) == 3


@pytest.mark.usefixtures("running")
def test_after_an_interrupt_no_cell_goes_on_in_the_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cells._Progress, "finished", interrupt)
    grid = [{"x": 0, "folder": tmp_path, "act": "last"}]
    grid += [{"x": x, "folder": tmp_path, "act": "wait"} for x in (1, 2, 3, 4)]
    with pytest.raises(KeyboardInterrupt):
        run_cells(noted, grid, label="t")
    begun = [int(file.name.split("-")[2]) for file in tmp_path.glob("call-[1-4]-*")]
    wait_until(lambda: not any(psutil.pid_exists(process) for process in begun), 20)
    assert kept(tmp_path) == 1


def test_a_dead_scheduler_is_a_clear_error_and_finished_cells_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    at = ["--host", "127.0.0.1", "--no-dashboard"]
    start = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    monkeypatch.setenv(executors.CLUSTER, file.name)
    with (
        subprocess.Popen([*dask, "scheduler", "--scheduler-file", file, *at], **start) as scheduler,
        subprocess.Popen(
            [*dask, "worker", "--scheduler-file", file, "--nthreads", "2", "--no-nanny", *at[2:]],
            env=here,
            **start,
        ) as helper,
    ):
        try:
            wait_until(file.exists)
            grid = [{"x": 0, "folder": tmp_path}, {"x": 1, "folder": tmp_path, "act": "wait"}]
            kill = threading.Thread(
                target=lambda: (
                    wait_until(lambda: kept(tmp_path) == 1 and calls(tmp_path) == [0, 1]),
                    scheduler.kill(),
                )
            )
            kill.start()
            with pytest.raises(CellError, match="connection to the scheduler .* is lost; finished"):
                run_cells(noted, grid, label="t")
            kill.join()
            wait_until(lambda: not psutil.pid_exists(process_of(1, tmp_path)), 20)
            assert kept(tmp_path) == 1
        finally:
            scheduler.kill()
            helper.kill()


@pytest.mark.usefixtures("running")
def test_a_worker_with_other_code_computes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = worker.code_of([noted.__module__])
    assert real["test_cluster"]
    assert real["numpy (version)"]
    assert real["griddispatch/pipeline/cells.py"]
    monkeypatch.setattr(worker, "code_of", lambda _: {**real, "test_cluster": "an older text"})
    grid = [{"x": x, "folder": tmp_path} for x in range(2)]
    with pytest.raises(InputError, match=r"other code .*test_cluster is \w+ instead of an older"):
        run_cells(noted, grid, label="t")
    assert calls(tmp_path) == []


def test_a_difference_of_versions_is_named() -> None:
    run = worker.Run("r", {}, (), {**worker.code_of(()), "numpy (version)": "1.0", "old": "1"})
    assert "numpy (version) is 2" in worker.refusal(run)
    assert "old is missing instead of 1" in worker.refusal(run)
    assert worker.refusal(replace(run, code=worker.code_of(()))) == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lokal", "is 'lokal'; write null, local, the address"),
        ("tcp://127.0.0.1:1", "no Dask scheduler answers at tcp://127.0.0.1:1; start one"),
        ("tcp://nowhere", "no Dask scheduler answers at tcp://nowhere"),
        ("absent.json", r"absent.json is no scheduler file .*dask scheduler --scheduler-file"),
        ("params.json", r"params.json is no scheduler file \(KeyError: 'address'\)"),
    ],
)
def test_a_cluster_that_is_not_there_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    (tmp_path / "params.json").write_text("{}")
    monkeypatch.setattr(cluster, "_PATIENCE", 0.5)
    monkeypatch.setenv(executors.CLUSTER, name)
    begun = time.monotonic()
    with pytest.raises(InputError, match=message):
        run_cells(noted, [{"x": 1, "folder": tmp_path}], label="t")
    assert time.monotonic() - begun < 20


def test_without_cells_to_run_or_a_cluster_dask_is_not_loaded(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from griddispatch.pipeline.cells import run_cells\n"
        "assert run_cells(print, [], label='t', store=None) == []\n"
        "print('distributed' in sys.modules)\n"
    )
    environment = {
        **os.environ,
        executors.CLUSTER: "tcp://127.0.0.1:1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "False"


def test_a_missing_dask_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.setenv(executors.CLUSTER, executors.LOCAL)
    with pytest.raises(InputError, match=r"needs Dask .* requirements-tools.lock"):
        run_cells(noted, [{"x": 1, "folder": tmp_path}], label="t")
