"""Time and memory of the data augmentation: fit to 104 days of 34 nodes, sample years.

    python benchmarks/augmentation.py [--data data] [--out results/timings]

Each copula is measured in a process of its own with one thread, so that the peak memory is that of
the whole process, Python and its packages included. The median of some samples is reported; the
first one is not counted. Seconds are those of the clock on the wall.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path
from statistics import median

import pandas as pd

from griddispatch.data import splits
from griddispatch.data.augmentation import KINDS, fit
from griddispatch.data.copula import Kind
from griddispatch.data.series import Series
from griddispatch.envs.cases import PROCESSED
from griddispatch.evaluation.timing import machine

ROOT = Path(__file__).resolve().parents[1]
TARGETS = {"fit_s": 120.0, "sample_s": 5.0, "peak_mb": 2000.0}  # the sample of one year
YEARS = (1, 5)
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def measure(series: Series, copula: Kind, rounds: int) -> list[dict[str, float | str]]:
    """Fit once and sample some times, in this process; one row per number of years, rising."""
    days = series.days(splits.fit_days(series, "all"))
    begin, cpu = time.perf_counter(), time.process_time()
    model = fit(days, copula)
    fit_s, fit_cpu_s = time.perf_counter() - begin, time.process_time() - cpu
    rows: list[dict[str, float | str]] = []
    for years in YEARS:
        seconds = []
        for seed in range(rounds + 1):
            begin = time.perf_counter()
            model.sample(365 * years, seed)
            seconds.append(time.perf_counter() - begin)
        row = {"fit_s": fit_s, "fit_cpu_s": fit_cpu_s, "sample_s": median(seconds[1:])}
        rows.append({"copula": copula, "years": years, **row, "peak_mb": peak_memory_mb()})
    return rows


def peak_memory_mb() -> float:
    """Return the peak memory of this process, in megabytes."""
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write augmentation.csv and augmentation.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "results/timings")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    about = machine(("numpy", "scipy", "scikit-learn", "statsmodels"))
    os.environ.update(dict.fromkeys(THREADS, "1"))  # read by the processes started below
    path = options.data / PROCESSED / "feeder_34.csv"
    if not path.is_file():
        print(f"error: {path} does not exist; run `dvc repro data_preparation`", file=sys.stderr)
        return 1
    series = Series.read(path)
    rows = []
    for copula in KINDS:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows += pool.apply(measure, (series, copula, options.rounds))
    frame = pd.DataFrame(rows).round(3)
    print(frame.to_string(index=False))
    worst = frame[frame["years"] == 1].max(numeric_only=True)
    for name, target in TARGETS.items():
        word = "met" if worst[name] <= target else "NOT met"
        print(f"{name}: {worst[name]:.1f} at most for one year, target {target:.0f}: {word}")
    options.out.mkdir(parents=True, exist_ok=True)
    frame.to_csv(options.out / "augmentation_benchmark.csv", index=False, lineterminator="\n")
    content = {"machine": about, "rounds": options.rounds, "rows": frame.to_dict("records")}
    file = options.out / "augmentation_benchmark.json"
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
