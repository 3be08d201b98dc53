"""Link: a relation between hubs, one row per combination of their keys and the dependent child keys.

Rule: insert the earliest row of a combination that the link does not have; never update, never delete. A hierarchical or
same-as link refers to one hub in two roles.
Source: Linstedt & Olschimke, Building a Scalable Data Warehouse with Data Vault 2.0 (2015), link loading.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from lakehouse.metadata.checks import missing_column
from lakehouse.metadata.entity import Names
from lakehouse.metadata.project import Project
from lakehouse.metadata.table import Load, Problem, count_outcomes, source_part
from lakehouse.names import CHANGE_TYPE
from lakehouse.sql.select import columns
from lakehouse.vault.columns import appended, typed_columns
from lakehouse.vault.combination import Combination
from lakehouse.vault.insert_only import insert_only


class Link(Combination):
    """A relation between hubs."""

    kind: Literal["link"] = "link"
    columns: Names = ()
    """Further columns of the source to keep, as the first row of a combination tells them."""

    def columns_of(self, project: Project) -> Mapping[str, str]:
        """Its keys and further columns."""
        return {**super().columns_of(project), **self._further(project)}

    def _further(self, project: Project) -> dict[str, str]:
        return {name: source_part(project, self.source, name)[1] for name in self.columns}

    def problems(self, project: Project) -> Iterator[Problem]:
        """Source, hubs and columns exist."""
        yield from super().problems(project)
        if self.source in project.sources:
            lead = f"names, in source '{self.source}', column"
            for position, column in enumerate(self.columns):
                yield from missing_column(project.sources[self.source].columns, column, ("columns", position), lead)

    def load(self, project: Project) -> Load:
        """Insert the combinations that the link does not have."""
        settings = project.settings_of("tables", self.name)
        return appended(
            self,
            project,
            self.source,
            (*self.own_columns(project, settings), *typed_columns(self._further(project), "")),
            self._select(project),
            keys=self.key_names,
            counts=count_outcomes("inserted", "unchanged", "duplicate", "excluded"),
        )

    def _select(self, project: Project) -> str:
        further = {name: source_part(project, self.source, name)[0] for name in self.columns}
        expressions = {**self.expressions(project), **further}
        delivered = f"SELECT\n{columns(expressions)}\nFROM {self.rows}\nWHERE {CHANGE_TYPE} <> 'D'"
        return insert_only(delivered, self.key_names, list(expressions))
