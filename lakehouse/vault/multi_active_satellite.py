"""Multi-active satellite: several rows of a parent at a time, such as a customer's phone numbers; one set per change.

Rule: the rows of a parent at a moment are one set. If any row of it differs from the set before, or there are more or
fewer, the whole set is inserted with one load date-time; never update, never delete. A parent that loses its last row
gets the rows that went once more, with deleted_flag. ``sets: delivered`` is for sources that deliver whole sets
themselves, as an external stage may: then the rows of one key and load date-time are the set.
Source: Linstedt & Olschimke, Building a Scalable Data Warehouse with Data Vault 2.0 (2015), multi-active satellites.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

from pydantic import Field

from lakehouse.metadata.entity import Names
from lakehouse.metadata.kept import Kept, Versions
from lakehouse.metadata.project import Project
from lakehouse.metadata.settings import Settings
from lakehouse.metadata.table import Load, Problem, Subject, count_outcomes
from lakehouse.names import (
    APPLIED_DATETIME,
    CHANGE_TYPE,
    DELETED_FLAG,
    HASH_DIFF,
    LOAD_DATETIME,
    RECORD_SOURCE,
    ROW_AUDIT_ID,
)
from lakehouse.sql.ddl import TargetColumn
from lakehouse.sql.identifiers import quote, quote_list
from lakehouse.sql.select import block, columns, computed_once
from lakehouse.vault.columns import appended, typed_columns
from lakehouse.vault.description import Description
from lakehouse.vault.sets import GONE, GROUP, Sets

STAMPED = (APPLIED_DATETIME, LOAD_DATETIME, RECORD_SOURCE, ROW_AUDIT_ID)


class MultiActiveSatellite(Description):
    """Several descriptive rows of a hub or link at a time."""

    kind: Literal["multi_active_satellite"] = "multi_active_satellite"
    multi_active_key: Names = Field(min_length=1)
    """The source columns that tell the rows of one parent apart."""
    columns: Names = ()
    """Source columns to keep beside them."""
    sets: Literal["from_log", "delivered"] = "from_log"
    """What a set is: all rows that hold at the moment, from the log (default), or the rows delivered with one load
    date-time."""

    @property
    def inferred_subject(self) -> Subject:
        """Its columns: the log marks whether a row differs in them."""
        return Subject(self.name, self.source, (*self.multi_active_key, *self.columns))

    def columns_of(self, project: Project) -> Mapping[str, str]:
        """Its multi-active key and descriptive columns."""
        return self.typed(project, (*self.multi_active_key, *self.columns))

    def problems(self, project: Project) -> Iterator[Problem]:
        """Parent, source and columns exist."""
        yield from super().problems(project)
        yield from self.column_problems(project, self.multi_active_key, "multi_active_key")
        yield from self.column_problems(project, self.columns, "columns")

    def versions(self, project: Project) -> Versions:
        """A whole set per version of a key; a key without rows ends with ``deleted_flag``."""
        return self.versions_where(project, DELETED_FLAG, sets=True)

    def kept(self, project: Project, source: str) -> Kept | None:
        """Its columns, row by row, where a set is all rows that hold."""
        if source != self.source:
            return None
        kept = self.kept_as(project, self.versions(project), (*self.multi_active_key, *self.columns))
        unfit = "takes sets as they are delivered" if self.sets == "delivered" else kept.unfit
        return replace(kept, tells_rows_apart=True, unfit=unfit)

    def load(self, project: Project) -> Load:
        """Insert the sets that differ from the one before."""
        settings = project.settings_of("tables", self.name)
        return appended(
            self,
            project,
            self.source,
            self._own_columns(project, settings),
            self._select(project, settings),
            keys=(self.parent_key(project), *self.typed(project, self.multi_active_key), LOAD_DATETIME),
            counts=count_outcomes("inserted", "unchanged", "duplicate", "excluded"),
            whole=self.sets == "from_log",
        )

    def _own_columns(self, project: Project, settings: Settings) -> tuple[TargetColumn, ...]:
        return (
            self.key_column(project),
            *typed_columns(self.typed(project, self.multi_active_key), "Multi-active key"),
            *typed_columns(self.typed(project, self.columns), ""),
            TargetColumn(HASH_DIFF, settings.hashes.type, "Hash of the row's columns", required=True),
            TargetColumn(DELETED_FLAG, "boolean", "Whether the parent lost its last row here", required=True),
            TargetColumn(APPLIED_DATETIME, "timestamp", "The business's own time of the change (UTC)"),
        )

    def _select(self, project: Project, settings: Settings) -> str:
        hk, names = quote(self.parent_key(project)), list(self.columns_of(project))
        given = self._from_log(project, settings) if self.sets == "from_log" else self._delivered(project, settings)
        rows = [self.parent_key(project), *names, HASH_DIFF, DELETED_FLAG, *STAMPED]
        last = f"lag(set_mark) OVER (PARTITION BY {hk} ORDER BY {LOAD_DATETIME}, stored DESC)"
        return f"""WITH {given},
