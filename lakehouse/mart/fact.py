"""Fact: the measures of a transaction, one row per grain, with the surrogate keys that held at its event.

Rule: a row of the grain is computed from the newest versions of everything it is made of and written only if it differs;
each dimension is looked up as of the event time, the first version for an event before it, -1 where there is none. Rows
with an unknown key are looked up again when the dimension gets rows. A fact whose source row is deleted is removed.
Source: Kimball & Ross, The Data Warehouse Toolkit, 3rd ed. (2013), transaction fact tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from lakehouse.errors import suggestion
from lakehouse.mart.scope import INTERNAL, Place, Scope, flattened, places_of, struct_of, through_structs
from lakehouse.metadata.entity import DataType, Entity, Names
from lakehouse.metadata.environment import Layer, Relation
from lakehouse.metadata.project import Project
from lakehouse.metadata.settings import Settings
from lakehouse.metadata.table import OFFSET, ConformedDimension, Input, KeyedTable, Load, Problem, Table
from lakehouse.names import (
    DELETED_FLAG,
    LOAD_DATETIME,
    LOAD_POSITION,
    ROW_AUDIT_ID,
    SYSTEM_COLUMNS,
    UNKNOWN_KEY,
    surrogate_key,
)
from lakehouse.sql.ddl import TableDefinition, TargetColumn
from lakehouse.sql.expressions import infer_type
from lakehouse.sql.identifiers import literal, quote, quote_list, verbatim
from lakehouse.sql.select import Select, block, columns

_COUNTS = {
    "read": "count(1)",
    **{name: f"count_if(outcome = '{name}')" for name in ("inserted", "updated", "unchanged", "ignored")},
    "deleted": "count_if(outcome = 'removed')",
}


class Measure(Entity):
    """A number of a fact."""

    expression: str | None = None
    """Spark SQL over what is in scope; the column of that name if left out."""
    sum: str | None = None
    """The same, saying that it is additive."""
    data_type: DataType | None = None
    description: str = ""

    @model_validator(mode="after")
    def _one_expression(self) -> Measure:
        if self.expression and self.sum:
            raise ValueError("a measure has an expression or a sum, not both.")
        return self


def _expression(value: object) -> object:
    return {"expression": value} if isinstance(value, str) else {} if value is None else value


class DimensionReference(Entity):
    """A dimension whose surrogate key the fact holds."""

    dimension: str
    role: str | None = None
    """The link's reference that names the member, where it is not told by the dimension's hub alone."""
    key: Names = ()
    """Expressions that give the member's business key, instead of a reference of the link."""


def _dimension(value: object) -> object:
    return {"dimension": value} if isinstance(value, str) else value


