"""Which files carry each figure and each table of the paper, read from its source and dvc.yaml.

A table of the paper reads CSV and JSON files itself: they are found by the paths in its source and
in the definitions it uses. A drawing is carried by its SVG file, and by the numbers that the stage
which drew it wrote or read.
"""

import fnmatch
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import typst

from griddispatch.errors import InputError
from griddispatch.pipeline import stages

MAIN = "paper/main.typ"
_CARRIER = re.compile(r'"/?((?:results|figures|paper/printed)/[\w./-]+)"')
_DRAWING = re.compile(r'\bdrawing\(\s*"([\w-]+)"(\s*\+)?')
_DEFINED = re.compile(r"#let\s+([A-Za-z][\w-]*)")
_LABEL = re.compile(r"[\s\]]*<([\w-]+)>")
_PART = re.compile(r'#?\b(?:import|include)\s+"([\w./-]+\.typ)"')
_IMPORT = re.compile(r'\bimport\s+"([\w./-]+\.typ)"\s*:\s*([^\n]+)')
_PAIRS = {"(": ")", "[": "]", "{": "}"}


class Float(NamedTuple):
    """A figure or a table of the paper."""

    name: str
    """As it stands under it: "Figure 3"."""
    label: str
    """Its label in the source."""
    files: tuple[str, ...]
    """The published files that carry it, in order."""


def floats(root: Path) -> list[Float]:
    """Return the figures and tables of the paper of the project `root`, in its order.

    Raises
    ------
    InputError
        The paper cannot be compiled, a figure has no label, or its source is not found.
    """
    source = sources(root)
    found = dict(carried(source))
    listed, counts = [], {"image": 0, "table": 0}
    for kind, label in _compiled(root):
        if label is None:
            raise InputError(f"{MAIN}: a {kind} has no label; write <name> behind it")
        if label not in found:
            raise InputError(f"{MAIN}: no '#figure(...) <{label}>' is found in its source")
        counts[kind] = counts.get(kind, 0) + 1
        title = {"image": "Figure", "table": "Table"}.get(kind, kind.capitalize())
        files = tuple(_with_data(root, found[label]))
        listed.append(Float(f"{title} {counts[kind]}", label, files))
    return listed


def sources(root: Path) -> dict[str, str]:
    """Return the text of main.typ and of every part that it imports or includes."""
    texts: dict[str, str] = {}
    open_names = [MAIN]
    while open_names:
        name = open_names.pop()
        if name in texts:
            continue
        try:
            text = (root / name).read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(f"{name} cannot be read: {error}") from error
        texts[name] = re.sub(r"(?m)(^|\s)//.*$", "", text)
        folder = Path(name).parent
        open_names += [(folder / part).as_posix() for part in _PART.findall(texts[name])]
    return texts


def carried(source: Mapping[str, str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the label of every figure of a source, and the files or patterns that it names."""
    defined = {name: _definitions(text) for name, text in source.items()}
    for file, text in source.items():
        visible = _imported(file, text, defined) | defined[file]
        for start in re.finditer(r"\bfigure\(", text):
            end = _closing(text, start.end() - 1)
            label = _LABEL.match(text, end)
            if label:
                body = text[start.start() : end]
                yield label[1], tuple(dict.fromkeys(_files(body, visible)))


def _imported(file: str, text: str, defined: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the definitions that a part of the paper imports from other parts."""
    bodies: dict[str, str] = {}
    for found in re.finditer(_IMPORT, text):
        theirs = defined[(Path(file).parent / found[1]).as_posix()]
        wanted = {name.strip() for name in found[2].split(",")}
        bodies |= {n: body for n, body in theirs.items() if n in wanted or "*" in wanted}
    return bodies


def _compiled(root: Path) -> list[tuple[str, str | None]]:
    """Return kind and label of every figure in the order of the compiled paper."""
    try:
        compiler = typst.Compiler(
            str(root / MAIN), root=str(root), font_paths=[], ignore_system_fonts=True
        )
        found = json.loads(compiler.query("figure"))
    except (typst.TypstError, RuntimeError) as error:  # a query raises the second kind
        raise InputError(f"{MAIN} cannot be compiled: {error}") from error
    labels = [figure.get("label") for figure in found]
    return [
        (str(figure["kind"]), label.strip("<>") if label else None)
        for figure, label in zip(found, labels, strict=True)
    ]


def _files(body: str, defined: Mapping[str, str]) -> Iterator[str]:
    """Yield the files that a piece of source names, itself or through definitions."""
    open_bodies, used = [body], set[str]()
    while open_bodies:
        text = open_bodies.pop()
        yield from _CARRIER.findall(text)
        # A name that is put together may be any that begins so.
        yield from (f"figures/{n}{'*' * bool(more)}.svg" for n, more in _DRAWING.findall(text))
        for name in (name for name in defined if name not in used):
            # A word of the prose is no use of a definition: that is called, or marked by #, or its
            # name is one that no prose has.
            alone = rf"(?<![\w-]){re.escape(name)}(?![\w-])"
            if not (name.isupper() or "-" in name):
                alone = rf"#{alone}|{alone}\("
            if re.search(alone, text):
                used.add(name)
                open_bodies.append(defined[name])


def _definitions(text: str) -> dict[str, str]:
    """Return the bodies of what a source defines with #let at the start of a line."""
    bodies = {}
    for found in re.finditer(rf"(?m)^{_DEFINED.pattern}", text):
        end = found.end()
        if text[end : end + 1] == "(":
            end = _closing(text, end)
        start = end
        while end < len(text) and text[end] != "\n":
            end = _closing(text, end) if text[end] in _PAIRS else end + 1
        bodies[found[1]] = text[start:end]
    return bodies


def _closing(text: str, start: int) -> int:
    """Return the place behind the bracket that closes the one at `start`; skip strings."""
    expected = [_PAIRS[text[start]]]
    place = start + 1
    while expected and place < len(text):
        sign = text[place]
        if sign == "\\":
            place += 1
        elif sign == '"' and expected[-1] != "]":
            place = text.find('"', place + 1)
            place = len(text) if place < 0 else place
        elif sign in _PAIRS:
            # In prose only square brackets and calls count; an unpaired ( is text.
            expected.append(_PAIRS[sign])
        elif sign == expected[-1]:
            expected.pop()
        elif sign in _PAIRS.values() and sign in expected:
            while expected.pop() != sign:
                pass
        place += 1
    return place


def _with_data(root: Path, files: tuple[str, ...]) -> Iterator[str]:
    """Yield `files`, and for each drawing its stage's files of numbers, written and read."""
    for file in files:
        if not file.startswith("figures/"):
            yield file
            continue
        for stage in stages.load(root).values():
            drawn = fnmatch.filter(stage.outs, file)
            yield from drawn
            for name in (*stage.outs, *stage.deps) if drawn else ():
                if name.startswith("results/") and not name.startswith("results/timings/"):
                    yield name
