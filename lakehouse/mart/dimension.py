"""Dimension: the members of an entity with their history, from a hub and its satellites.

Rule: the stored history is a function of the set of events: the versions of a touched key are computed anew from all its
events in the business's own time and only rows that differ are written. Type 0 keeps the first value, type 1 the latest on
all versions, type 2 opens a version; validity is half-open; a delete closes, a return opens. Surrogate keys are hashes of
key and start, the unknown member is -1.
Source: Kimball & Ross, The Data Warehouse Toolkit, 3rd ed. (2013), slowly changing dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from lakehouse.errors import suggestion
from lakehouse.mart.scope import INTERNAL, Place, Scope, flattened, places_of, struct_of, through_structs
from lakehouse.metadata.entity import DataType, Entity, Names
from lakehouse.metadata.environment import Layer, Relation
from lakehouse.metadata.project import Project
from lakehouse.metadata.settings import Settings
from lakehouse.metadata.table import OFFSET, ConformedDimension, Input, KeyedTable, Load, Problem, cast_part
from lakehouse.names import (
    APPLIED_DATETIME,
    CURRENT_FLAG,
    DELETED_FLAG,
    EFFECTIVE_FROM,
    EFFECTIVE_TO,
    LOAD_DATETIME,
    LOAD_POSITION,
    LOW_DATE,
    OPEN_END,
    ROW_AUDIT_ID,
    SYSTEM_COLUMNS,
    UNKNOWN_KEY,
    VERSION_NUMBER,
    surrogate_key,
)
from lakehouse.sql import hashing
from lakehouse.sql.ddl import TableDefinition, TargetColumn
from lakehouse.sql.expressions import infer_type
from lakehouse.sql.hashing import Part
from lakehouse.sql.identifiers import literal, quote, quote_list, verbatim
from lakehouse.sql.select import Select, block, columns, computed_once

_NEW = "new_event"
_PAGE = 64
"""Versions of a member that an event is compared with to find its own."""
_COUNTS = {
    "read": "sum(new_events)",
    "inserted": "sum(opened)",
    "updated": "sum(CASE WHEN outcome IN ('inserted', 'updated', 'closed') THEN new_events - opened ELSE 0 END)",
    "unchanged": "sum(CASE WHEN outcome = 'unchanged' THEN new_events ELSE 0 END)",
    "ignored": "sum(CASE WHEN outcome = 'ignored' THEN new_events ELSE 0 END)",
}


class DimensionColumn(Entity):
    """A column of a dimension."""

    expression: str | None = None
    """Spark SQL over the hub and its satellites; the column of that name if left out."""
    type: Literal[0, 1, 2] = 1
    """0 keeps the first value, 1 the latest on all versions, 2 opens a version."""
    data_type: DataType | None = None
    """The type of the column, where the expression does not tell."""
    description: str = ""


def _column(value: object) -> object:
    return {"type": value} if isinstance(value, int) else {} if value is None else value


class Join(Entity):
    """A hub whose attributes are flattened into the dimension, as they were at the time."""

    hub: str
    on: Names
    """The columns already in scope that hold its business key."""


class Dimension(ConformedDimension):
    """The members of an entity with their history."""

    kind: Literal["dimension"] = "dimension"
    layer: ClassVar[Layer] = "mart"
    from_: str = Field(alias="from")
    """The hub whose keys are the members."""
    business_key: Names = ()
    """The hub's business key, if it is to be said again."""
    joins: dict[str, Join] = Field(default_factory=dict)
    """Further hubs by an alias that expressions use: ``category.Name``."""
    columns: dict[str, Annotated[DimensionColumn, BeforeValidator(_column)]] = Field(min_length=1)

    @property
    def surrogate_key(self) -> str:
        """The name of its surrogate key column."""
        return surrogate_key(self.name)

    @property
    def hub(self) -> str | None:
        """The hub whose hash key finds a member."""
        return self.from_

    def lookup(self, project: Project, given: tuple[Part, ...]) -> str:
        """The hub's hash key over the given parts."""
        hub = self._hub(project)
        return hub_key(project, hub, given)

    def lookup_join(self, alias: str, found_by: str, event: str) -> str:
        """The version that holds at the event; the first one for an event before it, the current one without an event.

        An event is compared with the versions of one page only: a member may have thousands.
        """
        name, pages = quote(alias), quote(f"{alias}_pages")
        page = f"coalesce(array_size(filter({pages}.begins, begins -> coalesce(begins <= {event}, TRUE))), 0)"
        return f"""LEFT JOIN (
  -- when the pages of {_PAGE} versions begin, of the members that have more than one
  SELECT member_hk, collect_list({EFFECTIVE_FROM}) AS begins
  FROM {{{self.name}}}
  WHERE {VERSION_NUMBER} > 1 AND {VERSION_NUMBER} % {_PAGE} = 1
  GROUP BY member_hk
) AS {pages}
  ON {found_by} = {pages}.member_hk
LEFT JOIN {{{self.name}}} AS {name}
  ON {found_by} = {name}.member_hk
  AND ({name}.{VERSION_NUMBER} - 1) DIV {_PAGE} = {page}
  AND CASE WHEN {event} IS NULL THEN {name}.{CURRENT_FLAG} ELSE
    ({event} >= {name}.{EFFECTIVE_FROM} OR {name}.{VERSION_NUMBER} = 1)
    AND ({name}.{EFFECTIVE_TO} IS NULL OR {event} < {name}.{EFFECTIVE_TO}) END"""

    def _hub(self, project: Project) -> KeyedTable:
        hub = project.keyed(self.from_)
        assert hub is not None  # a problem otherwise
        return hub

    def scope(self, project: Project) -> Scope:
        """What its expressions may name."""
        places = list(places_of(project, self._hub(project)))
        for alias, join in self.joins.items():
            hub = project.keyed(join.hub)
            if hub is not None:
                places.extend(places_of(project, hub, through=alias)[1:])
        return Scope(tuple(places))

    def _expression(self, name: str) -> str:
        return self.columns[name].expression or quote(name)

    def _used(self, project: Project) -> tuple[Place, ...]:
        scope = self.scope(project)
        expressions = [self._expression(name) for name in self.columns]
        expressions += [column for join in self.joins.values() for column in join.on]
        kept = [place for place in scope.used(expressions) if place.table not in self._hubs()]
        if any(not place.through for place in kept):
            return tuple(kept)
        own = [place.alias for place in scope.places if not place.through and place.table != self.from_]
        used = scope.used(expressions, always=own[:1])
        return tuple(place for place in used if place.table not in self._hubs())

    def _hubs(self) -> frozenset[str]:
        return frozenset({self.from_, *(join.hub for join in self.joins.values())})

    def reads(self, project: Project) -> tuple[Relation, ...]:
        """Hub and satellites that it uses."""
        if not all(project.keyed(hub) for hub in self._hubs()):
            return ()
        try:
            tables = [self.from_, *(place.table for place in self._used(project))]
        except ValueError:
            return ()
        return tuple(Relation("vault", name) for name in dict.fromkeys(tables))

    def columns_of(self, project: Project) -> Mapping[str, str]:
        """Its columns, with '' where the type follows from the expression."""
        scope = self.scope(project).types()
        return {
            name: column.data_type or infer_type(self._expression(name), scope) for name, column in self.columns.items()
        }

    def problems(self, project: Project) -> Iterator[Problem]:
        """Hub, joins and columns exist, expressions parse and are unambiguous."""
        hubs = [name for name, table in project.tables.items() if getattr(table, "kind", "") == "hub"]
        if self.from_ not in hubs:
            message = f"is made from '{self.from_}', which is not a hub of the project."
            yield Problem(("from",), f"{message} {suggestion(self.from_, hubs)}")
            return
        for alias, join in self.joins.items():
            if join.hub not in hubs:
                message = f"joins hub '{join.hub}', which is not in the project."
                yield Problem(("joins", alias, "hub"), f"{message} {suggestion(join.hub, hubs)}")
                return
        for place, name in ((("from",), self.from_), *((("joins", a, "hub"), j.hub) for a, j in self.joins.items())):
            if (hub := project.keyed(name)) and hub.key:
                message = f"finds members by the hash of the business key, and '{name}' takes its key ready-made."
                yield Problem(place, f"{message} Let the hub hash it: leave out its 'key'.")
                return
        yield from self._join_problems(project)
        yield from self._column_problems(project)

    def _join_problems(self, project: Project) -> Iterator[Problem]:
        scope = self.scope(project)
        for alias, join in self.joins.items():
            hub = project.keyed(join.hub)
            expected = list(hub.business_columns(project)) if hub else []
            if len(join.on) != len(expected):
                yield Problem(
                    ("joins", alias, "on"), f"needs one column for each of {', '.join(expected)} to join '{join.hub}'."
                )
            for column in join.on:
                qualifier, _, name = column.rpartition(".")
                yield from scope.name_problems(qualifier, name, ("joins", alias, "on"), f"join '{alias}'")

    def _column_problems(self, project: Project) -> Iterator[Problem]:
        scope = self.scope(project)
        own = self._hub(project).business_columns(project)
        if self.business_key and tuple(self.business_key) != tuple(own):
            yield Problem(("business_key",), f"names another business key than '{self.from_}' has: {', '.join(own)}.")
        if len([place for place in scope.places if not place.through]) == 1:
            yield Problem(("from",), f"is made from '{self.from_}', which has no satellite, so no member has a time.")
            return
        for name in self.columns:
            if name.lower() in SYSTEM_COLUMNS | INTERNAL or name == self.surrogate_key or name in own:
                yield Problem(("columns", name), f"has a column '{name}', which it has anyway. Give it another name.")
            yield from scope.problems(self._expression(name), ("columns", name), f"column '{name}'")
        yield from scope.homonyms({("columns", name): self._expression(name) for name in self.columns})

    def load(self, project: Project) -> Load:
        """Write the versions that differ from what is stored."""
        settings = project.settings_of("tables", self.name)
        inputs = {
            place.table: Input(place.table, Relation("vault", place.table), whole=True) for place in self._used(project)
        }
        inputs[self.from_] = Input(self.from_, Relation("vault", self.from_), whole=True)
        return Load(
            name=self.name,
            kind=self.kind,
            layer=self.layer,
            definition=self._definition(project, settings),
            inputs=tuple(inputs.values()),
            select=Select(self._select(project, settings)),
            write="merge",
            keys=("member_hk", EFFECTIVE_FROM),
            counts=_COUNTS,
            helpers=("new_events", "opened"),
            settings=settings,
        )

    def _definition(self, project: Project, settings: Settings) -> TableDefinition:
        types = self.columns_of(project)
        return TableDefinition(
            (
                TargetColumn(self.surrogate_key, "bigint", "Surrogate key; -1 is the unknown member", required=True),
                *(
                    TargetColumn(name, t, "Business key")
                    for name, t in self._hub(project).business_columns(project).items()
                ),
                *(TargetColumn(name, types[name], column.description) for name, column in self.columns.items()),
                TargetColumn(
                    EFFECTIVE_FROM, "timestamp", "From when the version holds, inclusive (UTC)", required=True
                ),
                TargetColumn(EFFECTIVE_TO, "timestamp", "Until when it holds, exclusive (UTC)"),
                TargetColumn(CURRENT_FLAG, "boolean", "Whether the version holds still", required=True),
                TargetColumn(VERSION_NUMBER, "int", "1 for a member's first version", required=True),
                TargetColumn(
                    "member_hk",
                    project.hashes_of(self.from_).type,
                    f"Hash key of {self.from_}: the durable key",
                    required=True,
                ),
                TargetColumn(
                    LOAD_DATETIME, "timestamp", "Load date-time of the newest row it was made from (UTC)", required=True
                ),
                TargetColumn(ROW_AUDIT_ID, "bigint", "The run that staged that row"),
                TargetColumn(LOAD_POSITION, "bigint", "Position of the commit that wrote the row", required=True),
            ),
            self.description,
            properties=(
                ("delta.checkpointInterval", str(settings.delta_checkpoint_interval)),
                ("delta.enableDeletionVectors", str(settings.deletion_vectors).lower()),
            ),
        )

    def _select(self, project: Project, settings: Settings) -> str:
        ctes = [
            *self._touched(project, settings),
            *_timeline("member", self._own(project), self._hub(project).hash_key),
            *self._joined(project),
            self._attributes(project),
            *self._versions(project, settings),
        ]
        return "WITH " + ",\n".join(ctes) + "\n" + self._difference(project)

    def _own(self, project: Project) -> tuple[Place, ...]:
        return tuple(place for place in self._used(project) if not place.through)

    def _through(self, project: Project, alias: str) -> tuple[Place, ...]:
        return tuple(place for place in self._used(project) if place.through == alias)

    def _active_joins(self, project: Project) -> dict[str, Join]:
        return {alias: join for alias, join in self.joins.items() if self._through(project, alias)}

    def _touched(self, project: Project, settings: Settings) -> Iterator[str]:
        """The keys that any input's new rows concern: their own, and those that refer to a changed join partner."""
        joins = self._active_joins(project)
        for alias in reversed(joins):
            hub = project.keyed(joins[alias].hub)
            assert hub is not None
            arms = [_changed(place.table, hub.hash_key) for place in self._through(project, alias)]
            arms += self._referring(project, alias, joins)
            yield f"touched_{alias} AS (\n  -- changed partners of join {alias}\n  " + "\n  UNION ".join(arms) + "\n)"
        hk = self._hub(project).hash_key
        arms = [_changed(place.table, hk) for place in self._own(project)]
        arms += [_changed(self.from_, hk), *self._referring(project, "", joins)]
        arms.append(f"SELECT {project.hashes_of(self.from_).zero_key} AS member_hk")
        yield "touched AS (\n  -- the members that new rows concern\n  " + "\n  UNION ".join(arms) + "\n)"

    def _referring(self, project: Project, alias: str, joins: Mapping[str, Join]) -> list[str]:
        """Keys of ``alias`` whose join columns name a changed partner."""
        arms = []
        for partner, join in joins.items():
            parts = [self.scope(project).part(column) for column in join.on]
            if parts[0][2].through != alias:
                continue
            place = parts[0][2]
            named = tuple((expression.replace(f"{quote(place.alias)}.", ""), t) for expression, t, _ in parts)
            owner = self._hub(project) if not alias else project.keyed(self.joins[alias].hub)
            hub = project.keyed(join.hub)
            assert owner is not None and hub is not None
            key = hub_key(project, hub, named)
            arms.append(
                f"SELECT {quote(owner.hash_key)} FROM {{{place.table}}}\n"
                f"    WHERE {key} IN (SELECT member_hk FROM touched_{partner})"
            )
        return arms

    def _joined(self, project: Project) -> Iterator[str]:
        """Joins each partner's timeline, cutting the member's ranges where the partner changed."""
        before, structs = "member_states", [quote(place.alias) for place in self._own(project)]
        for alias, join in self._active_joins(project).items():
            hub = project.keyed(join.hub)
            assert hub is not None
            partner = self._through(project, alias)
            yield from _timeline(alias, partner, hub.hash_key, touched=False)
            parts = tuple(self.scope(project).part(column)[:2] for column in join.on)
            kept = ", ".join(f"states.{name}" for name in structs)
            added = ", ".join(f"partner.{quote(place.alias)}" for place in partner)
            yield f"""with_{alias} AS (
  -- the member's ranges, cut where join {alias} changed
  SELECT
    states.member_hk, {kept}, {added},
    greatest(states.valid_from, partner.known_from) AS valid_from,
    least(states.valid_to, partner.valid_to) AS valid_to,
    CASE WHEN partner.known_from > states.valid_from THEN partner.{_NEW} ELSE states.{_NEW} END AS {_NEW},
    states.deleted, greatest(states.{LOAD_DATETIME}, partner.{LOAD_DATETIME}) AS {LOAD_DATETIME},
    CASE WHEN partner.{LOAD_DATETIME} > states.{LOAD_DATETIME} THEN partner.{ROW_AUDIT_ID} ELSE states.{ROW_AUDIT_ID} END AS {ROW_AUDIT_ID}
  FROM {before} AS states
  LEFT JOIN (
    SELECT *, CASE WHEN row_number() OVER (PARTITION BY member_hk ORDER BY valid_from) = 1
      THEN TIMESTAMP '{LOW_DATE}' ELSE valid_from END AS known_from
    FROM {alias}_states
  ) AS partner
    ON partner.member_hk = {hub_key(project, hub, parts)}
    AND partner.known_from < coalesce(states.valid_to, TIMESTAMP '{OPEN_END}')
    AND states.valid_from < coalesce(partner.valid_to, TIMESTAMP '{OPEN_END}')
)"""
            before = f"with_{alias}"
            structs += [quote(place.alias) for place in partner]

    def _attributes(self, project: Project) -> str:
        scope = self.scope(project)
        used = self._used(project)
        joins = list(self._active_joins(project))
        hub = self._hub(project)
        own = quote_list(hub.business_columns(project))
        structs = through_structs(used, (self._expression(name) for name in self.columns))
        named = flattened(scope, used) | structs | {self.from_: f"struct({own})"}
        values = {name: verbatim(self._expression(name)) for name in self.columns}
        whole = "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING"
        windows = {0: "first_value({}) OVER history", 1: "last_value({}) OVER history", 2: "{}"}
        typed = {name: windows[column.type].format(quote(name)) for name, column in self.columns.items()}
        return f"""attributes AS (
  -- the columns of each state; type 0 from the first, type 1 from the last
  SELECT
    member_hk, {own}, valid_from, {_NEW}, deleted, {LOAD_DATETIME}, {ROW_AUDIT_ID},
{columns(typed, indent=4)}
  FROM (
    SELECT
      member_hk, {own}, valid_from, {_NEW}, deleted, {LOAD_DATETIME}, {ROW_AUDIT_ID},
{columns(_cast(values, self.columns), indent=6)}
    FROM (
      SELECT states.*, {own}{"".join(f", {e} AS {quote(n)}" for n, e in named.items())}
      FROM {f"with_{joins[-1]}" if joins else "member_states"} AS states
      JOIN (SELECT {quote(hub.hash_key)} AS hub_hk, {own} FROM {{{self.from_}}}) AS hub ON hub.hub_hk = states.member_hk
    )
  )
  WINDOW history AS (PARTITION BY member_hk ORDER BY valid_from {whole})
)"""

    def _versions(self, project: Project, settings: Settings) -> Iterator[str]:
        tracked = [quote(name) for name, column in self.columns.items() if column.type == 2]
        struct = f"struct({', '.join(['deleted', *tracked])})"
        names = [*self._hub(project).business_columns(project), *self.columns]
        end = "NULL" if settings.open_end == "null" else f"TIMESTAMP '{OPEN_END}'"
        key = hashing.surrogate_key([("member_hk", project.hashes_of(self.from_).type), ("valid_from", "timestamp")])
        yield f"""numbered AS (
  -- a version begins where the member appears, goes, returns, or a type 2 column differs
  SELECT *, sum(begins) OVER (PARTITION BY member_hk ORDER BY valid_from) AS island
  FROM (
    SELECT *, CASE WHEN lag({struct}) OVER (PARTITION BY member_hk ORDER BY valid_from) <=> {struct} THEN 0 ELSE 1 END AS begins
    FROM attributes
  )
)"""
        yield f"""islands AS (
  SELECT
    *,
    sum(CAST({_NEW} AS INT)) OVER (PARTITION BY member_hk, island) AS new_events,
    max({LOAD_DATETIME}) OVER (PARTITION BY member_hk, island) AS newest,
    max({ROW_AUDIT_ID}) OVER (PARTITION BY member_hk, island) AS newest_run
  FROM numbered
)"""
        yield f"""versions AS (
  -- one row per version, and one per gap after a delete
  SELECT
    {key} AS {quote(self.surrogate_key)}, {quote_list(names)},
    valid_from AS {EFFECTIVE_FROM},
    coalesce(lead(valid_from) OVER later, {end}) AS {EFFECTIVE_TO},
    NOT deleted AND lead(valid_from) OVER later IS NULL AS {CURRENT_FLAG},
    CAST(sum(CAST(NOT deleted AS INT)) OVER later AS INT) AS {VERSION_NUMBER},
    member_hk, newest AS {LOAD_DATETIME}, newest_run AS {ROW_AUDIT_ID},
    deleted, island, new_events, CAST({_NEW} AS INT) AS opened
  FROM islands
  WHERE begins = 1
  WINDOW later AS (PARTITION BY member_hk ORDER BY valid_from)
  UNION ALL
  SELECT {self._unknown_member(project, settings, names, end)}
)"""

    def _unknown_member(self, project: Project, settings: Settings, names: list[str], end: str) -> str:
        types = {**self._hub(project).business_columns(project), **self.columns_of(project)}
        text = literal(settings.unknown_text)
        values = [text if types[name] == "string" else "NULL" for name in names]
        low = f"TIMESTAMP '{LOW_DATE}'"
        return (
            f"CAST({UNKNOWN_KEY} AS BIGINT), {', '.join(values)}, {low}, {end}, TRUE, 1, "
            f"{project.hashes_of(self.from_).zero_key}, {low}, NULL, FALSE, 1, 0, 0"
        )

    def _difference(self, project: Project) -> str:
        stamps = (LOAD_DATETIME, ROW_AUDIT_ID)
        names = [c.name for c in self._definition(project, Settings()).columns if c.name != LOAD_POSITION]
        values = [name for name in names if name not in ("member_hk", EFFECTIVE_FROM, *stamps)]
        either = {
            name: f"coalesce(versions.{quote(name)}, target.{quote(name)})" for name in ("member_hk", EFFECTIVE_FROM)
        }
        taken = {name: either.get(name, f"versions.{quote(name)}") for name in names}
        taken[self.surrogate_key] = (
            f"coalesce(versions.{quote(self.surrogate_key)}, target.{quote(self.surrogate_key)})"
        )
        return f"""SELECT
{columns(taken)},
  coalesce(versions.new_events, 0) AS new_events,
  CASE WHEN target.member_hk IS NULL AND NOT versions.deleted THEN versions.opened ELSE 0 END AS opened,
  CASE
    WHEN versions.deleted THEN CASE WHEN versions.island > 1 THEN 'closed' ELSE 'ignored' END
    WHEN target.member_hk IS NULL THEN 'inserted'
    WHEN versions.member_hk IS NULL THEN 'removed'
    WHEN struct({quote_list(values, alias="versions")}) <=> struct({quote_list(values, alias="target")}) THEN 'unchanged'
    ELSE 'updated'
  END AS outcome
FROM versions
FULL OUTER JOIN (SELECT * FROM {{target}} WHERE member_hk IN (SELECT member_hk FROM touched)) AS target
  ON versions.member_hk = target.member_hk
  AND versions.{EFFECTIVE_FROM} = target.{EFFECTIVE_FROM}
  AND NOT versions.deleted"""


