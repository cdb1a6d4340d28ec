"""Cells on a Dask cluster: the executor for the client; `worker` is the other end.

A worker that dies takes only its unfinished cells with it: Dask gives them to another one.
"""

import json
import logging
import os
import re
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import cloudpickle

from griddispatch.errors import InputError
from griddispatch.pipeline import paths, worker
from griddispatch.pipeline.executors import (
    CLUSTER,
    LOCAL,
    ONE_THREAD,
    CellLostError,
    WorkersLostError,
)

# What else a process on another machine takes over from this one, if it is set here.
_PASSED = ("PYTHONHASHSEED", "PYTHONNOUSERSITE", "TZ", "CUBLAS_WORKSPACE_CONFIG")
# A scheduler that does not answer for so long, in seconds, is not there.
_PATIENCE = 10.0
# A cell whose process dies is started this often again.
_RETRIES = 2


@contextmanager
def connect(cluster: str, workers: int, modules: Iterable[str]) -> Iterator[Executor]:
    """Give the executor of a cluster; after an error, end the cells that it runs.

    Parameters
    ----------
    cluster
        "local", an address or a scheduler file; see `executors.checked`.
    workers
        Number of workers of a local cluster.
    modules
        Modules of the functions that cells call; each worker must have the same code of them.

    Raises
    ------
    InputError
        Dask is not installed, or no scheduler answers.
    """
    try:
        import dask
        import distributed
    except ImportError as error:
        raise InputError(
            f"run.cluster is {cluster!r}, which needs Dask ({error}); "
            "install it with: pip install -r requirements-tools.lock"
        ) from error
    modules = tuple(sorted(modules))
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    run = worker.Run(uuid.uuid4().hex, {**ONE_THREAD, **passed}, modules, worker.code_of(modules))
    with ExitStack() as stack:
        # A cell carries its data along on purpose.
        large = "distributed.admin.large-graph-warning-threshold"
        stack.enter_context(dask.config.set({large: "1TB"}))
        place: Any = cluster
        if cluster == LOCAL:
            place = distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=0,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,  # what matters reaches the client
            )
            stack.enter_context(place)
        elif not re.match("t(cp|ls)://", cluster):
            place = _address(cluster)
        client = _connected(place, cluster)
        stack.enter_context(client)
        threads = client.nthreads()
        there = f"{len(threads)} workers, {sum(threads.values())} threads"
        state = there if threads else "no worker yet"
        print(f"cells go to {client.scheduler.address}: {state}", flush=True)
        pool = _Cluster(client, run)
        try:
            yield pool
        except BaseException:  # an interrupt, too: no cell goes on in the cluster
            pool.shutdown(cancel_futures=True)
            raise


def _address(file: str) -> str:
    """Return the address that a scheduler file names."""
    path = paths.root() / file
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"run.cluster: {path} is no scheduler file ({type(error).__name__}: {error}); start "
            f"the scheduler with: dask scheduler --scheduler-file {file}"
        ) from error


def _connected(place: Any, cluster: str) -> Any:
    """Return a client of the scheduler at `place` (an address, or a local cluster)."""
    import distributed

    with warnings.catch_warnings():
        # Each process compares versions itself, and refuses instead of warning.
        warnings.simplefilter("ignore", distributed.versions.VersionMismatchWarning)
        try:
            return distributed.Client(place, timeout=_PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InputError(
                f"run.cluster is {cluster!r}, but no Dask scheduler answers at {place}; start "
                f"one, correct run.cluster in params.yaml or {CLUSTER}, or set it to null to use "
                f"this machine ({error})"
            ) from error


class _Cluster(Executor):
    """The futures of a Dask client as those of the standard library."""

    def __init__(self, client: Any, run: worker.Run) -> None:
        self._client, self._run = client, run
        self._tasks: set[Any] = set()  # a task whose future nobody holds is cancelled by Dask

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``function(*args, **kwargs)`` in a process of some worker."""
        future: Future[Any] = Future()
        task = self._client.submit(
            worker.remote,
            self._run,
            cloudpickle.dumps((function, args, kwargs)),
            key=f"cell-{uuid.uuid4().hex}",
            retries=_RETRIES,
            pure=False,
        )
        self._tasks.add(task)
        task.add_done_callback(partial(self._hand_over, future))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Cancel what is not finished, if asked to; workers end the processes of these cells."""
        if cancel_futures and self._client.status == "running":
            self._client.cancel(list(self._tasks), force=True)

    def _hand_over(self, future: Future[Any], task: Any) -> None:
        """Pass the outcome of a task on; Dask calls this in a thread of its own."""
        self._tasks.discard(task)
        try:
            accepted, answer = task.result()
        except Exception as error:
            future.set_exception(self._explained(error, task.status))
        else:
            if accepted:
                future.set_result(answer)
            else:
                future.set_exception(InputError(f"run.cluster: {answer}"))

    def _explained(self, error: Exception, status: str) -> Exception:
        import distributed

        if isinstance(error, (distributed.KilledWorker, worker.ProcessLostError)):
            return CellLostError(
                "its worker died each time it was tried, most often for want of memory; give "
                f"workers more of it, or start fewer on a machine ({error})"
            )
        if status in ("cancelled", "lost") or self._client.status != "running":
            return WorkersLostError(
                "the connection to the scheduler of the cluster is lost; finished cells are kept, "
                "so run it again when the scheduler is back, or with run.cluster null"
            )
        return InputError(
            "run.cluster: scheduler and workers must run in the environment of this project, but "
            f"one of them cannot ({type(error).__name__}: {error})"
        )
