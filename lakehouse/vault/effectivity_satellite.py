"""Effectivity satellite: from when to when each combination of a link held, told by its driving key.

Rule: at every moment the rows of a driving key say which of its combinations hold. One that begins to hold is opened, one
that no longer does is closed, one that returns is opened again: one row per opening and closing, never an update, so
A→B→A gives five rows, in one batch or across. ``starts`` and ``ends`` take the business's own dates from the source; else
the time of the change is taken. A combination whose own end changes gets a row, too.
Source: Linstedt & Olschimke, Building a Scalable Data Warehouse with Data Vault 2.0 (2015), effectivity satellites.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field

from lakehouse.errors import suggestion
from lakehouse.metadata.entity import Names
from lakehouse.metadata.project import Project
from lakehouse.metadata.settings import Settings
from lakehouse.metadata.table import Load, Problem, count_outcomes, within_key
from lakehouse.names import (
    ACTIVE_FLAG,
    APPLIED_DATETIME,
    CHANGE_TYPE,
    ENDS_AT,
    LOAD_DATETIME,
    OPEN_END,
    RECORD_SOURCE,
    ROW_AUDIT_ID,
    STARTS_AT,
)
from lakehouse.sql import hashing
from lakehouse.sql.ddl import TargetColumn
from lakehouse.sql.identifiers import any_null, one_of, quote, quote_list
from lakehouse.sql.select import columns
from lakehouse.vault.columns import appended, typed_columns
from lakehouse.vault.delivered_combinations import DeliveredCombinations
from lakehouse.vault.description import Description
from lakehouse.vault.sets import GONE, GROUP, Sets

STAMPED = (APPLIED_DATETIME, LOAD_DATETIME, RECORD_SOURCE, ROW_AUDIT_ID)


class EffectivitySatellite(Description):
    """When each combination of a link held."""

    kind: Literal["effectivity_satellite"] = "effectivity_satellite"
    driving_key: Names = Field(min_length=1)
    """The ends of the link (role, or the hub's entity) whose other ends change over time."""
    starts: str | None = None
    """The source column with the date from which a combination holds."""
    ends: str | None = None
    """The source column with the date until which it holds; NULL while it is open."""
    sets: Literal["from_log", "delivered"] = "from_log"
    """What holds at a moment: all rows of the driving key, from the log (default), or those delivered with one load
    date-time, as an external stage may; the keys of all ends are kept then."""
    end_dating: Literal["automatic", "source"] = "automatic"
    """For delivered rows: a combination ends when its driving key comes with others, or when the source says so."""
    columns: Names = ()
    """For delivered rows: further columns of the source to keep."""

    def columns_of(self, project: Project) -> Mapping[str, str]:
        """Whether the combination holds, from when and until when."""
        kept = {**self._end_types(project), **self.typed(project, self.columns)} if self.sets == "delivered" else {}
        return {**kept, ACTIVE_FLAG: "boolean", STARTS_AT: "timestamp", ENDS_AT: "timestamp"}

    def problems(self, project: Project) -> Iterator[Problem]:
        """The parent is a link that has the driving ends; the date columns exist."""
        yield from super().problems(project)
        parent = project.keyed(self.parent)
        if parent is not None and not parent.ends:
            message = f"names parent '{self.parent}', which is not a link. Only the combinations of a link hold or not."
            yield Problem(("parent",), message)
            return
        known = [end.label for end in parent.ends] if parent is not None else []
        for position, label in enumerate(self.driving_key):
            if parent is not None and label not in known:
                message = f"names driving key '{label}', which is no end of '{self.parent}'. {suggestion(label, known)}"
                yield Problem(("driving_key", position), message)
        if known and set(known) <= set(self.driving_key):
            message = f"names every end of '{self.parent}' as driving key, so none is left to change. Leave one out."
            yield Problem(("driving_key",), message)
        yield from self.column_problems(project, self.columns, "columns")
        if self.sets == "from_log" and (self.columns or self.end_dating == "source"):
            field = "columns" if self.columns else "end_dating"
            yield Problem(
                (field,), f"says '{field}', which is for delivered rows. Say 'sets: delivered', or leave it out."
            )
        if self.end_dating == "source" and not self.ends:
            yield Problem(
                ("end_dating",), "takes end dates from the source, but names no column for them. Give 'ends'."
            )
        for field in ("starts", "ends"):
            yield from self._date_problems(project, field, getattr(self, field))

    def _date_problems(self, project: Project, field: str, column: str | None) -> Iterator[Problem]:
        if column is None or self.source not in project.sources:
            return
        yield from self.column_problems(project, (column,), field)
        source = project.sources[self.source]
        if source.spelled(column) and source.type_of(column) not in ("date", "timestamp"):
            message = f"takes '{field}' from column '{column}' of type {source.type_of(column)}; a date or timestamp is needed."
            yield Problem((field,), message)

    def load(self, project: Project) -> Load:
        """Insert the openings and closings that are not known."""
        own = (
            *self.key_columns(project),
            *(self._kept_columns(project) if self.sets == "delivered" else ()),
            TargetColumn(ACTIVE_FLAG, "boolean", "Whether the combination holds from here on", required=True),
            TargetColumn(STARTS_AT, "timestamp", "From when it holds (UTC)", required=True),
            TargetColumn(ENDS_AT, "timestamp", "Until when it holds or held (UTC)"),
            TargetColumn(APPLIED_DATETIME, "timestamp", "The business's own time of the change (UTC)"),
        )
        settings, delivered = project.settings_of("tables", self.name), self.sets == "delivered"
        select = self._delivered(project, settings) if delivered else self._select(project, settings)
        outcomes = ("inserted", "unchanged", *(("duplicate", "excluded") if delivered else ()))
        keys, counts = (*self.parent_keys(project), LOAD_DATETIME), count_outcomes(*outcomes)
        return appended(self, project, self.source, own, select, keys=keys, counts=counts, whole=not delivered)

    def _kept_columns(self, project: Project) -> tuple[TargetColumn, ...]:
        ends = typed_columns(self._end_types(project), "Key of an end of the link")
        return (*ends, *typed_columns(self.typed(project, self.columns), ""))

    def _end_types(self, project: Project) -> dict[str, str]:
        types = self.parent_of(project).columns_of(project)
        return {name: types[name] for name in self._end_keys(project)}

    def _end_keys(self, project: Project, *, driving: bool | None = None) -> dict[str, str]:
        """The key columns of the ends as SQL over a row: of all, of the driving ones or of the others."""
        found: dict[str, str] = {}
        for end in self.parent_of(project).ends:
            if driving is None or driving == (end.label in self.driving_key):
                found |= self.parent_of(project).end_keys(project, self.source, end.label)
        return found

    def _delivered(self, project: Project, settings: Settings) -> str:
        return DeliveredCombinations(
            rows=f"(SELECT * FROM {self.rows} WHERE {CHANGE_TYPE} <> 'D')",
            keys=self.keys(project),
            driving=self._end_keys(project, driving=True),
            others=self._end_keys(project, driving=False),
            kept=tuple(self.typed(project, self.columns)),
            starts=self.starts,
            ends=self.ends,
            open_end=_open_end(settings),
            automatic=self.end_dating == "automatic",
        ).select()

    def _group(self, project: Project) -> Sets:
        parts = [part for label in self.driving_key for part in self._end_parts(project, label)]
        missing = " OR ".join(hashing.is_missing(*part) for part in parts)
        text = hashing.joined([hashing.key_text(*part) for part in parts])
        return Sets(
            source=self.source,
            rows=self.rows,
            keys=project.sources[self.source].key,
            group_key=f"CASE WHEN NOT ({missing}) THEN {text} END",
            group_text=text,
            moving=not within_key(project, self.source, parts),
        )

    def _end_parts(self, project: Project, label: str) -> tuple[hashing.Part, ...]:
        parts = self.parent_of(project).end_parts(project, self.source, label)
        assert parts is not None  # a problem otherwise
        return parts

    def _select(self, project: Project, settings: Settings) -> str:
        keys = self.keys(project)
        given = dict(keys)
        if self.starts:
            given["own_start"] = f"CAST({quote(self.starts)} AS TIMESTAMP)"
        if self.ends:
            given["own_end"] = f"CAST({quote(self.ends)} AS TIMESTAMP)"
        end = _open_end(settings)
        own_end = f"coalesce(own_end, {end})" if self.ends else end
        key = quote_list(keys)
        names = [*keys, ACTIVE_FLAG, STARTS_AT, ENDS_AT, *STAMPED]
        return f"""WITH {self._group(project).ctes(given, ())},
states AS (
  -- which combinations of each driving key hold at each moment, and which just went
  SELECT
    {key}, bool_or(NOT {GONE}) AS {ACTIVE_FLAG}, FALSE AS stored,
    {f"min(own_start) FILTER (WHERE NOT {GONE})" if self.starts else "CAST(NULL AS TIMESTAMP)"} AS own_start,
    max({own_end}) FILTER (WHERE NOT {GONE}) AS {ENDS_AT},
    {", ".join(f"max({name}) AS {name}" for name in (APPLIED_DATETIME, RECORD_SOURCE, ROW_AUDIT_ID))},
    {LOAD_DATETIME}
  FROM sets
  WHERE NOT ({any_null(keys)})
  GROUP BY {GROUP}, {LOAD_DATETIME}, {key}
),
versions AS (
  SELECT *, CAST(NULL AS TIMESTAMP) AS {STARTS_AT} FROM states
  UNION ALL
  SELECT
    {key}, {ACTIVE_FLAG}, TRUE, NULL, {ENDS_AT}, {APPLIED_DATETIME}, {RECORD_SOURCE}, {ROW_AUDIT_ID}, {LOAD_DATETIME}, {STARTS_AT}
  FROM {{target}}
  WHERE {one_of(list(keys))} IN (SELECT {key} FROM states)
),
sequenced AS (
  -- each state beside the one before it
  SELECT *, lag(struct({ACTIVE_FLAG}, {ENDS_AT})) OVER (PARTITION BY {key} ORDER BY {LOAD_DATETIME}, stored DESC) AS predecessor
  FROM versions
),
opened AS (
  -- and the start of the opening that it belongs to
  SELECT
    * EXCEPT ({STARTS_AT}),
    last_value(CASE
      WHEN stored THEN {STARTS_AT}
      WHEN {ACTIVE_FLAG} AND NOT coalesce(predecessor.{ACTIVE_FLAG}, FALSE) THEN coalesce(own_start, {APPLIED_DATETIME})
    END) IGNORE NULLS OVER (PARTITION BY {key} ORDER BY {LOAD_DATETIME}, stored DESC) AS {STARTS_AT}
  FROM sequenced
)
SELECT
{columns({name: quote(name) if name != ENDS_AT else f"CASE WHEN {ACTIVE_FLAG} THEN {ENDS_AT} ELSE {APPLIED_DATETIME} END" for name in names})},
  CASE
    WHEN {ACTIVE_FLAG} = coalesce(predecessor.{ACTIVE_FLAG}, FALSE)
      AND (NOT {ACTIVE_FLAG} OR {ENDS_AT} <=> predecessor.{ENDS_AT}) THEN 'unchanged'
    ELSE 'inserted'
  END AS outcome
FROM opened
WHERE NOT stored"""


def _open_end(settings: Settings) -> str:
    return "CAST(NULL AS TIMESTAMP)" if settings.open_end == "null" else f"TIMESTAMP '{OPEN_END}'"
