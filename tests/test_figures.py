"""Figures: colours stay apart, labels do not overlap, feeders do not cross, bytes never change."""

import hashlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

from griddispatch.errors import InputError
from griddispatch.grid.network import Network
from griddispatch.reporting import figures
from griddispatch.reporting.feeder_drawing import branch_routes, draw_feeder, tree_layout
from griddispatch.reporting.palette import COLOUR, LINE, MARKER

LEARNERS = ["DDPG", "TD3", "SAC", "PPO", "Pathwise"]
RULES = ["Do nothing", "Fixed schedule", "Yesterday's schedule", "Price threshold", "MPC"]
TOGETHER = {
    "policies": [*LEARNERS, *RULES, "Optimum"],
    "backends": [
        "Dense",
        "Sweep",
        "pandapower",
        "power-grid-model",
        "lightsim2grid",
        "tensorpowerflow",
    ],
    "microgrid": [
        *("RU-TD3", "Quantile TD3", "Pathwise", "Published TD3", "TD3", "Tuned rule"),
        *("CHP off", "Heat-led CHP", "MPC", "Perfect foresight"),
    ],
    "forecasters": ["TFT", "Boosted", "Linear", "Seasonal naive", "Persistence"],
    "virtual plant": [
        *("DROMARL", "Domain randomisation", "MADDPG", "Independent DDPG", "Margin rule"),
        *("Priority list", "Mean plan", "Perfect foresight"),
    ],
    "demand models": ["VRNN", "GRU mixture", "Full history", "AR(1)"],
    "sides": ["supply", "demand"],
    "quantities": ["load", "pv", "price", "net", "limit"],
}

# Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision
# Deficiency", IEEE TVCG 15(6), 2009: severity 1.0, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.119192, 0.9503041],
    ]
)


