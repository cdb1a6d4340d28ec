"""Cells: order, resumption, damage, failures; killed at any moment, nothing finished is lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from griddispatch.errors import InputError
from griddispatch.pipeline import cells, executors, paths
from griddispatch.pipeline.cells import CellError, run_cells


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(paths.ROOT, str(tmp_path))
    monkeypatch.delenv(executors.WORKERS, raising=False)
    monkeypatch.delenv(executors.CLUSTER, raising=False)
    return tmp_path


def scaled(x: float, log: Path, data: Any = 1.0) -> Any:
    """Return x times data; note the call, refuse a negative x, die at 99."""
    with log.open("a") as stream:
        stream.write(f"{x:g}\n")
    if x == 99:
        os._exit(1)
    if x < 0:
        raise ValueError("x is negative")
    return x * data


def threads() -> tuple[int, str | None, int]:
    import torch  # here, so that the other workers need not load it

    return torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS"), os.getpid()


def slow(x: int, folder: Path) -> int:
    """Return x; note the call; from 2 on take a minute unless the file 'quick' is there."""
    (folder / f"call-{x}-{os.getpid()}").touch()
    if x >= 2 and not (folder / "quick").exists():
        time.sleep(60)
    return x


def calls(log: Path) -> list[str]:
    return sorted(log.read_text().split()) if log.exists() else []


def test_results_keep_the_order_and_finished_cells_are_not_called_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    grid = [{"x": float(x), "log": log, "data": np.arange(2)} for x in (3, 1, 2)]
    first = run_cells(scaled, grid, label="t", workers=2)
    assert [list(row) for row in first] == [[0, 3], [0, 1], [0, 2]]
    assert "t: 3 of 3 cells finished, 0:0" in capsys.readouterr().out
    again = run_cells(scaled, [*grid, {"x": 5.0, "log": log, "data": np.ones(2)}], label="t")
    assert [list(row) for row in again] == [[0, 3], [0, 1], [0, 2], [5, 5]]
    assert "t: 3 of 4 cells were finished before" in capsys.readouterr().out
    assert calls(log) == ["1", "2", "3", "5"]


def test_a_damaged_cell_is_computed_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = [{"x": 2.0, "log": tmp_path / "log"}]
    run_cells(scaled, grid, label="t", workers=1)
    (file,) = (tmp_path / cells.STORE / "t").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    assert run_cells(scaled, grid, label="t", workers=1) == [2.0]
    assert calls(tmp_path / "log") == ["2", "2"]
    assert f"{file.name} is damaged; its cell is computed again" in capsys.readouterr().out


def test_a_failure_names_its_cell_and_the_others_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    grid = [{"x": x, "log": log} for x in (1.0, -1.0, 2.0)]
    with pytest.raises(CellError, match=r"1 of 3 cells failed(?s:.*)cell 2 \(x=-1.0, .*x is neg"):
        run_cells(scaled, grid, label="t", workers=1)
    with pytest.raises(CellError):
        run_cells(scaled, grid, label="t", workers=1)
    assert calls(log) == ["-1", "-1", "1", "2"]


def test_a_dead_worker_is_one_clear_error(tmp_path: Path) -> None:
    grid = [{"x": x, "log": tmp_path / "log"} for x in (1.0, 99.0)]
    with pytest.raises(CellError, match="a worker process died"):
        run_cells(scaled, grid, label="t", workers=1)


def test_workers_have_one_thread_and_processes_of_their_own() -> None:
    ((torch_threads, openmp, process),) = run_cells(threads, [{}], label="t", store=None, workers=1)
    assert (torch_threads, openmp) == (1, "1")
    assert process != os.getpid()


def test_without_a_store_a_function_may_come_from_anywhere(tmp_path: Path) -> None:
    assert run_cells(lambda x: x + 1, [{"x": 1}], label="t", store=None, workers=1) == [2]
    assert not (tmp_path / "build").exists()
    with pytest.raises(InputError, match=r"cannot be recognised.* pass store=None"):
        run_cells(lambda x: x + 1, [{"x": 1}], label="t", workers=1)


@pytest.mark.parametrize("setting", [{"label": "a/b"}, {"label": "t", "workers": 0}])
def test_a_wrong_setting_is_an_error(setting: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        run_cells(threads, [{}], store=None, **setting)


def test_the_number_of_workers_can_be_set_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(executors.WORKERS, "3")
    assert executors.processes(None) == 3
    assert executors.processes(2) == 2
    monkeypatch.setenv(executors.WORKERS, "many")
    with pytest.raises(InputError, match="is 'many'"):
        executors.processes(None)


def test_the_key_follows_values_not_objects(tmp_path: Path) -> None:
    import torch

    store = cells._Store.open([scaled], tmp_path, "t")

    def key(**cell: Any) -> Path:
        return store.file(cell)

    def tensor(last: float) -> torch.Tensor:
        return torch.tensor([1.0, last])

    assert key(x=1, data=tensor(2)) == key(data=tensor(2), x=1)
    assert key(data=tensor(2)) != key(data=tensor(3))
    assert key(data=tensor(2)) != key(data=tensor(2).numpy())
    assert key(x=1) != key(x=1.0)
    other = cells._Store.open([threads], tmp_path, "t")
    assert other.file({"x": 1}) != key(x=1)


def test_a_function_of_the_notebook_gives_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = cells._Store.open([scaled], tmp_path, "t")
    monkeypatch.setattr(threads, "__module__", "__main__")
    with pytest.raises(InputError, match="threads is defined in the notebook"):
        store.file({"reward": threads})


def test_an_edit_makes_finished_cells_invalid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = tmp_path / "toy_cells.py"
    module.write_text("def one(x):\n    return x\n")
    os.utime(module, (0, 0))  # as if written before this process began
    monkeypatch.syspath_prepend(str(tmp_path))
    import toy_cells

    before = cells._Store.open([toy_cells.one], tmp_path / "kept", "t")
    module.write_text("def one(x):\n    return x + 1\n")
    after = cells._Store.open([toy_cells.one], tmp_path / "kept", "t")
    assert before.file({"x": 1}) != after.file({"x": 1})
    # The code on the disk may not be the code that ran, so neither store keeps anything.
    for store in (before, after):
        store.save(store.file({"x": 1}), b"", 0.0)
        assert "is not kept" in capsys.readouterr().out
    assert not (tmp_path / "kept").exists()


def test_a_killed_run_goes_on_from_its_finished_cells(tmp_path: Path) -> None:
    tests = Path(__file__).parent
    code = (
        f"import sys; sys.path.insert(0, {str(tests)!r})\n"
        "from pathlib import Path\n"
        "from test_cells import slow\n"
        "from griddispatch.pipeline.cells import run_cells\n"
        f"cells = [{{'x': x, 'folder': Path({str(tmp_path)!r})}} for x in range(4)]\n"
        "print(run_cells(slow, cells, label='t', workers=1))\n"
    )
    kept = tmp_path / cells.STORE / "t"
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("call-2-*")) or len(list(kept.glob("*.pickle"))) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
    (tmp_path / "quick").touch()
    again = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert "t: 2 of 4 cells were finished before" in again.stdout
    assert "[0, 1, 2, 3]" in again.stdout
    numbers = [int(file.name.split("-")[1]) for file in tmp_path.glob("call-*")]
    assert sorted(numbers) == [0, 1, 2, 2, 3]


@pytest.mark.parametrize("there", [True, False])
def test_a_worker_ends_even_if_its_parent_was_gone_before_it_was_ready(there: bool) -> None:
    code = (
        "import os, time\n"
        "from griddispatch.pipeline.executors import end_with\n"
        f"end_with(os.getppid() if {there} else os.getppid() + 1)\n"
        "time.sleep(4)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=120)
    assert done.returncode == (0 if there else 1)
