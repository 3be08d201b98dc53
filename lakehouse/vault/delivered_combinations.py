"""The SELECT of an effectivity satellite over rows that an external stage delivers, compared with the whole target.

Rule, ``automatic``: the combinations of a driving key that are delivered with one load date-time are those that hold from then
on; a row that says its own end does not hold. Every other open combination of that driving key is closed then.
Rule, ``source``: only the source's own end dates close and open; a combination that is not delivered stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lakehouse.names import (
    ACTIVE_FLAG,
    APPLIED_DATETIME,
    ENDS_AT,
    LOAD_DATETIME,
    OPEN_END,
    RECORD_SOURCE,
    ROW_AUDIT_ID,
    STARTS_AT,
)
from lakehouse.sql.identifiers import any_null, one_of, quote, quote_list, same
from lakehouse.sql.select import columns

STAMPED = (APPLIED_DATETIME, RECORD_SOURCE, ROW_AUDIT_ID)


@dataclass(frozen=True)
class DeliveredCombinations:
    """The columns of an effectivity satellite that reads delivered rows."""

    rows: str
    """SQL for the rows of the source."""
    keys: Mapping[str, str]
    """The link's key columns, as SQL over a row."""
    driving: Mapping[str, str]
    """The key columns of the driving ends, as SQL over a row."""
    others: Mapping[str, str]
    """The key columns of the other ends, as SQL over a row."""
    kept: Sequence[str]
    """Further columns of the source."""
    starts: str | None
    ends: str | None
    open_end: str
    """SQL for the end of a combination that holds."""
    automatic: bool

    def select(self) -> str:
        """The rows to insert, closings included, and what became of every delivered row."""
        keys, driving = list(self.keys), list(self.driving)
        carried = [*self.others, *self.kept]
        names = [*keys, *driving, *carried, ACTIVE_FLAG, STARTS_AT, ENDS_AT, APPLIED_DATETIME, LOAD_DATETIME, RECORD_SOURCE, ROW_AUDIT_ID]  # fmt: skip
        stored = [*keys, *driving, *carried, ACTIVE_FLAG, STARTS_AT, ENDS_AT, *STAMPED, LOAD_DATETIME]
        partition = quote_list(keys)
        changed = f"{ACTIVE_FLAG} <> coalesce(predecessor.{ACTIVE_FLAG}, FALSE)"
        if not self.automatic:
            changed += f" OR NOT ({ENDS_AT} <=> predecessor.{ENDS_AT})"
        return f"""WITH {self._source(keys, driving, carried)},
told AS (
  SELECT * FROM source WHERE occurrence = 1 AND NOT incomplete
),
known AS (
  -- what the target says of these driving keys
  SELECT {quote_list(stored)} FROM {{target}} WHERE {one_of(driving)} IN (SELECT {quote_list(driving)} FROM told)
),
{self._states(keys, driving, carried)},
versions AS (
  SELECT {quote_list(stored)}, delivered, FALSE AS stored FROM states
  UNION ALL
  SELECT {quote_list(stored)}, FALSE, TRUE FROM known
),
sequenced AS (
  -- each state beside the one before it
  SELECT *, lag(struct({ACTIVE_FLAG}, {ENDS_AT})) OVER (PARTITION BY {partition} ORDER BY {LOAD_DATETIME}, stored DESC) AS predecessor
  FROM versions
),
opened AS (
  -- and the start of the opening that it belongs to
  SELECT
    * EXCEPT ({STARTS_AT}),
    last_value(CASE
      WHEN stored THEN {STARTS_AT}
      WHEN predecessor IS NULL OR {ACTIVE_FLAG} AND NOT predecessor.{ACTIVE_FLAG} THEN coalesce({STARTS_AT}, {APPLIED_DATETIME})
    END) IGNORE NULLS OVER (PARTITION BY {partition} ORDER BY {LOAD_DATETIME}, stored DESC) AS {STARTS_AT}
  FROM sequenced
),
judged AS (
  SELECT {quote_list(names)}, delivered, CASE WHEN {changed} THEN 'inserted' ELSE 'unchanged' END AS outcome
  FROM opened
  WHERE NOT stored
)
SELECT {quote_list(names)}, outcome FROM judged WHERE delivered OR outcome = 'inserted'
UNION ALL
SELECT {quote_list(names)}, CASE WHEN incomplete THEN 'excluded' ELSE 'duplicate' END FROM source WHERE incomplete OR occurrence > 1"""

    def _source(self, keys: Sequence[str], driving: Sequence[str], carried: Sequence[str]) -> str:
        given = {**self.keys, **self.driving, **self.others, **{name: quote(name) for name in self.kept}}
        start = f"CAST({quote(self.starts)} AS TIMESTAMP)" if self.starts else "CAST(NULL AS TIMESTAMP)"
        end = f"coalesce(CAST({quote(self.ends)} AS TIMESTAMP), {self.open_end})" if self.ends else self.open_end
        holds = f"{ENDS_AT} IS NULL OR {ENDS_AT} >= TIMESTAMP '{OPEN_END}'"
        needed = (*keys, *driving, *self.others)
        return f"""source AS (
  -- what is delivered of each combination: whether it holds, and its own dates
  SELECT
    *,
    {holds} AS {ACTIVE_FLAG},
    {any_null(needed)} AS incomplete,
    row_number() OVER (PARTITION BY {quote_list(keys)}, {LOAD_DATETIME} ORDER BY {ENDS_AT} DESC, {ROW_AUDIT_ID}) AS occurrence
  FROM (
    SELECT
{columns(given, indent=6)},
      {start} AS {STARTS_AT}, {end} AS {ENDS_AT}, {", ".join(STAMPED)}, {LOAD_DATETIME}
    FROM {self.rows}
  )
)"""

    def _states(self, keys: Sequence[str], driving: Sequence[str], carried: Sequence[str]) -> str:
        if not self.automatic:
            return "states AS (\n  SELECT *, TRUE AS delivered FROM told\n)"
        stamps = ", ".join(f"max({name}) AS {name}" for name in STAMPED)
        identity = quote_list([*keys, *driving])
        details = f"struct({quote_list(carried)})"
        unpacked = "".join(f"\n    combinations.details.{quote(name)}," for name in carried)
        held = ", ".join(f"coalesce(told.{name}, moments.{name}) AS {name}" for name in STAMPED)
        return f"""moments AS (
  -- when a driving key was delivered
  SELECT {quote_list(driving)}, {LOAD_DATETIME}, {stamps} FROM told GROUP BY {quote_list(driving)}, {LOAD_DATETIME}
),
combinations AS (
  -- every combination of these driving keys, delivered or stored
  SELECT {identity}, max_by(details, {LOAD_DATETIME}) AS details
  FROM (
    SELECT {identity}, {details} AS details, {LOAD_DATETIME} FROM told
    UNION ALL
    SELECT {identity}, {details}, {LOAD_DATETIME} FROM known
  )
  GROUP BY {identity}
),
states AS (
  -- whether each of them holds at each of these moments
  SELECT
    {quote_list([*keys, *driving], alias="combinations")},{unpacked}
    coalesce(told.{ACTIVE_FLAG}, FALSE) AS {ACTIVE_FLAG},
    told.{STARTS_AT},
    CASE WHEN told.{ACTIVE_FLAG} THEN told.{ENDS_AT} ELSE moments.{APPLIED_DATETIME} END AS {ENDS_AT},
    {held},
    moments.{LOAD_DATETIME},
    told.{LOAD_DATETIME} IS NOT NULL AS delivered
  FROM combinations
  JOIN moments ON {same("combinations", "moments", driving)}
  LEFT JOIN told ON {same("told", "combinations", [*keys, *driving])} AND told.{LOAD_DATETIME} = moments.{LOAD_DATETIME}
)"""
