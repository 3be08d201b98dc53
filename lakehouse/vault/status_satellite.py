"""Status tracking satellite: whether a key of a hub or link is there, changed or gone, as its source tells.

Rule: a key is there while any row of the source with it is: I when the first one comes or comes back, U when one of them
changes, comes or goes, D when the last one is gone. One row per moment; a moment that is known adds nothing. Full
deliveries, key extracts and change feeds all give it, since the log tells them in one way.
Source: Linstedt & Olschimke, Building a Scalable Data Warehouse with Data Vault 2.0 (2015), status tracking satellites.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from lakehouse.metadata.project import Project
from lakehouse.metadata.table import Load, count_outcomes
from lakehouse.names import APPLIED_DATETIME, LOAD_DATETIME, RECORD_SOURCE, ROW_AUDIT_ID, STATUS
from lakehouse.sql.ddl import TargetColumn
from lakehouse.sql.identifiers import one_of, quote, quote_list
from lakehouse.sql.select import columns
from lakehouse.vault.columns import appended
from lakehouse.vault.description import Description
from lakehouse.vault.sets import GONE, GROUP

STAMPED = (APPLIED_DATETIME, LOAD_DATETIME, RECORD_SOURCE, ROW_AUDIT_ID)


class StatusSatellite(Description):
    """Whether a key is there."""

    kind: Literal["status_satellite"] = "status_satellite"

    def columns_of(self, project: Project) -> Mapping[str, str]:
        """The status."""
        return {STATUS: "string"}

    def load(self, project: Project) -> Load:
        """Insert the moments that are not known."""
        own = (
            *self.key_columns(project),
            TargetColumn(STATUS, "string", "I: there (again), U: changed, D: gone", required=True),
            TargetColumn(APPLIED_DATETIME, "timestamp", "The business's own time of the change (UTC)"),
        )
        keys, counts = (*self.parent_keys(project), LOAD_DATETIME), count_outcomes("inserted", "unchanged")
        zero = {**self._zero(project), STATUS: "'D'"}
        return appended(
            self, project, self.source, own, self._select(project), keys=keys, counts=counts, whole=True, zero=zero
        )

    def _zero(self, project: Project) -> dict[str, str]:
        return dict.fromkeys(self.parent_keys(project), project.hashes_of(self.parent).zero_key)

    def _select(self, project: Project) -> str:
        keys = self.parent_keys(project)
        hk = quote_list(keys)
        given = ", ".join(f"{value} AS {quote(name)}" for name, value in self.of_group(project).items())
        return f"""WITH {self.group(project).ctes({}, ())},
states AS (
  -- whether each key is there at each moment
  SELECT {given}, bool_or(NOT {GONE}) AS there, FALSE AS stored, {LOAD_DATETIME},
    {", ".join(f"max({stamp}) AS {stamp}" for stamp in STAMPED if stamp != LOAD_DATETIME)}
  FROM sets
  GROUP BY {GROUP}, {LOAD_DATETIME}
),
versions AS (
  SELECT * FROM states
  UNION ALL
  SELECT {hk}, {STATUS} <> 'D', TRUE, {LOAD_DATETIME}, {", ".join("NULL" for _ in STAMPED[1:])}
  FROM {{target}}
  WHERE {one_of(keys)} IN (SELECT {hk} FROM states)
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
{columns({**{key: quote(key) for key in keys}, STATUS: "CASE WHEN NOT there THEN 'D' WHEN was_there THEN 'U' ELSE 'I' END", **{s: quote(s) for s in STAMPED}})},
  CASE WHEN known OR (NOT there AND NOT coalesce(was_there, FALSE)) THEN 'unchanged' ELSE 'inserted' END AS outcome
FROM sequenced
WHERE NOT stored"""
