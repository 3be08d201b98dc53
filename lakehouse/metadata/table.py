"""Table: the base of all kinds, the load that a table resolves to, and the registry of kinds.

Rule: a table's metadata knows, as a pure value, which rows it should receive (a SELECT) and how they are written (an
append or a MERGE). A kind is one file with one subclass of ``Table``; the registry collects them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lakehouse.metadata.entity import Entity, Names
from lakehouse.metadata.environment import Layer, Relation
from lakehouse.metadata.settings import Settings
from lakehouse.names import LOAD_POSITION
from lakehouse.sql.ddl import TableDefinition
from lakehouse.sql.hashing import Part
from lakehouse.sql.identifiers import quote
from lakehouse.sql.select import Select

if TYPE_CHECKING:
    from lakehouse.metadata.project import Project

OFFSET = "__offset"
"""Suffix of the marker that stands for how far an input was read before this load."""


@dataclass(frozen=True)
class Problem:
    """Something wrong with an entity: where in its YAML, and what."""

    location: tuple[str | int, ...]
    message: str


@dataclass(frozen=True)
class Input:
    """A relation that a load reads, with an offset of its own."""

    name: str
    """The marker in the SELECT."""
    relation: Relation
    whole: bool = False
    """False: ``{name}`` is the slice. True: it is the whole input, and rows after ``{name__offset}`` are the slice."""


@dataclass(frozen=True)
class Load:
    """Everything about the load of one table, as a pure value."""

    name: str
    kind: str
    layer: Layer
    definition: TableDefinition
    inputs: tuple[Input, ...]
    select: Select
    """Rows of the target's columns and ``outcome``, over the inputs and ``{target}``."""
    write: Literal["append", "merge"]
    keys: tuple[str, ...]
    """What identifies a row of the target."""
    counts: Mapping[str, str]
    """Count type to the SQL aggregate over the SELECT's rows that gives it."""
    helpers: tuple[str, ...] = ()
    """Columns that the SELECT gives for the counts only; they are not written."""
    ghost: Select | None = None
    """Rows that stand for "no version", written with the first rows of the table."""
    predecessors: Select | None = None
    """The rows of the target that the slice itself proves: a smaller ``{target}`` where the log may be trusted."""
    subject: Subject | None = None
    settings: Settings = field(default_factory=Settings)

    @property
    def relation(self) -> Relation:
        """The table that is loaded."""
        return Relation(self.layer, self.name)

    @property
    def first(self) -> Select:
        """The SELECT of the load into a table that has no rows."""
        if self.ghost is None:
            return self.select
        names = ", ".join([*(quote(c.name) for c in self.definition.columns if c.name != LOAD_POSITION), "outcome"])
        rows = f"SELECT {names} FROM (\n{self.select.template}\n)"
        return Select(f"{rows}\nUNION ALL\nSELECT {names} FROM (\n{self.ghost.template}\n)")


@dataclass(frozen=True)
class Subject:
    """The columns of a source that one satellite keeps; the log marks whether a row differs in them."""

    name: str
    source: str
    columns: tuple[str, ...]


def count_outcomes(*outcomes: str) -> dict[str, str]:
    """Counts of an append: one per outcome, and what was read. Rows without a business key (excluded) stand apart."""
    counts = {outcome: f"count_if(outcome = '{outcome}')" for outcome in outcomes}
    return {"read": "count_if(outcome <> 'excluded')", **counts}


class Adoption(Entity):
    """A table of another tool whose rows are taken over."""

    table: str
    """Its name, as the Spark session finds it."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Column here to Spark SQL over the columns there; columns of the same name need not be named."""


class Table(Entity):
    """The base of all kinds."""

    layer: ClassVar[Layer]

    name: str = Field(default="", exclude=True)
    description: str = ""
    adopts: Adoption | None = None
    """The table of another tool that ``lakehouse adopt`` takes over before the first load."""
    settings: Settings = Settings()

    def reads(self, project: Project) -> tuple[Relation, ...]:
        """The relations that its load reads."""
        raise NotImplementedError

    def problems(self, project: Project) -> Iterable[Problem]:
        """What is wrong with it, as far as this can be seen without Spark."""
        raise NotImplementedError

    def load(self, project: Project) -> Load:
        """Its load. Only for a project without problems."""
        raise NotImplementedError

    def columns_of(self, project: Project) -> Mapping[str, str]:
        """The columns it offers to the tables after it, with their types."""
        raise NotImplementedError

    def stored_hashes(self, project: Project) -> Mapping[str, str]:
        """Its hash columns that can be computed anew from its other columns, with the SQL that does it."""
        return {}

    @property
    def relation(self) -> Relation:
        """Its place in the layers."""
        return Relation(self.layer, self.name)

    @property
    def inferred_subject(self) -> Subject | None:
        """The subject that it wants marked in a source's log."""
        return None


