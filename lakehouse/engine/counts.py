"""The identity of row counts: what was read is what became of it.

Rule: staging: read = inserted + updated + unchanged + duplicate + quarantined, deletes found apart. Vault: read = inserted +
unchanged + duplicate + quarantined, rows without a business key apart. Marts: read = inserted + updated + unchanged + ignored
+ deleted.
"""

from __future__ import annotations

from collections.abc import Mapping

APART = ("read", "excluded", "copied")


def adds_up(counts: Mapping[str, int], *, apart: tuple[str, ...] = APART) -> bool:
    """Whether the counts of a load reconcile.

    >>> adds_up({"read": 3, "inserted": 2, "duplicate": 1, "excluded": 4})
    True
    >>> adds_up({"read": 3, "inserted": 2})
    False
    """
    if "read" not in counts:
        return True
    return counts["read"] == sum(rows for name, rows in counts.items() if name not in apart)
