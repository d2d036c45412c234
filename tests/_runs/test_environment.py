"""Where a figure comes from."""

from __future__ import annotations

import subprocess
from pathlib import Path

from metaphys._runs._environment import revision


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=N", "-c", "user.email=n@example.org")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_other_code_is_told_and_what_scripts_write_is_not(tmp_path: Path) -> None:
    for name in ("code.py", "results/figures.json", "results/page.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    clean = revision(tmp_path / "results")
    assert len(clean) >= 7
    assert int(clean, 16) >= 0
    (tmp_path / "results" / "figures.json").write_text("2\n")
    (tmp_path / "results" / "page.md").write_text("2\n")
    assert revision(tmp_path / "results") == clean
    (tmp_path / "code.py").write_text("2\n")
    assert revision(tmp_path / "results") == f"{clean}-dirty"


def test_no_checkout_is_no_error(tmp_path: Path) -> None:
    assert revision(tmp_path) == "unknown"
    assert revision(tmp_path / "nowhere") == "unknown"
