"""Run one notebook as one stage: ``python -m griddispatch.pipeline.notebook notebooks/NAME.ipynb``.

papermill executes it in the project folder with the stage's section of params.yaml as parameters.
What its cells print appears line by line. The executed notebook is kept in ``build/notebooks/``,
and rendered there as HTML when it has succeeded.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError

from griddispatch.pipeline.processes import Lines
from griddispatch.pipeline.runner import TRACEBACK_LINES, Job, StageFailedError, run

EXECUTED = "build/notebooks"


def work(job: Job) -> None:
    """Execute the notebook of a stage and render it.

    Raises
    ------
    StageFailedError
        A cell failed, or the kernel died.
    """
    source = Path(job.stage.target)
    executed = Path(EXECUTED, source.name)
    executed.parent.mkdir(parents=True, exist_ok=True)
    executed.with_suffix(".html").unlink(missing_ok=True)
    lines = Lines(job.stage.name)
    try:
        papermill.execute_notebook(
            source,
            executed,
            parameters=dict(job.parameters),
            kernel_name="python3",
            language="python",
            progress_bar=False,
            stdout_file=lines,
            stderr_file=lines,
            shutdown_kernel="immediate",
            kernel_manager_class=_kernel(job),
        )
    except PapermillExecutionError as error:
        raise StageFailedError(_explain(error, source, executed)) from error
    except DeadKernelError as error:
        raise StageFailedError(
            f"the kernel of {source} died, most often for want of memory; it had come as far as "
            f"{executed} shows"
        ) from error
    finally:
        lines.close()
    _render(executed, source.parent)


def _kernel(job: Job) -> type[AsyncKernelManager]:
    """Return a manager of kernels that run this Python in the environment of the job.

    A kernel named python3 that the user has installed elsewhere, with other packages, and the
    user's own IPython settings play no part.
    """
    command = [sys.executable, "-m", "ipykernel_launcher", "--InteractiveShell.xmode=Plain"]
    environment = {
        **job.environment,
        # Shows figures in the executed notebook; draws with Agg, needs no display.
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "IPYTHONDIR": str(job.root / "build/ipython"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    spec = KernelSpec(
        argv=[*command, "-f", "{connection_file}"],
        env=environment,
        language="python",
        display_name="Python 3",
        metadata={"supported_encryption": ["curve"]},
    )

    class OwnKernelManager(AsyncKernelManager):
        def __init__(self, **options: Any) -> None:
            super().__init__(**{"transport_encryption": "auto", **options})

        async def _async_start_kernel(self, **options: Any) -> None:
            # What a worker process prints reaches papermill through the kernel, which also
            # repeats it on its own standard output: once is enough.
            await super()._async_start_kernel(stdout=subprocess.DEVNULL, **options)

        start_kernel = _async_start_kernel

        @property
        def kernel_spec(self) -> KernelSpec:
            return spec

    return OwnKernelManager


def _explain(error: PapermillExecutionError, source: Path, executed: Path) -> str:
    """Name the failing cell and its error; a mistake of the user needs no traceback."""
    message = f"{error.ename}: {error.evalue}"
    if error.ename != "InputError":
        plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", "\n".join(error.traceback))
        message = "\n".join(plain.strip().splitlines()[-TRACEBACK_LINES:])
    return (
        f"{source} failed in the cell {_failing_cell(executed)}:\n"
        + "".join(f"    {line}\n" for line in message.splitlines())
        + f"The notebook as far as it came: {executed}"
    )


def _failing_cell(executed: Path) -> str:
    """Return the id of the cell that holds an error."""
    for cell in nbformat.read(executed, as_version=4).cells:
        if any(output.output_type == "error" for output in cell.get("outputs", ())):
            return repr(str(cell.get("id", "?")))
    return "?"


def _render(executed: Path, folder: Path) -> None:
    """Write the HTML beside the executed notebook; its links start at the notebook's folder."""
    exporter = HTMLExporter(embed_images=True)
    notebook: Any = nbformat.read(executed, as_version=4)
    resources = {"metadata": {"name": executed.stem, "path": str(folder)}}
    html, _ = exporter.from_notebook_node(notebook, resources)
    executed.with_suffix(".html").write_text(html, encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Run the stage of the notebook that is the one argument."""
    if len(arguments) != 1:
        print("usage: python -m griddispatch.pipeline.notebook NOTEBOOK", file=sys.stderr)
        return 2
    return run(arguments[0], work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
