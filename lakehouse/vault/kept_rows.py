"""What the vault keeps of a source's rows: which there were, which columns they had, and what tables are joined by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from lakehouse.metadata.kept import Kept
from lakehouse.metadata.project import Project
from lakehouse.metadata.source import Source
from lakehouse.sql.identifiers import quote
from lakehouse.sql.select import block, columns
from lakehouse.vault.combination import Combination
from lakehouse.vault.hub import Hub
from lakehouse.vault.version_views import held_rows

AS_OF = "as_of"
"""The marker of the moment, a timestamp."""


class Anchor(NamedTuple):
    """What rows of two tables are joined by: the key of a hub or link, or (without one) a column."""

    table: str
    columns: tuple[str, ...]
    """The source's columns that give it, in lower case."""


@dataclass(frozen=True)
class KeptRows:
    """What each table keeps of a source's rows, and what can be read from it."""

    project: Project
    source: Source

    @property
    def key(self) -> frozenset[str]:
        """The columns that tell the source's rows apart."""
        return lower(self.source.key)

    @cached_property
    def kept(self) -> dict[str, Kept]:
        """What each table keeps, in the project's order."""
        found = {name: table.keeps(self.project, self.source.name) for name, table in self.project.tables.items()}
        return {name: kept for name, kept in found.items() if kept}

    @cached_property
    def fit(self) -> dict[str, Kept]:
        """The tables that keep the source row by row."""
        return {name: kept for name, kept in self.kept.items() if not self.unfit(name)}

    @cached_property
    def complete(self) -> list[str]:
        """The tables that tell which rows there are; those with history and the most columns first."""
        found = [name for name in self.fit if not self.gap(name)]
        return sorted(found, key=lambda name: (not self.kept[name].historised, -len(self.kept[name].columns)))

    def unfit(self, name: str) -> str:
        """Why rows cannot be read from a table; empty if they can."""
        kept = self.kept[name]
        if kept.unfit:
            return kept.unfit
        told = self.key_columns(name) | (lower(kept.columns) if kept.tells_rows_apart else frozenset())
        return "" if self.key <= told else "has one row for several of the source's"

    def gap(self, name: str) -> str:
        """Why a fit table does not tell which rows there are; empty if it does."""
        if not self.kept[name].tells_deletes and self.source.changes.by == "snapshot":
            return "keeps no deletes"
        if self.stale(name):
            return f"keeps a row under its former key, too, when its {self._named(self.key_columns(name) - self.key)} changes"
        if lacking := self._lacking(name):
            return f"has no row where {self._named(lacking)} is missing"
        return ""

    def _named(self, names: Iterable[str]) -> str:
        return ", ".join(self.source.spelled(name) or name for name in sorted(names))

    def lossy(self, name: str) -> bool:
        """Whether a fit table may lack a row that has something to tell; one whose only reference is missing has not."""
        lacking, kept = self._lacking(name), self.kept[name]
        link = self.links.get(kept.parent or "")
        if not lacking or link is None:
            return bool(lacking)
        gives = (lower(kept.columns) | self.key_columns(name)) - self.key
        return not (gives <= lacking and any(lower(end.columns) == lacking for end in link.ends))

    def stale(self, name: str) -> bool:
        """Whether a table may still hold a row under a key that it no longer has."""
        return not self.kept[name].tells_moves and not self.key_columns(name) <= self.key

    def key_columns(self, name: str) -> frozenset[str]:
        """The source's columns that give the key of a table's rows."""
        kept = self.kept[name]
        return lower(self.parent_anchor(kept.parent).columns if kept.parent else kept.versions.keys)

    def parent_anchor(self, parent: str) -> Anchor:
        """The key of a hub, as its first occurrence in the source gives it (or ready-made), or of a link."""
        keyed = self.project.tables[parent]
        if isinstance(keyed, Hub):
            return anchor_of(parent, keyed.sources.get(self.source.name, (keyed.key,))[0])
        assert isinstance(keyed, Combination)  # nothing else has a key
        return anchor_of(parent, [*(c for end in keyed.ends for c in end.columns), *keyed.child_key])

    def anchors_of(self, name: str) -> dict[Anchor, tuple[str, ...]]:
        """The keys of a table's rows, with their columns in it."""
        kept = self.kept[name]
        own = {self.parent_anchor(kept.parent): kept.versions.keys} if kept.parent else {}
        apart = [column for column in kept.columns if kept.tells_rows_apart and column.lower() in self.key]
        return own | {anchor_of("", [column]): (column,) for column in apart}

    def held(self, name: str) -> str:
        """What a table's rows that held are called in a SELECT; not like another table of the project."""
        found = f"{name}_held"
        while found in self.project.tables:
            found += "_"
        return found

    def cte(self, name: str, names: Sequence[str], link: Combination | None) -> str:
        """A table's rows that held, with these columns and its keys; with those of its link if it is given."""
        kept, own = self.kept[name], self.links.get(name)
        ends = [*(key for keys in ends_of(own).values() for key in keys), *own.child_key] if own else []
        listed = list(dict.fromkeys([*kept.versions.keys, *ends, *names]))
        by = f"{{{AS_OF}}}" if kept.historised else ""
        rows = held_rows(kept.versions, f"{{{name}}}", listed, by=by)
        if link is None:
            return f"{quote(self.held(name))} AS (\n  -- the rows of {name} that held then\n{block(rows)}\n)"
        related = [*(key for keys in ends_of(link).values() for key in keys), *link.child_key]
        given = {**{n: f"held.{quote(n)}" for n in listed}, **{n: f"link.{quote(n)}" for n in related}}
        same = " AND ".join(f"link.{quote(key)} = held.{quote(key)}" for key in kept.versions.keys)
        return f"""{quote(self.held(name))} AS (
  -- the rows of {name} that held then, with the keys that {link.name} relates
  SELECT
{columns(given, indent=4)}
  FROM (
{block(rows, indent=4)}
  ) AS held
  JOIN {{{link.name}}} AS link ON {same}
)"""

    def _lacking(self, name: str) -> frozenset[str]:
        """The columns beside the source's key without which a row is not in the table."""
        kept = self.kept[name]
        parent = self.project.tables[kept.parent] if kept.parent else None
        if not isinstance(parent, Combination):
            return self.key_columns(name) - self.key
        exclude = self.project.settings_of("tables", parent.name).null_references == "exclude"
        return lower((*kept.needs, *(self.key_columns(name) if exclude else parent.child_key))) - self.key

    def nothing_complete(self) -> str:
        """That no table tells which rows there are, and why none of them does."""
        reasons = [f"'{name}' {self.unfit(name) or self.gap(name)}" for name in self.kept]
        said = f"{'; '.join(reasons)}. " if reasons else "No table keeps more of it than keys. "
        return (
            f"{self.project.place('sources', self.source.name)}: source '{self.source.name}' cannot be restored: no table "
            f"of the vault tells which rows it has. {said}A satellite or status satellite whose parent has the source's "
            f"key ({', '.join(self.source.key)}) would, or an effectivity satellite of a link with it."
        )

    def kept_nowhere(self, column: str, base: str) -> str:
        """That a column of the source is lost, and where it nearly is."""
        place = self.project.place("sources", self.source.name, ("columns", column))
        near = "".join(f" {reason}" for reason in self._nearly(column, base))
        return (
            f"{place}: source '{self.source.name}' cannot be restored: the vault does not keep its column '{column}'.{near} "
            "Keep it in a satellite, or relate it by a link with an effectivity satellite."
        )

    def _nearly(self, column: str, base: str) -> Iterator[str]:
        for name, kept in self.kept.items():
            if column.lower() in lower(kept.columns):
                yield f"'{name}' has it, but {self.unfit(name) or f'shares no key of the row with {base!r}'}."
        for name, link in self.links.items():
            for end in link.ends:
                if column.lower() in lower(end.columns) and not self.feeds(anchor_of(end.hub, end.columns)):
                    yield f"'{name}' relates it to '{end.hub}', which takes no key from it."
                elif column.lower() in lower(end.columns):
                    yield f"'{name}' relates it to '{end.hub}', but nothing tells which of its combinations holds."

    @cached_property
    def links(self) -> dict[str, Combination]:
        """The links of the source that take every row."""
        found = [table for table in self.project.tables.values() if isinstance(table, Combination)]
        return {link.name: link for link in found if link.source == self.source.name and not link.where}

    def feeds(self, anchor: Anchor) -> bool:
        """Whether a hub takes its keys from these columns of the source, so that it has every one."""
        hub = self.project.tables.get(anchor.table)
        return isinstance(hub, Hub) and any(
            anchor_of(hub.name, named) == anchor for named in hub.sources.get(self.source.name, ())
        )


def ends_of(link: Combination) -> dict[Anchor, tuple[str, ...]]:
    """The ends of a link with their key columns in it."""
    return {anchor_of(end.hub, end.columns): end.key_names for end in link.ends}


def anchor_of(table: str, named: Iterable[str]) -> Anchor:
    """The key of a hub or link over these columns of the source; of a column, without a table."""
    return Anchor(table, tuple(name.lower() for name in named))


def lower(names: Iterable[str]) -> frozenset[str]:
    """Names to compare: case does not matter, as in Spark."""
    return frozenset(name.lower() for name in names)
