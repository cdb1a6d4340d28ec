"""Imports run downwards only, from layer to layer, as README and CONTRIBUTING say."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src/griddispatch"
LAYERS = (
    {"errors"},
    {"data", "grid", "learning", "risk_measures"},
    {"assets"},
    {"envs"},
    {"forecasting", "optimization"},
    {"agents"},
    {"evaluation"},
    {"reporting"},
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def part(file: Path) -> str:
    """Return the package of a source file, or the module's own name where it has none."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(source: str) -> Iterator[str]:
    """Yield the packages and modules right under griddispatch that a source imports."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "an import with dots; write the full name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        parts = (name.split(".")[1] for name in names if name.startswith("griddispatch."))
        yield from (name for name in parts if name != "__version__")


def upward(own: str, source: str) -> list[str]:
    """Return what a source of the part `own` imports although it lies beside or above it."""
    if own == "pipeline":
        return [name for name in imported(source) if name not in ("pipeline", "errors")]
    known = (name for name in imported(source) if name != own)
    return [
        name
        for name in known
        if not (name == "pipeline" and own == "reporting")
        and RANK.get(name, len(LAYERS)) >= RANK[own]
    ]


FILES = [file for file in sorted(PACKAGE.rglob("*.py")) if file.parent != PACKAGE]
FILES += [PACKAGE / f"{name}.py" for name in ("errors", "risk_measures")]


def test_every_part_has_a_layer() -> None:
    assert {part(file) for file in FILES} == {*RANK, "pipeline"}


@pytest.mark.parametrize("name", sorted({*RANK, "pipeline"}))
def test_imports_run_downwards_only(name: str) -> None:
    found = {
        file.name: above
        for file in FILES
        if part(file) == name and (above := upward(name, file.read_text(encoding="utf-8")))
    }
    assert not found, f"what {name} must not know: move what both need to a layer below"


def test_an_import_upwards_is_seen() -> None:
    assert upward("forecasting", "from griddispatch.agents.ppo import train") == ["agents"]
    assert upward("agents", "def late():\n    import griddispatch.evaluation.risk") == [
        "evaluation"
    ]
    assert upward("assets", "from griddispatch import envs, errors") == ["envs"]
    assert upward("optimization", "import griddispatch.forecasting.tft") == ["forecasting"]
    assert upward("evaluation", "from griddispatch.pipeline import records") == ["pipeline"]
    assert upward("pipeline", "from griddispatch.data import raw") == ["data"]
    assert not upward("reporting", "from griddispatch.pipeline import paths\nimport numpy")
    assert not upward("agents", "from griddispatch.learning import networks")
