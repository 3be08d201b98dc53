"""The SELECT of tables that keep the rows of a key and moment as one set: a set is inserted if it differs from the one before.

Rule: a set is the distinct hash diffs of a key's rows at one load date-time; it is compared as a whole, in load order, over
the batch and the target together. An empty set (all rows gone) differs from none only where there was one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lakehouse.names import CHANGE_TYPE, DELETED_FLAG, HASH_DIFF, LOAD_DATETIME, ROW_AUDIT_ID
from lakehouse.sql.identifiers import any_null, one_of, quote, quote_list, same
from lakehouse.sql.select import block, columns, computed_once

OCCURRENCE = "occurrence"


def occurrence(keys: Sequence[str], member: Sequence[str] = (HASH_DIFF,)) -> str:
    """SQL for the number of a row among the equal ones of its set."""
    identity = quote_list([*keys, LOAD_DATETIME, *member])
    return f"row_number() OVER (PARTITION BY {identity} ORDER BY {ROW_AUDIT_ID}) AS {OCCURRENCE}"


def delivered(
    rows: str,
    hashes: Mapping[str, str],
    kept: Sequence[str],
    keys: Sequence[str],
    *,
    member: Sequence[str] = (HASH_DIFF,),
    deletes: bool = True,
) -> str:
    """The CTE ``source`` where the rows of each set are delivered together."""
    names = quote_list((*hashes, *kept))
    ignore = "" if deletes else f"\n    WHERE {CHANGE_TYPE} <> 'D'"
    return f"""source AS (
  -- the rows of each set as delivered
  SELECT *, {occurrence(keys, member)}
  FROM (
    SELECT {names}, {CHANGE_TYPE} = 'D' AS {DELETED_FLAG}
    FROM {rows}
{block(computed_once(hashes, alias="hashed"), indent=4)}{ignore}
  )
)"""


def set_select(
    source: str,
    names: Sequence[str],
    keys: Sequence[str],
    *,
    member: Sequence[str] = (HASH_DIFF,),
    needed: Sequence[str] = (),
) -> str:
    """Rows ``names`` of the CTE ``source`` with an outcome, each set of ``keys`` compared with the one before it.

    ``member`` are the columns that tell the rows of a set apart; a row without one of the ``needed`` columns is no part
    of a set.
    """
    one = quote_list(member) if len(member) == 1 else f"struct({quote_list(member)})"
    told = quote_list(member)
    complete = f"\n    WHERE NOT ({any_null(needed)})" if needed else ""
    hk = quote_list(keys)
    last = f"lag(set_mark) OVER (PARTITION BY {hk} ORDER BY {LOAD_DATETIME}, stored DESC)"
    return f"""WITH {source},
marks AS (
  -- each set as one value, delivered and stored
  SELECT {hk}, {LOAD_DATETIME}, stored, array_sort(collect_set(CASE WHEN NOT {DELETED_FLAG} THEN {one} END)) AS set_mark
  FROM (
    SELECT {hk}, {LOAD_DATETIME}, FALSE AS stored, {DELETED_FLAG}, {told} FROM source{complete}
    UNION ALL
    SELECT {hk}, {LOAD_DATETIME}, TRUE AS stored, {DELETED_FLAG}, {told} FROM {{target}}
    WHERE {one_of(keys)} IN (SELECT {hk} FROM source)
  )
  GROUP BY {hk}, {LOAD_DATETIME}, stored
),
compared AS (
  -- each set beside the one before it
  SELECT *, set_mark = coalesce({last}, slice(set_mark, 1, 0)) AS unchanged
  FROM marks
)
SELECT
{columns({name: f"source.{quote(name)}" for name in names})},
  CASE
    WHEN {any_null((*keys, *needed), alias="source")} THEN 'excluded'
    WHEN source.{OCCURRENCE} > 1 THEN 'duplicate'
    WHEN compared.unchanged THEN 'unchanged'
    ELSE 'inserted'
  END AS outcome
FROM source
LEFT JOIN compared
  ON {same("compared", "source", (*keys, LOAD_DATETIME))} AND NOT compared.stored"""
