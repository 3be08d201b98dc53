"""Multi-active satellite: several rows of a parent at a time, such as a customer's phone numbers; one set per change.

Rule: the rows of a parent at a moment are one set. If any row of it differs from the set before, or there are more or
fewer, the whole set is inserted with one load date-time; never update, never delete. A parent that loses its last row
gets the rows that went once more, with deleted_flag. ``sets: delivered`` is for sources that deliver whole sets
themselves, as an external stage may: then the rows of one key and load date-time are the set, and one without a multi-active key
is excluded.
Source: Linstedt & Olschimke, Building a Scalable Data Warehouse with Data Vault 2.0 (2015), multi-active satellites.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

from pydantic import Field

from lakehouse.metadata.entity import Names
from lakehouse.metadata.kept import Kept, Versions
from lakehouse.metadata.project import Project
from lakehouse.metadata.settings import Settings
from lakehouse.metadata.table import Load, Problem, Subject, count_outcomes
from lakehouse.names import (
    APPLIED_DATETIME,
    DELETED_FLAG,
    HASH_DIFF,
    LOAD_DATETIME,
    RECORD_SOURCE,
    ROW_AUDIT_ID,
)
from lakehouse.sql.ddl import TargetColumn
from lakehouse.sql.identifiers import quote, quote_list
from lakehouse.vault.columns import appended, typed_columns
from lakehouse.vault.description import Description
from lakehouse.vault.set_versions import delivered, occurrence, set_select
from lakehouse.vault.sets import GONE, GROUP

STAMPED = (APPLIED_DATETIME, LOAD_DATETIME, RECORD_SOURCE, ROW_AUDIT_ID)


class MultiActiveSatellite(Description):
    """Several descriptive rows of a hub or link at a time."""

    kind: Literal["multi_active_satellite"] = "multi_active_satellite"
    multi_active_key: Names = Field(min_length=1)
    """The source columns that tell the rows of one parent apart."""
    columns: Names = ()
    """Source columns to keep beside them."""
    hash_diff: str | None = None
    """A column of the source that holds the hash of a row ready-made, as an external stage gives it."""
    sets: Literal["from_log", "delivered"] = "from_log"
    """What a set is: all rows that hold at the moment, from the log (default), or the rows delivered with one load
    date-time."""

    @property
    def inferred_subject(self) -> Subject:
        """Its columns: the log marks whether a row differs in them."""
        return Subject(self.name, self.source, (*self.multi_active_key, *self.columns))

    def columns_of(self, project: Project) -> Mapping[str, str]:
        """Its multi-active key and descriptive columns."""
        return self.typed(project, (*self.multi_active_key, *self.columns))

    def problems(self, project: Project) -> Iterator[Problem]:
        """Parent, source and columns exist."""
        yield from super().problems(project)
        yield from self.column_problems(project, self.multi_active_key, "multi_active_key")
        yield from self.column_problems(project, self.columns, "columns")
        yield from self.given_diff_problems(project, self.hash_diff)

    def versions(self, project: Project) -> Versions:
        """A whole set per version of a key; a key without rows ends with ``deleted_flag``."""
        return self.versions_where(project, DELETED_FLAG, sets=True)

    def keeps(self, project: Project, source: str) -> Kept | None:
        """Its columns, row by row, where a set is all rows that hold."""
        if source != self.source:
            return None
        kept = self.kept_as(project, self.versions(project), (*self.multi_active_key, *self.columns))
        unfit = "takes sets as they are delivered" if self.sets == "delivered" else kept.unfit
        return replace(kept, tells_rows_apart=True, unfit=unfit)

    def load(self, project: Project) -> Load:
        """Insert the sets that differ from the one before."""
        settings = project.settings_of("tables", self.name)
        return appended(
            self,
            project,
            self.source,
            self._own_columns(project, settings),
            self._select(project, settings),
            keys=(*self.parent_keys(project), *self.typed(project, self.multi_active_key), LOAD_DATETIME),
            counts=count_outcomes("inserted", "unchanged", "duplicate", "excluded"),
            whole=self.sets == "from_log",
            zero=self.zero_keys(project, settings),
        )

    def _own_columns(self, project: Project, settings: Settings) -> tuple[TargetColumn, ...]:
        return (
            *self.key_columns(project),
            *typed_columns(self.typed(project, self.multi_active_key), "Multi-active key"),
            *typed_columns(self.typed(project, self.columns), ""),
            TargetColumn(
                HASH_DIFF, self.diff_type(project, settings, self.hash_diff), "Hash of the row's columns", required=True
            ),
            TargetColumn(DELETED_FLAG, "boolean", "Whether the parent lost its last row here", required=True),
            TargetColumn(APPLIED_DATETIME, "timestamp", "The business's own time of the change (UTC)"),
        )

    def _select(self, project: Project, settings: Settings) -> str:
        given = self._from_log(project, settings) if self.sets == "from_log" else self._delivered(project, settings)
        names = list(self.columns_of(project))
        keys = self.parent_keys(project)
        needed = tuple(self.typed(project, self.multi_active_key)) if self.sets == "delivered" else ()
        rows = [*keys, *names, HASH_DIFF, DELETED_FLAG, *STAMPED]
        return set_select(given, rows, keys, member=self._member(project), needed=needed)

    def _member(self, project: Project) -> tuple[str, ...]:
        """What tells the rows of a set apart; a ready-made hash may leave the multi-active key out."""
        return (HASH_DIFF, *self.typed(project, self.multi_active_key)) if self.hash_diff else (HASH_DIFF,)

    def _hash_diff(self, project: Project, settings: Settings) -> dict[str, str]:
        parts = self.parts(project, (*self.multi_active_key, *self.columns))
        return {HASH_DIFF: quote(self.hash_diff) if self.hash_diff else settings.hashes.diff(parts)}

    def _delivered(self, project: Project, settings: Settings) -> str:
        keys = self.keys(project)
        hashes = {**keys, **self._hash_diff(project, settings)}
        kept = [*self.columns_of(project), *STAMPED]
        return delivered(self.rows, hashes, kept, list(keys), member=self._member(project))

    def _from_log(self, project: Project, settings: Settings) -> str:
        group, names = self.group(project), [HASH_DIFF, *self.columns_of(project)]
        keys = ", ".join(f"{value} AS {quote(name)}" for name, value in self.of_group(project).items())
        return f"""{group.ctes(self._hash_diff(project, settings), list(self.columns_of(project)))},
source AS (
  -- what to compare: the live rows of each set, or those that went where none is left; and rows without a parent
  SELECT *, {occurrence(self.parent_keys(project), self._member(project))}
  FROM (
    SELECT
      {keys}, {quote_list(names)}, {GONE} AS {DELETED_FLAG}, {", ".join(STAMPED)},
      bool_or(NOT {GONE}) OVER (PARTITION BY {GROUP}, {LOAD_DATETIME}) AS lives
    FROM sets
    UNION ALL
    SELECT {", ".join(self.of_group(project).values())}, {quote_list(names)}, FALSE, {", ".join(STAMPED)}, TRUE
    FROM held
    WHERE is_new AND {GROUP} IS NULL
  )
  WHERE lives <> {DELETED_FLAG}
)"""
