"""The table of vowels of Hillenbrand et al. (1995), ``vowdata.dat``."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from metaphys._errors import refuse

VOWELS = ("ae", "ah", "aw", "eh", "er", "ei", "ih", "iy", "oa", "oo", "uh", "uw")
"""had, hod, hawed, head, heard, haid, hid, heed, boat, hood, hud, who'd."""

# Of the file with line ends \n: copies differ in them.
_SHA256 = "665d9f50120f82a7941b65808af0f664a1a3309ba3a54f0d2daecf584e0f482f"
_COLUMNS = 16
# F1, F2, F3 at steady state, then at 20, 50 and 80 % of the duration.
_FORMANTS = (3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15)
_NAME = re.compile(r"[mwbg]\d\d[a-z]{2}")


@dataclass(frozen=True)
class Token:
    """One vowel of one talker.

    Attributes:
        talker: group (m, w, b, g: man, woman, boy, girl) and number, such as ``"w07"``.
        vowel: one of :data:`VOWELS`.
        formants: 12 frequencies in Hz; 0 where one was not measurable.
    """

    talker: str
    vowel: str
    formants: tuple[int, ...]

    @property
    def complete(self) -> bool:
        """Whether every formant was measurable."""
        return min(self.formants) > 0


def read_tokens(path: Path, *, verify: bool) -> list[Token]:
    """The tokens of the file, in its order.

    Args:
        path: the file: a header of prose, then 16 columns separated by white space.
        verify: compare its checksum with the original's.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not the original, or a line is not in the format; the message names it.
    """
    content = path.read_bytes().replace(b"\r\n", b"\n")
    found = hashlib.sha256(content).hexdigest()
    if verify and found != _SHA256:
        refuse(
            str(path),
            expected=f"of sha256 {_SHA256} with line ends \\n",
            got=found,
            remedy="Replace the file by an intact copy, or pass verify=False to use other data in "
            "the same format.",
        )
    lines = content.decode("latin-1").split("\n")
    starts = [n for n, line in enumerate(lines) if _NAME.match(line)]
    if not starts:
        refuse(str(path), expected="a table whose lines start as m01ae", got="none such")
    tokens: dict[tuple[str, str], Token] = {}
    for number, line in enumerate(lines[starts[0] :], start=starts[0] + 1):
        if not line.strip():
            continue
        token = _parsed(line, f"{path}, line {number}")
        key = token.talker, token.vowel
        if key in tokens:
            refuse(f"{path}, line {number}", expected="a new token", got=f"{''.join(key)} again")
        tokens[key] = token
    return list(tokens.values())


def _parsed(line: str, where: str) -> Token:
    name, *values = line.split()
    remedy = "The columns are file dur f0 F1 F2 F3 F4 and F1 F2 F3 at 20, 50 and 80 %."
    if len(values) + 1 != _COLUMNS:
        got = f"{len(values) + 1}: {line.strip()!r}"
        refuse(where, expected=f"of {_COLUMNS} columns", got=got, remedy=remedy)
    if not _NAME.fullmatch(name) or name[3:] not in VOWELS:
        expected = f"a name of group, talker and one of {', '.join(VOWELS)}, as m01ae"
        refuse(where, expected=expected, got=name)
    if not all(value.isdecimal() for value in values):
        refuse(where, expected="of whole numbers in ms and Hz", got=line.strip(), remedy=remedy)
    formants = tuple(int(values[column - 1]) for column in _FORMANTS)
    return Token(name[:3], name[3:], formants)
