"""The idx format of MNIST, gzip-compressed or not."""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from metaphys._errors import refuse

_GZIP = b"\x1f\x8b"


def read_idx(path: Path, *, dims: int, md5: str | None = None) -> np.ndarray:
    """The array of unsigned bytes in an idx file.

    Args:
        path: the file; compression is recognised by its first bytes, not by its name.
        dims: number of dimensions that it must have.
        md5: checksum of the *uncompressed* bytes (re-compressed copies differ as files); ``None``
            skips the check.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is truncated, corrupt, of another format, or has another checksum.

    Source: Y. LeCun, C. Cortes, C. Burges, the MNIST page: two zero bytes, type code (8: unsigned
    byte), number of dimensions, the sizes as big-endian 32-bit integers, the data.
    """
    content = _uncompressed(path)
    remedy = f"Replace the file {path} by an intact copy."
    name = str(path)
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        expected = "an idx file of unsigned bytes (first bytes 00 00 08)"
        refuse(name, expected=expected, got=content[:4].hex(" ") or "nothing", remedy=remedy)
    if content[3] != dims:
        got = f"{content[3]} dimensions"
        remedy = f"Images have 3 and labels 1: check that {path} is not the other file."
        refuse(name, expected=f"an idx file of {dims} dimensions", got=got, remedy=remedy)
    start = 4 + 4 * dims
    if len(content) < start:
        refuse(name, expected="an idx file", got="a truncated header", remedy=remedy)
    shape = struct.unpack(f">{dims}I", content[4:start])
    if len(content) - start != math.prod(shape):
        expected = f"of {math.prod(shape)} bytes of data, as its header says"
        refuse(name, expected=expected, got=len(content) - start, remedy=remedy)
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 is not None and found != md5:
        expected = f"of md5 {md5} when uncompressed"
        remedy += " Pass verify=False to use other data in the same format."
        refuse(name, expected=expected, got=found, remedy=remedy)
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _uncompressed(path: Path) -> bytes:
    content = path.read_bytes()
    if not content.startswith(_GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        refuse(
            str(path),
            expected="an intact gzip file",
            got=f"one that fails to unpack ({error})",
            remedy=f"Replace the file {path} by an intact copy.",
        )
