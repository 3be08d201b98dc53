"""Link: a relation between hubs, one row per combination of their keys and the dependent child keys.

Rule: insert the earliest row of a combination that the link does not have; never update, never delete. The order of the
references is part of the hash. A NULL reference points at the zero key, or the row is excluded, by setting
``null_references``. A hierarchical or same-as link refers to one hub in two roles.
Source: Linstedt & Olschimke, Building a Scalable Data Warehouse with Data Vault 2.0 (2015), link loading.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from pydantic import Field

from lakehouse.errors import suggestion
from lakehouse.metadata.checks import missing_column
from lakehouse.metadata.entity import Entity, Names
from lakehouse.metadata.environment import Layer, Relation
from lakehouse.metadata.project import Project
from lakehouse.metadata.settings import Settings
from lakehouse.metadata.table import End, Input, KeyedTable, Load, Problem, cast_part, count_outcomes, source_part
from lakehouse.names import CHANGE_TYPE, entity, hash_key
from lakehouse.sql import hashing
from lakehouse.sql.ddl import TableDefinition, TargetColumn
from lakehouse.sql.hashing import Part
from lakehouse.sql.select import Select, columns
from lakehouse.vault.columns import STAMPS, properties, stamped, typed_columns
from lakehouse.vault.insert_only import insert_only


class Reference(Entity):
    """One end of a link."""

    hub: str
    columns: Names
    """The source columns that give the hub's business key, by position."""
    role: str | None = None
    """Tells two references to one hub apart; it leads the name of the hash key column."""

    @property
    def hash_key(self) -> str:
        """The name of its hash key column in the link."""
        return hash_key(self.hub, self.role)