def hub_key(project: Project, hub: KeyedTable, given: tuple[Part, ...]) -> str:
    """A hub's hash key over parts that refer to it, cast to its types; NULL where a part is missing."""
    types = hub.business_columns(project).values()
    parts = tuple(cast_part(part, data_type) for part, data_type in zip(given, types, strict=True))
    hashes = project.hashes_of(hub.name)
    return f"CASE WHEN NOT ({hashes.is_missing(parts)}) THEN {hashes.key(parts)} END"


def _cast(values: Mapping[str, str], given: Mapping[str, DimensionColumn]) -> dict[str, str]:
    types = {name: column.data_type for name, column in given.items()}
    return {name: f"CAST({value} AS {types[name].upper()})" if types[name] else value for name, value in values.items()}  # type: ignore[union-attr]


def _changed(table: str, hk: str) -> str:
    return f"SELECT {quote(hk)} AS member_hk FROM {{{table}}} WHERE {LOAD_POSITION} > {{{table}{OFFSET}}}"


def _timeline(name: str, places: tuple[Place, ...], hk: str, *, touched: bool = True) -> Iterator[str]:
    """The states of a hub's keys over time: every satellite's last version at every moment when one of them changed."""
    restriction = f"\n  WHERE {quote(hk)} IN (SELECT member_hk FROM touched)" if touched else ""
    arms = []
    for arm, place in enumerate(places):
        others = [quote(other.alias) if other is place else f"NULL AS {quote(other.alias)}" for other in places]
        arms.append(
            f"SELECT {quote(hk)} AS member_hk, {APPLIED_DATETIME} AS valid_from, {LOAD_DATETIME}, {ROW_AUDIT_ID},\n"
            f"    {LOAD_POSITION} > {{{place.table}{OFFSET}}} AS {_NEW}, {arm} AS arm, {', '.join(others)}\n"
            f"  FROM {{{place.table}}}\n"
            + block(computed_once({place.alias: struct_of(place, DELETED_FLAG)}, alias="said"))
            + restriction
        )
    yield (
        f"{name}_events AS (\n  -- what each satellite says, at its own time\n  "
        + "\n  UNION ALL\n  ".join(arms)
        + "\n)"
    )
    latest = ", ".join(f"last_value({quote(p.alias)}) IGNORE NULLS OVER earlier AS {quote(p.alias)}" for p in places)
    gone = " AND ".join(f"coalesce({quote(place.alias)}.{DELETED_FLAG}, TRUE)" for place in places)
    yield f"""{name}_states AS (
  -- the whole member at each of these times, and until when it stayed so
  SELECT *, lead(valid_from) OVER (PARTITION BY member_hk ORDER BY valid_from) AS valid_to, {gone} AS deleted
  FROM (
    SELECT
      member_hk, valid_from, {LOAD_DATETIME}, {ROW_AUDIT_ID}, {latest},
      max({_NEW}) OVER (PARTITION BY member_hk, valid_from) AS {_NEW},
      row_number() OVER (PARTITION BY member_hk, valid_from ORDER BY {LOAD_DATETIME} DESC, arm DESC) AS age
    FROM {name}_events
    WINDOW earlier AS (
      PARTITION BY member_hk ORDER BY valid_from, {LOAD_DATETIME}, arm ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    )
  )
  WHERE age = 1
)"""
