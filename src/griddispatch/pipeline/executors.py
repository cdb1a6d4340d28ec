"""Where cells run: in processes of this machine, or on a Dask cluster. One parameter chooses.

``run.cluster`` in params.yaml, or the variable GRIDDISPATCH_CLUSTER, is one of

- null, empty: worker processes of this machine (the default);
- ``local``: a Dask cluster of one-thread workers on this machine, to try the next two;
- ``tcp://host:port``: the scheduler of a Dask cluster that is already running;
- ``scheduler.json``: its scheduler file, as ``dask scheduler --scheduler-file`` writes it.
"""

import os
import re
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor
from contextlib import contextmanager

import joblib
from joblib.externals import loky

from griddispatch.errors import InputError
from griddispatch.pipeline import paths

WORKERS = "GRIDDISPATCH_WORKERS"
CLUSTER = "GRIDDISPATCH_CLUSTER"
LOCAL = "local"

# A worker is one thread: cells run beside each other, and sums keep their order.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}

# An idle process ends after this, in seconds, and gives its memory back.
IDLE = 300.0


class WorkersLostError(RuntimeError):
    """The processes or the cluster are gone: no further cell can run."""


class CellLostError(RuntimeError):
    """The process of one cell died each time it was tried; the other cells go on."""


@contextmanager
def executor(cells: int, workers: int, modules: Iterable[str] = ()) -> Iterator[Executor]:
    """Give the executor that the environment asks for; after an error, end all that it runs.

    Parameters
    ----------
    cells
        Number of cells to run.
    workers
        Number of processes, at most; that of a running cluster is its own affair.
    modules
        Modules of the functions that cells call; a worker of a cluster must have the same code.

    Raises
    ------
    InputError
        The cluster cannot be reached, or one of its workers has other code or versions.
    WorkersLostError
        A process of this machine, or the scheduler of the cluster, died.
    """
    cluster = checked(os.environ.get(CLUSTER))
    if cluster and cells:
        from griddispatch.pipeline.cluster import connect  # Dask only where it is asked for

        with connect(cluster, min(workers, cells), modules) as pool:
            yield pool
        return
    options = {
        "timeout": IDLE,
        "env": ONE_THREAD,
        "initializer": end_with,
        "initargs": (os.getpid(),),
    }
    # The processes of a stage stay for its next set of cells: to load the libraries takes seconds.
    # By hand, each set has new ones, which see the code as it is now.
    stays = paths.RUN in os.environ
    pool = (
        loky.get_reusable_executor(max_workers=workers, **options)
        if stays
        else loky.ProcessPoolExecutor(max_workers=max(min(workers, cells), 1), **options)
    )
    try:
        yield pool
    except BaseException as error:  # an interrupt, too: no worker goes on in the background
        pool.shutdown(wait=False, kill_workers=True)
        if isinstance(error, BrokenExecutor):
            raise WorkersLostError(
                "a worker process died, most often for want of memory; finished cells are kept, "
                f"so run it again with fewer workers ({WORKERS}, or run.workers in params.yaml)"
            ) from error
        raise
    if not stays:
        pool.shutdown()


def processes(asked: int | None) -> int:
    """Return the number of processes: `asked`, or that of the environment, or one per processor."""
    if asked is None:
        named = os.environ.get(WORKERS)
        if named is not None and not named.isdecimal():
            raise InputError(f"{WORKERS} is {named!r}; set it to a whole number or unset it")
        asked = int(named) if named else int(joblib.cpu_count())
    if asked < 1:
        raise InputError(f"workers is {asked}; write 1 or more")
    return asked


def checked(cluster: object) -> str | None:
    """Return the name of a cluster, None for none; refuse what can name none."""
    if cluster is None or cluster == "":
        return None
    if isinstance(cluster, str) and re.fullmatch(rf"{LOCAL}|(tcp|tls)://.+|.+\.json", cluster):
        return cluster
    raise InputError(
        f"run.cluster (or {CLUSTER}) is {cluster!r}; write null, {LOCAL}, the address of a Dask "
        "scheduler such as tcp://10.0.0.1:8786, or the path of its scheduler file, such as "
        "scheduler.json"
    )


def end_with(parent: int) -> None:
    """End this process as soon as `parent`, the one that started it, is gone, however it went.

    The number comes from the parent itself: it may be gone before this process can ask for it.
    """

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()