class Fact(Table):
    """The measures of a transaction."""

    kind: Literal["fact"] = "fact"
    layer: ClassVar[Layer] = "mart"
    from_: str = Field(alias="from")
    """The link or hub whose keys are the transactions."""
    grain: Names = Field(min_length=1)
    """The business keys and child keys that tell one row from another."""
    event_time: str | None = None
    """Spark SQL for when it happened; dimensions are looked up as of then, as they are now without it."""
    dimensions: dict[str, Annotated[DimensionReference, BeforeValidator(_dimension)]] = Field(default_factory=dict)
    columns: dict[str, Annotated[Measure, BeforeValidator(_expression)]] = Field(default_factory=dict)
    """Degenerate dimensions: values of the transaction itself, such as an order number."""
    measures: dict[str, Annotated[Measure, BeforeValidator(_expression)]] = Field(default_factory=dict)

    def _start(self, project: Project) -> KeyedTable:
        start = project.keyed(self.from_)
        assert start is not None  # a problem otherwise
        return start

    def scope(self, project: Project) -> Scope:
        """What its expressions may name: the start, its satellites, and the hubs it refers to with theirs."""
        start = self._start(project)
        places = list(places_of(project, start))
        for end in start.ends:
            hub = project.keyed(end.hub)
            if hub is not None:
                places.extend(places_of(project, hub, through=end.label))
        return Scope(tuple(places))

    def _values(self) -> dict[str, Measure]:
        return {**self.columns, **self.measures}

    def _expressions(self) -> dict[str, str]:
        return {name: m.expression or m.sum or quote(name) for name, m in self._values().items()}

    def _located(self) -> dict[tuple[str | int, ...], str]:
        """Every expression by its place in the metadata."""
        located: dict[tuple[str | int, ...], str] = {
            ("columns" if name in self.columns else "measures", name): expression
            for name, expression in self._expressions().items()
        }
        for role, reference in self.dimensions.items():
            located |= {("dimensions", role, "key", number): part for number, part in enumerate(reference.key)}
        return located | ({("event_time",): self.event_time} if self.event_time else {})

    def _used(self, project: Project) -> tuple[Place, ...]:
        """The places that it needs; its own satellites always, since they tell what was deleted."""
        expressions = [*self._located().values(), *self.grain]
        scope = self.scope(project)
        own = [place.alias for place in scope.places if not place.through]
        return tuple(place for place in scope.used(expressions, always=own) if place.table != self.from_)

    def reads(self, project: Project) -> tuple[Relation, ...]:
        """The start, the hubs and satellites in use, the dimensions."""
        if project.keyed(self.from_) is None:
            return ()
        try:
            tables = [self.from_, *(place.table for place in self._used(project))]
        except ValueError:
            return ()
        vault = (Relation("vault", name) for name in dict.fromkeys(tables))
        marts = (Relation("mart", reference.dimension) for reference in self.dimensions.values())
        return (*vault, *dict.fromkeys(marts))

    def columns_of(self, project: Project) -> Mapping[str, str]:
        """Its grain, columns and measures, with '' where the type follows from the expression."""
        types = self.scope(project).types()
        values = {n: m.data_type or infer_type(self._expressions()[n], types) for n, m in self._values().items()}
        return {**{_plain(name): infer_type(name, types) for name in self.grain}, **values}

    def problems(self, project: Project) -> Iterator[Problem]:
        """Start, dimensions and columns exist, the grain is made of keys, expressions parse and are unambiguous."""
        if project.keyed(self.from_) is None:
            keyed = [name for name in project.tables if project.keyed(name)]
            message = f"is made from '{self.from_}', which is not a hub or link of the project."
            yield Problem(("from",), f"{message} {suggestion(self.from_, keyed)}")
            return
        scope = self.scope(project)
        yield from self._grain_problems(project, scope)
        for name, expression in self._expressions().items():
            section = "columns" if name in self.columns else "measures"
            if name.lower() in SYSTEM_COLUMNS | INTERNAL or name in [_plain(column) for column in self.grain]:
                yield Problem((section, name), f"has a column '{name}', which it has anyway. Give it another name.")
            yield from scope.problems(expression, (section, name), f"'{name}'")
        if self.event_time:
            yield from scope.problems(self.event_time, ("event_time",), "an event time")
        for role, reference in self.dimensions.items():
            yield from self._dimension_problems(project, scope, role, reference)
        yield from scope.homonyms(self._located())

    def _grain_problems(self, project: Project, scope: Scope) -> Iterator[Problem]:
        keys = self._key_places(project)
        for position, column in enumerate(self.grain):
            qualifier, _, name = column.rpartition(".")
            found = [p for p in scope.find(qualifier, name) if p.alias in keys]
            if not found:
                known = sorted({known for place in keys.values() for known in place.columns})
                message = f"has '{column}' in its grain, which is no key of '{self.from_}' or of its hubs."
                yield Problem(("grain", position), f"{message} {suggestion(name, known)}")
            elif len(found) > 1:
                choices = ", ".join(f"{place.through or place.alias}.{name}" for place in found)
                yield Problem(
                    ("grain", position), f"has '{column}' in its grain, found more than once. Write one of: {choices}."
                )

    def _dimension_problems(
        self, project: Project, scope: Scope, role: str, reference: DimensionReference
    ) -> Iterator[Problem]:
        place = ("dimensions", role)
        dimension = project.tables.get(reference.dimension)
        if not isinstance(dimension, ConformedDimension):
            known = [name for name, table in project.tables.items() if isinstance(table, ConformedDimension)]
            message = f"names dimension '{reference.dimension}', which is not in the project."
            yield Problem((*place, "dimension"), f"{message} {suggestion(reference.dimension, known)}")
            return
        for expression in reference.key:
            yield from scope.problems(expression, (*place, "key"), f"key of dimension '{role}'")
        hub = project.keyed(dimension.hub) if dimension.hub else None
        needed = list(hub.business_columns(project)) if hub else ["date"]
        if reference.key and len(reference.key) != len(needed):
            yield Problem(
                (*place, "key"),
                f"needs one expression for each of {', '.join(needed)} to find '{reference.dimension}'.",
            )
        if not reference.key and len(self._ends_to(project, dimension, reference)) != 1:
            ends = [end.label for end in self._start(project).ends]
            message = f"cannot tell how '{self.from_}' names a member of '{reference.dimension}' as '{role}'."
            yield Problem(place, f"{message} Give its key, or a role. Roles: {', '.join(ends) or 'none'}.")

    def _ends_to(self, project: Project, dimension: ConformedDimension, reference: DimensionReference) -> list[str]:
        start = self._start(project)
        if start.name == dimension.hub:
            return [start.hash_key]
        return [end.hash_key for end in start.ends if end.hub == dimension.hub and reference.role in (None, end.label)]

    def _key_places(self, project: Project) -> dict[str, Place]:
        """The places whose columns may be in the grain: the start itself and the hubs it refers to."""
        tables = {self.from_, *(end.hub for end in self._start(project).ends)}
        return {place.alias: place for place in self.scope(project).places if place.table in tables}

    def _grain_places(self, project: Project) -> dict[str, Place]:
        """The columns of the grain, without their qualifiers, and the place of each."""
        keys, scope = self._key_places(project), self.scope(project)
        found = {column: scope.find(column.rpartition(".")[0], _plain(column)) for column in self.grain}
        return {_plain(column): next(p for p in places if p.alias in keys) for column, places in found.items()}

    def _keys(self, project: Project) -> tuple[str, ...]:
        """The columns of the start that stand for the grain: hash keys, and child keys as they are."""
        start = self._start(project)
        keys: list[str] = []
        for name, place in self._grain_places(project).items():
            ends = [end.hash_key for end in start.ends if end.label == place.through]
            own = name if start.ends else start.hash_key
            keys.append(ends[0] if ends else next((k for k in place.columns if k.lower() == own.lower()), own))
        return tuple(dict.fromkeys(keys))

    def load(self, project: Project) -> Load:
        """Write the rows of the grain that differ from what is stored."""
        settings = project.settings_of("tables", self.name)
        return Load(
            name=self.name,
            kind=self.kind,
            layer=self.layer,
            definition=self._definition(project, settings),
            inputs=tuple(Input(relation.name, relation, whole=True) for relation in self.reads(project)),
            select=Select(self._select(project)),
            write="merge",
            keys=self._keys(project),
            counts=_COUNTS,
            settings=settings,
        )

    def _definition(self, project: Project, settings: Settings) -> TableDefinition:
        types = self.columns_of(project)
        described = {name: measure.description for name, measure in self._values().items()}
        return TableDefinition(
            (
                *(TargetColumn(surrogate_key(role), self._surrogate_type(project, reference), f"{reference.dimension} as of the event", required=True)
                  for role, reference in self.dimensions.items()),
                *(TargetColumn(name, data_type, described.get(name, "Grain")) for name, data_type in types.items()),
                TargetColumn("event_datetime", "timestamp", "When it happened (UTC)"),
                *(TargetColumn(key, data_type, "Hash key, to join back to the vault", required=True) for key, data_type in self._extra_keys(project).items()),
                TargetColumn(LOAD_DATETIME, "timestamp", "Load date-time of the newest row it was made from (UTC)", required=True),
                TargetColumn(ROW_AUDIT_ID, "bigint", "The run that staged its key"),
                TargetColumn(LOAD_POSITION, "bigint", "Position of the commit that wrote the row", required=True),
            ),
            self.description,
            properties=(
                ("delta.checkpointInterval", str(settings.delta_checkpoint_interval)),
                ("delta.enableDeletionVectors", str(settings.deletion_vectors).lower()),
            ),
        )  # fmt: skip

    def _surrogate_type(self, project: Project, reference: DimensionReference) -> str:
        dimension = project.tables[reference.dimension]
        assert isinstance(dimension, ConformedDimension)
        return "bigint" if dimension.hub else "int"

    def _extra_keys(self, project: Project) -> dict[str, str]:
        grain = {_plain(column).lower() for column in self.grain}
        types = self._start(project).columns_of(project)
        return {key: types[key] for key in self._keys(project) if key.lower() not in grain}

    def _select(self, project: Project) -> str:
        ctes = [
            self._touched(project),
            self._base(project),
            *self._newest(project),
            self._joined(project),
            self._named(project),
            self._rows(project),
            self._keyed(project),
        ]
        return "WITH " + ",\n".join(ctes) + "\n" + self._difference(project)

    def _touched(self, project: Project) -> str:
        start, keys = self._start(project), quote_list(self._keys(project))
        arms = [f"SELECT {keys} FROM {{{self.from_}}} WHERE {LOAD_POSITION} > {{{self.from_}{OFFSET}}}"]
        for place in self._used(project):
            hk = next((end.hash_key for end in start.ends if end.label == place.through), start.hash_key)
            owner = project.keyed(next((e.hub for e in start.ends if e.label == place.through), self.from_))
            assert owner is not None
            arms.append(
                f"SELECT {keys} FROM {{{self.from_}}} WHERE {quote(hk)} IN (\n"
                f"    SELECT {quote(owner.hash_key)} FROM {{{place.table}}} WHERE {LOAD_POSITION} > {{{place.table}{OFFSET}}})"
            )
        if self.dimensions:
            arms.append(self._looked_up_again(keys))
        return (
            "touched AS (\n  -- the transactions that new rows concern, and those whose member was unknown\n  "
            + "\n  UNION ".join(arms)
            + "\n)"
        )

    def _looked_up_again(self, keys: str) -> str:
        """The stored rows whose member was unknown, where its dimension got rows.

        A join, since scalar subqueries are planned again wherever the rows are used: that took longer than the load.
        """
        roles: dict[str, list[str]] = {}
        for role, reference in self.dimensions.items():
            roles.setdefault(reference.dimension, []).append(f"{quote(surrogate_key(role))} = {UNKNOWN_KEY}")
        heads = (f"SELECT {literal(name)} AS dimension, max({LOAD_POSITION}) AS head FROM {{{name}}}" for name in roles)
        grown = "\n      OR ".join(
            f"grown.dimension = {literal(name)} AND grown.head > {{{name}{OFFSET}}} AND ({' OR '.join(unknown)})"
            for name, unknown in roles.items()
        )
        return (
            f"SELECT {keys} FROM {{target}} LEFT SEMI JOIN (\n    "
            + "\n    UNION ALL ".join(heads)
            + f"\n    ) AS grown ON {grown}"
        )

    def _base(self, project: Project) -> str:
        same = " AND ".join(f"base.{quote(key)} = touched.{quote(key)}" for key in self._keys(project))
        return f"base AS (\n  SELECT base.*\n  FROM {{{self.from_}}} AS base\n  LEFT SEMI JOIN touched ON {same}\n)"

    def _newest(self, project: Project) -> Iterator[str]:
        """The newest version of each satellite in use, and the business keys of the hubs in use."""
        start = self._start(project)
        for place in self._used(project):
            end = next((end for end in start.ends if end.label == place.through), None)
            owner = project.keyed(end.hub) if end else start
            assert owner is not None
            hk, base_hk = quote(owner.hash_key), quote(end.hash_key if end else start.hash_key)
            if place.table == owner.name:
                value, note = struct_of(place), "business key"
                rows = f"SELECT {hk} AS owner_hk, {value} AS {quote(place.alias)}\n  FROM {{{place.table}}}"
                tail = f"\n  WHERE {hk} IN (SELECT {base_hk} FROM base)"
            else:
                value, note = struct_of(place, DELETED_FLAG, LOAD_DATETIME), "newest version"
                rows = f"SELECT {hk} AS owner_hk, max_by({value}, {LOAD_DATETIME}) AS {quote(place.alias)}\n  FROM {{{place.table}}}"
                tail = f"\n  WHERE {hk} IN (SELECT {base_hk} FROM base)\n  GROUP BY {hk}"
            yield f"newest_{place.alias} AS (\n  -- {note}\n  {rows}{tail}\n)"

    def _joined(self, project: Project) -> str:
        start = self._start(project)
        ends = {end.label: end.hash_key for end in start.ends}
        structs, joins = "", ""
        for place in self._used(project):
            name = f"newest_{place.alias}"
            structs += f", {name}.{quote(place.alias)}"
            joins += f"\n  LEFT JOIN {name} ON {name}.owner_hk = base.{quote(ends.get(place.through, start.hash_key))}"
        return f"joined AS (\n  SELECT base.*{structs}\n  FROM base{joins}\n)"

    def _named(self, project: Project) -> str:
        """Columns by the names that expressions use, and which row of a grain is the newest."""
        start, scope, used = self._start(project), self.scope(project), self._used(project)
        named = flattened(scope, used) | through_structs(used, self._located().values())
        if own := start.business_columns(project):
            named[start.name] = f"struct({quote_list(own)})"
        satellites = [place for place in used if place.table not in self._key_tables(project)]
        stamps = [LOAD_DATETIME, *(f"{quote(place.alias)}.{LOAD_DATETIME}" for place in satellites)]
        mine = [quote(place.alias) for place in satellites if not place.through]
        newest = [f"{alias}.{LOAD_DATETIME} DESC NULLS LAST" for alias in mine]
        order = ", ".join([*newest, f"{LOAD_DATETIME} DESC", quote(start.hash_key)])
        gone = " AND ".join(f"coalesce({alias}.{DELETED_FLAG}, FALSE)" for alias in mine) or "FALSE"
        return f"""named AS (
  -- the values by the names that expressions use; the newest row of a grain first
  SELECT
    *,
{columns(named, indent=4)}{"," if named else ""}
    {f"greatest({', '.join(stamps)})" if len(stamps) > 1 else LOAD_DATETIME} AS newest,
    {gone} AS deleted,
    row_number() OVER (PARTITION BY {quote_list(self._keys(project))} ORDER BY {order}) AS fact_age
  FROM joined
)"""

    def _key_tables(self, project: Project) -> frozenset[str]:
        return frozenset({self.from_, *(end.hub for end in self._start(project).ends)})

    def _rows(self, project: Project) -> str:
        values = {
            **{name: f"{quote(place.alias)}.{quote(name)}" for name, place in self._grain_places(project).items()},
            **{name: verbatim(expression) for name, expression in self._expressions().items()},
        }
        types = {name: measure.data_type for name, measure in self._values().items()}
        cast = {n: f"CAST({v} AS {types[n]})" if types.get(n) else v for n, v in values.items()}
        extra = {key: quote(key) for key in self._extra_keys(project)}
        event = f"CAST({verbatim(self.event_time)} AS TIMESTAMP)" if self.event_time else "CAST(NULL AS TIMESTAMP)"
        found_by = {f"{role}_found_by": self._found_by(project, ref) for role, ref in self.dimensions.items()}
        stamps = {LOAD_DATETIME: "newest", ROW_AUDIT_ID: quote(ROW_AUDIT_ID), "deleted": quote("deleted")}
        return f"""facts AS (
  -- one row per grain, and what its members are found by
  SELECT
{columns({**cast, **extra, "event_datetime": event, **found_by, **stamps}, indent=4)}
  FROM named
  WHERE fact_age = 1
)"""

    def _found_by(self, project: Project, reference: DimensionReference) -> str:
        dimension = project.tables[reference.dimension]
        assert isinstance(dimension, ConformedDimension)
        if not reference.key:
            return quote(self._ends_to(project, dimension, reference)[0])
        hub = project.keyed(dimension.hub) if dimension.hub else None
        needed = list(hub.business_columns(project).values()) if hub else ["date"]
        types = self.scope(project).types()
        parts = tuple((verbatim(expression), infer_type(expression, types)) for expression in reference.key)
        typed = [
            (expression, own) if own else (f"CAST({expression} AS {wanted.upper()})", wanted)
            for (expression, own), wanted in zip(parts, needed, strict=True)
        ]
        return dimension.lookup(project, tuple(typed))

    def _keyed(self, project: Project) -> str:
        keys = {
            surrogate_key(role): f"coalesce({quote(role)}.{quote(self._surrogate(project, reference))}, {UNKNOWN_KEY})"
            for role, reference in self.dimensions.items()
        }
        joins = ""
        for role, reference in self.dimensions.items():
            dimension = project.tables[reference.dimension]
            assert isinstance(dimension, ConformedDimension)
            found_by = f"facts.{quote(f'{role}_found_by')}"
            joins += "\n" + block(dimension.lookup_join(role, found_by, "facts.event_datetime"))
        names = [name for name in self._names(project) if name not in keys]
        return f"""keyed AS (
  -- the members that held at the event; -1 where there is none
  SELECT
{columns({**keys, **{name: f"facts.{quote(name)}" for name in names}, "deleted": "facts.deleted"}, indent=4)}
  FROM facts{joins}
)"""

    def _surrogate(self, project: Project, reference: DimensionReference) -> str:
        dimension = project.tables[reference.dimension]
        assert isinstance(dimension, ConformedDimension)
        return dimension.surrogate_key

    def _names(self, project: Project) -> list[str]:
        definition = self._definition(project, Settings())
        return [name for name in definition.names if name != LOAD_POSITION]

    def _difference(self, project: Project) -> str:
        keys, names = self._keys(project), self._names(project)
        values = [name for name in names if name not in (*keys, LOAD_DATETIME, ROW_AUDIT_ID)]
        taken = {
            n: f"coalesce(keyed.{quote(n)}, target.{quote(n)})" if n in keys else f"keyed.{quote(n)}" for n in names
        }
        same = " AND ".join(f"keyed.{quote(key)} = target.{quote(key)}" for key in keys)
        known = " AND ".join(f"known.{quote(key)} = touched.{quote(key)}" for key in keys)
        stored, made = f"target.{quote(keys[0])} IS NOT NULL", f"keyed.{quote(keys[0])} IS NULL"
        return f"""SELECT
{columns(taken)},
  CASE
    WHEN {made} OR keyed.deleted THEN CASE WHEN {stored} THEN 'removed' ELSE 'ignored' END
    WHEN NOT ({stored}) THEN 'inserted'
    WHEN struct({quote_list(values, alias="keyed")}) <=> struct({quote_list(values, alias="target")}) THEN 'unchanged'
    ELSE 'updated'
  END AS outcome
FROM keyed
FULL OUTER JOIN (SELECT known.* FROM {{target}} AS known LEFT SEMI JOIN touched ON {known}) AS target
  ON {same}"""


def _plain(column: str) -> str:
    """A grain column without its qualifier."""
    return column.rpartition(".")[2]
