"""Scope: the columns that the expressions of a dimension or fact may name, and where each comes from.

Rule: every satellite stands in the scope under its name, or under the alias of the hub it was reached through; a column
found in one place may be named alone, one found in several must be qualified: ``sat_customer_name.FirstName``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from lakehouse.errors import suggestion
from lakehouse.metadata.checks import check_deterministic
from lakehouse.metadata.project import Project
from lakehouse.metadata.table import KeyedTable, Problem, Table
from lakehouse.sql.expressions import column_references
from lakehouse.sql.identifiers import quote

INTERNAL = frozenset(
    {
        "member_hk",
        "valid_from",
        "valid_to",
        "new_event",
        "new_events",
        "deleted",
        "begins",
        "island",
        "opened",
        "newest",
        "newest_run",
        "event_datetime",
        "fact_age",
    }
)
"""Names that a mart's SELECT uses itself: a column of one of these names must be qualified."""


@dataclass(frozen=True)
class Place:
    """A relation whose columns are in scope."""

    alias: str
    table: str
    """The hub, link or satellite."""
    columns: Mapping[str, str]
    through: str = ""
    """The join or reference it was reached through; '' for the table the mart starts from."""


@dataclass(frozen=True)
class Scope:
    """All places, the ones nearest to the starting table first."""

    places: tuple[Place, ...]

    def find(self, qualifier: str, column: str) -> tuple[Place, ...]:
        """The places that hold a column."""
        return tuple(
            place
            for place in self.places
            if column.lower() in {name.lower() for name in place.columns}
            and qualifier.lower() in ("", place.alias.lower(), place.through.lower())
        )

    def unique(self) -> dict[str, Place]:
        """The columns that may be named alone, with their place."""
        found: dict[str, list[tuple[str, Place]]] = {}
        for place in self.places:
            for name in place.columns:
                found.setdefault(name.lower(), []).append((name, place))
        return {o[0][0]: o[0][1] for name, o in found.items() if len(o) == 1 and name not in INTERNAL}

    def types(self) -> dict[str, str]:
        """Data types by every name that an expression may use."""
        types = {f"{p.alias}.{name}": data_type for p in self.places for name, data_type in p.columns.items()}
        types |= {f"{p.through}.{name}": t for p in self.places if p.through for name, t in p.columns.items()}
        return types | {name: place.columns[name] for name, place in self.unique().items()}

    def used(self, expressions: Iterable[str], *, always: Iterable[str] = ()) -> tuple[Place, ...]:
        """The places that the expressions need, each with only the columns they name; ``always`` names further aliases."""
        kept = set(always)
        named: dict[str, set[str]] = {alias: set() for alias in kept}
        for expression in expressions:
            for qualifier, column in column_references(expression):
                for place in self.find(qualifier, column):
                    named.setdefault(place.alias, set()).add(column.lower())
        return tuple(
            replace(place, columns={n: t for n, t in place.columns.items() if n.lower() in named[place.alias]})
            for place in self.places
            if place.alias in named
        )

    def part(self, column: str) -> tuple[str, str, Place]:
        """A column as SQL, its type, and its place."""
        qualifier, _, name = column.rpartition(".")
        place = self.find(qualifier, name)[0]
        spelled = next(known for known in place.columns if known.lower() == name.lower())
        return f"{quote(place.alias)}.{quote(spelled)}", place.columns[spelled], place

    def problems(self, expression: str, location: tuple[str | int, ...], what: str) -> Iterator[Problem]:
        """What is wrong with an expression over this scope."""
        try:
            references = column_references(expression)
        except ValueError as error:
            yield Problem(location, f"has {what} with an expression that is not Spark SQL: {error}.")
            return
        for qualifier, column in references:
            yield from self.name_problems(qualifier, column, location, what)
        yield from check_deterministic(expression, location, what)

    def name_problems(
        self, qualifier: str, column: str, location: tuple[str | int, ...], what: str
    ) -> Iterator[Problem]:
        """Whether a column is found in exactly one place."""
        found = self.find(qualifier, column)
        name = f"{qualifier}.{column}" if qualifier else column
        if not found:
            known = [known for place in self.places for known in place.columns]
            yield Problem(
                location, f"has {what} that names column '{name}', which does not exist. {suggestion(column, known)}"
            )
        elif not qualifier and column.lower() in INTERNAL:
            yield Problem(
                location,
                f"has {what} that names column '{name}', a word of the load itself. Write {found[0].alias}.{column}.",
            )
        elif len(found) > 1:
            choices = ", ".join(f"{place.alias}.{column}" for place in found)
            yield Problem(
                location, f"has {what} that names column '{name}', found more than once. Write one of: {choices}."
            )

    def homonyms(self, expressions: Mapping[tuple[str | int, ...], str]) -> Iterator[Problem]:
        """Columns named alone like a join or reference that another expression qualifies with; by location."""
        qualifiers = _qualifiers(expressions.values())
        qualifiers &= {place.through.lower() for place in self.places}
        for location, expression in expressions.items():
            for qualifier, column in _references(expression):
                found = self.find("", column)
                if not qualifier and column.lower() in qualifiers and len(found) == 1:
                    message = f"names column '{column}', and '{column}' is the name of a join or reference too."
                    yield Problem(location, f"{message} Write {found[0].through or found[0].alias}.{column}.")


def satellites_of(project: Project, parent: str) -> tuple[Table, ...]:
    """The satellites of a hub or link, in the order of the project."""
    return tuple(
        t
        for t in project.tables.values()
        if getattr(t, "kind", "") == "satellite" and getattr(t, "parent", "") == parent
    )


def places_of(project: Project, table: KeyedTable, *, through: str = "") -> tuple[Place, ...]:
    """A hub or link and its satellites as places of a scope, prefixed where reached through an alias."""
    lead = f"{through}_" if through else ""
    own = Place(f"{lead}{table.name}", table.name, table.business_columns(project), through)
    satellites = (
        Place(f"{lead}{satellite.name}", satellite.name, satellite.columns_of(project), through)
        for satellite in satellites_of(project, table.name)
    )
    return (own, *satellites)


def struct_of(place: Place, *extra: str) -> str:
    """The columns of a place as one struct value."""
    names = [*(quote(name) for name in place.columns), *extra]
    return f"struct({', '.join(names)})"


def flattened(scope: Scope, places: Iterable[Place]) -> dict[str, str]:
    """Columns that may be named alone, taken out of the structs of the places in use."""
    alone = scope.unique()
    return {
        name: f"{quote(place.alias)}.{quote(name)}"
        for place in places
        for name in place.columns
        if name in alone and alone[name].alias == place.alias
    }


def through_structs(places: Iterable[Place], expressions: Iterable[str]) -> dict[str, str]:
    """One struct per join or reference that an expression qualifies with, so that ``ship_to.City`` finds its satellite's column.

    A reference that nobody qualifies with gets none: it may be named like a column.
    """
    qualifiers = _qualifiers(expressions)
    groups: dict[str, list[str]] = {}
    for place in places:
        for name in place.columns if place.through.lower() in qualifiers else ():
            groups.setdefault(place.through, []).append(f"{quote(place.alias)}.{quote(name)}")
    return {through: f"struct({', '.join(members)})" for through, members in groups.items()}


def _qualifiers(expressions: Iterable[str]) -> frozenset[str]:
    return frozenset(q.lower() for expression in expressions for q, _ in _references(expression) if q)


def _references(expression: str) -> tuple[tuple[str, str], ...]:
    """The columns that an expression names; none where it is not Spark SQL, which is a problem of its own."""
    try:
        return column_references(expression)
    except ValueError:
        return ()
