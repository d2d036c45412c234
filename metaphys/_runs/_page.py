"""A page that stands alone: a template filled in, its pictures inside."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from metaphys._errors import check
from metaphys._runs._directory import WRITABLE, writable_or_refuse
from metaphys._saving import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Run = TypeVar("Run")
PACKAGE = Path(__file__).parents[1]


def write_sections(
    template: Path,
    runs: Sequence[tuple[Path, Run]],
    section: Callable[[Run, Path, str], dict[str, Any]],
    output: str | Path | None,
) -> Path:
    """Write a page with a section for each run; the file that it is.

    Args:
        template: the file of the page.
        runs: each with its directory.
        section: from a run, the folder of pictures and what their names begin with, the values
            that the template shows.
        output: the file or an existing directory; the first run's directory by default.
    """
    check(len(runs) > 0, "run_dir", expected="at least one directory", got="none")
    page = page_path(Path(output) if output is not None else runs[0][0])
    writable_or_refuse(page.parent, "output", f"in {WRITABLE}")
    folder, many = page.parent / "pictures", len(runs) > 1
    sections = [
        section(run, folder, f"{number}-" if many else "")
        for number, (_, run) in enumerate(runs, 1)
    ]
    write_atomically(page, render(template, sections=sections).encode())
    return page


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


def render(template: Path, **values: Any) -> str:
    """A template of this package with its values, which are escaped; it names others from here."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template.relative_to(PACKAGE).as_posix()).render(**values)


def drawn(
    captions: Mapping[str, str],
    figures: Mapping[str, Callable[[], Figure]],
    folder: Path,
    prefix: str,
) -> list[tuple[str, str]]:
    """The caption of every figure, and the figure as a data URI; it is written as SVG and PNG too.

    Args:
        captions: by name.
        figures: what draws each of some of them.
        folder: where they are written.
        prefix: what the names of the files begin with.
    """
    from metaphys._runs._drawing import store

    # An image of its own rather than inline: the style sheets and ids of several SVGs collide.
    return [
        (captions[name], "data:image/svg+xml;base64," + base64.b64encode(vector).decode())
        for name, draw in figures.items()
        for vector in [store(draw(), folder / f"{prefix}{name}")]
    ]
