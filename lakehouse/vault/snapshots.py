"""What point-in-time tables and bridges share: the moments that they keep, and how their rows are compared with the target.

Rule: a snapshot of the calendar is the end of a day (the midnight after it). Snapshots are the days from the first load to
the newest, thinned: so many days, weeks (Mondays), months and years back; or exactly the moments that a source lists. What
the calendar or list no longer has is removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import ClassVar

from pydantic import Field, model_validator

from lakehouse.errors import suggestion
from lakehouse.metadata.checks import missing_column
from lakehouse.metadata.entity import Entity, Names
from lakehouse.metadata.environment import Layer, Relation
from lakehouse.metadata.project import Project
from lakehouse.metadata.settings import Settings
from lakehouse.metadata.table import Input, KeyedTable, Problem, Table
from lakehouse.names import CHANGE_TYPE, EFFECTIVE_TO, LOAD_DATETIME, LOAD_POSITION, SNAPSHOT
from lakehouse.sql.ddl import TableDefinition, TargetColumn
from lakehouse.sql.identifiers import literal, quote, quote_list, same
from lakehouse.sql.select import columns
from lakehouse.vault.columns import properties


class Calendar(Entity):
    """Which days are kept as snapshots, counted back from the newest load."""

    daily: int = Field(default=0, ge=0)
    """So many days."""
    weekly: int = Field(default=0, ge=0)
    """So many weeks, by their Mondays."""
    monthly: int = Field(default=0, ge=0)
    """So many months, by their first days."""
    yearly: int = Field(default=0, ge=0)
    """So many years, by their first days."""
    dates: tuple[date, ...] = ()
    """These days besides."""

    @model_validator(mode="after")
    def _keeps_something(self) -> Calendar:
        if not (self.daily or self.weekly or self.monthly or self.yearly or self.dates):
            raise ValueError("a calendar keeps daily, weekly, monthly or yearly snapshots, or names dates.")
        return self


class Listed(Entity):
    """The moments that a source lists, such as a table of as-of dates."""

    source: str
    column: str
    """Its column with a date or timestamp."""


class SnapshotTable(Table):
    """A table with the state of a parent's keys at moments."""

    layer: ClassVar[Layer] = "vault"
    parent: str
    """The hub or link whose keys it has."""
    columns: Names = ()
    """Further columns of the parent to keep."""

    @property
    def listed(self) -> Listed | None:
        """The source that lists its moments, if there is one."""
        found = getattr(self, "snapshots", None)
        return found if isinstance(found, Listed) else None

    def tables(self, project: Project) -> tuple[Relation, ...]:
        """The tables of the vault that it reads."""
        raise NotImplementedError

    def reads(self, project: Project) -> tuple[Relation, ...]:
        """The tables of the vault, and the log of the source that lists the moments."""
        listed = self.listed
        dates = (project.log(listed.source),) if listed and listed.source in project.sources else ()
        return (*self.tables(project), *dates)

    def inputs(self, project: Project) -> tuple[Input, ...]:
        """What its load reads, all of it whole."""
        found = [Input(relation.name, relation, whole=True) for relation in self.tables(project)]
        if self.listed:
            found.append(Input(self.listed.source, project.log(self.listed.source), whole=True))
        return tuple(found)

    def parent_of(self, project: Project) -> KeyedTable:
        """The hub or link; only where there is one."""
        parent = project.keyed(self.parent)
        assert parent is not None  # a problem otherwise
        return parent

    def key(self, project: Project) -> str:
        """The key column that it shares with its parent."""
        return self.parent_of(project).hash_key

    def kept(self, project: Project) -> Mapping[str, str]:
        """The further columns of the parent with their types."""
        types = self.parent_of(project).columns_of(project)
        spelled = {name.lower(): name for name in types}
        return {spelled[name.lower()]: types[spelled[name.lower()]] for name in self.columns}

    def problems(self, project: Project) -> Iterator[Problem]:
        """The parent, its columns and the list of moments exist."""
        parent = project.keyed(self.parent)
        if parent is None:
            keyed = [name for name in project.tables if project.keyed(name)]
            message = f"names parent '{self.parent}', which is not in the project."
            yield Problem(("parent",), f"{message} {suggestion(self.parent, keyed)}")
        elif len(parent.key_names) > 1:
            message = f"points at '{self.parent}', whose key is {len(parent.key_names)} columns ({', '.join(parent.key_names)}); it needs one."
            yield Problem(("parent",), message)
        elif self.columns and not list(parent.problems(project)):
            for position, column in enumerate(self.columns):
                lead = f"names, in '{self.parent}', column"
                yield from missing_column(parent.columns_of(project), column, ("columns", position), lead)
        yield from self._listed_problems(project)

    def _listed_problems(self, project: Project) -> Iterator[Problem]:
        listed = self.listed
        if listed is None:
            return
        if listed.source not in project.sources:
            message = f"takes its moments from source '{listed.source}', which is not in the project."
            yield Problem(("snapshots", "source"), f"{message} {suggestion(listed.source, project.sources)}")
            return
        source, place = project.sources[listed.source], ("snapshots", "column")
        yield from missing_column(source.columns, listed.column, place, "takes its moments from column")
        if source.spelled(listed.column) and source.type_of(listed.column) not in ("date", "timestamp"):
            found = f"takes its moments from column '{listed.column}' of type {source.type_of(listed.column)}"
            yield Problem(place, f"{found}; a date or timestamp is needed.")

    def definition(self, project: Project, settings: Settings) -> TableDefinition:
        """The table, in the order of its columns."""
        comments = {SNAPSHOT: "The moment of the snapshot; of a calendar's, the midnight after the day (UTC)"}
        optional = (EFFECTIVE_TO, *self.kept(project))
        own = tuple(
            TargetColumn(name, data_type, comments.get(name, ""), required=name not in optional)
            for name, data_type in self.columns_of(project).items()
        )
        position = TargetColumn(LOAD_POSITION, "bigint", "Position of the commit that wrote the row", required=True)
        return TableDefinition((*own, position), self.description, properties=properties(settings))

    def calendar(self, project: Project, kept: Calendar | Listed) -> str:
        """The CTEs ``calendar`` (the snapshots to keep, ``is_new`` where the table lacks them) and ``gone``."""
        days = self._days(project, kept) if isinstance(kept, Calendar) else self._list(project, kept)
        return f"""known AS (
  SELECT DISTINCT {SNAPSHOT} FROM {{target}}
),
calendar AS (
  -- the snapshots to keep, and whether the table lacks them
  SELECT days.{SNAPSHOT}, known.{SNAPSHOT} IS NULL AS is_new
{days}
),
gone AS (
  -- the snapshots that the calendar no longer keeps
  SELECT {SNAPSHOT} FROM known LEFT ANTI JOIN calendar USING ({SNAPSHOT})
)"""

    def _list(self, project: Project, listed: Listed) -> str:
        source = project.sources[listed.source]
        column = quote(source.spelled(listed.column) or listed.column)
        newest = f"PARTITION BY {quote_list(source.key)} ORDER BY {LOAD_DATETIME} DESC"
        return f"""  FROM (
    SELECT DISTINCT CAST({column} AS TIMESTAMP) AS {SNAPSHOT}
    FROM (SELECT *, row_number() OVER ({newest}) AS age FROM {{{listed.source}}})
    WHERE age = 1 AND {CHANGE_TYPE} <> 'D' AND {column} IS NOT NULL
  ) AS days
  LEFT JOIN known ON known.{SNAPSHOT} = days.{SNAPSHOT}"""

    def _days(self, project: Project, kept: Calendar) -> str:
        first_day = "timestampadd(DAY, 1, date_trunc('DAY', timestampadd(MICROSECOND, -1, first)))"
        told = "\n    UNION ALL ".join(
            f"SELECT min({LOAD_DATETIME}) AS first, max({LOAD_DATETIME}) AS newest FROM {{{r.name}}}"
            for r in self.tables(project)
        )
        return f"""  FROM (
    SELECT newest, explode(sequence({first_day}, newest, INTERVAL 1 DAY)) AS {SNAPSHOT}
    FROM (SELECT min(first) AS first, max(newest) AS newest FROM (
    {told}))
    WHERE {first_day} <= newest
  ) AS days
  LEFT JOIN known ON known.{SNAPSHOT} = days.{SNAPSHOT}
  WHERE {" OR ".join(f"({condition})" for condition in _chosen(kept))}"""

    def difference(self, project: Project, keys: Sequence[str], concerned: str) -> str:
        """The rows of ``pointed`` that the target lacks, has otherwise, or should no longer have."""
        names = list(self.columns_of(project))
        values = [name for name in names if name not in keys]
        either = {k: f"coalesce(pointed.{quote(k)}, target.{quote(k)})" for k in keys}
        equal = " AND ".join(f"pointed.{quote(name)} <=> target.{quote(name)}" for name in values) or "TRUE"
        first = quote(keys[0])
        return f"""SELECT
{columns({name: either.get(name, f"pointed.{quote(name)}") for name in names})},
  CASE
    WHEN target.{first} IS NULL THEN 'inserted'
    WHEN pointed.{first} IS NULL THEN 'removed'
    WHEN {equal} THEN 'unchanged'
    ELSE 'updated'
  END AS outcome
FROM pointed
FULL OUTER JOIN (SELECT * FROM {{target}} WHERE {concerned}) AS target ON {same("pointed", "target", keys)}"""


def _chosen(kept: Calendar) -> list[str]:
    newest = "date_trunc('DAY', newest)"
    age = f"datediff({newest}, days.{SNAPSHOT})"
    conditions = {
        f"{age} < {kept.daily}": kept.daily,
        f"weekday(days.{SNAPSHOT}) = 0 AND {age} < {7 * kept.weekly}": kept.weekly,
        f"day(days.{SNAPSHOT}) = 1 AND months_between(trunc({newest}, 'MM'), days.{SNAPSHOT}) < {kept.monthly}": kept.monthly,
        f"dayofyear(days.{SNAPSHOT}) = 1 AND year({newest}) - year(days.{SNAPSHOT}) < {kept.yearly}": kept.yearly,
    }
    named = ", ".join(f"TIMESTAMP {literal(day.isoformat())}" for day in kept.dates)
    chosen = [condition for condition, number in conditions.items() if number]
    return chosen + ([f"days.{SNAPSHOT} IN ({named})"] if named else [])
