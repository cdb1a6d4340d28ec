"""Links between files of the project, turned into links between pages of the site.

A text that is laid out as a page keeps the links that it has in the project: a link to a notebook,
a table or another text leads to its page, one to a module to its place in the API pages, and one to
any other file to a copy of that file.
"""

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from griddispatch.errors import InputError

FILES = "files"
"""Folder of the laid-out tree that holds copies of single files, under their own paths."""

# A fenced block: code, or one of MyST's directives, whose text is text.
_FENCE = re.compile(
    r"^ {0,3}(?P<fence>`{3,}|~{3,})(?P<kind>[^\n]*)\n.*?^ {0,3}(?P=fence)[`~]*[ ]*$", re.M | re.S
)
# Code within a line, or a link or image with its text, target and title.
_LINK = re.compile(
    r"(?P<code>(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`))"
    r"|(?P<mark>!?)\[(?P<text>(?:[^\[\]]|\[[^\[\]]*\])*)\]"
    r"\((?P<target>[^()\s]+)(?P<title>\s+\"[^\"]*\")?\)",
    re.S,
)
# Its page is written by the site itself, so that the copy must not be taken for a page.
_PAGES = (".md", ".rst", ".ipynb")


@dataclass(frozen=True)
class Links:
    """What each file of the project is on the site."""

    root: Path
    """The project folder."""
    source: Path
    """The laid-out tree, from which Sphinx makes the site."""
    pages: Mapping[str, str]
    """File or folder of the project -> its page in the tree, or ``#label`` of a place on one."""

    def rewritten(self, text: str, file: str, page: str) -> str:
        """Return a Markdown text with the links of a page of the site.

        Parameters
        ----------
        text
            Markdown, with links relative to the folder of `file`.
        file
            Path of the text in the project.
        page
            Path of its page in the laid-out tree.

        Raises
        ------
        InputError
            A link leads to no file of the project.
        """
        parts, end = [], 0
        for fence in _FENCE.finditer(text):
            is_text = fence["kind"].startswith("{")
            parts.append(self._relinked(text[end : fence.start()], file, page))
            parts.append(self._relinked(fence.group(), file, page) if is_text else fence.group())
            end = fence.end()
        return "".join([*parts, self._relinked(text[end:], file, page)])

    def named(self, name: str, page: str) -> str:
        """Return the name of a file or folder as code, with a link if the site has a page for it.

        Data and results are not copied for being named: that is for texts that link to them.
        """
        known = self.pages.get(name)
        return f"`{name}`" if known is None else f"[`{name}`]({self.to(name, page)})"

    def to(self, name: str, page: str) -> str:
        """Return the target of a link from `page` to the file or folder `name` of the project.

        Raises
        ------
        InputError
            There is no such file, or it is a folder without a page.
        """
        target = self.pages.get(name)
        if target is None:
            return self.copy(name, page)
        return target if target.startswith("#") else _relative(target, page)

    def copy(self, name: str, page: str) -> str:
        """Copy a file of the project into the tree; return the target of a link from `page` to it.

        Raises
        ------
        InputError
            There is no such file.
        """
        origin = self.root / name
        if not origin.is_file():
            raise InputError(f"the site links to {name}, which is no file; make or restore it")
        copied = f"{FILES}/{name}.txt" if name.endswith(_PAGES) else f"{FILES}/{name}"
        place = self.source / copied
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(origin, place)
        return _relative(copied, page)

    def _relinked(self, text: str, file: str, page: str) -> str:
        def relink(found: re.Match[str]) -> str:
            if found["code"]:
                return found.group()
            inner = self._relinked(found["text"], file, page)
            target = self._target(found["target"], file, page, bool(found["mark"]))
            if target is None:
                return inner
            return f"{found['mark']}[{inner}]({target}{found['title'] or ''})"

        return _LINK.sub(relink, text)

    def _target(self, target: str, file: str, page: str, shown: bool) -> str | None:
        """Return the new target; the picture itself if it is shown, None for a bare folder."""
        path, hash_, anchor = target.partition("#")
        if not path or re.match(r"[a-z][a-z0-9+.-]*:", path, re.I):
            return target
        name = os.path.normpath(PurePosixPath(file).parent / path).replace(os.sep, "/")
        if name not in self.pages and (self.root / name).is_dir():
            return None
        if name not in self.pages and not (self.root / name).is_file():
            raise InputError(f"{file} links to {target}, which is no file of the project; mend it")
        found = self.copy(name, page) if shown else self.to(name, page)
        return found if found.startswith("#") else found + hash_ + anchor


def _relative(target: str, page: str) -> str:
    return os.path.relpath(target, PurePosixPath(page).parent).replace(os.sep, "/")
