"""Reference table: codes and what they mean, found by their own key without a hash.

Rule: with ``history`` a row per version, as in a satellite; without, one row per code that always says the latest. A code
that is gone keeps its last meaning with deleted_flag, since rows elsewhere still hold it.
Source: Linstedt & Olschimke, Building a Scalable Data Warehouse with Data Vault 2.0 (2015), reference tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from pydantic import Field

from lakehouse.errors import suggestion
from lakehouse.metadata.checks import missing_column
from lakehouse.metadata.entity import Names
from lakehouse.metadata.environment import Layer, Relation
from lakehouse.metadata.kept import Kept, Versions
from lakehouse.metadata.project import Project
from lakehouse.metadata.settings import Settings
from lakehouse.metadata.table import Input, Load, Problem, Table, count_outcomes, source_part
from lakehouse.names import APPLIED_DATETIME, CHANGE_TYPE, DELETED_FLAG, HASH_DIFF, LOAD_DATETIME
from lakehouse.sql.ddl import TableDefinition, TargetColumn
from lakehouse.sql.identifiers import quote, quote_list
from lakehouse.sql.select import Select, block, columns, computed_once
from lakehouse.vault.columns import STAMPS, properties, stamped, typed_columns
from lakehouse.vault.versions import version_select


class ReferenceTable(Table):
    """Codes and what they mean."""

    kind: Literal["reference_table"] = "reference_table"
    layer: ClassVar[Layer] = "vault"
    source: str
    key: Names = Field(min_length=1)
    """The source columns that are the code."""
    columns: Names = ()
    """Source columns to keep beside it."""
    history: bool = False
    """Whether former meanings are kept."""

    def reads(self, project: Project) -> tuple[Relation, ...]:
        """The persistent stage of its source."""
        return (project.log(self.source),) if self.source in project.sources else ()

    def columns_of(self, project: Project) -> Mapping[str, str]:
        """Code and meaning."""
        return {**self._typed(project, self.key), **self._typed(project, self.columns)}

    def _typed(self, project: Project, names: Names) -> dict[str, str]:
        source = project.sources[self.source]
        return {source.spelled(name) or name: source.type_of(name) for name in names}

    def problems(self, project: Project) -> Iterator[Problem]:
        """Source and columns exist."""
        if self.source not in project.sources:
            message = f"names source '{self.source}', which is not in the project."
            yield Problem(("source",), f"{message} {suggestion(self.source, project.sources)}")
            return
        lead = f"names, in source '{self.source}', column"
        for field, names in (("key", self.key), ("columns", self.columns)):
            for position, column in enumerate(names):
                yield from missing_column(project.sources[self.source].columns, column, (field, position), lead)

    def versions(self, project: Project) -> Versions | None:
        """With history one row per version of a code; a code that is gone ends with ``deleted_flag``."""
        return self._versions_of_codes(project) if self.history else None

    def keeps(self, project: Project, source: str) -> Kept | None:
        """Code and meaning, without history the latest."""
        if source != self.source:
            return None
        deletes = project.settings_of("tables", self.name).satellite_deletes == "track"
        return Kept(
            self._versions_of_codes(project),
            tuple(self.columns_of(project)),
            tells_rows_apart=True,
            tells_deletes=deletes,
            tells_moves=False,
            historised=self.history,
        )

    def _versions_of_codes(self, project: Project) -> Versions:
        return Versions(tuple(self._typed(project, self.key)), DELETED_FLAG)

    def load(self, project: Project) -> Load:
        """Insert the versions that differ, or overwrite the codes whose meaning changed."""
        settings = project.settings_of("tables", self.name)
        keys = tuple(self._typed(project, self.key))
        return Load(
            name=self.name,
            kind=self.kind,
            layer=self.layer,
            definition=self._definition(project, settings),
            inputs=(Input(self.source, project.log(self.source)),),
            select=Select(self._versions(project, settings) if self.history else self._latest(project, settings)),
            write="append" if self.history else "merge",
            keys=(*keys, LOAD_DATETIME) if self.history else keys,
            counts=count_outcomes(
                "inserted", "unchanged", "duplicate", "excluded", *(() if self.history else ("updated",))
            ),
            settings=settings,
        )

    def _definition(self, project: Project, settings: Settings) -> TableDefinition:
        own = tuple(TargetColumn(n, t, "Code", required=True) for n, t in self._typed(project, self.key).items())
        return TableDefinition(
            (
                *own,
                *typed_columns(self._typed(project, self.columns), ""),
                TargetColumn(HASH_DIFF, settings.hashes.type, "Hash of the descriptive columns", required=True),
                TargetColumn(DELETED_FLAG, "boolean", "Whether the source deleted the code", required=True),
                TargetColumn(APPLIED_DATETIME, "timestamp", "The business's own time of the row (UTC)"),
                *STAMPS,
            ),
            self.description,
            properties=properties(settings),
        )

    def _expressions(self, project: Project, settings: Settings) -> dict[str, str]:
        parts = {name: source_part(project, self.source, name) for name in self.columns}
        return {
            **{name: quote(name) for name in self.columns_of(project)},
            HASH_DIFF: settings.hashes.diff(parts),
            DELETED_FLAG: f"{CHANGE_TYPE} = 'D'",
            APPLIED_DATETIME: quote(APPLIED_DATETIME),
            **stamped(),
        }

    def _versions(self, project: Project, settings: Settings) -> str:
        return version_select(
            f"{{{self.source}}}",
            self._expressions(project, settings),
            keys={name: quote(name) for name in self._typed(project, self.key)},
            hashed=(HASH_DIFF,),
            deletes=settings.satellite_deletes == "track",
            clash=f"reference table '{self.name}': several rows of source '{self.source}' give one code at one load date-time. "
            "Name all columns of the code as its key.",
        )

    def _latest(self, project: Project, settings: Settings) -> str:
        expressions = self._expressions(project, settings)
        keys = list(self._typed(project, self.key))
        partition = quote_list(keys)
        hashes = {HASH_DIFF: expressions[HASH_DIFF]}
        ignore = "" if settings.satellite_deletes == "track" else f"\n  WHERE {CHANGE_TYPE} <> 'D'"
        same = " AND ".join(f"target.{quote(key)} = source.{quote(key)}" for key in keys)
        return f"""WITH source AS (
  -- what the source says of each code, the latest first
  SELECT
{columns({**expressions, HASH_DIFF: HASH_DIFF}, indent=4)},
    row_number() OVER (PARTITION BY {partition} ORDER BY {LOAD_DATETIME} DESC, {HASH_DIFF}) AS age
  FROM {{{self.source}}}
{block(computed_once(hashes, alias="hashed"))}{ignore}
)
SELECT
{columns({name: f"source.{quote(name)}" for name in expressions})},
  CASE
    WHEN {" OR ".join(f"source.{quote(key)} IS NULL" for key in keys)} THEN 'excluded'
    WHEN age > 1 THEN 'duplicate'
    WHEN target.{HASH_DIFF} IS NULL THEN 'inserted'
    WHEN target.{LOAD_DATETIME} > source.{LOAD_DATETIME} THEN 'unchanged'
    WHEN target.{HASH_DIFF} = source.{HASH_DIFF} AND target.{DELETED_FLAG} = source.{DELETED_FLAG} THEN 'unchanged'
    ELSE 'updated'
  END AS outcome
FROM source
LEFT JOIN {{target}} AS target ON {same}"""
