"""Pages of the API: public modules, classes and functions with their docstrings.

They are written from the source without importing it: a page must not depend on what happens to be
installed, and the whole library would take a minute to import.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.ext.napoleon import Config
from sphinx.ext.napoleon.docstring import NumpyDocstring

from griddispatch.errors import InputError

PACKAGE = "griddispatch"
"""The package, below the folder src."""

_UNDERLINES = "=-~"
# Its class documents Sphinx's Config as what it takes, and takes its own as well.
_NAPOLEON: Any = Config(napoleon_use_rtype=False, napoleon_use_ivar=False)

# A block of code, code in a line, an emphasis, an item of a list; or a sign that stands for itself.
_PLAIN_SIGN = re.compile(
    r"::\n\n(?:[ ]+[^\n]*\n?|\n)+|(`+)[^`]+\1|(?<![\w*])\*\w(?:[^*\n]*\w)?\*(?![\w*])|^[ ]*\*[ ]"
    r"|(?P<sign>\||\*|(?<=\w)_(?!\w))",
    re.M,
)

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def pages(root: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return the pages, and what the files and folders of the package are on them.

    Parameters
    ----------
    root
        The project folder.

    Returns
    -------
    Page -> its text in reStructuredText; file or folder of the project -> ``#label``.

    Raises
    ------
    InputError
        A module cannot be read as Python.
    """
    base = root / "src" / PACKAGE
    texts, places, entries = {}, {}, []
    for folder in [base, *sorted(path for path in base.iterdir() if _is_package(path))]:
        name = ".".join(folder.relative_to(root / "src").parts)
        modules = sorted(file for file in folder.glob("*.py") if not file.stem.startswith("_"))
        text = _module(root, folder / "__init__.py", name, level=0)
        for file in modules:
            text += _module(root, file, f"{name}.{file.stem}", level=1)
            places[file.relative_to(root).as_posix()] = f"#{_label(f'{name}.{file.stem}')}"
        places[folder.relative_to(root).as_posix()] = f"#{_label(name)}"
        texts[f"api/{name}.rst"] = "\n".join(text) + "\n"
        entries.append(name)
    places[f"src/{PACKAGE}"] = "#api"
    texts["api/index.rst"] = _index(root, entries)
    return texts, places


def _is_package(folder: Path) -> bool:
    return (folder / "__init__.py").is_file()


def _label(module: str) -> str:
    return "api-" + module.lower()


def _index(root: Path, names: list[str]) -> str:
    text = [".. _api:", "", "API", "===", ""]
    text += ["What each package is for. Imports run downwards only (see the README).", ""]
    for name in names:
        folder = root / "src" / Path(*name.split("."))
        text += [f":doc:`{name}`", f"   {_summary(_parsed(folder / '__init__.py'))}", ""]
    text += [".. toctree::", "   :hidden:", "", *(f"   {name}" for name in names)]
    return "\n".join(text) + "\n"


def _module(root: Path, file: Path, name: str, *, level: int) -> list[str]:
    tree = _parsed(file)
    shown = name if level == 0 else name.rpartition(".")[2]
    text = ["", f".. _{_label(name)}:", "", shown, _UNDERLINES[level] * len(shown), ""]
    text += [f".. py:module:: {name}", "", *_docstring(ast.get_docstring(tree)), ""]
    if level:
        text += [f"Source: ``{file.relative_to(root).as_posix()}``", ""]
    _Qualified(name, tree).visit(tree)
    return text + [line for member in _members(tree) for line in member]


class _Qualified(ast.NodeTransformer):
    """Writes types of annotations with the module that defines them: many are named State.

    Sphinx shows ``~griddispatch.envs.feeder.State`` as State, and links it.
    """

    def __init__(self, module: str, tree: ast.Module) -> None:
        self._homes = {
            alias.asname or alias.name: f"{node.module}.{alias.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE)
            for alias in node.names
        }
        self._homes |= {name: f"{module}.{name}" for node in tree.body for name in _defined(node)}

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = self._qualified(node.annotation)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        node.annotation = self._qualified(node.annotation) or node.annotation
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = self._qualified(node.returns)
        return self.generic_visit(node)

    def _qualified(self, annotation: ast.expr | None) -> ast.expr | None:
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            annotation = ast.parse(annotation.value, mode="eval").body
        if annotation is None:
            return None
        homes = self._homes

        class Names(ast.NodeTransformer):
            def visit_Name(self, node: ast.Name) -> ast.expr:
                if node.id not in homes:
                    return node
                return ast.UnaryOp(ast.Invert(), ast.Name(homes[node.id], node.ctx))

        return Names().visit(annotation)


