"""Bridge: which keys a chain of links connects, from a hub over one link to the next, at moments or currently.

Rule: a row per path through the chain that holds at the snapshot: every link's combination was loaded by then, and where an
effectivity satellite is named its last state by then holds and has not ended. Keys only, and columns of the hub. A load
computes new snapshots and those at or after the oldest new row, so late rows repair older ones and a rebuild gives the same
table. Without snapshots the bridge says what holds by the last row loaded.
Source: Linstedt & Olschimke, Building a Scalable Data Warehouse with Data Vault 2.0 (2015), bridge tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field

from lakehouse.errors import suggestion
from lakehouse.metadata.entity import Entity
from lakehouse.metadata.environment import Relation
from lakehouse.metadata.project import Project
from lakehouse.metadata.table import OFFSET, KeyedTable, Load, Problem, count_outcomes
from lakehouse.names import ACTIVE_FLAG, ENDS_AT, LOAD_DATETIME, LOAD_POSITION, SNAPSHOT
from lakehouse.sql.identifiers import quote
from lakehouse.sql.select import Select, columns
from lakehouse.vault.snapshots import Calendar, Listed, SnapshotTable


class Step(Entity):
    """One link of the chain."""

    link: str
    effectivity: str | None = None
    """The effectivity satellite that says when its combinations hold; without one they hold once they were loaded."""
    via: str | None = None
    """The end (role, or the hub's entity) that the step leaves the link by, where a link has more than two."""


class Bridge(SnapshotTable):
    """Which keys a chain of links connects."""

    kind: Literal["bridge"] = "bridge"
    links: tuple[Step, ...] = Field(min_length=1)
    """The chain, from the parent on."""
    snapshots: Calendar | Listed | Literal["current"] = "current"
    """The days to keep; a source that lists the moments; or ``current``: what holds now, without a moment."""

    def tables(self, project: Project) -> tuple[Relation, ...]:
        """The parent, the links and their effectivity satellites."""
        named = [self.parent]
        for step in self.links:
            named += [step.link, *([step.effectivity] if step.effectivity else [])]
        return tuple(project.tables[name].relation for name in named if name in project.tables)

    def columns_of(self, project: Project) -> Mapping[str, str]:
        """The parent's key, the moment and the key of every link."""
        parent = self.parent_of(project)
        moment = {} if self.snapshots == "current" else {SNAPSHOT: "timestamp"}
        found = {**parent.key_types(project), **self.kept(project), **moment}
        for step in self.links:
            found |= self._link(project, step).key_types(project)
        return found

    def _link(self, project: Project, step: Step) -> KeyedTable:
        link = project.keyed(step.link)
        assert link is not None  # a problem otherwise
        return link

    def _ends(self, project: Project) -> Iterator[tuple[Step, str, str]]:
        """Each step with the columns that it enters and leaves the link by."""
        entered = {self.parent_of(project).hash_key}
        hub = self.parent
        for step in self.links:
            ends = self._link(project, step).ends
            into = next((end for end in ends if end.hash_key in entered), None)
            into = into or next((end for end in ends if end.hub == hub), None)
            assert into is not None  # a problem otherwise
            others = [end for end in ends if end is not into]
            out = next((end for end in others if step.via in (end.label, None)), into)
            yield step, into.hash_key, out.hash_key
            entered, hub = {out.hash_key}, out.hub

    def problems(self, project: Project) -> Iterator[Problem]:
        """The chain holds together: every link has an end that the step before it leaves by."""
        yield from super().problems(project)
        hub: str | None = self.parent if project.keyed(self.parent) else None
        for position, step in enumerate(self.links):
            place = ("links", position)
            link = project.keyed(step.link)
            if link is None or not link.ends:
                known = [name for name, table in project.tables.items() if isinstance(table, KeyedTable) and table.ends]
                message = f"names link '{step.link}', which is not in the project."
                yield Problem((*place, "link"), f"{message} {suggestion(step.link, known)}")
                return
            yield from self._step_problems(project, step, link, hub, place)
            if hub is None or hub not in [end.hub for end in link.ends]:
                return
            others = list(link.ends)
            others.remove(next(end for end in others if end.hub == hub))
            hub = next((end.hub for end in others if step.via in (end.label, None)), None)

    def _step_problems(
        self, project: Project, step: Step, link: KeyedTable, hub: str | None, place: tuple[str | int, ...]
    ) -> Iterator[Problem]:
        labels = [end.label for end in link.ends]
        if len(link.key_names) > 1:
            yield Problem(
                (*place, "link"), f"goes over link '{step.link}', whose key is several columns; it needs one."
            )
        if hub is not None and hub not in [end.hub for end in link.ends]:
            message = (
                f"comes from '{hub}' to link '{step.link}', which refers to: {', '.join(end.hub for end in link.ends)}."
            )
            yield Problem((*place, "link"), message)
        if step.via is not None and step.via not in labels:
            message = f"leaves link '{step.link}' by end '{step.via}', which it does not have."
            yield Problem((*place, "via"), f"{message} {suggestion(step.via, labels)}")
        if step.effectivity is not None:
            told = project.tables.get(step.effectivity)
            if getattr(told, "kind", "") != "effectivity_satellite" or getattr(told, "parent", "") != step.link:
                known = [n for n, t in project.tables.items() if getattr(t, "kind", "") == "effectivity_satellite"]
                message = f"names '{step.effectivity}', which is no effectivity satellite of '{step.link}'."
                yield Problem((*place, "effectivity"), f"{message} {suggestion(step.effectivity, known)}")

    def load(self, project: Project) -> Load:
        """Insert the paths of new snapshots, repair those of snapshots that late rows concern, remove what no longer holds."""
        settings = project.settings_of("tables", self.name)
        return Load(
            name=self.name,
            kind=self.kind,
            layer=self.layer,
            definition=self.definition(project, settings),
            inputs=self.inputs(project),
            select=Select(self._select(project)),
            write="merge",
            keys=self._keys(project),
            counts=count_outcomes("inserted", "updated", "removed", "unchanged"),
            settings=settings,
        )

    def _keys(self, project: Project) -> tuple[str, ...]:
        moment = () if self.snapshots == "current" else (SNAPSHOT,)
        return (self.key(project), *moment, *(self._link(project, step).hash_key for step in self.links))

    def _select(self, project: Project) -> str:
        if self.snapshots == "current":
            return f"""WITH {self._states(project)},
wanted AS (
  SELECT TIMESTAMP '9999-12-31' AS {SNAPSHOT}
),
{self._walked(project)}
{self.difference(project, self._keys(project), "TRUE")}"""
        news = "\n    UNION ALL ".join(
            f"SELECT min({LOAD_DATETIME}) AS oldest FROM {{{r.name}}} WHERE {LOAD_POSITION} > {{{r.name}{OFFSET}}}"
            for r in self.tables(project)
        )
        concerned = f"{SNAPSHOT} IN (SELECT {SNAPSHOT} FROM wanted UNION ALL SELECT {SNAPSHOT} FROM gone)"
        return f"""WITH {self.calendar(project, self.snapshots)},
wanted AS (
  -- new snapshots, and those that new rows may change
  SELECT {SNAPSHOT}
  FROM calendar
  CROSS JOIN (SELECT min(oldest) AS oldest FROM (
    {news}))
  WHERE is_new OR {SNAPSHOT} >= oldest
),
{self._states(project)},
{self._walked(project)}
{self.difference(project, self._keys(project), concerned)}"""

    def _states(self, project: Project) -> str:
        """One CTE per step: from when to when each combination of the link held."""
        return ",\n".join(
            self._state(project, number, *step) for number, step in enumerate(self._ends(project), start=1)
        )

    def _state(self, project: Project, number: int, step: Step, into: str, out: str) -> str:
        link = self._link(project, step)
        key, ends = quote(link.hash_key), f"{quote(into)} AS came_from, {quote(out)} AS goes_to"
        ended = "states.next_state" if self.snapshots == "current" else f"least(states.next_state, states.{ENDS_AT})"
        if step.effectivity is None:
            return f"""step_{number} AS (
  -- the combinations of {step.link}, which hold once they were loaded
  SELECT {key} AS link_key, {ends}, {LOAD_DATETIME} AS held_from, CAST(NULL AS TIMESTAMP) AS held_to FROM {{{step.link}}}
)"""
        return f"""step_{number} AS (
  -- the combinations of {step.link}, and from when to when {step.effectivity} says that they held
  SELECT links.{key} AS link_key, {", ".join("links." + end for end in ends.split(", "))}, greatest(states.held_from, links.{LOAD_DATETIME}) AS held_from, {ended} AS held_to
  FROM {{{step.link}}} AS links
  JOIN (
    SELECT *, {LOAD_DATETIME} AS held_from, lead({LOAD_DATETIME}) OVER (PARTITION BY {key} ORDER BY {LOAD_DATETIME}) AS next_state
    FROM {{{step.effectivity}}}
  ) AS states ON states.{key} = links.{key} AND states.{ACTIVE_FLAG}
)"""

    def _walked(self, project: Project) -> str:
        hk = quote(self.key(project))
        given = {self.key(project): f"parent.{hk}", **{name: f"parent.{quote(name)}" for name in self.kept(project)}}
        if self.snapshots != "current":
            given[SNAPSHOT] = f"wanted.{SNAPSHOT}"
        joins, before = [], f"parent.{hk}"
        for number, step in enumerate(self.links, start=1):
            given[self._link(project, step).hash_key] = f"step_{number}.link_key"
            held = f"step_{number}.held_from <= wanted.{SNAPSHOT} AND (step_{number}.held_to IS NULL OR step_{number}.held_to > wanted.{SNAPSHOT})"
            joins.append(f"  JOIN step_{number} ON step_{number}.came_from = {before} AND {held}")
            before = f"step_{number}.goes_to"
        chain = "\n".join(joins)
        return f"""pointed AS (
  -- the paths through the chain that hold at each snapshot
  SELECT DISTINCT
{columns(given, indent=4)}
  FROM wanted
  JOIN {{{self.parent}}} AS parent ON parent.{LOAD_DATETIME} <= wanted.{SNAPSHOT}
{chain}
)"""
