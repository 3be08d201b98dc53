"""Restore: a source's rows made again from the vault, as they were when all loads up to a moment were done.

Rule: one table tells which rows there were: one whose keys are the source's, that ends what the source deletes and what
comes to belong to another key. The others are joined by the keys they share with it, if these tell the row: satellites give
their columns, links the keys they relate where an effectivity or status satellite says which combination held, hubs the
business keys. A column that a table keeps is exactly as staged; one that is read from a hub or is a child key is spelled as
it was first told, since keys that differ only in case or outer blanks are one. A reference without a key is NULL.
Source: Data Vault user group of the German-speaking countries, test cases of Willibald (2022): restore and compare.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lakehouse.errors import MetadataError, suggestion
from lakehouse.metadata.project import Project
from lakehouse.sql.identifiers import quote
from lakehouse.sql.select import Select, columns
from lakehouse.vault.combination import Combination
from lakehouse.vault.hub import Hub
from lakehouse.vault.kept_rows import Anchor, KeptRows, anchor_of, ends_of, lower

NOW = "TIMESTAMP '9999-12-31'"
"""Everything that was loaded."""


@dataclass(frozen=True)
class Restored:
    """A source's rows made again."""

    source: str
    select: Select
    """Its delivered columns, over tables of the vault and ``{as_of}``."""
    only_now: tuple[str, ...] = ()
    """The tables in it that keep no history, so that an earlier moment is not known."""


def restored(project: Project, source: str) -> Restored:
    """The rows of a source, made from what the vault keeps of them.

    Raises:
        MetadataError: there is no such source, no table tells which rows there are, or a column is kept nowhere.
    """
    if source not in project.sources:
        raise MetadataError(f"{project.folder}: no source '{source}'. {suggestion(source, project.sources)}")
    rows = KeptRows(project, project.sources[source])
    attempts = [Assembly(rows, name).made() for name in rows.complete]
    if not attempts:
        raise MetadataError(rows.nothing_complete())
    best = min(attempts, key=lambda attempt: len(attempt.missing))
    if best.missing:
        raise MetadataError(*(rows.kept_nowhere(column, best.base) for column in best.missing))
    only_now = tuple(name for name in best.used if not rows.kept[name].historised)
    return Restored(source, best.select(), only_now)


