"""The SELECT that hubs and links share: the earliest row of each key that the target does not have."""

from __future__ import annotations

from collections.abc import Sequence

from lakehouse.names import LOAD_DATETIME, RECORD_SOURCE
from lakehouse.sql.identifiers import any_null, one_of, quote, quote_list, same
from lakehouse.sql.select import block, columns


def insert_only(delivered: str, keys: Sequence[str], names: Sequence[str]) -> str:
    """Rows of ``delivered`` with an outcome; a row with a key column that is NULL has no business key and is excluded."""
    hk = quote_list(keys)
    return f"""WITH source AS (
  -- the keys that the source delivers
{block(delivered)}
),
sequenced AS (
  -- the occurrences of each key, the earliest first
  SELECT *, row_number() OVER (PARTITION BY {hk} ORDER BY {LOAD_DATETIME}, {RECORD_SOURCE}) AS occurrence
  FROM source
),
known AS (
  -- the keys among them that the target has
  SELECT DISTINCT {hk} FROM {{target}} WHERE {one_of(keys)} IN (SELECT {hk} FROM source)
)
SELECT
{columns({name: f"sequenced.{quote(name)}" for name in names})},
  CASE
    WHEN {any_null(keys, alias="sequenced")} THEN 'excluded'
    WHEN known.{quote(keys[0])} IS NOT NULL THEN 'unchanged'
    WHEN sequenced.occurrence > 1 THEN 'duplicate'
    ELSE 'inserted'
  END AS outcome
FROM sequenced
LEFT JOIN known ON {same("sequenced", "known", keys)}"""
