"""What the scripts of units never seen before share: rows that are stored as they are judged."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Book:
    """Rows of results, a line each; a row that is there is not computed again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def has(self, **key: Any) -> bool:
        """Whether there is a row with these entries."""
        return any(all(row.get(n) == v for n, v in key.items()) for row in self.rows)

    def add(self, **row: Any) -> None:
        """Store a row, and show it."""
        self.rows.append(row)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)

    @property
    def seconds(self) -> float:
        """What all rows took, on the clock, with what was learned for them."""
        clock = self.path.with_name("seconds.json")
        return float(json.loads(clock.read_text())) if clock.exists() else 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add to the seconds, also where this is stopped."""
        began = time.perf_counter()
        try:
            yield
        finally:
            spent = round(self.seconds + time.perf_counter() - began, 3)
            self.path.with_name("seconds.json").write_text(json.dumps(spent))
