"""The processes of a running stage: their memory, their time limit, their output lines."""

import threading
import time
from types import TracebackType
from typing import Self

import psutil

_INTERVAL = 0.5  # seconds between two looks


class Watch:
    """A block in which started processes are watched; none of them outlives the block."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        """Time limit."""
        self.expired = False
        """Whether the processes were ended because their time was over."""
        self.peak = 0
        """Largest sum of their resident memory so far, in bytes (shared pages count for each)."""
        self._seen: set[psutil.Process] = set()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._left.set()
        self._thread.join()
        self._end()

    def _look_on(self) -> None:
        deadline = time.monotonic() + self.seconds
        while not self._left.wait(_INTERVAL):
            self._look()
            if time.monotonic() > deadline:
                self.expired = True
                self._end()
                return

    def _look(self) -> None:
        children = psutil.Process().children(recursive=True)
        self._seen.update(children)
        self.peak = max(self.peak, sum(map(_memory, children)))

    def _end(self) -> None:
        """Kill every process seen that still runs; a worker may outlive its parent."""
        self._look()
        for process in self._seen:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue


class Lines:
    """A text stream that prints whole lines with a prefix, and of a redrawn line only the last."""

    def __init__(self, prefix: str) -> None:
        self._prefix, self._rest = prefix, ""

    def write(self, text: str) -> int:
        """Take text; print the lines that are complete."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            print(f"[{self._prefix}] {line.rstrip(chr(13)).rpartition(chr(13))[2]}", flush=True)
        return len(text)

    def flush(self) -> None:
        """Do nothing: a line is printed when it is complete."""

    def close(self) -> None:
        """Print what is left."""
        if self._rest:
            self.write("\n")


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
