"""Record tracking satellite: when each key of a hub or link was told, and by which source.

Rule: one row per key, record source and load date-time of the log; the key is part of the comparison, so two keys told
at one moment are two rows. A row that only tells that the key is gone is none.
Source: Linstedt & Olschimke, Building a Scalable Data Warehouse with Data Vault 2.0 (2015), record tracking satellites.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from lakehouse.metadata.entity import Names
from lakehouse.metadata.project import Project
from lakehouse.metadata.table import Load, Problem, count_outcomes
from lakehouse.names import APPLIED_DATETIME, CHANGE_TYPE, LOAD_DATETIME, RECORD_SOURCE
from lakehouse.sql.ddl import TargetColumn
from lakehouse.sql.identifiers import any_null, one_of, quote, quote_list, same
from lakehouse.sql.select import block, columns, computed_once
from lakehouse.vault.columns import appended, stamped, typed_columns
from lakehouse.vault.description import Description


class TrackingSatellite(Description):
    """When a key was told, by source."""

    kind: Literal["record_tracking_satellite"] = "record_tracking_satellite"
    columns: Names = ()
    """Further columns of the source that a telling is told apart by, such as the name of a satellite and its hash diff."""

    def columns_of(self, project: Project) -> Mapping[str, str]:
        """What a telling is told apart by, beside the key and when it was told."""
        return self.typed(project, self.columns)

    def problems(self, project: Project) -> Iterator[Problem]:
        """Parent, source and columns exist."""
        yield from super().problems(project)
        yield from self.column_problems(project, self.columns, "columns")

    def load(self, project: Project) -> Load:
        """Insert the tellings that are not known."""
        applied = TargetColumn(APPLIED_DATETIME, "timestamp", "The business's own time of the row (UTC)")
        return appended(
            self,
            project,
            self.source,
            (*self.key_columns(project), *typed_columns(self.columns_of(project), ""), applied),
            self._select(project),
            keys=(*self.parent_keys(project), *self.columns_of(project), RECORD_SOURCE, LOAD_DATETIME),
            counts=count_outcomes("inserted", "unchanged", "duplicate", "excluded"),
        )

    def _select(self, project: Project) -> str:
        keys = self.parent_keys(project)
        hk = quote_list(keys)
        own = tuple(self.columns_of(project))
        names = [*keys, *own, APPLIED_DATETIME, *stamped()]
        identity = (*keys, *own, RECORD_SOURCE, LOAD_DATETIME)
        equal = " AND ".join(f"known.{quote(name)} <=> source.{quote(name)}" for name in own)
        return f"""WITH source AS (
  -- what the source tells, the first telling of a key at a moment before others
  SELECT *, row_number() OVER (PARTITION BY {quote_list(identity)} ORDER BY {APPLIED_DATETIME}) AS occurrence
  FROM (
    SELECT {", ".join([hk, *map(quote, own), *names[len(keys) + len(own) :]])}
    FROM {self.rows}
{block(computed_once(self.keys(project), alias="hashed"), indent=4)}
    WHERE {CHANGE_TYPE} <> 'D'
  )
),
known AS (
  -- the tellings of these keys that the target has
  SELECT DISTINCT {quote_list(identity)} FROM {{target}} WHERE {one_of(keys)} IN (SELECT {hk} FROM source)
)
SELECT
{columns({n: f"source.{quote(n)}" for n in names})},
  CASE
    WHEN {any_null(keys, alias="source")} THEN 'excluded'
    WHEN known.{quote(keys[0])} IS NOT NULL THEN 'unchanged'
    WHEN source.occurrence > 1 THEN 'duplicate'
    ELSE 'inserted'
  END AS outcome
FROM source
LEFT JOIN known
  ON {same("known", "source", (*keys, RECORD_SOURCE, LOAD_DATETIME))}{f" AND {equal}" if own else ""}"""
