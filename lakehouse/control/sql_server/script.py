"""A T-SQL script and its batches.

Rule: a batch ends at a line that says only ``GO``, unless that line stands in a string, a quoted name or a block comment.
"""

from __future__ import annotations

import re
from io import StringIO

_GO = re.compile(r"[ \t]*GO(?:[ \t]+(?P<times>[0-9]{1,6}))?[ \t]*;?[ \t]*(?:--.*)?\r?\n?", re.IGNORECASE)
_NEXT = {
    "": re.compile(r"/\*|--|'|\"|\["),
    "'": re.compile(r"'"),
    '"': re.compile(r'"'),
    "[": re.compile(r"\]\]|\]"),
    "*": re.compile(r"/\*|\*/"),
}
"""What may come next, by what is open: nothing, a string, a quoted name, a bracketed name, a block comment."""
_CLOSES = {"'": "'", '"': '"', "[": "]"}


def batches(script: str) -> tuple[str, ...]:
    """The batches of a script, without blank ones; ``GO 3`` repeats its batch.

    >>> batches("CREATE SCHEMA a\\nGO\\nSELECT '\\nGO\\n'\\ngo 2\\n")
    ('CREATE SCHEMA a\\n', "SELECT '\\nGO\\n'\\n", "SELECT '\\nGO\\n'\\n")
    """
    found: list[str] = []
    lines: list[str] = []
    open_in = ""
    for line in StringIO(script):
        go = None if open_in else _GO.fullmatch(line)
        if go is None:
            lines.append(line)
            open_in = _open_after(line, open_in)
            continue
        found += ["".join(lines)] * int(go["times"] or 1)
        lines = []
    return tuple(batch for batch in [*found, "".join(lines)] if batch.strip())


def _open_after(line: str, open_in: str) -> str:
    """What is still open at the end of a line: a string, a quoted name, or block comments, one ``*`` for each level."""
    position = 0
    while token := _NEXT[open_in[:1]].search(line, position):
        position = token.end()
        if token[0] == "--":
            break
        if open_in.startswith("*"):
            open_in = open_in + "*" if token[0] == "/*" else open_in[1:]
        elif open_in:
            open_in = "" if token[0] == _CLOSES[open_in] else open_in
        else:
            open_in = "*" if token[0] == "/*" else token[0]
    return open_in
