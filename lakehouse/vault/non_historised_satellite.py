"""Non-historised satellite: what describes an event that never changes, split from its non-historised link.

Rule: the first telling of a key is inserted, nothing after it. Use a satellite where the description may change.
Source: Linstedt & Olschimke, Building a Scalable Data Warehouse with Data Vault 2.0 (2015), non-historised satellites.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field

from lakehouse.metadata.entity import Names
from lakehouse.metadata.project import Project
from lakehouse.metadata.table import Load, Problem, count_outcomes
from lakehouse.names import APPLIED_DATETIME, CHANGE_TYPE
from lakehouse.sql.ddl import TargetColumn
from lakehouse.sql.identifiers import quote
from lakehouse.sql.select import columns
from lakehouse.vault.columns import appended, stamped, typed_columns
from lakehouse.vault.description import Description
from lakehouse.vault.insert_only import insert_only


class NonHistorisedSatellite(Description):
    """What describes an event."""

    kind: Literal["non_historised_satellite"] = "non_historised_satellite"
    columns: Names = Field(min_length=1)
    """Source columns to keep."""

    def columns_of(self, project: Project) -> Mapping[str, str]:
        """Its descriptive columns."""
        return self.typed(project, self.columns)

    def problems(self, project: Project) -> Iterator[Problem]:
        """Parent, source and columns exist."""
        yield from super().problems(project)
        yield from self.column_problems(project, self.columns, "columns")

    def load(self, project: Project) -> Load:
        """Insert the keys that the satellite does not have."""
        names = self.columns_of(project)
        applied = TargetColumn(APPLIED_DATETIME, "timestamp", "The business's own time of the row (UTC)")
        own = (*self.key_columns(project), *typed_columns(names, ""), applied)
        expressions = {
            **self.keys(project),
            **{name: quote(name) for name in names},
            APPLIED_DATETIME: APPLIED_DATETIME,
            **stamped(),
        }
        delivered = f"SELECT\n{columns(expressions)}\nFROM {self.rows}\nWHERE {CHANGE_TYPE} <> 'D'"
        return appended(
            self,
            project,
            self.source,
            own,
            insert_only(delivered, self.parent_keys(project), list(expressions)),
            keys=self.parent_keys(project),
            counts=count_outcomes("inserted", "unchanged", "duplicate", "excluded"),
        )
