"""What every training notebook hands on, under the name of its stage."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
import torch

from griddispatch.evaluation.experiments import Cell, label
from griddispatch.pipeline import paths, records

# Of each tested day; what else a rollout knows can be had again from the saved actors.
_KEPT = ("reward", "profit", "penalty", "violations", "soc_end")


def curves(cells: Sequence[Cell]) -> pd.DataFrame:
    """Training curves of all cells, one below the other."""
    return pd.concat([cell.curve for cell in cells], ignore_index=True)


def tested_days(cells: Sequence[Cell]) -> pd.DataFrame:
    """Tested days of all cells, one below the other."""
    return pd.concat([cell.days for cell in cells], ignore_index=True)


def find(cells: Sequence[Cell], preset: str, **setting: str) -> Cell:
    """The first cell of a preset whose setting has these values."""
    return next(
        cell
        for cell in cells
        if cell.preset == preset and setting.items() <= asdict(cell.setting).items()
    )


def hand_on(stage: str, cells: Sequence[Cell], presets: Mapping[str, tuple[Any, int]]) -> None:
    """Write what later stages read.

    `data/models/<stage>.pt`
        The actors of every cell, as `Actor.saved`; the key is the cell's name.
    `results/<stage>.csv`, `results/<stage>_curve.csv`
        Tested days and training curves.
    `results/<stage>.json`
        The settings of each preset, and its number of seeds.
    `results/timings/<stage>.json`
        Seconds, updates and memory of each cell; they differ from run to run.
    """
    names = [_name(cell) for cell in cells]
    actors = {name: cell.actors for name, cell in zip(names, cells, strict=True)}
    torch.save(actors, paths.write(f"data/models/{stage}.pt"))
    days = tested_days(cells)
    keys = [*label(cells[0].algorithm, cells[0].setting, cells[0].preset), "seed", "scope", "date"]
    records.write_csv(f"results/{stage}.csv", days[[*keys, *_KEPT]])
    records.write_csv(f"results/{stage}_curve.csv", curves(cells))
    settings = {name: asdict(config) | {"seeds": n} for name, (config, n) in presets.items()}
    records.write_json(f"results/{stage}.json", settings)
    timings = {
        name: {
            "seconds": cell.seconds,
            "updates": cell.updates,
            "memory_mb": cell.memory_bytes / 1e6,
        }
        for name, cell in zip(names, cells, strict=True)
    }
    records.write_json(f"results/timings/{stage}.json", timings, digits=3)


def _name(cell: Cell) -> str:
    s = cell.setting
    return ", ".join([cell.preset, s.primary, s.augmented, s.prices, s.end_soc])
