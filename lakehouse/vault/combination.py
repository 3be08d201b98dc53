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
from lakehouse.sql.identifiers import quote
from lakehouse.vault.columns import stamped, told, typed_columns


class Reference(Entity):
    """One end of a link."""

    hub: str
    columns: Names = ()
    """The source columns that give the hub's business key, by position."""
    role: str | None = None
    """Tells two references to one hub apart; it leads the name of the hash key column."""
    key: Names = ()
    """Columns of the source that hold the hub's key ready-made, as an external stage gives them; the link keeps them
    under these names."""

    @property
    def hash_key(self) -> str:
        """The name of its key column in the link; of the first, where it is ready-made in several."""
        return self.key_names[0]

    @property
    def key_names(self) -> tuple[str, ...]:
        """The names of its key columns in the link."""
        return self.key or (hash_key(self.hub, self.role),)


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
    def key_names(self) -> tuple[str, ...]:
        """The names of its key columns."""
        return self.key or (hash_key(self.name),)

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
        found = self.key_types(project)
        for reference in self.references:
            found |= self._reference_types(project, reference)
        return {**found, **self.business_columns(project)}

    def _reference_types(self, project: Project, reference: Reference) -> dict[str, str]:
        if reference.key:
            return {name: source_part(project, self.source, name)[1] for name in reference.key}
        return {reference.hash_key: project.hashes_of(reference.hub).type}

    def key_parts(self, project: Project, source: str) -> tuple[Part, ...] | None:
        """All business key parts in the order of the references, then the child keys; or the key as the source holds it."""
        if self.key:
            return self.given_parts(project, source)
        if source != self.source:
            return None
        parts = [part for reference in self.references for part in self._reference_parts(project, reference)]
        return (*parts, *(source_part(project, source, column) for column in self.child_key))

    def end_parts(self, project: Project, source: str, label: str) -> tuple[Part, ...] | None:
        """The business key parts of the end with this label."""
        reference = self._labelled(label)
        return self._reference_parts(project, reference) if reference and source == self.source else None

    def end_keys(self, project: Project, source: str, label: str) -> dict[str, str]:
        """The key columns of the end with this label, NULL where the row has none; as the source holds them if it does."""
        reference = self._labelled(label)
        if reference is not None and reference.key:
            return {name: quote(name) for name in reference.key}
        if reference is None or source != self.source:
            return {}
        parts, hashes = self._reference_parts(project, reference), project.hashes_of(reference.hub)
        return {reference.hash_key: f"CASE WHEN NOT ({hashes.is_missing(parts)}) THEN {hashes.key(parts)} END"}

    def _labelled(self, label: str) -> Reference | None:
        named = zip(self.ends, self.references, strict=True)
        return next((reference for end, reference in named if end.label == label), None)

    def _reference_parts(self, project: Project, reference: Reference) -> tuple[Part, ...]:
        if reference.key:
            return tuple(source_part(project, self.source, name) for name in reference.key)
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
        for field, names in (("child_key", self.child_key), ("key", self.key)):
            for position, column in enumerate(names):
                yield from missing_column(
                    self._columns(project), column, (field, position), f"names {field.replace('_', ' ')}"
                )
        hashed = [position for position, reference in enumerate(self.references) if not reference.columns]
        if hashed and not self.key:
            message = "is hashed from the business keys of all its references, and this one gives none. Name its columns, or the link's 'key'."
            yield Problem(("references", hashed[0]), message)

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
        for position, column in enumerate(reference.key):
            yield from missing_column(self._columns(project), column, (*place, "key", position), "names key")
        if not (reference.key and not reference.columns) and len(reference.columns) != len(expected):
            found = (
                f"{len(reference.columns)} columns for the business key of '{reference.hub}' ({', '.join(expected)})"
            )
            yield Problem((*place, "columns"), f"gives {found}. Give one column for each.")
        for column in reference.columns:
            yield from missing_column(self._columns(project), column, (*place, "columns"), "names column")

    def own_columns(self, project: Project, settings: Settings) -> tuple[TargetColumn, ...]:
        """Its hash key, the hash keys of the hubs, and the child keys, as the table declares them."""
        comment = "Key" if self.key else f"{settings.hashes.algorithm.upper()} of all business keys and child keys"
        own = [TargetColumn(*column, comment, required=True) for column in self.key_types(project).items()]
        keys = [
            TargetColumn(*column, f"{'Key' if reference.key else 'Hash key'} of {reference.hub}", required=True)
            for reference in self.references
            for column in self._reference_types(project, reference).items()
            if column[0] not in self.key
        ]
        children = typed_columns(self.business_columns(project), "Dependent child key")
        return (*own, *keys, *children)

    def expressions(self, project: Project) -> dict[str, str]:
        """Its key columns and stamps over a row of the source."""
        return {
            **(self.keys_over(project, self.source) or {}),
            **{name: key for r in self.references for name, key in self._reference_keys(project, r).items()},
            **{column: source_part(project, self.source, column)[0] for column in self.child_key},
            **stamped(),
        }

    def key_arms(self, project: Project) -> tuple[tuple[str, tuple[Part, ...]], ...]:
        """Its source."""
        return ((self.source, self.key_parts(project, self.source) or ()),)

    def keys_over(self, project: Project, source: str) -> dict[str, str] | None:
        """The hash key of the combination, or the key as the source holds it; NULL where a child key is missing, or by
        setting a reference."""
        parts = self.key_parts(project, source)
        if parts is None:
            return None
        settings = project.settings_of("tables", self.name)
        required = self._required(project, settings)
        keys = [expression for expression, _ in parts] if self.key else [settings.hashes.key(parts)]
        if required:
            keys = [f"CASE WHEN NOT ({' OR '.join(required)}) THEN {key} END" for key in keys]
        return dict(zip(self.key_names, keys, strict=True))

    def _required(self, project: Project, settings: Settings) -> list[str]:
        """Conditions under which a row has no combination: a child key is missing, or by setting a reference."""
        found = []
        if settings.null_references == "exclude":
            for reference in self.references:
                parts = self._reference_parts(project, reference)
                missing = [f"{expression} IS NULL" for expression, _ in parts]
                found.extend(missing if reference.key else [project.hashes_of(reference.hub).is_missing(parts)])
        return found + [hashing.is_missing(*source_part(project, self.source, column)) for column in self.child_key]

    def _reference_keys(self, project: Project, reference: Reference) -> dict[str, str]:
        parts, hashes = self._reference_parts(project, reference), project.hashes_of(reference.hub)
        if reference.key:
            return {
                name: f"coalesce({part}, {hashes.zero_key})"
                for name, (part, _) in zip(reference.key, parts, strict=True)
            }
        key = f"CASE WHEN {hashes.is_missing(parts)} THEN {hashes.zero_key} ELSE {hashes.key(parts)} END"
        return {reference.hash_key: key}
