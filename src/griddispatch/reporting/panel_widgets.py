"""The panel in JupyterLab: controls above, the numbers and the picture of the answer below.

Every change asks the laboratory anew and redraws one picture. A setting that cannot be leaves the
last picture where it is and says what to mend.
"""

import html
import time
from typing import Any

import ipywidgets
import numpy as np

from griddispatch.assets.storage import Storage
from griddispatch.errors import InputError
from griddispatch.reporting import panel_figure
from griddispatch.reporting.palette import COLOUR
from griddispatch.reporting.panel import LEARNED, POLICIES, Answer, Laboratory, Setting
from griddispatch.reporting.panel_figure import euro, percent

_WIDE = "980px"
_ENDS = {"free": "the batteries end anywhere", "initial": "they end as they began"}


class Panel(ipywidgets.VBox):
    """Controls, numbers and a picture. The last line of a cell shows it.

    Parameters
    ----------
    laboratory
        Who answers.
    start
        The first setting; its batteries must be alike.

    Attributes
    ----------
    date, policy, capacity, power, spread, nodes, end
        The controls; setting the value of one is the same as moving it.
    picture, numbers, message
        What is shown.
    answer
        The last `Answer`.
    """

    def __init__(self, laboratory: Laboratory, start: Setting) -> None:
        self.laboratory = laboratory
        self.figure = panel_figure.empty()
        self._controls(start)
        self.numbers, self.message = ipywidgets.HTML(), ipywidgets.HTML()
        self.picture = ipywidgets.Image(
            format="png", layout={"width": "100%", "max_width": _WIDE, "margin": "0"}
        )
        self.picture.add_class("griddispatch-picture")
        for control in self.controls:
            control.observe(self._changed, "value")
        left = ipywidgets.VBox([self.date, self.nodes, self.end])
        right = ipywidgets.VBox([self.capacity, self.power, self.spread])
        super().__init__(
            [
                self.policy,
                ipywidgets.HBox([left, right], layout={"margin": "6px 0"}),
                self.numbers,
                self.message,
                self.picture,
            ],
            layout={"max_width": _WIDE},
        )
        self._changed()

    def _controls(self, start: Setting) -> None:
        known = [p for p in POLICIES if p != LEARNED or self.laboratory.agents]
        storage, scopes = start.storage, self.laboratory.scopes
        days = [(f"{date}, {scope} day", date) for scope, ds in scopes.items() for date in ds]
        form: dict[str, Any] = {
            "style": {"description_width": "90px"},
            "layout": {"width": "470px"},
        }
        slider = form | {"continuous_update": False}
        self.policy = ipywidgets.ToggleButtons(
            options=known, value=start.policy, style={"button_width": "150px"}
        )
        self.date = ipywidgets.Dropdown(options=days, value=start.date, description="day", **form)
        self.nodes = ipywidgets.Text(
            ", ".join(map(str, storage.nodes)),
            description="at nodes",
            continuous_update=False,
            **form,
        )
        self.end = ipywidgets.Dropdown(
            options=[(text, end) for end, text in _ENDS.items()],
            value=start.end_soc,
            description="at midnight",
            **form,
        )
        capacity, power = (float(np.mean(x)) for x in (storage.capacity_kwh, storage.power_kw))
        self.capacity = ipywidgets.FloatSlider(
            capacity,
            min=50,
            max=1200,
            step=50,
            description="kWh each",
            readout_format=".0f",
            **slider,
        )
        self.power = ipywidgets.FloatSlider(
            power, min=10, max=200, step=10, description="kW each", readout_format=".0f", **slider
        )
        self.spread = ipywidgets.FloatSlider(
            start.spread,
            min=0,
            max=3,
            step=0.1,
            description="price spread",
            readout_format=".1f",
            **slider,
        )

    @property
    def controls(self) -> tuple[Any, ...]:
        """All controls."""
        names = ("date", "policy", "capacity", "power", "spread", "nodes", "end")
        return tuple(getattr(self, name) for name in names)

    @property
    def setting(self) -> Setting:
        """What the controls say.

        Raises
        ------
        InputError
            The nodes are no numbers, or no batteries can be made of it.
        """
        return Setting(
            date=self.date.value,
            policy=self.policy.value,
            storage=Storage(
                nodes=_numbers(self.nodes.value),
                power_kw=self.power.value,
                capacity_kwh=self.capacity.value,
            ),
            spread=self.spread.value,
            end_soc=self.end.value,
        )

    def _changed(self, _: Any = None) -> None:
        """Answer and draw."""
        started = time.perf_counter()
        try:
            self.answer = self.laboratory.respond(self.setting)
        except InputError as error:
            stale = f"{error}. The picture still shows the last setting that could be."
            self.message.value = _box(stale, COLOUR["limit"])
            return
        self.picture.value = panel_figure.png(panel_figure.draw(self.figure, self.answer))
        seconds = time.perf_counter() - started
        self.numbers.value = _cards(self.answer, seconds)
        self.message.value = "".join(_box(note, COLOUR["price"]) for note in self.answer.notes)


def _numbers(text: str) -> tuple[int, ...]:
    """Node numbers, separated by commas or spaces."""
    words = text.replace(",", " ").split()
    if not words or not all(word.isdecimal() for word in words):
        raise InputError(f"nodes are {text!r}; write numbers of nodes, as in 12, 16, 27, 34")
    return tuple(int(word) for word in words)


def _cards(answer: Answer, seconds: float) -> str:
    """What is read as a number, in a row."""
    found = answer.numbers
    share = found["captured"]
    shown = {
        "profit": euro(found["profit"]),
        "voltage penalty": euro(found["penalty"]),
        "gain over doing nothing": euro(found["gain"]),
        "share of the optimum": "nothing to gain" if np.isnan(share) else percent(share),
        "violations, steps × nodes": f"{found['violations']:.0f}",
        "lowest voltage": f"{found['lowest_voltage']:.3f} p.u.",
        "answered in": f"{seconds:.2f} s",
    }
    cards = "".join(
        f"<div style='padding:2px 14px 2px 8px;border-left:3px solid "
        f"{COLOUR[answer.setting.policy]}'><div style='font-size:11px;line-height:14px;"
        f"opacity:.75'>{name}</div><div style='font-size:15px;line-height:20px;font-weight:600'>"
        f"{value}</div></div>"
        for name, value in shown.items()
    )
    return f"<div style='display:flex;flex-wrap:wrap;gap:4px 6px'>{cards}</div>"


def _box(text: str, colour: str) -> str:
    """A line of text beside a coloured bar; `text` is not read as HTML."""
    look = f"line-height:18px;padding:4px 8px;border-left:3px solid {colour}"
    return f"<div role='status' style='{look}'>{html.escape(text)}</div>"
