"""Docstrings for the site: reStructuredText's roles and directives as Markdown.

Docstrings are read in terminals and editors first, so they are written with the few marks of
reStructuredText that read well there. Here these become Markdown, with a link wherever a name has a
place on a page.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import textwrap
from typing import Any

import api_names

_ROLE = re.compile(r":(\w+):`~?([^`]+)`", re.S)
_BLOCK = re.compile(
    r"^( *)(\.\. math::|::)(?: *\n| (?P<first>\S.*)\n)"
    r"(?P<rest>(?:[ \t]*(?:\n|\Z)|\1 +.*(?:\n|\Z))*)",
    re.M,
)

# "a, b: what both are" in a section: readers of docstrings know one name a line.
_TOGETHER = re.compile(r"^( {4})((?:\w+, )+\w+): (.+(?:\n {8,}\S.*)*)$", re.M)


def to_markdown(text: str, path: str) -> str:
    """The docstring of the object at the dotted ``path``, as Markdown with Google's sections."""
    text = inspect.cleandoc(text)
    text = _BLOCK.sub(_block, text)
    text = re.sub(r"(?<=\w)::$", ":", text, flags=re.M)  # its block is one in Markdown, too
    text = _TOGETHER.sub(_apart, text)
    text = re.sub(r"^( *)Example:$", r"\1Examples:", text, flags=re.M)
    return _ROLE.sub(lambda match: _role(match[1], match[2], path), text)


def _block(match: re.Match[str]) -> str:
    margin, kind = match[1], match[2]
    lines = textwrap.dedent(match["rest"]).strip("\n")
    lines = f"{match['first']}\n{lines}".strip("\n") if match["first"] else lines
    if "math" not in kind:
        opening, closing = "```text", "```"
    elif "&" in lines and "\\begin" not in lines:  # as Sphinx does it
        opening, closing = "$$\n\\begin{aligned}", "\\end{aligned}\n$$"
    else:
        opening, closing = "$$", "$$"
    return textwrap.indent(f"\n{opening}\n{lines}\n{closing}\n\n", margin, lambda line: bool(line))


def _apart(match: re.Match[str]) -> str:
    margin, names, meaning = match.groups()
    return "\n".join(f"{margin}{name}: {meaning}" for name in names.split(", "))


def _role(role: str, text: str, path: str) -> str:
    if role == "math":
        return f"${text}$"
    name = text.lstrip("~")
    target = _find(name, path)
    place = None if target is None else api_names.place_of(target)
    shown = name.rsplit(".", 1)[-1] if place else name
    return f"[`{shown}`][{place}]" if place else f"`{shown}`"


def _find(name: str, path: str) -> Any:
    """What ``name`` means in the object at ``path``: its class, its module, or from the top."""
    parts = path.split(".")
    scopes = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    for candidate in [*(f"{scope}.{name}" for scope in scopes), name]:
        found = load(candidate)
        if found is not None:
            return found
    return None


@functools.cache
def load(path: str) -> Any:
    """What is at a dotted path, a module or something in one; ``None`` if nothing is."""
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            found = getattr(found, part, None)
        return found
    return None
