"""The SELECT that satellites and historised reference tables share: each version that differs from the one before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lakehouse.names import CHANGE_TYPE, DELETED_FLAG, HASH_DIFF, LOAD_DATETIME
from lakehouse.sql.identifiers import any_null, literal, one_of, quote, quote_list
from lakehouse.sql.select import block, columns, computed_once


def version_select(
    rows: str,
    expressions: Mapping[str, str],
    *,
    keys: Mapping[str, str],
    hashed: Sequence[str],
    deletes: bool,
    clash: str,
    filtered: bool = False,
) -> str:
    """Rows of ``expressions`` over the source's ``rows`` with an outcome, compared in load order with ``{target}``.

    ``keys`` are the columns that a version belongs to, with their SQL over the source; ``hashed`` those of the
    expressions that are worth computing once; ``clash`` is what is said of two different versions at one load date-time.
    Where the rows are ``filtered``, a delete of a key that no row told says nothing.
    """
    partition = quote_list(keys)
    unknown = f"    WHEN {DELETED_FLAG} AND predecessor IS NULL THEN 'unchanged'\n" if filtered else ""
    payload = [name for name in expressions if name not in (*keys, HASH_DIFF, DELETED_FLAG, LOAD_DATETIME)]
    nulls = "".join(f", NULL AS {quote(name)}" for name in payload)
    ignore = "" if deletes else f"\n  WHERE {CHANGE_TYPE} <> 'D'"
    hashes = {name: expressions[name] for name in hashed}
    named = {**expressions, **{name: quote(name) for name in hashes}}
    return f"""WITH source AS (
  -- what the source says of each key
  SELECT
{columns(named, indent=4)},
    FALSE AS stored
  FROM {rows}
{block(computed_once(hashes, alias="hashed"))}{ignore}
),
versions AS (
  -- the versions of these keys, delivered and stored
  SELECT {partition}, {HASH_DIFF}, {DELETED_FLAG}, {LOAD_DATETIME}, stored{"".join(f", {quote(name)}" for name in payload)}
  FROM source
  UNION ALL
  SELECT {partition}, {HASH_DIFF}, {DELETED_FLAG}, {LOAD_DATETIME}, TRUE AS stored{nulls}
  FROM {{target}}
  WHERE {one_of(list(keys))} IN (SELECT {", ".join(keys.values())} FROM {rows})
),
sequenced AS (
  -- each version beside the one before it in load order
  SELECT
    *,
    lag(struct({HASH_DIFF}, {DELETED_FLAG}, {LOAD_DATETIME}, stored)) OVER (
      PARTITION BY {partition} ORDER BY {LOAD_DATETIME}, stored DESC, {HASH_DIFF}
    ) AS predecessor
  FROM versions
)
SELECT
{columns({name: f"sequenced.{quote(name)}" for name in expressions})},
  CASE
    WHEN {any_null(keys)} THEN 'excluded'
    WHEN predecessor.{LOAD_DATETIME} = {LOAD_DATETIME} AND NOT (predecessor.{HASH_DIFF} = {HASH_DIFF} AND predecessor.{DELETED_FLAG} = {DELETED_FLAG}) THEN raise_error({literal(clash)})
    WHEN predecessor.{HASH_DIFF} = {HASH_DIFF} AND predecessor.{DELETED_FLAG} = {DELETED_FLAG} THEN
      CASE WHEN predecessor.stored OR predecessor.{LOAD_DATETIME} < {LOAD_DATETIME} THEN 'unchanged' ELSE 'duplicate' END
{unknown}    ELSE 'inserted'
  END AS outcome
FROM sequenced
WHERE NOT stored"""
