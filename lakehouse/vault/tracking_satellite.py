"""Record tracking satellite: when each key of a hub or link was told, and by which source.

Rule: one row per key, record source and load date-time of the log; the key is part of the comparison, so two keys told
at one moment are two rows. A row that only tells that the key is gone is none.
Source: Linstedt & Olschimke, Building a Scalable Data Warehouse with Data Vault 2.0 (2015), record tracking satellites.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from lakehouse.metadata.project import Project
from lakehouse.metadata.table import Load, count_outcomes
from lakehouse.names import APPLIED_DATETIME, CHANGE_TYPE, LOAD_DATETIME, RECORD_SOURCE
from lakehouse.sql.ddl import TargetColumn
from lakehouse.sql.identifiers import quote
from lakehouse.sql.select import block, columns, computed_once
from lakehouse.vault.columns import appended, stamped
from lakehouse.vault.description import Description


class TrackingSatellite(Description):
    """When a key was told, by source."""

    kind: Literal["record_tracking_satellite"] = "record_tracking_satellite"

    def columns_of(self, project: Project) -> Mapping[str, str]:
        """Nothing but when it was told."""
        return {}

    def load(self, project: Project) -> Load:
        """Insert the tellings that are not known."""
        applied = TargetColumn(APPLIED_DATETIME, "timestamp", "The business's own time of the row (UTC)")
        return appended(
            self,
            project,
            self.source,
            (self.key_column(project), applied),
            self._select(project),
            keys=(self.parent_key(project), RECORD_SOURCE, LOAD_DATETIME),
            counts=count_outcomes("inserted", "unchanged", "duplicate", "excluded"),
        )

    def _select(self, project: Project) -> str:
        name = self.parent_key(project)
        hk = quote(name)
        names = [name, APPLIED_DATETIME, *stamped()]
        identity = f"{hk}, {RECORD_SOURCE}, {LOAD_DATETIME}"
        return f"""WITH source AS (
  -- what the source tells, the first telling of a key at a moment before others
  SELECT *, row_number() OVER (PARTITION BY {identity} ORDER BY {APPLIED_DATETIME}) AS occurrence
  FROM (
    SELECT {", ".join([hk, *names[1:]])}
    FROM {self.rows}
{block(computed_once({name: self.key(project)}, alias="hashed"), indent=4)}
    WHERE {CHANGE_TYPE} <> 'D'
  )
),
known AS (
  -- the tellings of these keys that the target has
  SELECT DISTINCT {identity} FROM {{target}} WHERE {hk} IN (SELECT {hk} FROM source)
)
SELECT
{columns({n: f"source.{quote(n)}" for n in names})},
  CASE
    WHEN source.{hk} IS NULL THEN 'excluded'
    WHEN known.{hk} IS NOT NULL THEN 'unchanged'
    WHEN source.occurrence > 1 THEN 'duplicate'
    ELSE 'inserted'
  END AS outcome
FROM source
LEFT JOIN known
  ON known.{hk} = source.{hk} AND known.{RECORD_SOURCE} = source.{RECORD_SOURCE} AND known.{LOAD_DATETIME} = source.{LOAD_DATETIME}"""
