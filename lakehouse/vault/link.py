"""Link: a relation between hubs, one row per combination of their keys and the dependent child keys.

Rule: insert the earliest row of a combination that the link does not have; never update, never delete. A hierarchical or
same-as link refers to one hub in two roles.
Source: Linstedt & Olschimke, Building a Scalable Data Warehouse with Data Vault 2.0 (2015), link loading.
"""

from __future__ import annotations

from typing import Literal

from lakehouse.metadata.project import Project
from lakehouse.metadata.table import Load, count_outcomes
from lakehouse.names import CHANGE_TYPE
from lakehouse.sql.select import columns
from lakehouse.vault.columns import appended
from lakehouse.vault.combination import Combination
from lakehouse.vault.insert_only import insert_only


class Link(Combination):
    """A relation between hubs."""

    kind: Literal["link"] = "link"

    def load(self, project: Project) -> Load:
        """Insert the combinations that the link does not have."""
        return appended(
            self,
            project,
            self.source,
            self.own_columns(project, project.settings_of("tables", self.name)),
            self._select(project),
            keys=(self.hash_key,),
            counts=count_outcomes("inserted", "unchanged", "duplicate", "excluded"),
        )

    def _select(self, project: Project) -> str:
        expressions = self.expressions(project)
        delivered = f"SELECT\n{columns(expressions)}\nFROM {self.rows}\nWHERE {CHANGE_TYPE} <> 'D'"
        return insert_only(delivered, self.hash_key, list(expressions))
