"""A page that stands alone: a template filled in, its pictures inside."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaphys._errors import check

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def page_path(output: Path) -> Path:
    """The file that a page goes to: ``output``, or ``report.html`` in it."""
    if output.is_dir():
        return output / "report.html"
    check(
        output.suffix in (".html", ".htm"),
        "output",
        expected="an existing directory or a file that ends in .html",
        got=output,
    )
    return output


def render(template: str, **values: Any) -> str:
    """A template of this folder with its values, which are escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def stored(figure: Figure, stem: Path) -> str:
    """Write the picture as SVG and PNG; the SVG as a data URI."""
    from metaphys._runs._drawing import store

    # An image of its own rather than inline: the style sheets and ids of several SVGs collide.
    return "data:image/svg+xml;base64," + base64.b64encode(store(figure, stem)).decode()