def _defined(node: ast.stmt) -> list[str]:
    """Return the classes and names of types that a statement defines."""
    match node:
        case ast.ClassDef(name=name) | ast.Assign(targets=[ast.Name(id=name)]):
            return [name]
    return []


def _parsed(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read as Python ({error}); mend it") from error


def _summary(tree: ast.Module | ast.ClassDef) -> str:
    return (ast.get_docstring(tree) or "").partition("\n\n")[0].replace("\n", " ")


def _members(parent: ast.Module | ast.ClassDef) -> Iterator[list[str]]:
    """Yield the public classes, functions and documented values of a module or a class."""
    for node, following in zip(parent.body, [*parent.body[1:], None], strict=True):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if _is_public(node.name):
                yield _function(node, in_class=isinstance(parent, ast.ClassDef))
            case ast.ClassDef() if _is_public(node.name):
                yield _class(node)
            case ast.AnnAssign(target=ast.Name(id=name)) if _is_public(name):
                if text := _text_after(following):
                    yield _value(parent, name, ast.unparse(node.annotation), text)
            case ast.Assign(targets=[ast.Name(id=name)]) if _is_public(name):
                if text := _text_after(following):
                    yield _value(parent, name, None, text)


def _is_public(name: str) -> bool:
    return not name.startswith("_")


def _text_after(node: ast.stmt | None) -> str | None:
    """Return the text that stands as a statement of its own below a value, and describes it."""
    match node:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return inspect.cleandoc(text)
    return None


def _function(node: _Function, *, in_class: bool) -> list[str]:
    marks = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    if in_class and marks & {"property", "cached_property"}:
        kind, options = "property", [f":type: {ast.unparse(node.returns)}"] if node.returns else []
        head = node.name
    else:
        kind = "method" if in_class else "function"
        options = [f":{mark}:" for mark in ("classmethod", "staticmethod") if mark in marks]
        head = node.name + _signature(node, in_class and "staticmethod" not in marks)
    return _directive(kind, head, options, _docstring(ast.get_docstring(node)))


def _class(node: ast.ClassDef) -> list[str]:
    made = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    head = node.name + (_signature(made[0], True).partition(" -> ")[0] if made else "")
    body = _docstring(ast.get_docstring(node))
    if bases := [f"``{ast.unparse(base)}``" for base in node.bases]:
        body += ["", f"Bases: {', '.join(bases)}"]
    inner = [line for member in _members(node) for line in ["", *member]]
    return _directive("class", head, [], [*body, *inner])


def _value(
    parent: ast.Module | ast.ClassDef, name: str, annotation: str | None, text: str
) -> list[str]:
    kind = "attribute" if isinstance(parent, ast.ClassDef) else "data"
    options = [f":type: {annotation}"] if annotation else []
    return _directive(kind, name, options, _docstring(text))


def _signature(node: _Function, bound: bool) -> str:
    """Return the arguments and what is returned; a bound method is shown without its first one."""
    arguments = node.args
    if bound:
        first = arguments.posonlyargs or arguments.args
        del first[:1]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({ast.unparse(arguments)}){returns}"


def _directive(kind: str, head: str, options: list[str], body: list[str]) -> list[str]:
    inner = [*options, "", *body] if body else options
    return [f".. py:{kind}:: {head}", *(f"   {line}".rstrip() for line in inner), ""]


def _docstring(text: str | None) -> list[str]:
    """Return a numpydoc docstring in reStructuredText."""
    if not text:
        return []
    return str(NumpyDocstring(_escaped(_with_examples(text)), _NAPOLEON)).splitlines()


def _escaped(text: str) -> str:
    """Take their meaning from signs that docstrings use as they are: |x|, a * b, pi_."""

    def escape(found: re.Match[str]) -> str:
        return "\\" + found["sign"] if found["sign"] else found.group()

    return _PLAIN_SIGN.sub(escape, text)


def _with_examples(text: str) -> str:
    """Mark indented blocks below a plain paragraph as code; docstrings show examples like that."""
    lines = inspect.cleandoc(text).splitlines()
    marked: list[str] = []
    last = ""
    for number, line in enumerate(lines):
        begins = line.startswith("    ") and number > 0 and not lines[number - 1].strip()
        if begins and last and last[0] not in " -*." and not last.endswith("::"):
            marked += ["::", ""]
        marked.append(line)
        if line.strip():
            last = line
    return "\n".join(marked)