@dataclass
class Assembly:
    """The SELECT as it grows: what is joined, and which columns and keys that gives."""

    rows: KeptRows
    base: str
    """The table that tells which rows there are."""
    columns: dict[str, str] = field(default_factory=dict)
    """Columns that are found (lower case), as SQL."""
    as_first_told: dict[str, str] = field(default_factory=dict)
    """Child keys that are found: for columns that no table keeps as staged."""
    anchors: dict[Anchor, tuple[str, ...]] = field(default_factory=dict)
    """Keys that are found, as SQL."""
    used: list[str] = field(default_factory=list)
    """The tables whose rows are joined."""
    entered: set[str] = field(default_factory=set)
    """The links whose ends are found."""
    ctes: list[str] = field(default_factory=list)
    joins: list[str] = field(default_factory=list)

    @property
    def missing(self) -> list[str]:
        """The delivered columns that are not found yet."""
        return [name for name in self.rows.source.delivered if name.lower() not in self.columns]

    def made(self) -> Assembly:
        """Itself, with everything joined that gives a missing column."""
        self._take(self.base)
        while self._join_columns() or self._enter_link() or self._join_combination():
            pass
        for name, value in self.as_first_told.items():
            self.columns.setdefault(name, value)
        for anchor in list(self.anchors):
            self._join_hub(anchor)
        return self

    def select(self) -> Select:
        """The whole SELECT."""
        given = {name: self.columns[name.lower()] for name in self.rows.source.delivered}
        ctes = ",\n".join(self.ctes)
        joins = "".join(f"\n{join}" for join in self.joins)
        return Select(f"WITH {ctes}\nSELECT\n{columns(given)}\nFROM {quote(self.rows.held(self.base))}{joins}")

    def _join_columns(self) -> bool:
        """Joins a table that has a missing column and shares keys that tell the row."""
        for name, kept in self.rows.fit.items():
            ambiguous = kept.parent is None and self.rows.stale(name)
            if name in self.used or ambiguous or self.rows.lossy(name) or not lower(kept.columns) & lower(self.missing):
                continue
            if shared := self._shared(self.rows.anchors_of(name)):
                self._take(name, shared)
                return True
        return False

    def _enter_link(self) -> bool:
        """Joins a link whose key is found, for its ends and child keys."""
        for name, link in self.rows.links.items():
            anchor = self.rows.parent_anchor(name)
            if anchor not in self.anchors or not self._leads_on(link):
                continue
            if name in self.rows.fit:  # its rows are versions themselves
                self._take(name, {anchor: link.key_names})
            else:
                found = [f"{quote(name)}.{quote(key)}" for key in link.key_names]
                self._join(f"{{{name}}} AS {quote(name)}", zip(found, self.anchors[anchor], strict=True))
                self._found_ends(link, name)
            return True
        return False

    def _join_combination(self) -> bool:
        """Joins a table that tells which combinations of a link hold, by the ends that it shares."""
        for name, kept in self.rows.fit.items():
            link = self.rows.links.get(kept.parent or "")
            if link is None or name in self.used or not self._leads_on(link):
                continue
            own = link.name == name
            if self.rows.stale(name) or self.rows.lossy(name) or (link.name in self.rows.kept and not own):
                continue
            if shared := self._shared(ends_of(link)):
                self._take(name, shared, link=None if own else link)
                return True
        return False

    def _leads_on(self, link: Combination) -> bool:
        """Whether a link gives missing columns: by its ends, its child keys or other tables that have its key."""
        if link.name in self.entered:
            return False
        missing, fit = lower(self.missing), self.rows.fit
        if any(
            kept.parent == link.name and name not in self.used and missing & lower(kept.columns)
            for name, kept in fit.items()
        ):
            return True
        fed = {
            column
            for end in link.ends
            if self.rows.feeds(anchor_of(end.hub, end.columns))
            for column in lower(end.columns)
        }
        reached = {column for anchor in self.anchors if self.rows.feeds(anchor) for column in anchor.columns}
        return bool((fed | lower(link.child_key)) & missing - reached - set(self.as_first_told))

    def _shared(self, own: Mapping[Anchor, tuple[str, ...]]) -> dict[Anchor, tuple[str, ...]]:
        """The keys of a table that are found already, if they tell the row."""
        shared = {anchor: keys for anchor, keys in own.items() if anchor in self.anchors}
        told = {column for anchor in shared for column in anchor.columns}
        return shared if self.rows.key <= told else {}

    def _take(
        self, name: str, shared: Mapping[Anchor, tuple[str, ...]] | None = None, *, link: Combination | None = None
    ) -> None:
        """Adds a table's rows that held, joined by the keys that it shares if it is not the first, and what they give."""
        kept, alias = self.rows.kept[name], quote(self.rows.held(name))
        wanted = lower(self.missing) | self.rows.key
        names = [column for column in kept.columns if column.lower() in wanted]
        self.ctes.append(self.rows.cte(name, names, link))
        pairs = (
            (f"{alias}.{quote(k)}", v)
            for a, keys in (shared or {}).items()
            for k, v in zip(keys, self.anchors[a], strict=True)
        )
        if self.used:
            self._join(alias, pairs)
        self.used.append(name)
        self.columns |= {c.lower(): f"{alias}.{quote(c)}" for c in names if c.lower() not in self.columns}
        self._found(self.rows.anchors_of(name), self.rows.held(name))
        own = link or self.rows.links.get(name)
        if own is not None:
            self._found_ends(own, self.rows.held(name))

    def _found(self, anchors: Mapping[Anchor, tuple[str, ...]], alias: str) -> None:
        for anchor, keys in anchors.items():
            self.anchors.setdefault(anchor, tuple(f"{quote(alias)}.{quote(key)}" for key in keys))

    def _found_ends(self, link: Combination, alias: str) -> None:
        self.entered.add(link.name)
        self._found(ends_of(link), alias)
        for column in link.child_key:
            self.as_first_told.setdefault(column.lower(), f"{quote(alias)}.{quote(column)}")

    def _join_hub(self, anchor: Anchor) -> None:
        """Joins a hub that has the business key of missing columns."""
        wanted = [name for name in self.missing if name.lower() in anchor.columns]
        if not wanted or not self.rows.feeds(anchor):
            return
        hub, project = self.rows.project.tables[anchor.table], self.rows.project
        assert isinstance(hub, Hub)  # nothing else is fed
        times = sum(join.startswith(f"LEFT JOIN {{{hub.name}}} ") for join in self.joins)
        alias = quote(f"{hub.name}_{times + 1}" if times else hub.name)
        found = [f"{alias}.{quote(key)}" for key in hub.key_names]
        self._join(f"{{{hub.name}}} AS {alias}", zip(found, self.anchors[anchor], strict=True))
        types = hub.business_columns(project)
        for name in wanted:
            own, data_type = hub.business_key[anchor.columns.index(name.lower())], self.rows.source.type_of(name)
            value = f"{alias}.{quote(own)}"
            self.columns[name.lower()] = value if types[own] == data_type else f"CAST({value} AS {data_type.upper()})"

    def _join(self, relation: str, pairs: Iterable[tuple[str, str]]) -> None:
        condition = " AND ".join(f"{right} = {left}" for right, left in pairs)
        self.joins.append(f"LEFT JOIN {relation} ON {condition}")
