"""What links of all kinds share: the hubs that they refer to, their hash key, and both over a row of the source.

Rule: the order of the references is part of the hash. A NULL reference points at the zero key, or the row is excluded, by
setting ``null_references``; a row without a child key is excluded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from pydantic import Field

from lakehouse.errors import suggestion
from lakehouse.metadata.checks import check_expression, missing_column
from lakehouse.metadata.entity import Entity, Names
from lakehouse.metadata.environment import Layer, Relation
from lakehouse.metadata.project import Project
from lakehouse.metadata.settings import Settings
from lakehouse.metadata.table import End, KeyedTable, Problem, cast_part, source_part
from lakehouse.names import entity, hash_key
from lakehouse.sql import hashing
from lakehouse.sql.ddl import TargetColumn
from lakehouse.sql.hashing import Part
from lakehouse.vault.columns import stamped, told, typed_columns


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


class Combination(KeyedTable):
    """What links of all kinds share."""

    layer: ClassVar[Layer] = "vault"
    source: str
    references: tuple[Reference, ...] = Field(min_length=1)
    child_key: Names = ()
    """Dependent child keys: columns of the source that belong to the combination, such as a line number."""
    where: str | None = None
    """Spark SQL over the source's columns: only rows for which it is true are taken. Deletes always are."""

    @property
    def rows(self) -> str:
        """SQL for the rows of the source that it takes."""
        return told(self.source, self.where)

    @property
    def hash_key(self) -> str:
        """The name of its hash key column."""
        return hash_key(self.name)

    @property
    def ends(self) -> tuple[End, ...]:
        """The hubs that it refers to."""
        return tuple(End(r.role or entity(r.hub), r.hub, r.hash_key, r.columns) for r in self.references)

    def reads(self, project: Project) -> tuple[Relation, ...]:
        """The persistent stage of its source."""
        return (project.log(self.source),) if self.source in project.sources else ()

    def business_columns(self, project: Project) -> Mapping[str, str]:
        """Its dependent child keys."""
        source = project.sources[self.source]
        return {column: source.type_of(column) for column in self.child_key}

    def columns_of(self, project: Project) -> Mapping[str, str]:
        """Its hash key, the hash keys of the hubs, and the child keys."""
        keys = {reference.hash_key: project.hashes_of(reference.hub).type for reference in self.references}
        return {self.hash_key: project.hashes_of(self.name).type, **keys, **self.business_columns(project)}

    def key_parts(self, project: Project, source: str) -> tuple[Part, ...] | None:
        """All business key parts in the order of the references, then the child keys."""
        if source != self.source:
            return None
        parts = [part for reference in self.references for part in self._reference_parts(project, reference)]
        return (*parts, *(source_part(project, source, column) for column in self.child_key))

    def end_parts(self, project: Project, source: str, label: str) -> tuple[Part, ...] | None:
        """The business key parts of the end with this label."""
        named = zip(self.ends, self.references, strict=True)
        reference = next((reference for end, reference in named if end.label == label), None)
        return self._reference_parts(project, reference) if reference and source == self.source else None

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
        if self.where:
            types = {name: column.type for name, column in project.sources[self.source].columns.items()}
            yield from check_expression(self.where, types, ("where",), "a filter")
        for position, column in enumerate(self.child_key):
            yield from missing_column(self._columns(project), column, ("child_key", position), "names child key")

    def _columns(self, project: Project) -> Mapping[str, object]:
        return project.sources[self.source].columns

    def _reference_problems(
        self, project: Project, reference: Reference, place: tuple[str | int, ...]
    ) -> Iterator[Problem]:
        hub = project.keyed(reference.hub)
        if hub is None or isinstance(hub, Combination):
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

    def own_columns(self, project: Project, settings: Settings) -> tuple[TargetColumn, ...]:
        """Its hash key, the hash keys of the hubs, and the child keys, as the table declares them."""
        hashes, types = settings.hashes, self.columns_of(project)
        comment = f"{hashes.algorithm.upper()} of all business keys and child keys"
        own = TargetColumn(self.hash_key, hashes.type, comment, required=True)
        keys = [
            TargetColumn(reference.hash_key, types[reference.hash_key], f"Hash key of {reference.hub}", required=True)
            for reference in self.references
        ]
        children = typed_columns(self.business_columns(project), "Dependent child key")
        return (own, *keys, *children)

    def expressions(self, project: Project) -> dict[str, str]:
        """Its key columns and stamps over a row of the source."""
        return {
            self.hash_key: self.key_over(project, self.source) or "",
            **{reference.hash_key: self._reference_key(project, reference) for reference in self.references},
            **{column: source_part(project, self.source, column)[0] for column in self.child_key},
            **stamped(),
        }

    def key_arms(self, project: Project) -> tuple[tuple[str, tuple[Part, ...]], ...]:
        """Its source."""
        return ((self.source, self.key_parts(project, self.source) or ()),)

    def key_over(self, project: Project, source: str) -> str | None:
        """The hash key of the combination; NULL where a child key is missing, or by setting a reference."""
        parts = self.key_parts(project, source)
        if parts is None:
            return None
        settings = project.settings_of("tables", self.name)
        key = settings.hashes.key(parts)
        required = self._required(project, settings)
        return f"CASE WHEN NOT ({' OR '.join(required)}) THEN {key} END" if required else key

    def _required(self, project: Project, settings: Settings) -> list[str]:
        """Conditions under which a row has no combination: a child key is missing, or by setting a reference."""
        found = []
        if settings.null_references == "exclude":
            for reference in self.references:
                parts = self._reference_parts(project, reference)
                found.append(project.hashes_of(reference.hub).is_missing(parts))
        return found + [hashing.is_missing(*source_part(project, self.source, column)) for column in self.child_key]

    def _reference_key(self, project: Project, reference: Reference) -> str:
        parts, hashes = self._reference_parts(project, reference), project.hashes_of(reference.hub)
        return f"CASE WHEN {hashes.is_missing(parts)} THEN {hashes.zero_key} ELSE {hashes.key(parts)} END"
