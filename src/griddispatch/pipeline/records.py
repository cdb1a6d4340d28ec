"""The one way into results/ and paper/tables/: the same numbers always give the same bytes.

Floats are rounded to significant digits, so that the last bits of a sum, which depend on the
machine, do not reach a published file. Files are written whole or not at all.
"""

import json
import math
import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from griddispatch.errors import InputError
from griddispatch.pipeline import paths

DIGITS = 6


def write_json(path: str | Path, content: Any, *, digits: int = DIGITS) -> Path:
    """Write `content` as JSON with sorted keys, and return where it went.

    Parameters
    ----------
    path
        A name for :func:`griddispatch.pipeline.paths.write`, or an absolute path.
    content
        Mappings, sequences, numpy arrays and scalars, dates, texts, numbers. NaN becomes null.
    digits
        Significant digits of every float.

    Raises
    ------
    InputError
        A number is infinite, or a value is of another kind; the disk is full or read-only.
    """
    plain = _plain(content, digits, str(path))
    text = json.dumps(plain, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    return _save(path, text + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file, by a name for :func:`griddispatch.pipeline.paths.read` or a path."""
    file = Path(path) if Path(path).is_absolute() else paths.read(str(path))
    return json.loads(file.read_text(encoding="utf-8"))


def write_csv(path: str | Path, frame: pd.DataFrame, *, digits: int = DIGITS) -> Path:
    """Write `frame` as CSV and return where it went; an index is written if it has a name.

    Parameters
    ----------
    path
        A name for :func:`griddispatch.pipeline.paths.write`, or an absolute path.
    frame
        The table. NaN becomes an empty cell.
    digits
        Significant digits of every float.

    Raises
    ------
    InputError
        The disk is full or read-only.
    """
    rounded = frame.copy()
    for position, kind in enumerate(rounded.dtypes):
        if pd.api.types.is_float_dtype(kind):
            column = rounded.iloc[:, position].to_numpy(np.float64)
            rounded.isetitem(position, np.array([_rounded(value, digits) for value in column]))
    named = any(name is not None for name in frame.index.names)
    return _save(path, rounded.to_csv(index=named, lineterminator="\n"))


def _save(path: str | Path, text: str) -> Path:
    file = Path(path) if Path(path).is_absolute() else paths.write(str(path))
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    with paths.writing(file):
        try:
            partial.write_text(text, encoding="utf-8")
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
    return file


def _plain(value: Any, digits: int, place: str) -> Any:
    """Return `value` in JSON's own types; `place` says where it stands, for the error."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, Mapping):
        keyed = {str(key): item for key, item in value.items()}
        return {key: _plain(item, digits, f"{place}: {key}") for key, item in keyed.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, digits, f"{place}[{row}]") for row, item in enumerate(value)]
    if value is pd.NaT:
        return None
    if isinstance(value, date):  # datetimes and pandas time stamps are dates, too
        return value.isoformat()
    if isinstance(value, float):
        if math.isinf(value):
            raise InputError(f"{place} is infinite; write null or a finite number")
        return None if math.isnan(value) else _rounded(value, digits)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise InputError(f"{place} is a {type(value).__name__}; write numbers, texts, lists or maps")


def _rounded(value: float, digits: int) -> float:
    """Round to significant digits; -0.0 becomes 0.0."""
    return float(f"{value:.{digits}g}") + 0.0
