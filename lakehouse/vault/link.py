"""Link: a relation between hubs, one row per combination of their keys and the dependent child keys.

Rule: insert the earliest row of a combination that the link does not have; never update, never delete. A hierarchical or
same-as link refers to one hub in two roles.
Source: Linstedt & Olschimke, Building a Scalable Data Warehouse with Data Vault 2.0 (2015), link loading.
"""

from __future__ import annotations

from typing import Literal

from lakehouse.metadata.project import Project
from lakehouse.metadata.table import Input, Load, count_outcomes
from lakehouse.names import CHANGE_TYPE
from lakehouse.sql.ddl import TableDefinition
from lakehouse.sql.select import Select, columns
from lakehouse.vault.columns import STAMPS, properties
from lakehouse.vault.combination import Combination
from lakehouse.vault.insert_only import insert_only


class Link(Combination):
    """A relation between hubs."""

    kind: Literal["link"] = "link"

    def load(self, project: Project) -> Load:
        """Insert the combinations that the link does not have."""
        settings = project.settings_of("tables", self.name)
        own = self.own_columns(project, settings)
        return Load(
            name=self.name,
            kind=self.kind,
            layer=self.layer,
            definition=TableDefinition((*own, *STAMPS), self.description, properties=properties(settings)),
            inputs=(Input(self.source, project.log(self.source)),),
            select=Select(self._select(project)),
            write="append",
            keys=(self.hash_key,),
            counts=count_outcomes("inserted", "unchanged", "duplicate", "excluded"),
            settings=settings,
        )

    def _select(self, project: Project) -> str:
        expressions = self.expressions(project)
        delivered = f"SELECT\n{columns(expressions)}\nFROM {self.rows}\nWHERE {CHANGE_TYPE} <> 'D'"
        return insert_only(delivered, self.hash_key, list(expressions))