class Link(KeyedTable):
    """A relation between hubs."""

    kind: Literal["link"] = "link"
    layer: ClassVar[Layer] = "vault"
    source: str
    references: tuple[Reference, ...] = Field(min_length=1)
    child_key: Names = ()
    """Dependent child keys: columns of the source that belong to the combination, such as a line number."""

    @property
    def hash_key(self) -> str:
        """The name of its hash key column."""
        return hash_key(self.name)

    @property
    def ends(self) -> tuple[End, ...]:
        """The hubs that it refers to."""
        return tuple(End(r.role or entity(r.hub), r.hub, r.hash_key) for r in self.references)

    def reads(self, project: Project) -> tuple[Relation, ...]:
        """The persistent stage of its source."""
        return (project.log(self.source),) if self.source in project.sources else ()

    def business_columns(self, project: Project) -> Mapping[str, str]:
        """Its dependent child keys."""
        source = project.sources[self.source]
        return {column: source.type_of(column) for column in self.child_key}

    def columns_of(self, project: Project) -> Mapping[str, str]:
        """Its hash key, the hash keys of the hubs, and the child keys."""
        keys = {reference.hash_key: "binary" for reference in self.references}
        return {self.hash_key: "binary", **keys, **self.business_columns(project)}

    def key_parts(self, project: Project, source: str) -> tuple[Part, ...] | None:
        """All business key parts in the order of the references, then the child keys."""
        if source != self.source:
            return None
        parts = [part for reference in self.references for part in self._reference_parts(project, reference)]
        return (*parts, *(source_part(project, source, column) for column in self.child_key))

    def _reference_parts(self, project: Project, reference: Reference) -> tuple[Part, ...]:
        hub = project.keyed(reference.hub)
        assert hub is not None  # a problem otherwise
        types = hub.business_columns(project).values()
        found = (source_part(project, self.source, column) for column in reference.columns)
        return tuple(cast_part(part, data_type) for part, data_type in zip(found, types, strict=True))

    def problems(self, project: Project) -> Iterator[Problem]:
        """Source, hubs and columns exist; no two references have one name."""
        if self.source not in project.sources:
            message = f"names source '{self.source}', which is not in the project."
            yield Problem(("source",), f"{message} {suggestion(self.source, project.sources)}")
            return
        seen: set[str] = set()
        for position, reference in enumerate(self.references):
            if reference.hash_key in seen:
                message = f"refers to hub '{reference.hub}' twice under one name. Give each reference a role."
                yield Problem(("references", position), message)
            seen.add(reference.hash_key)
            yield from self._reference_problems(project, reference, ("references", position))
        for position, column in enumerate(self.child_key):
            yield from missing_column(self._columns(project), column, ("child_key", position), "names child key")

    def _columns(self, project: Project) -> Mapping[str, object]:
        return project.sources[self.source].columns

    def _reference_problems(
        self, project: Project, reference: Reference, place: tuple[str | int, ...]
    ) -> Iterator[Problem]:
        hub = project.keyed(reference.hub)
        if hub is None or isinstance(hub, Link):
            hubs = [name for name, table in project.tables.items() if getattr(table, "kind", "") == "hub"]
            message = f"refers to hub '{reference.hub}', which is not in the project."
            yield Problem((*place, "hub"), f"{message} {suggestion(reference.hub, hubs)}")
            return
        expected = list(getattr(hub, "business_key", ()))
        if len(reference.columns) != len(expected):
            found = (
                f"{len(reference.columns)} columns for the business key of '{reference.hub}' ({', '.join(expected)})"
            )
            yield Problem((*place, "columns"), f"gives {found}. Give one column for each.")
        for column in reference.columns:
            yield from missing_column(self._columns(project), column, (*place, "columns"), "names column")

    def load(self, project: Project) -> Load:
        """Insert the combinations that the link does not have."""
        settings = project.settings_of("tables", self.name)
        return Load(
            name=self.name,
            kind=self.kind,
            layer=self.layer,
            definition=self._definition(project, settings),
            inputs=(Input(self.source, project.log(self.source)),),
            select=Select(self._select(project, settings)),
            write="append",
            keys=(self.hash_key,),
            counts=count_outcomes("inserted", "unchanged", "duplicate", "excluded"),
            settings=settings,
        )

    def _definition(self, project: Project, settings: Settings) -> TableDefinition:
        algorithm = settings.hash_algorithm.upper()
        own = TargetColumn(self.hash_key, "binary", f"{algorithm} of all business keys and child keys", required=True)
        keys = [
            TargetColumn(reference.hash_key, "binary", f"Hash key of {reference.hub}", required=True)
            for reference in self.references
        ]
        children = typed_columns(self.business_columns(project), "Dependent child key")
        return TableDefinition((own, *keys, *children, *STAMPS), self.description, properties=properties(settings))

    def _select(self, project: Project, settings: Settings) -> str:
        expressions = {
            self.hash_key: self._own_key(project, settings),
            **{reference.hash_key: self._reference_key(project, reference, settings) for reference in self.references},
            **{column: source_part(project, self.source, column)[0] for column in self.child_key},
            **stamped(),
        }
        delivered = f"SELECT\n{columns(expressions)}\nFROM {{{self.source}}}\nWHERE {CHANGE_TYPE} <> 'D'"
        return insert_only(delivered, self.hash_key, list(expressions))

    def _own_key(self, project: Project, settings: Settings) -> str:
        parts = self.key_parts(project, self.source)
        assert parts is not None
        key = hashing.hash_key(parts, algorithm=settings.hash_algorithm)
        children = [source_part(project, self.source, column) for column in self.child_key]
        required = parts if settings.null_references == "exclude" else children
        if not required:
            return key
        missing = " OR ".join(hashing.is_missing(*part) for part in required)
        return f"CASE WHEN NOT ({missing}) THEN {key} END"

    def _reference_key(self, project: Project, reference: Reference, settings: Settings) -> str:
        parts = self._reference_parts(project, reference)
        missing = " OR ".join(hashing.is_missing(*part) for part in parts)
        key = hashing.hash_key(parts, algorithm=settings.hash_algorithm)
        return f"CASE WHEN {missing} THEN {hashing.zero_key(settings.hash_algorithm)} ELSE {key} END"
