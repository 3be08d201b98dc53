"""Point-in-time table: for each key and snapshot date, which version of every satellite was valid then.

Rule: a snapshot stands for the end of a day (the midnight after it); the version is the last one loaded by then, or the
zero key and 1900-01-01 where there was none. Snapshots are the days from the first load to the newest, thinned by the
calendar: so many days, weeks (Mondays), months and years back. A load computes new snapshots for all keys and all
snapshots for keys with new rows, so a late row repairs older ones and a rebuild gives the same table; what the calendar no
longer keeps is removed. ``ranges`` keeps, instead of snapshots, one row per span in which no satellite changed.
Source: Linstedt & Olschimke, Building a Scalable Data Warehouse with Data Vault 2.0 (2015), point-in-time tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from lakehouse.errors import suggestion
from lakehouse.metadata.entity import Entity, Names
from lakehouse.metadata.environment import Layer, Relation
from lakehouse.metadata.project import Project
from lakehouse.metadata.settings import Settings
from lakehouse.metadata.table import OFFSET, Input, Load, Problem, Table, count_outcomes
from lakehouse.names import EFFECTIVE_FROM, EFFECTIVE_TO, LOAD_DATETIME, LOAD_POSITION, LOW_DATE, OPEN_END, SNAPSHOT
from lakehouse.sql.ddl import TableDefinition, TargetColumn
from lakehouse.sql.identifiers import literal, quote
from lakehouse.sql.select import Select, columns
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


class PointInTime(Table):
    """Which version of every satellite was valid when."""

    kind: Literal["point_in_time"] = "point_in_time"
    layer: ClassVar[Layer] = "vault"
    parent: str
    """The hub or link whose keys it has."""
    satellites: Names = Field(min_length=1)
    """The satellites of the parent that it points into."""
    snapshots: Calendar | Literal["ranges"] = Calendar(daily=30)
    """The days to keep; or ``ranges``: from when to when nothing changed."""

    def reads(self, project: Project) -> tuple[Relation, ...]:
        """The parent and the satellites."""
        named = (self.parent, *self.satellites)
        return tuple(project.tables[name].relation for name in named if name in project.tables)

    def columns_of(self, project: Project) -> Mapping[str, str]:
        """The key, the moment, and per satellite where its version is."""
        key_type = project.hashes_of(self.parent).type
        moments = (EFFECTIVE_FROM, EFFECTIVE_TO) if self.snapshots == "ranges" else (SNAPSHOT,)
        found = {self._key(project): key_type, **dict.fromkeys(moments, "timestamp")}
        for satellite in self.satellites:
            found |= {_hk(satellite): key_type, _version(satellite): "timestamp"}
        return found

    def _key(self, project: Project) -> str:
        parent = project.keyed(self.parent)
        assert parent is not None  # a problem otherwise
        return parent.hash_key

    def problems(self, project: Project) -> Iterator[Problem]:
        """The parent exists; each satellite exists and describes it."""
        if project.keyed(self.parent) is None:
            keyed = [name for name in project.tables if project.keyed(name)]
            message = f"names parent '{self.parent}', which is not in the project."
            yield Problem(("parent",), f"{message} {suggestion(self.parent, keyed)}")
        own = [name for name, table in project.tables.items() if getattr(table, "parent", None) == self.parent]
        own = [name for name in own if not isinstance(project.tables[name], PointInTime)]
        for position, name in enumerate(self.satellites):
            if name not in own:
                message = f"points into '{name}', which is no satellite of '{self.parent}'. {suggestion(name, own)}"
                yield Problem(("satellites", position), message)

    def load(self, project: Project) -> Load:
        """Insert new snapshots, repair those of keys with late rows, remove those that the calendar no longer keeps."""
        settings = project.settings_of("tables", self.name)
        key = self._key(project)
        select = self._ranges(project) if self.snapshots == "ranges" else self._snapshots(project)
        return Load(
            name=self.name,
            kind=self.kind,
            layer=self.layer,
            definition=self._definition(project, settings),
            inputs=tuple(Input(r.name, r, whole=True) for r in self.reads(project)),
            select=Select(select),
            write="merge",
            keys=(key, EFFECTIVE_FROM if self.snapshots == "ranges" else SNAPSHOT),
            counts=count_outcomes("inserted", "updated", "removed", "unchanged"),
            settings=settings,
        )

    def _definition(self, project: Project, settings: Settings) -> TableDefinition:
        comments = {SNAPSHOT: "The end of a day: the midnight after it (UTC)"}
        own = tuple(
            TargetColumn(name, data_type, comments.get(name, ""), required=name != EFFECTIVE_TO)
            for name, data_type in self.columns_of(project).items()
        )
        position = TargetColumn(LOAD_POSITION, "bigint", "Position of the commit that wrote the row", required=True)
        return TableDefinition((*own, position), self.description, properties=properties(settings))

    def _touched(self, project: Project) -> str:
        hk = quote(self._key(project))
        arms = [
            f"SELECT {hk} FROM {{{r.name}}} WHERE {LOAD_POSITION} > {{{r.name}{OFFSET}}}" for r in self.reads(project)
        ]
        return "touched AS (\n  -- the keys that new rows concern\n  " + "\n  UNION\n  ".join(arms) + "\n)"

    def _versions(self, project: Project, *, where: str = "") -> str:
        hk = quote(self._key(project))
        arms = [
            f"SELECT {hk}, 0 AS arm, {LOAD_DATETIME} AS version, CAST(NULL AS TIMESTAMP) AS until FROM {{{self.parent}}}{where}"
        ]
        for arm, satellite in enumerate(self.satellites, start=1):
            following = f"lead({LOAD_DATETIME}) OVER (PARTITION BY {hk} ORDER BY {LOAD_DATETIME})"
            rows = f"(SELECT DISTINCT {hk}, {LOAD_DATETIME} FROM {{{satellite}}}{where})"
            arms.append(f"SELECT {hk}, {arm}, {LOAD_DATETIME}, {following} FROM {rows}")
        union = "\n  UNION ALL\n  ".join(arms)
        return f"versions AS (\n  -- every version of every satellite, and until when it was the last; the key itself as arm 0\n  {union}\n)"

    def _pointers(self, project: Project, version: str) -> dict[str, str]:
        """Per satellite its key and load date-time, from ``version`` with the arm's number in it."""
        hk, zero = quote(self._key(project)), project.hashes_of(self.parent).zero_key
        found = {}
        for arm, satellite in enumerate(self.satellites, start=1):
            found[_hk(satellite)] = f"CASE WHEN {version.format(arm=arm)} IS NULL THEN {zero} ELSE {hk} END"
            found[_version(satellite)] = f"coalesce({version.format(arm=arm)}, TIMESTAMP '{LOW_DATE}')"
        return found

    def _snapshots(self, project: Project) -> str:
        hk = quote(self._key(project))
        pivot = ",\n    ".join(
            f"max(version) FILTER (WHERE arm = {n}) AS version_{n}" for n in range(1, len(self.satellites) + 1)
        )
        pointers = self._pointers(project, "version_{arm}")
        given = {self._key(project): hk, SNAPSHOT: SNAPSHOT, **pointers}
        return f"""WITH {self._touched(project)},
{self._calendar(project)},
{self._versions(project)},
wanted AS (
  -- all keys at new snapshots, touched keys at all of them
  SELECT {hk}, {SNAPSHOT},
    {pivot}
  FROM versions
  JOIN calendar ON calendar.{SNAPSHOT} >= versions.version AND (versions.until IS NULL OR calendar.{SNAPSHOT} < versions.until)
  WHERE calendar.is_new OR {hk} IN (SELECT {hk} FROM touched)
  GROUP BY {hk}, {SNAPSHOT}
  HAVING bool_or(arm = 0)
),
pointed AS (
  SELECT
{columns(given, indent=4)}
  FROM wanted
)
{self._difference(project, (SNAPSHOT,), f"{hk} IN (SELECT {hk} FROM touched) OR {SNAPSHOT} IN (SELECT {SNAPSHOT} FROM gone)")}"""

    def _calendar(self, project: Project) -> str:
        assert isinstance(self.snapshots, Calendar)
        kept, newest = self.snapshots, "date_trunc('DAY', newest)"
        age = f"datediff({newest}, days.{SNAPSHOT})"
        first_day = "timestampadd(DAY, 1, date_trunc('DAY', timestampadd(MICROSECOND, -1, first)))"
        conditions = {
            f"{age} < {kept.daily}": kept.daily,
            f"weekday(days.{SNAPSHOT}) = 0 AND {age} < {7 * kept.weekly}": kept.weekly,
            f"day(days.{SNAPSHOT}) = 1 AND months_between(trunc({newest}, 'MM'), days.{SNAPSHOT}) < {kept.monthly}": kept.monthly,
            f"dayofyear(days.{SNAPSHOT}) = 1 AND year({newest}) - year(days.{SNAPSHOT}) < {kept.yearly}": kept.yearly,
        }
        named = ", ".join(f"TIMESTAMP {literal(day.isoformat())}" for day in kept.dates)
        chosen = [condition for condition, number in conditions.items() if number]
        chosen += [f"days.{SNAPSHOT} IN ({named})"] if named else []
        told = "\n    UNION ALL ".join(
            f"SELECT min({LOAD_DATETIME}) AS first, max({LOAD_DATETIME}) AS newest FROM {{{r.name}}}"
            for r in self.reads(project)
        )
        return f"""known AS (
  SELECT DISTINCT {SNAPSHOT} FROM {{target}}
),
calendar AS (
  -- the snapshots to keep, and whether the table lacks them
  SELECT days.{SNAPSHOT}, known.{SNAPSHOT} IS NULL AS is_new
  FROM (
    SELECT newest, explode(sequence({first_day}, newest, INTERVAL 1 DAY)) AS {SNAPSHOT}
    FROM (SELECT min(first) AS first, max(newest) AS newest FROM (
    {told}))
    WHERE {first_day} <= newest
  ) AS days
  LEFT JOIN known ON known.{SNAPSHOT} = days.{SNAPSHOT}
  WHERE {" OR ".join(f"({condition})" for condition in chosen)}
),
gone AS (
  -- the snapshots that the calendar no longer keeps
  SELECT {SNAPSHOT} FROM known LEFT ANTI JOIN calendar USING ({SNAPSHOT})
)"""

    def _ranges(self, project: Project) -> str:
        key = self._key(project)
        hk = quote(key)
        names = range(1, len(self.satellites) + 1)
        latest = ",\n      ".join(
            f"last_value(CASE WHEN arm = {n} THEN version END) IGNORE NULLS OVER earlier AS version_{n}" for n in names
        )
        pointers = self._pointers(project, "version_{arm}")
        given = {key: hk, EFFECTIVE_FROM: "version", EFFECTIVE_TO: EFFECTIVE_TO, **pointers}
        touched = f" WHERE {hk} IN (SELECT {hk} FROM touched)"
        return f"""WITH {self._touched(project)},
{self._versions(project, where=touched)},
states AS (
  -- the last version of each satellite at every moment when one of them changed, and until when it stayed so
  SELECT *, coalesce(lead(version) OVER (PARTITION BY {hk} ORDER BY version), TIMESTAMP '{OPEN_END}') AS {EFFECTIVE_TO}
  FROM (
    SELECT
      {hk}, version,
      {latest},
      row_number() OVER (PARTITION BY {hk}, version ORDER BY arm DESC) AS last_of_moment
    FROM versions
    WINDOW earlier AS (PARTITION BY {hk} ORDER BY version, arm ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
  )
  WHERE last_of_moment = 1
),
pointed AS (
  SELECT
{columns(given, indent=4)}
  FROM states
  WHERE {hk} IN (SELECT {hk} FROM {{{self.parent}}})
)
{self._difference(project, (EFFECTIVE_FROM,), f"{hk} IN (SELECT {hk} FROM touched)")}"""

    def _difference(self, project: Project, moment: tuple[str, ...], concerned: str) -> str:
        keys = (self._key(project), *moment)
        names = list(self.columns_of(project))
        values = [name for name in names if name not in keys]
        same = " AND ".join(f"pointed.{quote(k)} = target.{quote(k)}" for k in keys)
        either = {k: f"coalesce(pointed.{quote(k)}, target.{quote(k)})" for k in keys}
        equal = " AND ".join(f"pointed.{quote(name)} <=> target.{quote(name)}" for name in values)
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
FULL OUTER JOIN (SELECT * FROM {{target}} WHERE {concerned}) AS target ON {same}"""


def _hk(satellite: str) -> str:
    return f"{satellite}_hk"


def _version(satellite: str) -> str:
    return f"{satellite}_{LOAD_DATETIME}"