@dataclass(frozen=True)
class End:
    """A hub that a link refers to."""

    label: str
    """What a mart calls it: its role, or the hub's entity."""
    hub: str
    hash_key: str
    """The hash key column in the link."""


class KeyedTable(Table):
    """A table with a key that others refer to: a hub or a link."""

    key: Names = ()
    """Columns of the sources that hold the key ready-made, as an external stage gives them; left out, the key is one
    column, the hash of the business key."""

    @property
    def ends(self) -> tuple[End, ...]:
        """The hubs that it refers to; none for a hub."""
        return ()

    @property
    def hash_key(self) -> str:
        """The name of its hash key column; of the first, where the key is ready-made in several."""
        return self.key_names[0]

    @property
    def key_names(self) -> tuple[str, ...]:
        """The names of its key columns."""
        raise NotImplementedError

    def key_types(self, project: Project) -> dict[str, str]:
        """Its key columns with their types."""
        if not self.key:
            return {self.hash_key: project.hashes_of(self.name).type}
        source = self.key_arms(project)[0][0]
        return {name: source_part(project, source, name)[1] for name in self.key}

    def given_parts(self, project: Project, source: str) -> tuple[Part, ...]:
        """The key columns that the source holds ready-made."""
        return tuple(source_part(project, source, name) for name in self.key)

    def key_parts(self, project: Project, source: str) -> tuple[Part, ...] | None:
        """The parts of its hash key over the columns of a source; None if the source does not feed it."""
        raise NotImplementedError

    def keys_over(self, project: Project, source: str) -> dict[str, str] | None:
        """Its key columns as SQL over a row of the source, one NULL where the row has none; None if the source does not
        feed it."""
        raise NotImplementedError

    def key_arms(self, project: Project) -> tuple[tuple[str, tuple[Part, ...]], ...]:
        """Every place that gives it keys: the source, and the parts of the business key over its rows."""
        raise NotImplementedError

    def end_parts(self, project: Project, source: str, label: str) -> tuple[Part, ...] | None:
        """The business key parts of one end over a source; None where there is no such end, as in a hub."""
        return None

    def end_keys(self, project: Project, source: str, label: str) -> dict[str, str]:
        """The key columns of one end as SQL over a row of a source; none where there is no such end."""
        return {}

    def business_columns(self, project: Project) -> Mapping[str, str]:
        """Its business key columns (hub) or child keys (link), with their types."""
        raise NotImplementedError


def source_part(project: Project, source: str, column: str) -> Part:
    """A source's column as a part of a hash."""
    owner = project.sources[source]
    name = owner.spelled(column) or column
    return quote(name), owner.columns[name].type


def within_key(project: Project, source: str, parts: Iterable[Part]) -> bool:
    """Whether parts are made from columns of the source's key alone, so that a row never comes to have others."""
    owner = project.sources[source]
    keys = {quote(owner.spelled(column) or column).lower() for column in owner.key}
    return {expression.lower() for expression, _ in parts} <= keys


def cast_part(part: Part, data_type: str) -> Part:
    """A part read as the type of the key that it refers to."""
    expression, own = part
    return part if own == data_type else (f"CAST({expression} AS {data_type.upper()})", data_type)


class Registry:
    """The kinds that a project may use, by their word."""

    def __init__(self, kinds: Iterable[type[Table]]) -> None:
        self._kinds = {kind_word(kind): kind for kind in kinds}

    def __getitem__(self, word: str) -> type[Table]:
        return self._kinds[word]

    def __contains__(self, word: object) -> bool:
        return word in self._kinds

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._kinds))

    def values(self) -> tuple[type[Table], ...]:
        """The classes, ordered by their word."""
        return tuple(self._kinds[word] for word in self)


def kind_word(kind: type[Table]) -> str:
    """The word of a kind: the one value of its field ``kind``."""
    return str(kind.model_fields["kind"].default)


class ConformedDimension(Table):
    """A table whose surrogate key facts hold: a dimension or the date dimension."""

    @property
    def surrogate_key(self) -> str:
        """The name of its surrogate key column."""
        raise NotImplementedError

    @property
    def hub(self) -> str | None:
        """The hub whose hash key finds a member; None where a member is found by a value."""
        return None

    def lookup(self, project: Project, given: tuple[Part, ...]) -> str:
        """SQL for what a fact finds the member by, from the parts of its business key."""
        raise NotImplementedError

    def lookup_join(self, alias: str, found_by: str, event: str) -> str:
        """SQL that joins the member, under ``alias``, that holds at the event; nothing where there is none."""
        raise NotImplementedError
