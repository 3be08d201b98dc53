"""Satellite: the descriptive attributes of a hub or link, one row per change.

Rule: insert a row when it differs from the version before it in load order, over the batch and the target together; never
update, never delete. A→B→A keeps three rows, several versions of a key in one batch are all kept, a late row is compared
with its neighbours. A deleted key gives a version with deleted_flag, by setting ``satellite_deletes``.
Source: Linstedt & Olschimke, Building a Scalable Data Warehouse with Data Vault 2.0 (2015), satellite loading.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from lakehouse.errors import suggestion
from lakehouse.metadata.checks import missing_column
from lakehouse.metadata.entity import Names
from lakehouse.metadata.environment import Layer, Relation
from lakehouse.metadata.project import Project
from lakehouse.metadata.settings import Settings
from lakehouse.metadata.table import Input, Load, Problem, Subject, Table, count_outcomes, source_part
from lakehouse.names import (
    APPLIED_DATETIME,
    CHANGE_TYPE,
    CHANGED_SUBJECTS,
    DELETED_FLAG,
    HASH_DIFF,
    LOAD_DATETIME,
)
from lakehouse.sql import hashing
from lakehouse.sql.ddl import TableDefinition, TargetColumn
from lakehouse.sql.identifiers import literal, quote, quote_list
from lakehouse.sql.select import Select, block, columns, computed_once
from lakehouse.vault.columns import STAMPS, properties, stamped, typed_columns


class Satellite(Table):
    """The descriptive attributes of a hub or link."""

    kind: Literal["satellite"] = "satellite"
    layer: ClassVar[Layer] = "vault"
    parent: str
    """The hub or link that it describes."""
    source: str
    columns: Names = ()
    """Source columns to keep; a satellite without any tells only that the key is there, or is gone."""

    def reads(self, project: Project) -> tuple[Relation, ...]:
        """The persistent stage of its source; its parent's rows need not be there first."""
        return (project.log(self.source),) if self.source in project.sources else ()

    @property
    def inferred_subject(self) -> Subject:
        """Its columns: the log marks whether a row differs in them."""
        return Subject(self.name, self.source, tuple(self.columns))

    def columns_of(self, project: Project) -> Mapping[str, str]:
        """Its descriptive columns."""
        source = project.sources[self.source]
        return {source.spelled(column) or column: source.type_of(column) for column in self.columns}

    def parent_key(self, project: Project) -> str:
        """The name of the hash key column that it shares with its parent."""
        parent = project.keyed(self.parent)
        assert parent is not None  # a problem otherwise
        return parent.hash_key

    def problems(self, project: Project) -> Iterator[Problem]:
        """Parent, source and columns exist; the parent gets its key from the same source."""
        parent = project.keyed(self.parent)
        if parent is None:
            keyed = [name for name in project.tables if project.keyed(name)]
            message = f"names parent '{self.parent}', which is not in the project."
            yield Problem(("parent",), f"{message} {suggestion(self.parent, keyed)}")
        if self.source not in project.sources:
            message = f"names source '{self.source}', which is not in the project."
            yield Problem(("source",), f"{message} {suggestion(self.source, project.sources)}")
            return
        for position, column in enumerate(self.columns):
            columns = project.sources[self.source].columns
            yield from missing_column(
                columns, column, ("columns", position), f"names, in source '{self.source}', column"
            )
        yield from self._feeding_problems(project)

    def _feeding_problems(self, project: Project) -> Iterator[Problem]:
        parent = project.keyed(self.parent)
        feeding = getattr(parent, "sources", None) or [getattr(parent, "source", None)]
        if parent is not None and self.source not in feeding:
            known = ", ".join(str(name) for name in feeding)
            yield Problem(
                ("source",),
                f"reads source '{self.source}', from which '{self.parent}' gets no key. It gets keys from: {known}.",
            )

    def load(self, project: Project) -> Load:
        """Insert the versions that differ from the one before."""
        settings = project.settings_of("tables", self.name)
        return Load(
            name=self.name,
            kind=self.kind,
            layer=self.layer,
            definition=self._definition(project, settings),
            inputs=(Input(self.source, project.log(self.source)),),
            select=Select(self._select(project, settings)),
            write="append",
            keys=(self.parent_key(project), LOAD_DATETIME),
            counts=count_outcomes("inserted", "unchanged", "duplicate", "excluded"),
            predecessors=self._proof(project, settings),
            subject=self.inferred_subject,
            settings=settings,
        )

    def _proof(self, project: Project, settings: Settings) -> Select | None:
        return Select(self._predecessors(project, settings)) if self._keyed_like_source(project) else None

    def _definition(self, project: Project, settings: Settings) -> TableDefinition:
        key = self.parent_key(project)
        return TableDefinition(
            (
                TargetColumn(key, "binary", f"Hash key of {self.parent}", required=True),
                *typed_columns(self.columns_of(project), ""),
                TargetColumn(HASH_DIFF, "binary", "Hash of the descriptive columns", required=True),
                TargetColumn(DELETED_FLAG, "boolean", "Whether the source deleted the key here", required=True),
                TargetColumn(APPLIED_DATETIME, "timestamp", "The business's own time of the row (UTC)"),
                *STAMPS,
            ),
            self.description,
            properties=properties(settings),
        )

    def _expressions(self, project: Project, settings: Settings) -> dict[str, str]:
        parent = project.keyed(self.parent)
        assert parent is not None
        parts = parent.key_parts(project, self.source)
        assert parts is not None
        missing = " OR ".join(hashing.is_missing(*part) for part in parts)
        if getattr(parent, "kind", "") == "link":
            missing = "FALSE" if settings.null_references == "zero_key" else missing
        key = hashing.hash_key(parts, algorithm=settings.hash_algorithm)
        own = [source_part(project, self.source, column) for column in self.columns]
        diff = (
            hashing.hash_diff(own, algorithm=settings.hash_algorithm)
            if own
            else hashing.zero_key(settings.hash_algorithm)
        )
        return {
            self.parent_key(project): key if missing == "FALSE" else f"CASE WHEN NOT ({missing}) THEN {key} END",
            **{name: quote(name) for name in self.columns_of(project)},
            HASH_DIFF: diff,
            DELETED_FLAG: f"{CHANGE_TYPE} = 'D'",
            APPLIED_DATETIME: quote(APPLIED_DATETIME),
            **stamped(),
        }

    def _select(self, project: Project, settings: Settings) -> str:
        expressions = self._expressions(project, settings)
        hk = quote(self.parent_key(project))
        payload = [
            name
            for name in expressions
            if name not in (self.parent_key(project), HASH_DIFF, DELETED_FLAG, LOAD_DATETIME)
        ]
        nulls = "".join(f", NULL AS {quote(name)}" for name in payload)
        ignore = f"\n  WHERE {CHANGE_TYPE} <> 'D'" if settings.satellite_deletes == "ignore" else ""
        hashes = {name: expressions[name] for name in (self.parent_key(project), HASH_DIFF)}
        named = expressions | {name: quote(name) for name in hashes}
        return f"""WITH source AS (
  -- what the source says of each key
  SELECT
{columns(named, indent=4)},
    FALSE AS stored
  FROM {{{self.source}}}
{block(computed_once(hashes, alias="hashed"))}{ignore}
),
versions AS (
  -- the versions of these keys, delivered and stored
  SELECT {hk}, {HASH_DIFF}, {DELETED_FLAG}, {LOAD_DATETIME}, stored{"".join(f", {quote(name)}" for name in payload)}
  FROM source
  UNION ALL
  SELECT {hk}, {HASH_DIFF}, {DELETED_FLAG}, {LOAD_DATETIME}, TRUE AS stored{nulls}
  FROM {{target}}
  WHERE {hk} IN (SELECT {expressions[self.parent_key(project)]} FROM {{{self.source}}})
),
sequenced AS (
  -- each version beside the one before it in load order
  SELECT
    *,
    lag(struct({HASH_DIFF}, {DELETED_FLAG}, {LOAD_DATETIME}, stored)) OVER (
      PARTITION BY {hk} ORDER BY {LOAD_DATETIME}, stored DESC, {HASH_DIFF}
    ) AS predecessor
  FROM versions
)
SELECT
{columns({name: f"sequenced.{quote(name)}" for name in expressions})},
  CASE
    WHEN {hk} IS NULL THEN 'excluded'
    WHEN {self._clash()} THEN raise_error({literal(self._clash_message())})
    WHEN predecessor.{HASH_DIFF} = {HASH_DIFF} AND predecessor.{DELETED_FLAG} = {DELETED_FLAG} THEN
      CASE WHEN predecessor.stored OR predecessor.{LOAD_DATETIME} < {LOAD_DATETIME} THEN 'unchanged' ELSE 'duplicate' END
    ELSE 'inserted'
  END AS outcome
FROM sequenced
WHERE NOT stored"""

    def _clash(self) -> str:
        return (
            f"predecessor.{LOAD_DATETIME} = {LOAD_DATETIME} AND NOT "
            f"(predecessor.{HASH_DIFF} = {HASH_DIFF} AND predecessor.{DELETED_FLAG} = {DELETED_FLAG})"
        )

    def _clash_message(self) -> str:
        return (
            f"satellite '{self.name}': several rows of source '{self.source}' describe one key of '{self.parent}' at one "
            "load date-time. A satellite keeps one version at a time: use kind multi_active_satellite, or another parent."
        )

    def _predecessors(self, project: Project, settings: Settings) -> str:
        """The stored version that an unmarked row of the log proves: equal to itself, an instant before it.

        Only the first row of a key in the slice needs one; the others stand behind a row of the slice.
        """
        expressions = self._expressions(project, settings)
        hk = self.parent_key(project)
        proven = {name: expressions[name] for name in (hk, HASH_DIFF, DELETED_FLAG)}
        before = {**proven, LOAD_DATETIME: f"{LOAD_DATETIME} - INTERVAL '1' MICROSECOND"}
        ignore = f"\n  WHERE {CHANGE_TYPE} <> 'D'" if settings.satellite_deletes == "ignore" else ""
        returned = "" if settings.satellite_deletes == "ignore" else f" AND {CHANGE_TYPE} = 'U'"
        keys = quote_list(project.sources[self.source].key)
        return f"""SELECT
{columns(before)}
FROM (
  SELECT *, row_number() OVER (PARTITION BY {keys} ORDER BY {LOAD_DATETIME}) AS occurrence
  FROM {{{self.source}}}{ignore}
)
WHERE occurrence = 1 AND NOT array_contains({CHANGED_SUBJECTS}, {literal(self.name)}){returned}"""

    def _keyed_like_source(self, project: Project) -> bool:
        """Whether one source key is one key of the parent, so that the log's marks hold for the parent too."""
        parent = project.keyed(self.parent)
        assert parent is not None
        parts = parent.key_parts(project, self.source) or ()
        named = {expression.lower() for expression, _ in parts}
        return named == {quote(column).lower() for column in project.sources[self.source].key}
