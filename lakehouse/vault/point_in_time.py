"""Point-in-time table: for each key and snapshot date, which version of every satellite was valid then.

Rule: at a snapshot stands the version last loaded by then, or the zero key and 1900-01-01 where there was none. A load computes
new snapshots for all keys and all snapshots for keys with new rows, so a late row repairs older ones and a rebuild gives
the same table. ``ranges`` keeps, instead of snapshots, one row per span in which no satellite changed.
Source: Linstedt & Olschimke, Building a Scalable Data Warehouse with Data Vault 2.0 (2015), point-in-time tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field

from lakehouse.errors import suggestion
from lakehouse.metadata.entity import Names
from lakehouse.metadata.environment import Relation
from lakehouse.metadata.project import Project
from lakehouse.metadata.table import OFFSET, Load, Problem, count_outcomes
from lakehouse.names import EFFECTIVE_FROM, EFFECTIVE_TO, LOAD_DATETIME, LOAD_POSITION, LOW_DATE, OPEN_END, SNAPSHOT
from lakehouse.sql.identifiers import quote
from lakehouse.sql.select import Select, columns
from lakehouse.vault.snapshots import Calendar, Listed, SnapshotTable


class PointInTime(SnapshotTable):
    """Which version of every satellite was valid when."""

    kind: Literal["point_in_time"] = "point_in_time"
    satellites: Names = Field(min_length=1)
    """The satellites of the parent that it points into."""
    snapshots: Calendar | Listed | Literal["ranges"] = Calendar(daily=30)
    """The days to keep; a source that lists the moments; or ``ranges``: from when to when nothing changed."""
    before_first: Literal["leave_out", "zero_key"] = "leave_out"
    """A key at snapshots before the parent knew it: no row, or one that points at no version."""

    def tables(self, project: Project) -> tuple[Relation, ...]:
        """The parent and the satellites."""
        named = (self.parent, *self.satellites)
        return tuple(project.tables[name].relation for name in named if name in project.tables)

    def columns_of(self, project: Project) -> Mapping[str, str]:
        """The key, the moment, and per satellite where its version is."""
        key_type = self.parent_of(project).key_types(project)[self.key(project)]
        moments = (EFFECTIVE_FROM, EFFECTIVE_TO) if self.snapshots == "ranges" else (SNAPSHOT,)
        found = {self.key(project): key_type, **self.kept(project), **dict.fromkeys(moments, "timestamp")}
        for satellite in self.satellites:
            found |= {_hk(satellite): key_type, _version(satellite): "timestamp"}
        return found

    def problems(self, project: Project) -> Iterator[Problem]:
        """The parent exists; each satellite exists and describes it."""
        yield from super().problems(project)
        own = [name for name, table in project.tables.items() if getattr(table, "parent", None) == self.parent]
        own = [name for name in own if not isinstance(project.tables[name], SnapshotTable)]
        for position, name in enumerate(self.satellites):
            if name not in own:
                message = f"points into '{name}', which is no satellite of '{self.parent}'. {suggestion(name, own)}"
                yield Problem(("satellites", position), message)

    def load(self, project: Project) -> Load:
        """Insert new snapshots, repair those of keys with late rows, remove those that are no longer kept."""
        settings = project.settings_of("tables", self.name)
        ranges = self.snapshots == "ranges"
        return Load(
            name=self.name,
            kind=self.kind,
            layer=self.layer,
            definition=self.definition(project, settings),
            inputs=self.inputs(project),
            select=Select(self._ranges(project) if ranges else self._snapshots(project)),
            write="merge",
            keys=(self.key(project), EFFECTIVE_FROM if ranges else SNAPSHOT),
            counts=count_outcomes("inserted", "updated", "removed", "unchanged"),
            settings=settings,
        )

    def _touched(self, project: Project) -> str:
        hk = quote(self.key(project))
        arms = [
            f"SELECT {hk} FROM {{{r.name}}} WHERE {LOAD_POSITION} > {{{r.name}{OFFSET}}}" for r in self.tables(project)
        ]
        return "touched AS (\n  -- the keys that new rows concern\n  " + "\n  UNION\n  ".join(arms) + "\n)"

    def _versions(self, project: Project, *, where: str = "") -> str:
        hk = quote(self.key(project))
        since = LOAD_DATETIME if self.before_first == "leave_out" else f"TIMESTAMP '{LOW_DATE}'"
        arms = [
            f"SELECT {hk}, 0 AS arm, {since} AS version, CAST(NULL AS TIMESTAMP) AS until FROM {{{self.parent}}}{where}"
        ]
        for arm, satellite in enumerate(self.satellites, start=1):
            following = f"lead({LOAD_DATETIME}) OVER (PARTITION BY {hk} ORDER BY {LOAD_DATETIME})"
            rows = f"(SELECT DISTINCT {hk}, {LOAD_DATETIME} FROM {{{satellite}}}{where})"
            arms.append(f"SELECT {hk}, {arm}, {LOAD_DATETIME}, {following} FROM {rows}")
        union = "\n  UNION ALL\n  ".join(arms)
        return f"versions AS (\n  -- every version of every satellite, and until when it was the last; the key itself as arm 0\n  {union}\n)"

    def _pointers(self, project: Project, version: str) -> dict[str, str]:
        """Per satellite its key and load date-time, from ``version`` with the arm's number in it."""
        hk, zero = quote(self.key(project)), project.hashes_of(self.parent).zero_key
        found = {}
        for arm, satellite in enumerate(self.satellites, start=1):
            found[_hk(satellite)] = f"CASE WHEN {version.format(arm=arm)} IS NULL THEN {zero} ELSE {hk} END"
            found[_version(satellite)] = f"coalesce({version.format(arm=arm)}, TIMESTAMP '{LOW_DATE}')"
        return found

    def _kept_over(self, project: Project) -> dict[str, str]:
        return {name: f"parent.{quote(name)}" for name in self.kept(project)}

    def _with_parent(self, project: Project) -> str:
        return f"\n  JOIN {{{self.parent}}} AS parent USING ({quote(self.key(project))})" if self.columns else ""

    def _snapshots(self, project: Project) -> str:
        assert self.snapshots != "ranges"
        hk = quote(self.key(project))
        pivot = ",\n    ".join(
            f"max(version) FILTER (WHERE arm = {n}) AS version_{n}" for n in range(1, len(self.satellites) + 1)
        )
        pointers = self._pointers(project, "version_{arm}")
        given = {self.key(project): hk, **self._kept_over(project), SNAPSHOT: SNAPSHOT, **pointers}
        return f"""WITH {self._touched(project)},
{self.calendar(project, self.snapshots)},
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
  FROM wanted{self._with_parent(project)}
)
{self.difference(project, (self.key(project), SNAPSHOT), f"{hk} IN (SELECT {hk} FROM touched) OR {SNAPSHOT} IN (SELECT {SNAPSHOT} FROM gone)")}"""

    def _ranges(self, project: Project) -> str:
        key = self.key(project)
        hk = quote(key)
        names = range(1, len(self.satellites) + 1)
        latest = ",\n      ".join(
            f"last_value(CASE WHEN arm = {n} THEN version END) IGNORE NULLS OVER earlier AS version_{n}" for n in names
        )
        pointers = self._pointers(project, "version_{arm}")
        span = {EFFECTIVE_FROM: "version", EFFECTIVE_TO: EFFECTIVE_TO}
        given = {key: hk, **self._kept_over(project), **span, **pointers}
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
  FROM states{self._with_parent(project)}
  WHERE {hk} IN (SELECT {hk} FROM {{{self.parent}}})
)
{self.difference(project, (self.key(project), EFFECTIVE_FROM), f"{hk} IN (SELECT {hk} FROM touched)")}"""


def _hk(satellite: str) -> str:
    return f"{satellite}_hk"


def _version(satellite: str) -> str:
    return f"{satellite}_{LOAD_DATETIME}"
