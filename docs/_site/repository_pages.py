"""Pages that are files of the repository: the home page, the kernels, the changelog."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

PAGES = {
    "README.md": "index.md",
    "csrc/README.md": "kernels.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files of the repository, and where they are in the site."""

_LINK = re.compile(r"(\]\()([^)#:\s]+)(#[^)]*)?(\))")
_TUTORIAL = re.compile(r"`(tutorials/[\w/]+)\.py`")


def pages() -> dict[str, str]:
    """The text of each page, with links that hold in the site."""
    return {
        place: in_site((ROOT / source).read_text(encoding="utf-8"), source, place)
        for source, place in PAGES.items()
    }


def in_site(text: str, source: str, place: str) -> str:
    """``text`` of the repository's file ``source`` with its links as the page ``place`` needs them.

    A link to a file that has no page becomes its name.
    """

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2]))
        page = place_of(target)
        if page is None:
            return f"{match[1]}{match[2]}{match[3] or ''}{match[4]}"
        relative = posixpath.relpath(page, posixpath.dirname(place) or ".")
        return f"{match[1]}{relative}{match[3] or ''}{match[4]}"

    text = _TUTORIAL.sub(r"[`\1.py`](\1.md)", text)
    return _LINK.sub(link, text)


def place_of(path: str) -> str | None:
    """Where a file of the repository is in the site, or ``None``."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith("tutorials/"):
        return str(Path(path).with_suffix(".md").as_posix())
    if path.startswith("docs/results/") and path.endswith(".json"):
        return "results.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return None