def as_seen(colours, vision):
    """CIELAB [n, 3] of colours for a reader with the given vision."""
    rgb = np.array([to_rgb(c) for c in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(linear @ VISION[vision].T, 0, 1) @ XYZ.T / (0.95047, 1.0, 1.08883)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack(
        [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1
    )


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("GRIDDISPATCH_ROOT", str(tmp_path))
    figures.style()
    yield tmp_path
    plt.close("all")


# -- colours ------------------------------------------------------------------------------


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("group", TOGETHER)
def test_colours_used_together_are_told_apart(group, vision):
    names = TOGETHER[group]
    lab = as_seen([COLOUR[n] for n in names], vision)
    for (i, a), (j, b) in itertools.combinations(enumerate(names), 2):
        # 2.3 is just noticeable side by side; thin lines apart need about ten times that.
        distance = np.linalg.norm(lab[i] - lab[j])
        assert distance >= 20, f"{a} and {b} are only {distance:.1f} apart with {vision}"


def test_the_distance_sees_the_classical_confusion():
    distance = {
        vision: np.linalg.norm(np.subtract(*as_seen(["#A03020", "#66661A"], vision)))
        for vision in VISION
    }
    assert distance["normal"] > 45
    assert distance["protanopia"] < distance["normal"] / 2


@pytest.mark.parametrize("name", [n for names in TOGETHER.values() for n in names])
def test_colours_stand_out_from_the_page(name):
    lightness = as_seen([COLOUR[name]], "normal")[0, 0]
    assert lightness < 80


def test_lines_differ_by_more_than_colour():
    for group in ("policies", "backends"):
        marks = [MARKER[n] for n in TOGETHER[group]]
        assert len(set(marks)) == len(marks)
    dashes = [str(LINE[n]) for n in [*RULES, "Optimum", "TD3"]]
    assert len(set(dashes)) == len(dashes)


# -- files --------------------------------------------------------------------------------

DRAWING = """
import matplotlib; matplotlib.use("Agg")
import matplotlib.pyplot as plt, numpy as np
from griddispatch.reporting import figures
figures.style()
fig, ax = plt.subplots()
x = np.arange(50)
for k, name in enumerate(("TD3", "PPO", "Optimum")):
    y = np.sin(x / 7 + k)
    figures.band(ax, x, y, y - .1, y + .1, name)
ax.set_xlabel(r"time, $\\sigma$")
figures.label_ends(ax)
print(figures.save(fig, "drawing"))
"""


def draw_in_a_new_process(root: Path, seed: str) -> list[str]:
    root.mkdir()
    environment = {**os.environ, "GRIDDISPATCH_ROOT": str(root), "PYTHONHASHSEED": seed}
    done = subprocess.run(
        [sys.executable, "-c", DRAWING], env=environment, capture_output=True, text=True, check=True
    )
    svg = Path(done.stdout.strip())
    return [hashlib.sha256(svg.with_suffix(e).read_bytes()).hexdigest() for e in (".svg", ".png")]


def test_two_processes_write_the_same_bytes(tmp_path):
    assert draw_in_a_new_process(tmp_path / "a", "1") == draw_in_a_new_process(tmp_path / "b", "2")


def test_files_carry_no_date_and_no_version(project):
    figure, _ = plt.subplots()
    svg = figures.save(figure, "plain")
    assert svg == project / "scratch" / "figures" / "plain.svg"
    text = svg.read_text()
    assert "<dc:date>" not in text
    assert mpl.__version__ not in text
    assert b"Software" not in svg.with_suffix(".png").read_bytes()


def test_a_figure_is_printed_at_its_size(project):
    figure, _ = plt.subplots(figsize=(figures.COLUMN, 2))
    text = figures.save(figure, "size").read_text()
    assert f'width="{figures.COLUMN * 72:g}pt"' in text


@pytest.mark.parametrize("name", ["a.svg", "../a", "", "a b"])
def test_a_name_is_a_plain_word(name):
    figure, _ = plt.subplots()
    with pytest.raises(InputError, match="figure name"):
        figures.save(figure, name)


# -- labels, bands, bars ------------------------------------------------------------------

heights = st.lists(st.floats(-10, 10), min_size=1, max_size=12)


@given(heights, st.floats(0.01, 3))
def test_spread_keeps_the_gap_and_the_order(wanted, gap):
    placed = figures.spread(wanted, gap)
    order = np.argsort(wanted, kind="stable")
    assert (np.diff(placed[order]) >= gap - 1e-9).all()
    assert placed.mean() == pytest.approx(np.mean(wanted), abs=1e-9)


def test_spread_moves_nothing_that_has_room():
    assert figures.spread([3.0, 0.0, 1.0], 1.0).tolist() == [3.0, 0.0, 1.0]
    assert figures.spread([0.0, 0.0, 9.0], 1.0).tolist() == [-0.5, 0.5, 9.0]


@given(heights, st.floats(0.01, 3), st.floats(-12, 12))
def test_spread_with_a_bound_is_cut_off_at_it(wanted, gap, lowest):
    placed = figures.spread(wanted, gap, lowest)
    order = np.argsort(wanted, kind="stable")
    assert (np.diff(placed[order]) >= gap - 1e-9).all()
    assert placed.min() >= lowest
    # Nothing is pushed further up than the bound, and the gaps above it, ask for.
    free = figures.spread(wanted, gap)[order]
    floor = lowest + gap * np.arange(len(wanted))
    np.testing.assert_allclose(placed[order], np.maximum(free, floor), atol=1e-9)


def test_labels_of_lines_that_end_at_the_bottom_stay_clear_of_the_ticks_below():
    figure, ax = plt.subplots(figsize=(figures.COLUMN, 1.2))
    for k in range(5):
        ax.plot([0, 24], [1 + k, 0], label=f"Line {k}")
    ax.set(xlim=(0, 24), ylim=(0, None), xticks=range(0, 25, 4))
    labels = figures.label_ends(ax)
    figure.draw_without_rendering()
    lowest = min(mpl.text.Text.get_window_extent(label).y0 for label in labels)
    assert lowest >= ax.get_xticklabels()[-1].get_window_extent().y1


@settings(max_examples=8, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_labels_at_line_ends_do_not_overlap(ends):
    figure, ax = plt.subplots(figsize=(figures.COLUMN, 2.2))
    for k, end in enumerate(ends):
        ax.plot([0, 1], [0.5, end], label=f"Line {k}")
    labels = figures.label_ends(ax, text={"Line 0": "Another text"})
    figure.draw_without_rendering()
    assert labels[0].get_text() == "Another text"
    # `Text`'s extent leaves out the hairline.
    boxes = sorted((mpl.text.Text.get_window_extent(label) for label in labels), key=lambda b: b.y0)
    assert all(low.y1 <= high.y0 + 0.5 for low, high in itertools.pairwise(boxes))
    assert all(box.x1 <= figure.bbox.width for box in boxes)
    plt.close(figure)


def test_a_line_without_a_point_cannot_be_labelled():
    _, ax = plt.subplots()
    ax.plot([0, 1], [np.nan, np.nan], label="empty")
    with pytest.raises(InputError, match="empty"):
        figures.label_ends(ax)


def test_a_band_has_the_colour_of_its_name():
    _, ax = plt.subplots()
    line = figures.band(ax, [0, 1], [1, 2], [0, 1], [2, 3], "PPO")
    assert (line.get_color(), line.get_label()) == (COLOUR["PPO"], "PPO")
    assert mpl.colors.to_hex(ax.collections[0].get_facecolor()[0]).upper() == COLOUR["PPO"]


def test_bars_print_values_and_draw_intervals_where_there_are_any():
    _, ax = plt.subplots()
    frame = pd.DataFrame(
        {
            "name": ["TD3", "Optimum"],
            "mean": [-1.25, 10.0],
            "low": [-2.0, np.nan],
            "high": [-1.0, np.nan],
        }
    )
    figures.bars(ax, frame)
    assert [t.get_text() for t in ax.texts] == ["\N{MINUS SIGN}1.2", "10.0"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["TD3", "Optimum"]
    intervals = ax.collections[1].get_segments()
    assert intervals[0][:, 0].tolist() == [-2.0, -1.0]
    assert intervals[1][:, 0].tolist() == [10.0, 10.0]


# -- feeder drawing -----------------------------------------------------------------------


def tree(parents, slack=0, extra=()):
    """A network whose node i + 1 hangs on node parents[i] <= i; `extra` are further branches."""
    n = len(parents) + 1
    branches = [*((p, i + 1) for i, p in enumerate(parents)), *extra]
    start, end = np.array(branches, dtype=np.int64).T
    return Network(
        name="test",
        nodes=np.arange(1, n + 1),
        slack=slack,
        from_bus=start,
        to_bus=end,
        r=np.full(len(branches), 0.01),
        x=np.full(len(branches), 0.01),
        b=np.zeros(len(branches)),
        tap=np.ones(len(branches), np.complex128),
        shunt=np.zeros(n, np.complex128),
        zip_p=np.tile((1.0, 0.0, 0.0), (n, 1)),
        zip_q=np.tile((1.0, 0.0, 0.0), (n, 1)),
        load_kw=np.zeros(n),
        load_kvar=np.zeros(n),
    )


@st.composite
def trees(draw):
    n = draw(st.integers(2, 40))
    # A node hangs near the last one (feeders are long) or anywhere (stars, bushes).
    reach = draw(st.sampled_from([1, 2, 4, 40]))
    parents = [draw(st.integers(max(0, i - reach), i)) for i in range(n - 1)]
    return tree(parents, slack=draw(st.integers(0, n - 1)))


def touching(first, second):
    """Pairs of segments [n, 2, 2] that share a point which is not an end of both."""

    def side(a, b, c):
        u, v = b - a, c - a
        return np.sign(np.round(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0], 9))

    (a, b), (c, d) = first.swapaxes(0, 1), second.swapaxes(0, 1)
    sides = side(a, b, c), side(a, b, d), side(c, d, a), side(c, d, b)
    cross = (sides[0] * sides[1] <= 0) & (sides[2] * sides[3] <= 0)
    boxes = (first.min(1) <= second.max(1) + 1e-9).all(1) & (
        second.min(1) <= first.max(1) + 1e-9
    ).all(1)
    joined = np.zeros(len(a), dtype=bool)
    for p, q, r, s in ((a, b, c, d), (a, b, d, c), (b, a, c, d), (b, a, d, c)):
        # One common end: fine unless the other ends lie in the same direction from it.
        common = (np.abs(p - r) < 1e-9).all(1)
        along = (side(p, q, s) == 0) & (((q - p) * (s - p)).sum(1) > 0)
        joined |= common & ~along
    return cross & boxes & ~joined


@settings(max_examples=80, deadline=None)
@given(trees())
def test_no_two_branches_cross_and_no_two_nodes_share_a_place(network):
    place = tree_layout(network)
    assert len({tuple(p) for p in place}) == network.n_nodes
    routes = branch_routes(network, place)
    segments = np.concatenate([routes[:, :2], routes[:, 1:]])
    owner = np.tile(np.arange(len(routes)), 2)
    i, j = np.triu_indices(len(segments), 1)
    other = owner[i] != owner[j]
    assert not touching(segments[i[other]], segments[j[other]]).any()


@settings(max_examples=40, deadline=None)
@given(trees(), st.sampled_from([0.2, 0.3, 0.45]))
def test_branches_stay_clear_of_other_nodes(network, knee):
    place = tree_layout(network)
    routes = branch_routes(network, place, knee)
    step = np.linspace(0, 1, 41)[:, None]
    for route, ends in zip(routes, zip(network.from_bus, network.to_bus, strict=True), strict=True):
        points = np.concatenate([p + step * (q - p) for p, q in itertools.pairwise(route)])
        others = np.delete(place, ends, axis=0)
        gap = np.linalg.norm(points[:, None] - others[None], axis=-1)
        assert gap.min(initial=9) >= knee - 1e-9


@settings(max_examples=30, deadline=None)
@given(trees())
def test_columns_are_distances_and_the_trunk_is_level(network):
    place = tree_layout(network)
    length = np.abs(place[network.from_bus, 0] - place[network.to_bus, 0])
    assert (length == 1).all()
    assert place[network.slack].tolist() == [0, 0]
    trunk = place[place[:, 1] == 0, 0]
    assert sorted(trunk)[-1] == place[:, 0].max()


def test_laterals_of_a_feeder_go_to_both_sides():
    rows = tree_layout(tree([0, 1, 2, 3, 4, 1, 2, 3]))[6:, 1]
    assert {1.0, -1.0} == set(rows)


def test_the_touching_test_can_see_a_crossing():
    cross = np.array([[[0, 0], [1, 1]], [[0, 0], [1, 1]], [[0, 0], [1, 0]]], dtype=float)
    other = np.array([[[0, 1], [1, 0]], [[0, 0], [1, 2]], [[0, 0], [2, 0]]], dtype=float)
    assert touching(cross, other).tolist() == [True, False, True]


def test_a_drawing_shows_batteries_and_voltages():
    network = tree([0, 1, 2, 1, 4])
    ax = draw_feeder(network, batteries=[4, 6], voltage=np.linspace(1.0, 0.93, 6))
    by_label = {c.get_label(): c for c in ax.collections}
    assert len(by_label["battery"].get_offsets()) == 2
    assert len(by_label["slack node"].get_offsets()) == 1
    assert sorted(t.get_text() for t in ax.texts) == list("123456")
    plain = draw_feeder(network, batteries=[4])
    assert [t.get_text() for t in plain.get_legend().get_texts()] == ["slack node", "battery"]


@pytest.mark.parametrize(
    ("network", "arguments", "message"),
    [
        (tree([0, 1], extra=[(0, 2)]), {}, "loop"),
        (tree([0, 1]), {"batteries": [9]}, "no node 9"),
        (tree([0, 1]), {"voltage": [1.0, 1.0]}, "one value for each of its 3 nodes"),
    ],
)
def test_what_cannot_be_drawn_is_named(network, arguments, message):
    with pytest.raises(InputError, match=message):
        draw_feeder(network, **arguments)
