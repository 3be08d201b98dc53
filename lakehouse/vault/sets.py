"""The rows that stood together at each moment when one of them changed, from a source's log.

Rule: a group is what a multi-active satellite, a driving key or a status is about: all rows of a source with one key. The
log brings only rows that changed, so the set of a group at a moment is every row of it that held then: told no later, and
neither told anew nor deleted since. Only groups that new rows concern are read, found by the text of their key before it
is hashed; where a row may move from one group to another, both are concerned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lakehouse.metadata.table import OFFSET
from lakehouse.names import APPLIED_DATETIME, CHANGE_TYPE, LOAD_DATETIME, LOAD_POSITION, RECORD_SOURCE, ROW_AUDIT_ID
from lakehouse.sql.identifiers import quote, quote_list
from lakehouse.sql.select import block, computed_once

GROUP = "group_key"
GONE = "gone"
"""Whether a row held until the moment and not any longer."""


@dataclass(frozen=True)
class Sets:
    """The sets of one source's rows by a group key."""

    source: str
    rows: str
    """SQL for the rows of the source that count."""
    keys: tuple[str, ...]
    """The source's key columns."""
    group_key: str
    """SQL for the group's key over a row; NULL where the row belongs to none."""
    group_text: str
    """SQL for the text that the key is hashed from."""
    moving: bool = False
    """Whether a row of one source key may come to belong to another group."""

    def ctes(self, expressions: Mapping[str, str], kept: Sequence[str]) -> str:
        """``sets``: per group and moment its rows with the ``expressions`` and the ``kept`` columns of the source.

        A row that went at this moment is there with ``gone``; a moment has the load date-time, run and applied time of
        the rows that made it.
        """
        lead = [self._brought()] if self.moving else []
        names = [*expressions, *kept]
        return ",\n".join([*lead, self._touched(), self._told(), self._held(expressions, kept), self._moments(), self._sets(names)])  # fmt: skip

    @property
    def new(self) -> str:
        """SQL condition: the row came with this load."""
        return f"{LOAD_POSITION} > {{{self.source}{OFFSET}}}"

    def _brought(self) -> str:
        return f"""brought AS (
  -- the source rows that this load brings
  SELECT DISTINCT {quote_list(self.keys)} FROM {self.rows} WHERE {self.new}
)"""

    def _same(self, left: str, right: str) -> str:
        return " AND ".join(f"{left}.{quote(key)} = {right}.{quote(key)}" for key in self.keys)

    def _touched(self) -> str:
        if not self.moving:
            return f"""touched AS (
  -- the groups that this load's rows belong to
  SELECT DISTINCT {self.group_text} AS group_text FROM {self.rows} WHERE {self.new}
)"""
        return f"""touched AS (
  -- the groups that this load's rows belong to, or did
  SELECT DISTINCT {self.group_text} AS group_text
  FROM {self.rows} AS log LEFT SEMI JOIN brought ON {self._same("log", "brought")}
)"""

    def _told(self) -> str:
        belongs = f"{self.group_text} IN (SELECT group_text FROM touched)"
        if not self.moving:
            return f"""told AS (
  -- all that the log says of these groups
  SELECT * FROM {self.rows} WHERE {belongs}
)"""
        return f"""told AS (
  -- all that the log says of rows that ever belonged to these groups
  SELECT log.* FROM {self.rows} AS log
  LEFT SEMI JOIN (SELECT DISTINCT {quote_list(self.keys)} FROM {self.rows} WHERE {belongs}) AS members
    ON {self._same("log", "members")}
)"""

    def _held(self, expressions: Mapping[str, str], kept: Sequence[str]) -> str:
        once = computed_once({GROUP: self.group_key, **expressions}, alias="hashed")
        version = f"(PARTITION BY {quote_list(self.keys)} ORDER BY {LOAD_DATETIME})"
        stamps = (LOAD_DATETIME, APPLIED_DATETIME, RECORD_SOURCE, ROW_AUDIT_ID, CHANGE_TYPE)
        others = [name for name in kept if name not in stamps]
        names = quote_list([GROUP, *expressions, *others])
        return f"""held AS (
  -- each version of a row, and until when it held
  SELECT
    {names},
    {", ".join(stamps)},
    {self.new} AS is_new,
    lead({LOAD_DATETIME}) OVER {version} AS held_until,
    lag({GROUP}) OVER {version} AS group_before
  FROM told
{block(once)}
)"""

    def _moments(self) -> str:
        made = f"max({APPLIED_DATETIME}) AS {APPLIED_DATETIME}, max({ROW_AUDIT_ID}) AS {ROW_AUDIT_ID}, max({RECORD_SOURCE}) AS {RECORD_SOURCE}"
        stack = GROUP
        rows = "held"
        if self.moving:
            rows = (
                f"(SELECT *, explode(array_distinct(array({GROUP}, coalesce(group_before, {GROUP})))) AS concerned "
                "FROM held)"
            )
            stack = "concerned"
        return f"""moments AS (
  -- when a group changed
  SELECT {stack} AS {GROUP}, {LOAD_DATETIME}, {made}
  FROM {rows}
  WHERE is_new AND {stack} IS NOT NULL
  GROUP BY {stack}, {LOAD_DATETIME}
)"""

    def _sets(self, names: Sequence[str]) -> str:
        given = (LOAD_DATETIME, APPLIED_DATETIME, RECORD_SOURCE, ROW_AUDIT_ID)
        own = quote_list([name for name in names if name not in given], alias="held")
        return f"""sets AS (
  -- the rows of each group at these moments
  SELECT
    moments.{GROUP}, {", ".join(f"moments.{name}" for name in given)},
    {own}{"," if own else ""}
    held.held_until <=> moments.{LOAD_DATETIME} AS {GONE}
  FROM moments
  JOIN held
    ON held.{GROUP} = moments.{GROUP}
    AND held.{LOAD_DATETIME} <= moments.{LOAD_DATETIME}
    AND (held.held_until IS NULL OR held.held_until >= moments.{LOAD_DATETIME})
  WHERE held.{CHANGE_TYPE} <> 'D'
)"""