marks AS (
  -- each set as one value, delivered and stored
  SELECT {hk}, {LOAD_DATETIME}, stored, array_sort(collect_set(CASE WHEN NOT {DELETED_FLAG} THEN {HASH_DIFF} END)) AS set_mark
  FROM (
    SELECT {hk}, {LOAD_DATETIME}, FALSE AS stored, {DELETED_FLAG}, {HASH_DIFF} FROM source
    UNION ALL
    SELECT {hk}, {LOAD_DATETIME}, TRUE AS stored, {DELETED_FLAG}, {HASH_DIFF} FROM {{target}}
    WHERE {hk} IN (SELECT {hk} FROM source)
  )
  GROUP BY {hk}, {LOAD_DATETIME}, stored
),
compared AS (
  -- each set beside the one before it
  SELECT *, set_mark = coalesce({last}, slice(set_mark, 1, 0)) AS unchanged
  FROM marks
)
SELECT
{columns({name: f"source.{quote(name)}" for name in rows})},
  CASE
    WHEN source.{hk} IS NULL THEN 'excluded'
    WHEN source.occurrence > 1 THEN 'duplicate'
    WHEN compared.unchanged THEN 'unchanged'
    ELSE 'inserted'
  END AS outcome
FROM source
LEFT JOIN compared
  ON compared.{hk} = source.{hk} AND compared.{LOAD_DATETIME} = source.{LOAD_DATETIME} AND NOT compared.stored"""

    def _occurrence(self, hk: str) -> str:
        return (
            f"row_number() OVER (PARTITION BY {hk}, {LOAD_DATETIME}, {HASH_DIFF} ORDER BY {ROW_AUDIT_ID}) AS occurrence"
        )

    def _hashes(self, project: Project, settings: Settings) -> dict[str, str]:
        parts = self.parts(project, (*self.multi_active_key, *self.columns))
        return {self.parent_key(project): self.key(project), HASH_DIFF: settings.hashes.diff(parts)}

    def _delivered(self, project: Project, settings: Settings) -> str:
        hk, hashes = quote(self.parent_key(project)), self._hashes(project, settings)
        names = quote_list([*hashes, *self.columns_of(project)])
        return f"""source AS (
  -- the rows of each set as delivered
  SELECT *, {self._occurrence(hk)}
  FROM (
    SELECT {names}, {CHANGE_TYPE} = 'D' AS {DELETED_FLAG}, {", ".join(STAMPED)}
    FROM {self.rows}
{block(computed_once(hashes, alias="hashed"), indent=4)}
  )
)"""

    def _from_log(self, project: Project, settings: Settings) -> str:
        hk, hashes = self.parent_key(project), self._hashes(project, settings)
        group = Sets(
            source=self.source,
            rows=self.rows,
            keys=project.sources[self.source].key,
            group_key=hashes.pop(hk),
            group_text=self.key_text(project),
            moving=not self.keyed_within_source(project),
        )
        names = [HASH_DIFF, *self.columns_of(project)]
        return f"""{group.ctes(hashes, list(self.columns_of(project)))},
source AS (
  -- what to compare: the live rows of each set, or those that went where none is left; and rows without a parent
  SELECT *, {self._occurrence(quote(hk))}
  FROM (
    SELECT
      {GROUP} AS {quote(hk)}, {quote_list(names)}, {GONE} AS {DELETED_FLAG}, {", ".join(STAMPED)},
      bool_or(NOT {GONE}) OVER (PARTITION BY {GROUP}, {LOAD_DATETIME}) AS lives
    FROM sets
    UNION ALL
    SELECT {GROUP}, {quote_list(names)}, FALSE, {", ".join(STAMPED)}, TRUE
    FROM held
    WHERE is_new AND {GROUP} IS NULL
  )
  WHERE lives <> {DELETED_FLAG}
)"""
