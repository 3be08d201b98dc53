"""Hub: the business keys of an entity, one row per key.

Rule: insert the earliest row of a key (by load date-time, then record source) that the hub does not have; never update,
never delete. Rows without a business key (a part that is NULL or blank) are left out and counted as excluded.
Source: Linstedt & Olschimke, Building a Scalable Data Warehouse with Data Vault 2.0 (2015), hub loading.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from lakehouse.errors import suggestion
from lakehouse.metadata.checks import missing_column
from lakehouse.metadata.entity import Names
from lakehouse.metadata.environment import Layer, Relation
from lakehouse.metadata.project import Project
from lakehouse.metadata.table import (
    Input,
    KeyedTable,
    Load,
    Problem,
    cast_part,
    count_outcomes,
    source_part,
)
from lakehouse.names import CHANGE_TYPE, SYSTEM_COLUMNS, hash_key
from lakehouse.sql.ddl import TableDefinition, TargetColumn
from lakehouse.sql.hashing import Part
from lakehouse.sql.identifiers import quote
from lakehouse.sql.presets import Hashing
from lakehouse.sql.select import Select, columns
from lakehouse.sql.types import same_family
from lakehouse.vault.columns import STAMPS, properties, stamped, typed_columns
from lakehouse.vault.insert_only import insert_only


def _occurrences(value: object) -> object:
    """``[A, B]`` is one occurrence of a composite key; ``[[A], [B]]`` are two occurrences in one source; ``[]`` has none."""
    if isinstance(value, str):
        return ((value,),)
    if value is None or value == []:
        return ((),)
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return (tuple(value),)
    return value


Occurrences = Annotated[tuple[tuple[str, ...], ...], BeforeValidator(_occurrences)]


class Hub(KeyedTable):
    """The business keys of an entity."""

    kind: Literal["hub"] = "hub"
    layer: ClassVar[Layer] = "vault"
    business_key: Names = ()
    """Names of the business key columns in the hub; may be left out only where ``key`` is ready-made."""
    sources: dict[str, Occurrences] = Field(min_length=1)
    """Per source the columns that give the business key, by position; a list of lists where a source names it twice."""

    columns: Names = ()
    """Further columns of every source to keep, as the first row of a key tells them."""

    @property
    def key_names(self) -> tuple[str, ...]:
        """The names of its key columns."""
        return self.key or (hash_key(self.name),)

    def reads(self, project: Project) -> tuple[Relation, ...]:
        """The persistent stage of each source."""
        return tuple(project.log(source) for source in self.sources if source in project.sources)

    def business_columns(self, project: Project) -> Mapping[str, str]:
        """Business key columns with the types of the first source."""
        source = next(iter(self.sources))
        types = [source_part(project, source, column)[1] for column in self.sources[source][0]]
        return dict(zip(self.business_key, types, strict=True))

    def columns_of(self, project: Project) -> Mapping[str, str]:
        """Business key and hash key."""
        return {**self.key_types(project), **self.business_columns(project), **self._further(project)}

    def _further(self, project: Project) -> dict[str, str]:
        source = next(iter(self.sources))
        return {name: source_part(project, source, name)[1] for name in self.columns}

    def key_parts(self, project: Project, source: str) -> tuple[Part, ...] | None:
        """What the key is made from over a source; of its first occurrence where there are several."""
        if self.key:
            return self.given_parts(project, source)
        if source not in self.sources:
            return None
        return self._parts(project, source, self.sources[source][0])

    def key_arms(self, project: Project) -> tuple[tuple[str, tuple[Part, ...]], ...]:
        """Each occurrence in each source."""
        return tuple(
            (source, self._parts(project, source, named))
            for source, occurrences in self.sources.items()
            for named in occurrences
        )

    def keys_over(self, project: Project, source: str) -> dict[str, str] | None:
        """The hash key of the business key, NULL where it is missing; or the key as the source holds it."""
        parts = self.key_parts(project, source)
        return self._keys(project, parts) if parts else None

    def _keys(self, project: Project, parts: tuple[Part, ...]) -> dict[str, str]:
        if self.key:
            return {name: expression for name, (expression, _) in zip(self.key, parts, strict=True)}
        return {self.hash_key: _key(project.hashes_of(self.name), parts)}

    def stored_hashes(self, project: Project) -> Mapping[str, str]:
        """The hash key, from the business key."""
        if self.key or project.hashes_of(self.name).preset.keys_name_their_source:
            return {}
        parts = tuple((quote(name), kind) for name, kind in self.business_columns(project).items())
        return {self.hash_key: project.hashes_of(self.name).key(parts)}

    def parts_of(self, project: Project, source: str, named: tuple[str, ...]) -> tuple[Part, ...]:
        """The business key over columns that refer to it, cast to its types."""
        return self._parts(project, source, named)

    def _parts(self, project: Project, source: str, named: tuple[str, ...]) -> tuple[Part, ...]:
        types = self.business_columns(project).values()
        return tuple(
            cast_part(source_part(project, source, column), own) for column, own in zip(named, types, strict=True)
        )

    def problems(self, project: Project) -> Iterator[Problem]:
        """Sources and columns exist, key lengths and types agree."""
        for name in self.business_key:
            if name.lower() in SYSTEM_COLUMNS or name in self.key_names:
                yield Problem(
                    ("business_key",), f"has a business key '{name}', which is a system column. Name it otherwise."
                )
        if not self.business_key and not self.key:
            yield Problem(("business_key",), "has no business key. Name its columns.")
        for source, occurrences in self.sources.items():
            if self.business_key and (not occurrences or not all(occurrences)):
                yield Problem(
                    ("sources", source), f"names no column of source '{source}'. Give the columns of its business key."
                )
                return
            if source not in project.sources:
                message = f"names source '{source}', which is not in the project."
                yield Problem(("sources", source), f"{message} {suggestion(source, project.sources)}")
                continue
            for named in occurrences:
                yield from self._occurrence_problems(project, source, named)
            yield from self._column_problems(project, source, many=len(occurrences) > 1)

    def _occurrence_problems(self, project: Project, source: str, named: tuple[str, ...]) -> Iterator[Problem]:
        place = ("sources", source)
        if len(named) != len(self.business_key):
            found = f"{len(named)} of source '{source}' for the {len(self.business_key)} of its business key"
            yield Problem(place, f"names {found} ({', '.join(self.business_key)}). Give one column for each.")
            return
        for column in named:
            yield from missing_column(
                project.sources[source].columns, column, place, f"names, in source '{source}', column"
            )
        yield from self._type_problems(project, source, named)

    def _column_problems(self, project: Project, source: str, *, many: bool) -> Iterator[Problem]:
        lead = f"names, in source '{source}', column"
        for field, names in (("key", self.key), ("columns", self.columns)):
            for position, column in enumerate(names):
                yield from missing_column(project.sources[source].columns, column, (field, position), lead)
        if self.key and many:
            message = f"takes its key ready-made, so source '{source}' can name it once only."
            yield Problem(("sources", source), f"{message} Leave out 'key', or give one list of columns.")

    def _type_problems(self, project: Project, source: str, named: tuple[str, ...]) -> Iterator[Problem]:
        first = next(iter(self.sources))
        if first not in project.sources or len(self.sources[first][0]) != len(named):
            return
        for own, column in zip(self.sources[first][0], named, strict=True):
            if not (project.sources[first].spelled(own) and project.sources[source].spelled(column)):
                continue
            types = project.sources[first].type_of(own), project.sources[source].type_of(column)
            if not same_family(*types):
                found = f"{first}.{own} is {types[0]}, {source}.{column} is {types[1]}"
                yield Problem(
                    ("sources", source),
                    f"gets one business key in two types: {found}. Their hash keys would differ; give both the same type.",
                )

    def load(self, project: Project) -> Load:
        """Insert the keys that the hub does not have."""
        settings = project.settings_of("tables", self.name)
        hashes = settings.hashes
        comment = "Key" if self.key else f"{hashes.algorithm.upper()} of the business key"
        keys = tuple(TargetColumn(*column, comment, required=True) for column in self.key_types(project).items())
        business = typed_columns(self.business_columns(project), "Business key")
        definition = TableDefinition(
            (*keys, *business, *typed_columns(self._further(project), ""), *STAMPS),
            self.description,
            properties=properties(settings),
        )
        return Load(
            name=self.name,
            kind=self.kind,
            layer=self.layer,
            definition=definition,
            inputs=tuple(Input(source, project.log(source)) for source in self.sources),
            select=Select(self._select(project)),
            write="append",
            keys=self.key_names,
            counts=count_outcomes("inserted", "unchanged", "duplicate", "excluded"),
            settings=settings,
        )

    def _select(self, project: Project) -> str:
        arms = [
            self._arm(project, source, named) for source, occurrences in self.sources.items() for named in occurrences
        ]
        names = [*self.key_names, *self.business_key, *self.columns, *stamped()]
        return insert_only("\nUNION ALL\n".join(arms), self.key_names, names)

    def _arm(self, project: Project, source: str, named: tuple[str, ...]) -> str:
        parts = self._parts(project, source, named)
        business = {name: expression for name, (expression, _) in zip(self.business_key, parts, strict=True)}
        keys = self._keys(project, self.given_parts(project, source) or parts)
        further = {name: source_part(project, source, name)[0] for name in self.columns}
        return f"""SELECT
{columns({**keys, **business, **further, **stamped()})}
FROM {{{source}}}
WHERE {CHANGE_TYPE} <> 'D'"""


def _key(hashes: Hashing, parts: tuple[Part, ...]) -> str:
    return f"CASE WHEN NOT ({hashes.is_missing(parts)}) THEN {hashes.key(parts)} END"
