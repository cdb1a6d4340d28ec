"""How long cells take is kept with them; what a stage would take with more workers follows."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from griddispatch.pipeline import durations, paths
from griddispatch.pipeline.cells import run_cells

times = st.lists(st.floats(0.1, 100.0), min_size=1, max_size=20)


def process() -> int:
    return os.getpid()


def slept(seconds: float) -> float:
    import time

    time.sleep(seconds)
    return seconds


@given(times, st.integers(1, 10))
def test_no_number_of_workers_beats_the_longest_cell_or_the_even_share(
    seconds: list[float], workers: int
) -> None:
    found = durations.makespan(seconds, workers)
    least = max(max(seconds), sum(seconds) / workers)
    assert least * (1 - 1e-9) <= found <= sum(seconds) * (1 + 1e-9)
    assert found <= 2 * least * (1 + 1e-9)  # Graham's bound for a list in any order


def test_one_worker_takes_the_sum_and_the_serial_part_stays() -> None:
    sets = [{"label": "a", "elapsed": 10.0, "seconds": [8.0, 4.0, 6.0]}]
    record = {"wall_seconds": 15.0, "cells": sets}
    assert durations.with_workers(record, 1) == 5.0 + 18.0
    assert durations.with_workers(record, 2) == 5.0 + 10.0
    assert durations.with_workers(record, 3) == 5.0 + 8.0
    assert durations.with_workers({"wall_seconds": 15.0}, 8) == 15.0


def test_the_seconds_of_a_cell_outlive_the_run_that_computed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(paths.ROOT, str(tmp_path))
    monkeypatch.setenv(paths.RUN, "some_stage")
    for _ in range(2):
        assert run_cells(slept, [{"seconds": 0.3}], label="naps", workers=1) == [0.3]
    first, again = durations.noted(tmp_path / paths.STAGING / "some_stage")
    assert first["seconds"] == again["seconds"]
    assert 0.3 <= first["seconds"][0] < first["elapsed"]
    assert again["elapsed"] < 0.3


def test_the_processes_of_a_stage_serve_all_its_sets_of_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(paths.ROOT, str(tmp_path))
    by_hand = {run_cells(process, [{}], label="p", store=None, workers=1)[0] for _ in range(2)}
    monkeypatch.setenv(paths.RUN, "some_stage")
    in_stage = {run_cells(process, [{}], label="p", store=None, workers=1)[0] for _ in range(2)}
    assert (len(by_hand), len(in_stage)) == (2, 1)
