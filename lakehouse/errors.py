"""The errors of the library.

    LakehouseError
    ├── MetadataError     the project's YAML is wrong: names file and line, what was found, what exists
    ├── SetupError        Java, Spark, Delta or a folder is missing, and what to do about it
    ├── SourceError       a delivery cannot be read: wrong columns, unreadable file
    ├── LoadError         a load failed; carries Spark's message, the table, the run id and the SQL as notes
    │   └── GuardError    a guard stopped the load before anything was written
    └── ControlError      the control catalog refuses: another run holds the table, unknown run

Messages never hold secrets or row values.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class LakehouseError(Exception):
    """Anything this library raises on purpose; its text is meant for the person who runs it."""


class MetadataError(LakehouseError):
    """The metadata is wrong. ``problems`` holds one line per problem, each with file and line."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class SetupError(LakehouseError):
    """Something outside the project is missing: Java, Spark, Delta, a folder."""


class SourceError(LakehouseError):
    """A delivery cannot be read as the source's metadata says."""


class LoadError(LakehouseError):
    """A load failed; nothing of it was committed."""


class GuardError(LoadError):
    """A guard stopped the load before anything was written."""


class ControlError(LakehouseError):
    """The control catalog refuses what was asked."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: what exists, and the nearest of it.

    >>> suggestion("hub_custmer", ["hub_customer", "hub_order"])
    "Known: hub_customer, hub_order. Did you mean 'hub_customer'?"
    >>> suggestion("x", [])
    'There are none.'
    """
    names = sorted(set(known))
    if not names:
        return "There are none."
    shown = ", ".join(names[:30]) + (f", … ({len(names)} in all)" if len(names) > 30 else "")
    lowered = {known_name.lower(): known_name for known_name in names}
    near = get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return f"Known: {shown}." + (f" Did you mean '{lowered[near[0]]}'?" if near else "")
