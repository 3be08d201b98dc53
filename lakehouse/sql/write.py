"""How rows reach a table: an append, or a MERGE of the changed rows.

Rule: rows that are never changed are appended; a MERGE gets only rows that differ and is idempotent by its condition.
"""

from __future__ import annotations

from collections.abc import Sequence

from lakehouse.names import LOAD_POSITION, OUTCOME
from lakehouse.sql.identifiers import quote, quote_list


def insert_into(target: str, columns: Sequence[str], select: str, *, outcome: bool = True) -> str:
    """INSERT INTO … of the rows that a load's SELECT calls inserted."""
    where = f"\nWHERE {OUTCOME} = 'inserted'" if outcome else ""
    return f"INSERT INTO {target} ({quote_list(columns)})\nSELECT {quote_list(columns)}\nFROM (\n{select}\n){where}"


def merge_into(target: str, columns: Sequence[str], keys: Sequence[str], changes: str) -> str:
    """MERGE INTO … of a dimension's or fact's changes: removed rows go, known rows are updated, new ones inserted.

    ``changes`` is a relation with the target's columns and ``outcome``; its keys are unique and not NULL. Rows of a later
    position are left alone: a load that was declared dead and wakes up changes nothing.
    """
    newer = (
        f"(target.{quote(LOAD_POSITION)} IS NULL OR target.{quote(LOAD_POSITION)} <= changes.{quote(LOAD_POSITION)})"
    )
    condition = " AND ".join(f"target.{quote(key)} = changes.{quote(key)}" for key in keys)
    values = [name for name in columns if name not in keys]
    updates = ", ".join(f"{quote(name)} = changes.{quote(name)}" for name in values)
    update = [f"WHEN MATCHED AND {newer} THEN UPDATE SET {updates}"] if updates else []
    return "\n".join(
        [
            f"MERGE INTO {target} AS target",
            f"USING {changes} AS changes",
            f"ON {condition}",
            f"WHEN MATCHED AND changes.{OUTCOME} = 'removed' AND {newer} THEN DELETE",
            *update,
            f"WHEN NOT MATCHED AND changes.{OUTCOME} <> 'removed'",
            f"  THEN INSERT ({quote_list(columns)}) VALUES ({quote_list(columns, alias='changes')})",
        ]
    )
