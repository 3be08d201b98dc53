"""Status tracking satellite: whether a key of a hub or link is there, changed or gone, as its source tells.

Rule: a key is there while any row of the source with it is: I when the first one comes or comes back, U when one of them
changes, comes or goes, D when the last one is gone. One row per moment; a moment that is known adds nothing. Full
deliveries, key extracts and change feeds all give it, since the log tells them in one way.
Source: Linstedt & Olschimke, Building a Scalable Data Warehouse with Data Vault 2.0 (2015), status tracking satellites.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from lakehouse.metadata.kept import Kept, Versions
from lakehouse.metadata.project import Project
from lakehouse.metadata.table import Load, count_outcomes
from lakehouse.names import APPLIED_DATETIME, LOAD_DATETIME, RECORD_SOURCE, ROW_AUDIT_ID, STATUS
from lakehouse.sql.ddl import TargetColumn
from lakehouse.sql.identifiers import quote
from lakehouse.sql.select import columns
from lakehouse.vault.columns import appended
from lakehouse.vault.description import Description
from lakehouse.vault.sets import GONE, GROUP, Sets

STAMPED = (APPLIED_DATETIME, LOAD_DATETIME, RECORD_SOURCE, ROW_AUDIT_ID)


class StatusSatellite(Description):
    """Whether a key is there."""

    kind: Literal["status_satellite"] = "status_satellite"

    def columns_of(self, project: Project) -> Mapping[str, str]:
        """The status."""
        return {STATUS: "string"}

    def versions(self, project: Project) -> Versions:
        """One row per change of a key; a key that is gone ends with D."""
        return self.versions_where(project, f"{STATUS} = 'D'")

    def kept(self, project: Project, source: str) -> Kept | None:
        """Which keys there are."""
        return self.kept_as(project, self.versions(project), ()) if source == self.source else None

    def load(self, project: Project) -> Load:
        """Insert the moments that are not known."""
        own = (
            self.key_column(project),
            TargetColumn(STATUS, "string", "I: there (again), U: changed, D: gone", required=True),
            TargetColumn(APPLIED_DATETIME, "timestamp", "The business's own time of the change (UTC)"),
        )
        keys, counts = (self.parent_key(project), LOAD_DATETIME), count_outcomes("inserted", "unchanged")
        return appended(self, project, self.source, own, self._select(project), keys=keys, counts=counts, whole=True)

    def _select(self, project: Project) -> str:
        name = self.parent_key(project)
        hk = quote(name)
        group = Sets(
            source=self.source,
            rows=self.rows,
            keys=project.sources[self.source].key,
            group_key=self.key(project),
            group_text=self.key_text(project),
            moving=not self.keyed_within_source(project),
        )
        return f"""WITH {group.ctes({}, ())},
states AS (
  -- whether each key is there at each moment
  SELECT {GROUP} AS {hk}, bool_or(NOT {GONE}) AS there, FALSE AS stored, {LOAD_DATETIME},
    {", ".join(f"max({stamp}) AS {stamp}" for stamp in STAMPED if stamp != LOAD_DATETIME)}
  FROM sets
  GROUP BY {GROUP}, {LOAD_DATETIME}
),
versions AS (
  SELECT * FROM states
  UNION ALL
  SELECT {hk}, {STATUS} <> 'D', TRUE, {LOAD_DATETIME}, {", ".join("NULL" for _ in STAMPED[1:])}
  FROM {{target}}
  WHERE {hk} IN (SELECT {hk} FROM states)
),
sequenced AS (
  -- each state beside the one before it
  SELECT
    *,
    lag(there) OVER earlier AS was_there,
    lag(stored) OVER earlier AND lag({LOAD_DATETIME}) OVER earlier = {LOAD_DATETIME} AS known
  FROM versions
  WINDOW earlier AS (PARTITION BY {hk} ORDER BY {LOAD_DATETIME}, stored DESC)
)
SELECT
{columns({name: hk, STATUS: "CASE WHEN NOT there THEN 'D' WHEN was_there THEN 'U' ELSE 'I' END", **{s: quote(s) for s in STAMPED}})},
  CASE WHEN known OR (NOT there AND NOT coalesce(was_there, FALSE)) THEN 'unchanged' ELSE 'inserted' END AS outcome
FROM sequenced
WHERE NOT stored"""
