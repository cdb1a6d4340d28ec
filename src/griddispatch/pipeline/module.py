"""Run one module as one stage: ``python -m griddispatch.pipeline.module griddispatch.data.raw``.

The stage's section of params.yaml reaches the module as command-line options: ``wheel: a.whl``
becomes ``--wheel a.whl``; null leaves the option out. The module itself refuses unknown options.
"""

import subprocess
import sys

from griddispatch.pipeline.processes import Lines
from griddispatch.pipeline.runner import TRACEBACK_LINES, Job, StageFailedError, run


def work(job: Job) -> None:
    """Run the module in a process of its own and print its lines as they come.

    Raises
    ------
    StageFailedError
        It ends with another exit code than 0; the message holds the end of its traceback.
    """
    given = {name: value for name, value in job.parameters.items() if value is not None}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    lines = Lines(job.stage.name)
    trace: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-m", job.stage.target, *options],
        cwd=job.root,
        env=dict(job.environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if trace or line.startswith("Traceback (most recent call last):"):
                trace.append(line)
            else:
                lines.write(line)
    if process.returncode != 0:
        lines.close()
        told = "".join(f"\n    {line.rstrip()}" for line in trace[-TRACEBACK_LINES:])
        raise StageFailedError(
            f"{job.stage.target} ended with exit code {process.returncode}{told}"
        )
    lines.write("".join(trace))
    lines.close()


def main(arguments: list[str]) -> int:
    """Run the stage of the module that is the one argument."""
    if len(arguments) != 1:
        print("usage: python -m griddispatch.pipeline.module MODULE", file=sys.stderr)
        return 2
    return run(arguments[0], work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
