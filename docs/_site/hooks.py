"""What the site is made of beside the files of ``docs``: see mkdocs' documentation of hooks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import repository_pages
import result_tables
import tutorial_pages
from mkdocs.structure.files import File, Files  # pyright: ignore[reportMissingImports]


def on_config(config: Any) -> Any:
    """Let griffe, which loads ``docstring_roles`` by its path, find the neighbours of that."""
    sys.path.append(str(Path(__file__).parent))
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are generated."""
    generated: dict[str, str | bytes] = {
        **repository_pages.pages(),
        **tutorial_pages.pages(),
        "results.md": result_tables.page(),
    }
    for place, content in generated.items():
        files.append(File.generated(config, place, content=content))
    return files
