"""Colour, marker and dash of everything that is drawn: one home, shared by all figures.

Every group that shares a figure is told apart by readers with colour-blindness as well (tested).
"""

from typing import Any

# Policies. Learners are bright, rules are muted, the two ends of the scale are black and grey.
_POLICY = {
    "DDPG": "#25BFF2",
    "TD3": "#0A80E8",
    "SAC": "#377A57",
    "PPO": "#F2A11F",
    "Pathwise": "#C23F08",
    "Optimum": "#000000",
    "Do nothing": "#B5B5B5",
    "Fixed schedule": "#A069A3",
    "Yesterday's schedule": "#5A2259",
    "Price threshold": "#9EBE6D",
    "MPC": "#2D0F96",
}
# Dispatchers of frequency regulation, and the resources that they dispatch.
_DISPATCH = {
    "DeltaNet (pathwise)": "#C23F08",
    "DeltaNet (PPO)": "#F2A11F",
    "Monolithic PPO": "#0A80E8",
    "Monolithic TD3": "#25BFF2",
    "Tuned split": "#5A2259",
    "Frequency split": "#A069A3",
    "Merit order": "#9EBE6D",
    "Pro-rata, capacity": "#377A57",
    "Pro-rata, ramp": "#B5B5B5",
    "Perfect foresight": "#000000",
}
_RESOURCE = {
    "thermal": "#3F4F5F",
    "hydro": "#0A80E8",
    "LNG": "#A069A3",
    "EV": "#377A57",
    "BESS": "#F2A11F",
}
# Dispatchers of the microgrid beside those above, and what it is supplied with.
_MICROGRID = {
    "RU-TD3": "#F2A11F",
    "Quantile TD3": "#25BFF2",
    "Published TD3": "#A069A3",
    "Tuned rule": "#5A2259",
    "CHP off": "#9EBE6D",
    "Heat-led CHP": "#377A57",
    "Published rule": "#B5B5B5",
    "Scenario plan": "#8C8C8C",
}
_SUPPLY = {
    "PV": "#E0A800",
    "wind": "#25BFF2",
    "CHP": "#C23F08",
    "import": "#8E5AA8",
    "boiler": "#3F4F5F",
    "lost": "#B3002D",
    "curtailed": "#B5B5B5",
}
# Forecasters; a controller that plans on one has its colour.
_FORECASTER = {
    "TFT": "#C23F08",
    "Boosted": "#F2A11F",
    "Linear": "#0A80E8",
    "Seasonal naive": "#377A57",
    "Persistence": "#A069A3",
}
# Learners and rules of the virtual power plant, its two sides, and models of its demand.
_VIRTUAL_PLANT = {
    "DROMARL": "#C23F08",
    "Domain randomisation": "#F2A11F",
    "MADDPG": "#0A80E8",
    "Independent DDPG": "#25BFF2",
    "Margin rule": "#5A2259",
    "Priority list": "#9EBE6D",
    "Mean plan": "#8C8C8C",
}
_SIDE = {"supply": "#0A80E8", "demand": "#C23F08"}
_DEMAND_MODEL = {
    "VRNN": "#C23F08",
    "GRU mixture": "#F2A11F",
    "Full history": "#0A80E8",
    "AR(1)": "#377A57",
}
# Power-flow programs. They never share a figure with policies.
_BACKEND = {
    "Dense": "#0A80E8",
    "Sweep": "#C23F08",
    "pandapower": "#404040",
    "power-grid-model": "#4E9A73",
    "lightsim2grid": "#C79BC9",
    "tensorpowerflow": "#F2A11F",
}
# Quantities and the furniture of a figure.
_QUANTITY = {
    "load": "#3F4F5F",
    "pv": "#E0A800",
    "price": "#8E5AA8",
    "net": "#0A80E8",
    "limit": "#B3002D",
    "battery": "#F2A11F",
}
_NEUTRAL = {"neutral": "#5F6368", "grid": "#DDDDDD", "accent": "#C23F08", "published": "#8C8C8C"}

_GROUPS = (
    _POLICY,
    _DISPATCH,
    _MICROGRID,
    _FORECASTER,
    _VIRTUAL_PLANT,
    _DEMAND_MODEL,
    _BACKEND,
    _RESOURCE,
    _SUPPLY,
    _SIDE,
    _QUANTITY,
    _NEUTRAL,
)
COLOUR: dict[str, str] = {name: hue for group in _GROUPS for name, hue in group.items()}

# Verdicts on claims, and claims about measured times: a tile and its number. Tiles are told apart
# by lightness as well as by hue.
VERDICT = {
    "holds": ("#8CC7F2", "black"),
    "does not hold": ("#A33000", "white"),
    "not decided": ("#F7E1B5", "black"),
    "not comparable": ("#E4E4E4", "black"),
}
TIMED = ("white", "black")
TIMED_EDGE = "#808080"

_MARKS = ("o", "s", "D", "^", "v", "*", ".", "P", "X", "h", "p")
MARKER: dict[str, str] = {
    name: mark
    for group in (_POLICY, _DISPATCH, _FORECASTER, _VIRTUAL_PLANT, _DEMAND_MODEL, _BACKEND)
    for name, mark in zip(group, _MARKS, strict=False)
}
_DASHED, _DOTTED, _LONG = (0, (4, 1.2)), (0, (1, 1)), (0, (5, 1.2))
_DASH_DOTTED = (0, (4, 1.2, 1, 1.2))
LINE: dict[str, Any] = {
    **dict.fromkeys(("DDPG", "TD3", "SAC", "PPO", "Pathwise"), "-"),
    **dict.fromkeys(("Dense", "Sweep"), "-"),
    "Perfect foresight": _LONG,
    "Tuned split": _DASH_DOTTED,
    "Optimum": _LONG,
    "Do nothing": _DOTTED,
    "Fixed schedule": _DASH_DOTTED,
    "Yesterday's schedule": (0, (2.5, 1)),
    "Price threshold": (0, (1, 2.2)),
    "MPC": (0, (7, 1.5, 1, 1.5)),
    "pandapower": _LONG,
    "power-grid-model": (0, (2.5, 1)),
    "lightsim2grid": _DASH_DOTTED,
    "tensorpowerflow": _DOTTED,
}
# One figure of the microgrid holds policies of three groups: its markers and lines are its own.
MICROGRID_MARKER = {
    "RU-TD3": "o",
    "Quantile TD3": "s",
    "Pathwise": "D",
    "Published TD3": "^",
    "TD3": "v",
    "Tuned rule": "*",
    "CHP off": "P",
    "Heat-led CHP": "X",
    "Published rule": "h",
    "Scenario plan": "p",
    "MPC": "d",
    "Perfect foresight": "<",
}
# Variants, named behind a comma, share their policy's marker, but not its dash and its filling.
MICROGRID_LINE: dict[str, Any] = {
    "Tuned rule": _DASH_DOTTED,
    "Perfect foresight": _LONG,
    "discrete": _DASHED,
    "cloned": _DOTTED,
    "sampled": _DASHED,
    "index fixed": _DASHED,
}
MICROGRID_FILL: dict[str, Any] = {
    "discrete": "left",
    **dict.fromkeys(("cloned", "sampled", "index fixed"), "none"),
}
# Variants of a policy of the virtual power plant, in the order in which a figure shows them.
VARIANT_LINES: tuple[Any, ...] = (_DASHED, _DOTTED, _DASH_DOTTED, (0, (7, 1.5)))
VARIANT_MARKS = ("s", "P", "X", "h", "v", "^", "*")
