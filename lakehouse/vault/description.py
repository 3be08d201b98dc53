"""What all tables that describe the keys of a hub or link share: the parent, the source, and the parent's key over it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from lakehouse.errors import suggestion
from lakehouse.metadata.checks import check_expression, missing_column
from lakehouse.metadata.entity import Names
from lakehouse.metadata.environment import Layer, Relation
from lakehouse.metadata.project import Project
from lakehouse.metadata.settings import Settings
from lakehouse.metadata.table import KeyedTable, Problem, Table, source_part, within_key
from lakehouse.names import HASH_DIFF
from lakehouse.sql import hashing
from lakehouse.sql.ddl import TargetColumn
from lakehouse.sql.hashing import Part
from lakehouse.sql.identifiers import any_null, quote, quote_list
from lakehouse.vault.columns import told
from lakehouse.vault.sets import GROUP, Sets


class Description(Table):
    """A table whose rows belong to the keys of a parent and come from one source."""

    layer: ClassVar[Layer] = "vault"
    parent: str
    """The hub or link that it describes."""
    source: str
    where: str | None = None
    """Spark SQL over the source's columns: only rows for which it is true are taken. Deletes always are."""

    def reads(self, project: Project) -> tuple[Relation, ...]:
        """The persistent stage of its source; its parent's rows need not be there first."""
        return (project.log(self.source),) if self.source in project.sources else ()

    def parent_of(self, project: Project) -> KeyedTable:
        """The hub or link; only where there is one."""
        parent = project.keyed(self.parent)
        assert parent is not None  # a problem otherwise
        return parent

    def parent_keys(self, project: Project) -> tuple[str, ...]:
        """The names of the key columns that it shares with its parent."""
        return self.parent_of(project).key_names

    def key_columns(self, project: Project) -> tuple[TargetColumn, ...]:
        """The key columns as the table declares them."""
        parent = self.parent_of(project)
        comment = f"{'Key' if parent.key else 'Hash key'} of {self.parent}"
        return tuple(TargetColumn(*column, comment, required=True) for column in parent.key_types(project).items())

    def keys(self, project: Project) -> dict[str, str]:
        """The parent's key columns as SQL over a row of the source; one is NULL where the row has none."""
        parent = self.parent_of(project)
        keys = {name: quote(name) for name in parent.key} or parent.keys_over(project, self.source)
        assert keys is not None  # a problem otherwise
        return keys

    def key_text(self, project: Project) -> str:
        """SQL for the text that the parent's key is made from."""
        parent = self.parent_of(project)
        parts = parent.key_parts(project, self.source)
        assert parts is not None  # a problem otherwise
        if parent.key:
            return hashing.joined([hashing.canonical_text(*part) for part in parts])
        return project.hashes_of(self.parent).preset.key_text(parts)

    def zero_keys(self, project: Project, settings: Settings) -> dict[str, str]:
        """The parent's key and the hash of a row in a ghost record."""
        zero = project.hashes_of(self.parent).zero_key
        return {**dict.fromkeys(self.parent_keys(project), zero), HASH_DIFF: settings.hashes.zero_key}

    def group(self, project: Project) -> Sets:
        """The sets of the source's rows by the parent's key; their key is a struct where there are several columns."""
        keys = self.keys(project)
        one = next(iter(keys.values()))
        return Sets(
            source=self.source,
            rows=self.rows,
            keys=project.sources[self.source].key,
            group_key=one
            if len(keys) == 1
            else f"CASE WHEN NOT ({any_null(keys)}) THEN struct({quote_list(keys)}) END",
            group_text=self.key_text(project),
            moving=not self.keyed_within_source(project),
        )

    def of_group(self, project: Project) -> dict[str, str]:
        """The parent's key columns as SQL over a row of the sets."""
        keys = self.parent_keys(project)
        return {keys[0]: GROUP} if len(keys) == 1 else {name: f"{GROUP}.{quote(name)}" for name in keys}

    def given_diff_problems(self, project: Project, hash_diff: str | None) -> Iterator[Problem]:
        """A ready-made hash of the row that the source does not have."""
        if hash_diff and self.source in project.sources:
            yield from missing_column(
                project.sources[self.source].columns, hash_diff, ("hash_diff",), "names hash diff"
            )

    def diff_type(self, project: Project, settings: Settings, hash_diff: str | None) -> str:
        """The type of the hash of a row: as hashed here, or as the source holds it."""
        return project.sources[self.source].type_of(hash_diff) if hash_diff else settings.hashes.type

    def keyed_within_source(self, project: Project) -> bool:
        """Whether the parent's key is part of the source's, so that a source row never changes its parent."""
        return within_key(project, self.source, self.parent_of(project).key_parts(project, self.source) or ())

    def parts(self, project: Project, names: Sequence[str]) -> dict[str, Part]:
        """Source columns as parts of a hash, by name."""
        return {name: source_part(project, self.source, name) for name in names}

    def typed(self, project: Project, names: Sequence[str]) -> Mapping[str, str]:
        """Source columns as the source spells them, with their types."""
        source = project.sources[self.source]
        return {source.spelled(name) or name: source.type_of(name) for name in names}

    def problems(self, project: Project) -> Iterator[Problem]:
        """Parent and source exist; the parent gets its key from the same source."""
        parent = project.keyed(self.parent)
        if parent is None:
            keyed = [name for name in project.tables if project.keyed(name)]
            message = f"names parent '{self.parent}', which is not in the project."
            yield Problem(("parent",), f"{message} {suggestion(self.parent, keyed)}")
        if self.source not in project.sources:
            message = f"names source '{self.source}', which is not in the project."
            yield Problem(("source",), f"{message} {suggestion(self.source, project.sources)}")
            return
        feeding = getattr(parent, "sources", None) or [getattr(parent, "source", None)]
        if parent is not None and not parent.key and self.source not in feeding:
            known = ", ".join(str(name) for name in feeding)
            found = f"reads source '{self.source}', from which '{self.parent}' gets no key"
            yield Problem(("source",), f"{found}. It gets keys from: {known}.")
        for column in parent.key if parent is not None else ():
            lead = f"describes '{self.parent}' by its ready-made key, for which source '{self.source}' has no column"
            yield from missing_column(project.sources[self.source].columns, column, ("source",), lead)
        if self.where:
            types = {name: column.type for name, column in project.sources[self.source].columns.items()}
            yield from check_expression(self.where, types, ("where",), "a filter")

    @property
    def rows(self) -> str:
        """SQL for the rows of the source that it takes."""
        return told(self.source, self.where)

    def column_problems(self, project: Project, names: Names, field: str) -> Iterator[Problem]:
        """Columns that the source does not have."""
        if self.source in project.sources:
            known = project.sources[self.source].columns
            lead = f"names, in source '{self.source}', column"
            for position, column in enumerate(names):
                yield from missing_column(known, column, (field, position), lead)
