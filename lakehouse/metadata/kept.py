"""What a table keeps: how its rows follow each other, and what they hold of a source's rows. Views are made from it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Versions:
    """How the rows of a table follow each other: of each key the last one by load date-time holds."""

    keys: tuple[str, ...]
    """The columns that a version is of."""
    gone: str = "FALSE"
    """SQL condition: the row says that what it was of is no longer there."""
    sets: bool = False
    """Whether a version is all rows of a key with one load date-time."""


@dataclass(frozen=True)
class Kept:
    """What a table keeps of the rows of its source."""

    versions: Versions
    columns: tuple[str, ...] = ()
    """The source's columns that it has, exactly as they were staged."""
    parent: str | None = None
    """The hub or link whose key its rows have; None for a table that is found by its columns."""
    tells_rows_apart: bool = False
    """Whether its columns tell the rows of one key apart; else a key has one row."""
    tells_deletes: bool = True
    """Whether a row that the source deletes ends here."""
    tells_moves: bool = True
    """Whether a row that comes to belong to another key ends under the former one."""
    needs: tuple[str, ...] = ()
    """The source's columns without which a row is not here."""
    historised: bool = True
    """Whether it tells what held at an earlier load, too."""
    unfit: str = ""
    """Why the source's rows cannot be read from it; empty if they can."""
