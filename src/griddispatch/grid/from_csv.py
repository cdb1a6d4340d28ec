"""Read the two tables of a feeder and check every cell of them before a number is used."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from griddispatch.errors import InputError

ZIP = ("Pct", "Ict", "Zct")
NODES = ("NODES", "Tb")
OPTIONAL = ("PD", "QD", *ZIP)
LINES = ("FROM", "TO", "R", "X", "B", "STATUS", "TAP")


def network_fields(
    nodes_csv: Path | str, lines_csv: Path | str, base_kv: float, base_kva: float
) -> dict[str, Any]:
    """Fields of `Network` from its tables (see `Network.read` for columns, units and errors)."""
    nodes, lines = _read_nodes(nodes_csv), _read_lines(lines_csv)
    column = {int(n): i for i, n in enumerate(nodes["NODES"])}
    _check_ends(lines_csv, lines, column)
    lines = lines[lines["STATUS"] == 1]
    z_base = base_kv**2 * 1e3 / base_kva
    zero = np.zeros(len(nodes))

    def values(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
        return table[name].to_numpy(np.float64) if name in table else zero.copy()

    def ends(name: str) -> NDArray[np.int64]:
        return np.array([column[int(i)] for i in lines[name]], dtype=np.int64)

    shares = _zip_shares(nodes_csv, nodes)
    return {
        "nodes": nodes["NODES"].to_numpy(np.int64),
        "slack": int(np.flatnonzero(nodes["Tb"] == 1)[0]),
        "from_bus": ends("FROM"),
        "to_bus": ends("TO"),
        "r": values(lines, "R") / z_base,
        "x": values(lines, "X") / z_base,
        "b": values(lines, "B") * z_base,
        "tap": values(lines, "TAP").astype(np.complex128),
        "shunt": zero.astype(np.complex128),
        "zip_p": shares,
        "zip_q": shares,
        "load_kw": values(nodes, "PD"),
        "load_kvar": values(nodes, "QD"),
    }


def _read_nodes(path: Path | str) -> pd.DataFrame:
    table = _read_table(path, NODES, OPTIONAL)
    _check_values(path, table, "NODES", table["NODES"] % 1 != 0, "a node number is whole")
    _check_values(path, table, "Tb", ~table["Tb"].isin([0, 1]), "write 1 (slack) or 0 (load)")
    repeated = np.flatnonzero(table["NODES"].duplicated())
    if repeated.size:
        node = table["NODES"].iloc[repeated[0]]
        raise InputError(f"{path}, row {repeated[0] + 2}: node {node:g} stands twice; remove one")
    slack = int((table["Tb"] == 1).sum())
    if slack != 1:
        raise InputError(f"{path}: {slack} nodes have Tb = 1; mark exactly one as the slack node")
    return table


def _read_lines(path: Path | str) -> pd.DataFrame:
    table = _read_table(path, LINES, ())
    for end in ("FROM", "TO"):
        _check_values(path, table, end, table[end] % 1 != 0, "a node number is whole")
    status = table["STATUS"]
    _check_values(path, table, "STATUS", ~status.isin([0, 1]), "write 1 (in service) or 0 (not)")
    _check_values(path, table, "R", table["R"] < 0, "a resistance is not negative")
    short = (table["R"] == 0) & (table["X"] == 0)
    _check_values(path, table, "R", short, "R and X are both zero; merge the two nodes")
    _check_values(path, table, "TAP", table["TAP"] == 0, "a ratio of 1 means no transformer")
    return table


def _read_table(
    path: Path | str, needed: tuple[str, ...], optional: tuple[str, ...]
) -> pd.DataFrame:
    """Read a table of finite numbers with exactly these columns, some of them optional."""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; run the fetch stage or give another path")
    try:
        text = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (ValueError, UnicodeDecodeError) as error:  # pandas' parser errors are ValueErrors
        raise InputError(f"{path} is no table of comma-separated values: {error}") from error
    missing = [c for c in needed if c not in text]
    unknown = [c for c in text if c not in needed + optional]
    if missing or unknown:
        raise InputError(
            f"{path}: missing column(s) {missing}, unknown column(s) {unknown}; "
            f"the columns are {', '.join(needed + optional)}"
        )
    table = pd.DataFrame({c: pd.to_numeric(text[c], errors="coerce") for c in text}, dtype=float)
    wrong = np.argwhere(~np.isfinite(table.to_numpy()))
    if len(wrong):
        row, col = (int(i) for i in wrong[0])
        raise InputError(
            f"{path}, row {row + 2}, column {text.columns[col]}: {text.iat[row, col]!r} is not a "
            "finite number; correct it"
        )
    return table


def _check_values(
    path: Path | str, table: pd.DataFrame, name: str, wrong: "pd.Series[bool]", rule: str
) -> None:
    rows = np.flatnonzero(wrong)
    if rows.size:
        value = table[name].iloc[rows[0]]
        raise InputError(f"{path}, row {rows[0] + 2}, column {name}: {value:g}; {rule}")


def _check_ends(path: Path | str, lines: pd.DataFrame, column: dict[int, int]) -> None:
    for row, (start, end) in enumerate(zip(lines["FROM"], lines["TO"], strict=True), start=2):
        for node in (start, end):
            if int(node) not in column:
                raise InputError(
                    f"{path}, row {row}: the branch {start:g}-{end:g} ends at node {node:g}, "
                    "which does not exist; add it to the node table"
                )
        if start == end:
            raise InputError(
                f"{path}, row {row}: the branch joins node {start:g} to itself; remove it"
            )


def _zip_shares(path: Path | str, nodes: pd.DataFrame) -> NDArray[np.float64]:
    """[N, 3] shares of constant power, current and impedance; constant power without columns."""
    given = [c for c in ZIP if c in nodes]
    if not given:
        return np.tile([1.0, 0.0, 0.0], (len(nodes), 1))
    if len(given) < len(ZIP):
        raise InputError(f"{path}: has {', '.join(given)} only; give Pct, Ict and Zct or none")
    share = nodes[list(ZIP)].to_numpy(np.float64)
    wrong = np.flatnonzero(np.abs(share.sum(1) - 1) > 1e-6)
    if wrong.size:
        raise InputError(
            f"{path}, row {wrong[0] + 2}: Pct + Ict + Zct must be 1, "
            f"they add up to {share[wrong[0]].sum():g}"
        )
    return share
