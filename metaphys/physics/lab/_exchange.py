"""The folder in which requests and answers lie, and the other side of it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from metaphys._errors import check, refuse
from metaphys._saving import write_atomically

REQUEST, ANSWER = "request-", "answer-"


def identity(number: int, fields: Mapping[str, Any]) -> str:
    """A request's id: its number, and a digest of all that it asks for."""
    digest = hashlib.sha256()
    for name, value in sorted(fields.items()):
        digest.update(f"{name}:{np.asarray(value).dtype}:{np.shape(value)};".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return f"{number:06d}-{digest.hexdigest()[:12]}"


def write(path: Path, fields: Mapping[str, Any]) -> None:
    """An ``.npz``, whole or not at all."""
    content = io.BytesIO()
    np.savez(content, **fields)
    write_atomically(path, content.getvalue())


def read(path: Path) -> dict[str, Any]:
    """The arrays of an ``.npz``; nothing in it can run code.

    Raises:
        ValueError: it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # numpy raises what the zip reader and the header parser raise
        refuse(str(path), expected="a readable .npz of plain arrays", got=error)


def answer_requests(
    folder: str | Path, answer: Callable[[np.ndarray, dict[str, np.ndarray]], np.ndarray]
) -> int:
    """Answer every open request of a :class:`FileDevice` once: the laboratory's side.

    Args:
        folder: the device's folder.
        answer: ``answer(drive, controls) -> readout``, with arrays (n, N) and (n, M), controls by
            name.

    Returns:
        How many requests were answered.

    Raises:
        ValueError: a request is damaged.

    Example:
        >>> from tempfile import mkdtemp
        >>> answer_requests(mkdtemp(), lambda drive, controls: 2 * drive)
        0
    """
    place, count = Path(folder), 0
    for path in sorted(place.glob(f"{REQUEST}*.npz")):
        name = path.stem.removeprefix(REQUEST)
        target = place / f"{ANSWER}{name}.npz"
        if target.exists():
            continue
        fields = read(path)
        check("drive" in fields, f"{path}: drive", expected="there", got=sorted(fields))
        prefix = "control:"
        controls = {n.removeprefix(prefix): v for n, v in fields.items() if n.startswith(prefix)}
        readout = np.asarray(answer(fields["drive"], controls))
        kept = {n: fields[n] for n in ("id", "rate", "readout_unit") if n in fields}
        write(target, {"readout": readout, **kept})
        count += 1
    return count
