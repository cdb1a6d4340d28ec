"""How Sphinx makes the site from the pages that ``make site`` lays out (pipeline/site.py).

Notebooks are shown as they were executed and never run here. Nothing is loaded from the network,
and formulas are MathML, so that the site works from a folder as it does from a server.
"""

import json
import re
from pathlib import Path

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

from griddispatch.reporting.palette import COLOUR

# What the pages were laid out from: version, commit.
_made = json.loads(Path(__file__).with_name("site.json").read_text(encoding="utf-8"))

project = "griddispatch"
author = "griddispatch developers"
project_copyright = "griddispatch developers, MIT licence"
version = release = _made["version"]
extensions = ["myst_nb", "sphinx_copybutton"]
exclude_patterns = ["made/**"]
templates_path = ["_templates"]
default_role = "code"
python_maximum_signature_line_length = 88
toc_object_entries = False
# Guide pages are found by a pattern, and there may be none.
suppress_warnings = ["toc.empty_glob"]

nb_execution_mode = "off"
nb_merge_streams = True
nb_render_markdown_format = "myst"
nb_ipywidgets_js = {}  # they would be loaded from the network
myst_enable_extensions = [
    "amsmath",
    "attrs_block",
    "attrs_inline",
    "colon_fence",
    "deflist",
    "dollarmath",
    "fieldlist",
]
myst_heading_anchors = 4
myst_dmath_double_inline = True
math_number_all = False

html_theme = "furo"
html_title = "griddispatch"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_favicon = "_static/icon.svg"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_domain_indices = False
html_use_index = False
html_permalinks_icon = "#"
html_math_renderer = "mathml"
html_context = {"made": _made}
html_theme_options = {
    "sidebar_hide_name": False,
    "light_logo": "icon.svg",
    "dark_logo": "icon.svg",
    "light_css_variables": {
        "color-brand-primary": COLOUR["accent"],
        "color-brand-content": COLOUR["accent"],
        "gd-holds": COLOUR["SAC"],
        "gd-fails": COLOUR["limit"],
        "gd-open": COLOUR["neutral"],
    },
    "dark_css_variables": {
        "color-brand-primary": COLOUR["PPO"],
        "color-brand-content": COLOUR["PPO"],
        "gd-holds": COLOUR["Price threshold"],
        "gd-fails": "#FF7A85",
        "gd-open": COLOUR["Do nothing"],
    },
}
copybutton_selector = "div:not(.output) > div.highlight pre"

_log = logging.getLogger(__name__)


def _mathml(node: nodes.Element, *, as_block: bool) -> str:
    """Return a formula as MathML, which browsers draw without any program."""
    # \big( is \bigl( or \bigr( to docutils, which gives both the same size.
    formula = re.sub(r"\\(big|Big|bigg|Bigg)(?![A-Za-z])", r"\\\1l", node.astext())
    try:
        return latex2mathml.tex2mathml(formula, as_block=as_block)
    except MathError as error:
        _log.warning("the formula %s cannot be shown: %s", formula, error, location=node)
        return ""


def _inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(f'<span class="math">{_mathml(node, as_block=False)}</span>')
    raise nodes.SkipNode


def _block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math">{_mathml(node, as_block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the formulas."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
