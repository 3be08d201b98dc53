"""What all tables that describe the keys of a hub or link share: the parent, the source, and the parent's key over it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from lakehouse.errors import suggestion
from lakehouse.metadata.checks import check_expression, missing_column
from lakehouse.metadata.entity import Names
from lakehouse.metadata.environment import Layer, Relation
from lakehouse.metadata.kept import Kept, Versions
from lakehouse.metadata.project import Project
from lakehouse.metadata.table import KeyedTable, Problem, Table, source_part, within_key
from lakehouse.sql.ddl import TargetColumn
from lakehouse.sql.hashing import Part
from lakehouse.vault.columns import told


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

    def parent_key(self, project: Project) -> str:
        """The name of the hash key column that it shares with its parent."""
        return self.parent_of(project).hash_key

    def key_column(self, project: Project) -> TargetColumn:
        """The hash key column as the table declares it."""
        key_type = project.hashes_of(self.parent).type
        return TargetColumn(self.parent_key(project), key_type, f"Hash key of {self.parent}", required=True)

    def key(self, project: Project) -> str:
        """SQL for the parent's hash key over a row of the source; NULL where the row has none."""
        key = self.parent_of(project).key_over(project, self.source)
        assert key is not None  # a problem otherwise
        return key

    def key_text(self, project: Project) -> str:
        """SQL for the text that the parent's hash key is made from."""
        parts = self.parent_of(project).key_parts(project, self.source)
        assert parts is not None  # a problem otherwise
        return project.hashes_of(self.parent).preset.key_text(parts)

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
        if parent is not None and self.source not in feeding:
            known = ", ".join(str(name) for name in feeding)
            found = f"reads source '{self.source}', from which '{self.parent}' gets no key"
            yield Problem(("source",), f"{found}. It gets keys from: {known}.")

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

    def versions_where(self, project: Project, gone: str, *, sets: bool = False) -> Versions:
        """Versions of the parent's keys that end with a row for which ``gone`` is true."""
        return Versions((self.parent_key(project),), gone, sets)

    def kept_as(self, project: Project, versions: Versions, columns: Sequence[str]) -> Kept:
        """What it keeps of its source's rows: the columns, for the parent's key."""
        unfit = "takes only the rows of its filter" if self.where else ""
        return Kept(versions, tuple(self.typed(project, columns)), self.parent, unfit=unfit)
