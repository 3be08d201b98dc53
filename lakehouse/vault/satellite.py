"""Satellite: the descriptive attributes of a hub or link, one row per change.

Rule: insert a row when it differs from the version before it in load order, over the batch and the target together; never
update, never delete. A→B→A keeps three rows, several versions of a key in one batch are all kept, a late row is compared
with its neighbours. A deleted key gives a version with deleted_flag, by setting ``satellite_deletes``.
Source: Linstedt & Olschimke, Building a Scalable Data Warehouse with Data Vault 2.0 (2015), satellite loading.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from lakehouse.metadata.entity import Names
from lakehouse.metadata.project import Project
from lakehouse.metadata.settings import Settings
from lakehouse.metadata.table import Input, Load, Problem, Subject, count_outcomes
from lakehouse.names import (
    APPLIED_DATETIME,
    CHANGE_TYPE,
    CHANGED_SUBJECTS,
    DELETED_FLAG,
    HASH_DIFF,
    LOAD_DATETIME,
)
from lakehouse.sql.ddl import TableDefinition, TargetColumn
from lakehouse.sql.identifiers import literal, quote, quote_list
from lakehouse.sql.select import Select, columns
from lakehouse.vault.columns import STAMPS, ghost, properties, stamped, typed_columns
from lakehouse.vault.description import Description
from lakehouse.vault.set_versions import delivered, set_select
from lakehouse.vault.versions import version_select


class Satellite(Description):
    """The descriptive attributes of a hub or link."""

    kind: Literal["satellite"] = "satellite"
    columns: Names = ()
    """Source columns to keep; a satellite without any tells only that the key is there, or is gone."""
    hash_diff: str | None = None
    """A column of the source that holds the hash of the descriptive columns ready-made, as an external stage gives it."""
    hash_diff_columns: Names = ()
    """The source columns that the hash diff is made of, where they are not those that are kept."""
    ties: Literal["error", "keep"] = "error"
    """Several different rows of a key at one load date-time, which only external stages bring: the load fails, or they
    are a set of which all are kept if it differs from the one before."""

    @property
    def inferred_subject(self) -> Subject:
        """Its columns: the log marks whether a row differs in them."""
        return Subject(self.name, self.source, self.compared)

    @property
    def compared(self) -> tuple[str, ...]:
        """The source columns that make a version."""
        return self.hash_diff_columns or tuple(self.columns)

    def stored_hashes(self, project: Project) -> Mapping[str, str]:
        """The hash diff, where all columns that it is made of are kept."""
        kept = {name.lower() for name in self.columns}
        if self.hash_diff or not self.compared or not {name.lower() for name in self.compared} <= kept:
            return {}
        settings = project.settings_of("tables", self.name)
        return {HASH_DIFF: settings.hashes.diff(self.parts(project, self.compared))}

    def columns_of(self, project: Project) -> Mapping[str, str]:
        """Its descriptive columns."""
        return self.typed(project, self.columns)

    def problems(self, project: Project) -> Iterator[Problem]:
        """Parent, source and columns exist; the parent gets its key from the same source."""
        yield from super().problems(project)
        yield from self.column_problems(project, self.columns, "columns")
        yield from self.given_diff_problems(project, self.hash_diff)
        yield from self.column_problems(project, self.hash_diff_columns, "hash_diff_columns")
        if self.hash_diff and self.hash_diff_columns:
            message = "takes its hash diff ready-made and names the columns that it is made of. Leave one of them out."
            yield Problem(("hash_diff_columns",), message)

    def load(self, project: Project) -> Load:
        """Insert the versions that differ from the one before."""
        settings = project.settings_of("tables", self.name)
        definition = self._definition(project, settings)
        return Load(
            name=self.name,
            kind=self.kind,
            layer=self.layer,
            definition=definition,
            ghost=ghost(definition, self.zero_keys(project, settings), settings),
            inputs=(Input(self.source, project.log(self.source)),),
            select=Select(self._select(project, settings)),
            write="append",
            keys=(*self.parent_keys(project), LOAD_DATETIME),
            counts=count_outcomes("inserted", "unchanged", "duplicate", "excluded"),
            predecessors=self._proof(project, settings),
            subject=self.inferred_subject,
            settings=settings,
        )

    def _proof(self, project: Project, settings: Settings) -> Select | None:
        return (
            Select(self._predecessors(project, settings))
            if self._keyed_like_source(project) and not self.where and not self.hash_diff and self.ties == "error"
            else None
        )

    def _definition(self, project: Project, settings: Settings) -> TableDefinition:
        diff_type = self.diff_type(project, settings, self.hash_diff)
        return TableDefinition(
            (
                *self.key_columns(project),
                *typed_columns(self.columns_of(project), ""),
                TargetColumn(HASH_DIFF, diff_type, "Hash of the descriptive columns", required=True),
                TargetColumn(DELETED_FLAG, "boolean", "Whether the source deleted the key here", required=True),
                TargetColumn(APPLIED_DATETIME, "timestamp", "The business's own time of the row (UTC)"),
                *STAMPS,
            ),
            self.description,
            properties=properties(settings),
        )

    def _expressions(self, project: Project, settings: Settings) -> dict[str, str]:
        return {
            **self.keys(project),
            **{name: quote(name) for name in self.columns_of(project)},
            HASH_DIFF: quote(self.hash_diff)
            if self.hash_diff
            else settings.hashes.diff(self.parts(project, self.compared)),
            DELETED_FLAG: f"{CHANGE_TYPE} = 'D'",
            APPLIED_DATETIME: quote(APPLIED_DATETIME),
            **stamped(),
        }

    def _select(self, project: Project, settings: Settings) -> str:
        keys, expressions = self.keys(project), self._expressions(project, settings)
        if self.ties == "keep":
            return self._sets(expressions, list(keys), deletes=settings.satellite_deletes == "track")
        return version_select(
            self.rows,
            expressions,
            keys=keys,
            hashed=(*keys, HASH_DIFF),
            deletes=settings.satellite_deletes == "track",
            clash=f"satellite '{self.name}': several rows of source '{self.source}' describe one key of '{self.parent}' at one "
            "load date-time. A satellite keeps one version at a time: use kind multi_active_satellite, or another parent.",
            filtered=self.where is not None,
        )

    def _sets(self, expressions: dict[str, str], keys: list[str], *, deletes: bool) -> str:
        hashes = {name: expressions[name] for name in (*keys, HASH_DIFF)}
        kept = [name for name in expressions if name not in (*hashes, DELETED_FLAG)]
        return set_select(delivered(self.rows, hashes, kept, keys, deletes=deletes), list(expressions), keys)

    def _predecessors(self, project: Project, settings: Settings) -> str:
        """The stored version that an unmarked row of the log proves: equal to itself, an instant before it.

        Only the first row of a key in the slice needs one; the others stand behind a row of the slice.
        """
        expressions = self._expressions(project, settings)
        proven = {name: expressions[name] for name in (*self.parent_keys(project), HASH_DIFF, DELETED_FLAG)}
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
        parts = self.parent_of(project).key_parts(project, self.source) or ()
        named = {expression.lower() for expression, _ in parts}
        return named == {quote(column).lower() for column in project.sources[self.source].key}
