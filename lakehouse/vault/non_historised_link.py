"""Non-historised link: events and transactions between hubs with what they carry, such as a sale with its amount.

Rule: an event is inserted once and never updated. Where the source corrects one, the former row is inserted again with its
measures negated and reversal_flag set, and the corrected row after it; where the source deletes one, only the reversal:
sums over the measures are always those of the source. ``corrections: ignore`` keeps the first telling of an event.
Source: Linstedt & Olschimke, Building a Scalable Data Warehouse with Data Vault 2.0 (2015), non-historised links.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from lakehouse.metadata.checks import missing_column
from lakehouse.metadata.entity import Names
from lakehouse.metadata.project import Project
from lakehouse.metadata.settings import Settings
from lakehouse.metadata.table import OFFSET, Load, Problem, count_outcomes, source_part, within_key
from lakehouse.names import APPLIED_DATETIME, CHANGE_TYPE, HASH_DIFF, LOAD_DATETIME, LOAD_POSITION, REVERSAL_FLAG
from lakehouse.sql.ddl import TargetColumn
from lakehouse.sql.identifiers import quote, quote_list
from lakehouse.sql.select import block, columns, computed_once
from lakehouse.sql.types import INTEGERS
from lakehouse.vault.columns import STAMPED, appended, typed_columns
from lakehouse.vault.combination import Combination
from lakehouse.vault.insert_only import insert_only


class NonHistorisedLink(Combination):
    """Events between hubs."""

    kind: Literal["non_historised_link"] = "non_historised_link"
    columns: Names = ()
    """Source columns to keep."""
    measures: Names = ()
    """Those of them that add up; a reversal negates them."""
    corrections: Literal["reverse", "ignore"] = "reverse"
    """A known event that the source changes or deletes: reversed and told anew, or left as it was first told."""

    def columns_of(self, project: Project) -> Mapping[str, str]:
        """Its keys and columns."""
        return {**super().columns_of(project), **self._payload(project), REVERSAL_FLAG: "boolean"}

    def _payload(self, project: Project) -> dict[str, str]:
        source = project.sources[self.source]
        return {source.spelled(name) or name: source.type_of(name) for name in self.columns}

    def problems(self, project: Project) -> Iterator[Problem]:
        """Source, hubs and columns exist; measures are kept columns that can be negated."""
        yield from super().problems(project)
        if self.source not in project.sources:
            return
        if len(self.key) > 1 and self.corrections == "reverse":
            message = f"has a ready-made key of {len(self.key)} columns, and reverses what the source corrects by one."
            yield Problem(("key",), f"{message} Say 'corrections: ignore', or give one column.")
        source = project.sources[self.source]
        lead = f"names, in source '{self.source}', column"
        for position, column in enumerate(self.columns):
            yield from missing_column(source.columns, column, ("columns", position), lead)
        for position, column in enumerate(self.measures):
            yield from missing_column(self.columns, column, ("measures", position), "names as measure, of its columns,")
            if source.spelled(column) and not _adds_up(source.type_of(column)):
                message = f"names measure '{column}' of type {source.type_of(column)}, which cannot be negated."
                yield Problem(("measures", position), message)

    def load(self, project: Project) -> Load:
        """Insert the events that are not known, and the reversals of those that were corrected."""
        settings, reverse = project.settings_of("tables", self.name), self.corrections == "reverse"
        return appended(
            self,
            project,
            self.source,
            self._event_columns(project, settings),
            self._reversing(project, settings) if reverse else self._first(project, settings),
            keys=(*self.key_names, LOAD_DATETIME, REVERSAL_FLAG),
            counts=self._counts(),
            whole=self._reads_back(project),
            helpers=("corrected",) if reverse else (),
        )

    def _counts(self) -> dict[str, str]:
        counts = count_outcomes("inserted", "unchanged", "duplicate", "excluded")
        if self.corrections == "ignore":
            return counts
        # a reversal is written for a row that is read once, together with its correction or alone
        told = f"count_if(outcome <> 'excluded' AND NOT ({REVERSAL_FLAG} AND corrected))"
        return {**counts, "read": told, "inserted": f"count_if(outcome = 'inserted' AND NOT ({REVERSAL_FLAG} AND corrected))",
                "reversed": f"count_if(outcome = 'inserted' AND {REVERSAL_FLAG})"}  # fmt: skip

    def _event_columns(self, project: Project, settings: Settings) -> tuple[TargetColumn, ...]:
        return (
            *self.own_columns(project, settings),
            *typed_columns(self._payload(project), ""),
            TargetColumn(HASH_DIFF, settings.hashes.type, "Hash of the event's columns", required=True),
            TargetColumn(REVERSAL_FLAG, "boolean", "Whether the row takes a former one back", required=True),
            TargetColumn(APPLIED_DATETIME, "timestamp", "The business's own time of the row (UTC)"),
        )

    def _expressions(self, project: Project, settings: Settings) -> dict[str, str]:
        parts = {name: source_part(project, self.source, name) for name in self.columns}
        keys = self.expressions(project)
        own = {name: keys[name] for name in (column.name for column in self.own_columns(project, settings))}
        return {
            **own,
            **{name: quote(name) for name in self._payload(project)},
            HASH_DIFF: settings.hashes.diff(parts),
            APPLIED_DATETIME: APPLIED_DATETIME,
            **{name: value for name, value in keys.items() if name not in own},
        }

    def _first(self, project: Project, settings: Settings) -> str:
        expressions = {**self._expressions(project, settings), REVERSAL_FLAG: "FALSE"}
        delivered = f"SELECT\n{columns(expressions)}\nFROM {self.rows}\nWHERE {CHANGE_TYPE} <> 'D'"
        return insert_only(delivered, self.key_names, list(expressions))

    def _reads_back(self, project: Project) -> bool:
        return self.corrections == "reverse" and self._moves(project)

    def _moves(self, project: Project) -> bool:
        """Whether an event of one source key may come to refer to other keys, and so to another combination."""
        return not within_key(project, self.source, self.key_parts(project, self.source) or ())

    def _said(self, project: Project, settings: Settings) -> str:
        """The new rows with their hashes; where events may move, each beside the combination that it was before."""
        expressions = self._expressions(project, settings)
        ready_made = {*self.key, *(name for reference in self.references for name in reference.key)}
        made = [*self.key_names, *(name for reference in self.references for name in reference.key_names), HASH_DIFF]
        hashes = {name: expressions[name] for name in made if name not in ready_made}
        named = {**expressions, **{name: quote(name) for name in hashes}}
        rows, flags = self.rows, f"{CHANGE_TYPE} <> 'D' AS there"
        if self._moves(project):
            keys = quote_list(project.sources[self.source].key)
            new = f"{LOAD_POSITION} > {{{self.source}{OFFSET}}}"
            rows = (
                f"(SELECT * FROM {rows} LEFT SEMI JOIN (SELECT DISTINCT {keys} FROM {rows} WHERE {new}) USING ({keys}))"
            )
            before = f"lag({quote(self.hash_key)}) OVER (PARTITION BY {keys} ORDER BY {LOAD_DATETIME})"
            flags += f",\n    {new} AS is_new,\n    {before} AS former_key"
        return f"""said AS (
  -- what the source says of each event
  SELECT
{columns(named, indent=4)},
    {flags}
  FROM {rows}
{block(computed_once(hashes, alias="hashed"))}
)"""

    def _source(self, project: Project, names: Iterable[str]) -> str:
        listed = quote_list(names)
        if not self._moves(project):
            return f"source AS (\n  SELECT {listed}, there, FALSE AS moved, FALSE AS stored FROM said\n)"
        hk = quote(self.hash_key)
        others = quote_list(name for name in names if name != self.hash_key)
        return f"""source AS (
  -- and that an event is gone from the combination that it was before
  SELECT {listed}, there, FALSE AS moved, FALSE AS stored FROM said WHERE is_new
  UNION ALL
  SELECT former_key, {others}, FALSE, TRUE, FALSE FROM said WHERE is_new AND NOT (former_key <=> {hk}) AND former_key IS NOT NULL
)"""

    def _reversing(self, project: Project, settings: Settings) -> str:
        names = list(self._expressions(project, settings))
        hk = quote(self.hash_key)
        carried = [name for name in names if name not in (self.hash_key, LOAD_DATETIME)]
        event = f"struct({quote_list(carried)})"
        measures, stamps = {name.lower() for name in self.measures}, (APPLIED_DATETIME, *STAMPED)
        former = {
            name: f"{'-' if name.lower() in measures else ''}predecessor.event.{quote(name)}"
            for name in carried
            if name not in stamps
        }
        rows = {
            name: quote(name) if name not in carried
            else f"CASE WHEN {REVERSAL_FLAG} THEN {former[name]} ELSE event.{quote(name)} END" if name in former
            else f"event.{quote(name)}"
            for name in names
        }  # fmt: skip
        return f"""WITH {self._said(project, settings)},
{self._source(project, names)},
versions AS (
  -- each event as told now, and as told before
  SELECT {hk}, {LOAD_DATETIME}, there, moved, stored, {event} AS event FROM source
  UNION ALL
  SELECT {hk}, {LOAD_DATETIME}, bool_or(NOT {REVERSAL_FLAG}), FALSE, TRUE, max_by({event}, NOT {REVERSAL_FLAG})
  FROM {{target}}
  WHERE {hk} IN (SELECT {hk} FROM source)
  GROUP BY {hk}, {LOAD_DATETIME}
),
sequenced AS (
  SELECT *, lag(struct(there, event, stored, {LOAD_DATETIME})) OVER (
    PARTITION BY {hk} ORDER BY {LOAD_DATETIME}, stored DESC, event.{HASH_DIFF}
  ) AS predecessor
  FROM versions
),
judged AS (
  -- told as before, told otherwise, or taken back
  SELECT
    *,
    coalesce(predecessor.there, FALSE) AS known,
    there = coalesce(predecessor.there, FALSE) AND (NOT there OR event.{HASH_DIFF} = predecessor.event.{HASH_DIFF}) AS same
  FROM sequenced
  WHERE NOT stored
)
SELECT
{columns(rows)},
  {REVERSAL_FLAG},
  moved OR there AND known AND NOT same AS corrected,
  CASE
    WHEN {hk} IS NULL THEN 'excluded'
    WHEN NOT same THEN 'inserted'
    WHEN predecessor.{LOAD_DATETIME} = {LOAD_DATETIME} AND NOT predecessor.stored THEN 'duplicate'
    ELSE 'unchanged'
  END AS outcome
FROM judged
LATERAL VIEW explode(CASE
  WHEN {hk} IS NULL OR same OR NOT known THEN array(FALSE)
  WHEN there THEN array(TRUE, FALSE)
  ELSE array(TRUE)
END) written AS {REVERSAL_FLAG}"""


def _adds_up(data_type: str) -> bool:
    return data_type in INTEGERS or data_type in ("float", "double") or data_type.startswith("decimal")
