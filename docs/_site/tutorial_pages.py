"""Tutorials as pages: executed in full, with what they print and draw.

An execution is kept under ``build/tutorials`` for as long as neither the tutorial nor anything that
it runs on changes. An edition in another language has the code of its original (a test holds that),
so it shows the outputs of the original.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TUTORIALS = ROOT / "tutorials"
CACHE = ROOT / "build" / "tutorials"

Files = dict[str, bytes]
"""The files of the site by their paths in it."""


def pages() -> Files:
    """Every tutorial as Markdown, and its pictures."""
    files: Files = {}
    for path in sorted(TUTORIALS.rglob("*.py")):
        original = TUTORIALS / path.name
        place = path.relative_to(ROOT).with_suffix(".md")
        text, pictures = _page(path, executed(original), place.stem)
        files[str(place)] = text.encode()
        files |= {str(place.parent / name): data for name, data in pictures.items()}
    return files


# Between Chinese characters the end of a line is no space.
_WRAPPED = re.compile(r"(?<=[\u3000-\u9fff\uff00-\uffef])\n(?=[\u3000-\u9fff\uff00-\uffef])")


def cells(path: Path) -> list[Any]:
    """The cells of a percent script, without those that only speak to linters."""
    import jupytext  # pyright: ignore[reportMissingImports]

    found = jupytext.read(path).cells
    return [cell for cell in found if not cell.source.startswith("# ruff:")]


def executed(path: Path) -> list[list[dict[str, Any]]]:
    """The outputs of every code cell, from the last execution if it still holds.

    Raises:
        RuntimeError: a cell failed, or wrote to the error stream (a warning, for example).
    """
    stored = CACHE / f"{path.stem}.json"
    key = _key(path)
    if stored.exists():
        found = json.loads(stored.read_text(encoding="utf-8"))
        if found["key"] == key:
            return found["outputs"]
    outputs = _execute(path)
    stored.parent.mkdir(parents=True, exist_ok=True)
    stored.write_text(json.dumps({"key": key, "outputs": outputs}), encoding="utf-8")
    return outputs


def _key(path: Path) -> str:
    """What an execution depends on: its code, and that of the packages it imports."""
    code = [cell.source for cell in cells(path) if cell.cell_type == "code"]
    digest = hashlib.sha256(json.dumps(code).encode())
    digest.update(os.environ.get("METAPHYS_SHORT", "").encode())
    for folder in ("metaphys", "helpers", "csrc"):
        for source in sorted((ROOT / folder).rglob("*")):
            if source.suffix in (".py", ".cpp", ".h"):
                digest.update(source.read_bytes())
    return digest.hexdigest()


def _execute(path: Path) -> list[list[dict[str, Any]]]:
    import nbformat  # pyright: ignore[reportMissingImports]
    from nbclient import NotebookClient  # pyright: ignore[reportMissingImports]
    from nbclient.exceptions import CellExecutionError  # pyright: ignore[reportMissingImports]

    setup = nbformat.v4.new_code_cell('%config InlineBackend.figure_formats = ["retina"]')
    notebook = nbformat.v4.new_notebook(cells=[setup, *cells(path)])
    scratch = CACHE / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": _INLINE}
    client = NotebookClient(notebook, timeout=900, kernel_name="python3")
    # Errors only: the kernel warns that it speaks plain text, to this machine itself.
    client.extra_arguments = ["--log-level=40"]
    client.resources = {"metadata": {"path": str(scratch)}}
    print(f"executing {path.relative_to(ROOT)}", flush=True)
    try:
        client.execute(env=environment)
    except CellExecutionError as error:
        raise RuntimeError(f"{path.name} failed:\n{error}") from error
    code = [cell for cell in notebook.cells[1:] if cell.cell_type == "code"]
    for cell in code:
        for output in cell.outputs:
            if output.get("name") == "stderr":
                raise RuntimeError(f"{path.name} wrote to the error stream:\n{output.text}")
    return [[dict(output) for output in cell.outputs] for cell in code]


_INLINE = "module://matplotlib_inline.backend_inline"


def _page(path: Path, outputs: list[list[dict[str, Any]]], stem: str) -> tuple[str, Files]:
    parts: list[str] = []
    pictures: Files = {}
    title, found = stem, iter(outputs)
    for cell in cells(path):
        if cell.cell_type == "markdown":
            parts.append(_WRAPPED.sub("", cell.source))
            headings = re.findall(r"^#+ (.+)$", cell.source, flags=re.M)
            title = headings[-1] if headings else title
        else:
            parts.append(f"```python\n{cell.source}\n```")
            parts += _outputs(next(found), stem, title, pictures)
    return "\n\n".join(parts) + "\n", pictures


def _outputs(outputs: list[dict[str, Any]], stem: str, title: str, pictures: Files) -> list[str]:
    parts: list[str] = []
    printed = "".join(output["text"] for output in outputs if output["output_type"] == "stream")
    for output in outputs:
        data = output.get("data", {})
        if "image/png" in data:
            name = f"{stem}-{len(pictures) + 1}.png"
            pictures[name] = base64.b64decode(data["image/png"])
            width = output["metadata"].get("image/png", {}).get("width", 640)
            parts.append(f'![{title}: picture]({name}){{ width="{width}" }}')
        elif "text/plain" in data:
            printed += data["text/plain"] + "\n"
    if printed:
        parts.insert(0, f"```{{ .text .output .no-copy }}\n{printed.rstrip()}\n```")
    return parts
