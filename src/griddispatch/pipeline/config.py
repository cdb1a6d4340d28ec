"""params.yaml: one profile, one section per stage, and no parameter that nobody reads.

    profile: reduced
    train_td3:
      updates: {smoke: 200, reduced: 20000, paper: 200000}
      learning_rate: 0.001

A leaf is one value (a scalar or a list) or a map with exactly the three profiles. A section has
the name of its stage. What a section may hold is written in the notebook itself: the cell tagged
"parameters" defines every name, with a default of the right type. The section ``run`` says how
stages are run; it changes no result, so that no stage depends on it.
"""

import ast
import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from griddispatch.errors import InputError
from griddispatch.pipeline import executors
from griddispatch.pipeline.stages import Stage, load

PROFILES = ("smoke", "reduced", "paper")

RUN = {
    "time_limit": 120.0,  # minutes that one stage may take
    "workers": None,  # worker processes of a stage; null: as many as there are processors
    "cluster": None,  # where these processes are; see `executors`
}


def read(root: Path) -> dict[str, Any]:
    """Read params.yaml and check all of it, so that a slip is found before the first stage runs.

    Raises
    ------
    InputError
        The file is no YAML map, the profile, a section or a parameter is unknown, a map does not
        name exactly the three profiles, or a value is of another type than its default.
    """
    file = root / "params.yaml"
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{file} holds no sections; write 'profile: reduced' and one per stage")
    profile = content.get("profile")
    if profile not in PROFILES:
        raise InputError(f"params.yaml: profile is {profile!r}; write one of {_list(PROFILES)}")
    stages = load(root)
    for section in content:
        known = ("profile", "run", *stages)
        if section not in known:
            raise InputError(f"params.yaml: section {section!r} is no stage{_near(section, known)}")
    for name in PROFILES:
        run_options(content, name)
        for stage in stages.values():
            resolve(content, stage.name, name, defaults(root, stage))
    return content


def stage_parameters(root: Path, stage: Stage) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parameters of `stage` and the options of the run, for the profile in force."""
    content = read(root)
    chosen = resolve(content, stage.name, content["profile"], defaults(root, stage))
    return chosen, run_options(content, content["profile"])


def run_options(content: Mapping[str, Any], profile: str) -> dict[str, Any]:
    """Return the section ``run`` with its defaults filled in."""
    options = {**RUN, **resolve(content, "run", profile, RUN)}
    return {**options, "cluster": executors.checked(options["cluster"])}


def resolve(
    content: Mapping[str, Any], section: str, profile: str, known: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the values of one section for one profile.

    Parameters
    ----------
    content
        The whole of params.yaml.
    section
        Name of the section; a missing one is empty.
    profile
        One of `PROFILES`.
    known
        Each parameter that there is, with its default; None allows every name and type.

    Raises
    ------
    InputError
        As for :func:`read`.
    """
    entries = content.get(section)
    if entries is None:
        return {}
    if not isinstance(entries, dict):
        raise InputError(f"params.yaml: {section} is {entries!r}; write 'name: value' lines")
    values = {}
    for name, leaf in entries.items():
        place = f"params.yaml: {section}.{name}"
        if known is not None and name not in known:
            raise InputError(f"{place} is no parameter of this stage{_near(name, known)}")
        value = _for_profile(leaf, profile, place)
        values[name] = value if known is None else _of_type(value, known[name], place)
    return values


def defaults(root: Path, stage: Stage) -> dict[str, Any] | None:
    """Return the parameters that a stage knows; None if it runs a module, which checks its own."""
    return notebook_parameters(root / stage.target) if stage.is_notebook else None


def notebook_parameters(notebook: Path) -> dict[str, Any]:
    """Return the names and defaults of a notebook's one cell tagged "parameters".

    Raises
    ------
    InputError
        The notebook cannot be read, has not exactly one such cell, or the cell holds anything but
        ``name = literal``.
    """
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{notebook} cannot be read as a notebook: {error}") from error
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", ())]
    if len(tagged) != 1:
        raise InputError(f"{notebook} has {len(tagged)} cells tagged 'parameters'; tag exactly one")
    source = "".join(tagged[0]["source"])
    values = {}
    try:
        for statement in ast.parse(source).body:
            name, value = _assignment(statement)
            values[name] = ast.literal_eval(value)
    except (SyntaxError, ValueError) as error:
        raise InputError(
            f"{notebook}: the cell tagged 'parameters' may hold only lines 'name = literal' "
            f"({error})"
        ) from error
    return values


def _assignment(statement: ast.stmt) -> tuple[str, ast.expr]:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return name, value
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            return name, value
    raise ValueError(f"line {statement.lineno} is something else")


def _for_profile(leaf: Any, profile: str, place: str) -> Any:
    """Return the value of a leaf: itself, or its entry for the profile."""
    if not isinstance(leaf, dict):
        return leaf
    if set(leaf) != set(PROFILES):
        raise InputError(
            f"{place} has the keys {_list(map(str, leaf)) or 'none'}; write one value or a map "
            f"with exactly {_list(PROFILES)}"
        )
    return leaf[profile]


def _of_type(value: Any, default: Any, place: str) -> Any:
    """Return `value` if it has the type of `default`; a whole number may stand for a float."""
    if isinstance(value, int) and not isinstance(value, bool) and isinstance(default, float):
        return float(value)
    if isinstance(value, (list, tuple)) and isinstance(default, (list, tuple)):
        return [_of_type(v, default[0] if default else None, place) for v in value]
    plain = isinstance(value, (bool, int, float, str, list)) or value is None
    if plain and (default is None or type(value) is type(default)):
        return value
    wanted = "a plain value" if default is None else f"{type(default).__name__} like {default!r}"
    raise InputError(
        f"{place} is {value!r} ({type(value).__name__}); write {wanted}{_hint(value, default)}"
    )


def _hint(value: Any, default: Any) -> str:
    """Name the two traps of YAML 1.1: numbers like 1e-3 are texts, bare dates are no texts."""
    if isinstance(value, str) and isinstance(default, float):
        return " (YAML needs a point and a sign in an exponent: 1.0e-3)"
    return " (put a text in quotes)" if isinstance(default, str) else ""


def _near(name: Any, known: Iterable[str]) -> str:
    """Name the closest known name, or all of them."""
    known = tuple(known)
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known are {_list(known)}" if known else "; there is none"


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
