"""Files of data sets that may be fetched, where the user asks for it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path


def fetch(root: Path, name: str, hosts: Sequence[str], known_hash: str) -> None:
    """Get the file ``name`` into ``root`` from the first host that has it intact.

    Nothing is left there by a download that fails or has another checksum.

    Args:
        root: the folder; it is made if there is none.
        name: the file, which is appended to each host's address.
        hosts: addresses of folders.
        known_hash: ``"algorithm:digest"`` of the file.

    Raises:
        ImportError: pooch is missing.
        ConnectionError: no host gave the file; the message says what each of them did.
    """
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            f"Downloading {name} needs pooch. Install it with `pip install 'metaphys[data]'`, "
            f"or put the file into {root} yourself."
        ) from error
    # It reports every download as a warning of its own logger.
    pooch.get_logger().setLevel(logging.ERROR)
    reasons = []
    for host in hosts:
        try:
            pooch.retrieve(host + name, known_hash, fname=name, path=root)
        except (OSError, ValueError) as error:  # all that requests raises is an OSError
            reasons.append(f"{host + name}: {error}")
        else:
            return
    said = "; ".join(reasons)
    raise ConnectionError(
        f"`download` could not get {name} ({said}). Put the file into {root} yourself."
    )
