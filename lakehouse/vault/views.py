"""The views of a project's vault: current and history of every table with versions, and every source made again.

Rule: views stand beside the vault's tables, named by setting after what they are made of; none is called like a table or
another view. A source that the vault cannot restore has no view, and it is told why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from lakehouse.errors import MetadataError, suggestion
from lakehouse.metadata.environment import Environment
from lakehouse.metadata.project import Project
from lakehouse.sql.ddl import create_view
from lakehouse.sql.select import Select
from lakehouse.vault.kept_rows import AS_OF
from lakehouse.vault.restore import NOW, restored
from lakehouse.vault.version_views import current_select, history_select


@dataclass(frozen=True)
class View:
    """A view of the vault."""

    name: str
    of: str
    """The table or source that it shows."""
    select: Select
    """Its rows, over tables of the vault; a source's also over ``{as_of}``."""
    comment: str
    only_now: tuple[str, ...] = ()
    """The tables in it that keep no history."""

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables of the vault that it reads."""
        return tuple(name for name in self.select.relations if name != AS_OF)

    def statement(self, environment: Environment, *, as_of: str = NOW) -> str:
        """CREATE OR REPLACE VIEW on an environment's tables."""
        names = {name: environment.table("vault", name) for name in self.tables}
        return create_view(environment.table("vault", self.name), self.text(names, as_of=as_of), comment=self.comment)

    def text(self, names: dict[str, str], *, as_of: str = NOW) -> str:
        """Its SELECT on these table names, as of a moment."""
        return self.select.text(**names, **{AS_OF: as_of})


@dataclass(frozen=True)
class Views:
    """The views of a selection."""

    made: tuple[View, ...]
    refused: dict[str, MetadataError]
    """Sources that cannot be restored, and why."""


def views_of(project: Project, *, select: Iterable[str] = ("*",)) -> Views:
    """The views of the tables and sources that patterns select.

    Raises:
        MetadataError: a pattern finds nothing that has a view, two things have one name, or a source that is named
            without a pattern cannot be restored.
    """
    patterns = list(select)
    chosen = _chosen(project, patterns)
    made = [view for name in chosen if name in project.tables for view in _of_table(project, name)]
    refused: dict[str, MetadataError] = {}
    for name in chosen:
        if name in project.sources:
            try:
                made.append(_of_source(project, name))
            except MetadataError as error:
                if name in patterns:
                    raise
                refused[name] = error
    _check_names(project, made)
    return Views(tuple(made), refused)


def _chosen(project: Project, patterns: list[str]) -> list[str]:
    tables = [name for name, table in project.tables.items() if table.versions(project)]
    known = [*tables, *project.sources]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise MetadataError(
                f"--select {pattern}: no source of that name, nor a table that keeps versions. {suggestion(pattern, known)}"
            )
    return [name for name in known if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _of_table(project: Project, name: str) -> Iterator[View]:
    settings = project.settings_of("tables", name)
    current, history = current_select(project, name), history_select(project, name)
    if current and history:
        yield View(settings.current_view.format(name=name), name, current, f"What {name} says now")
        comment = f"Every version in {name}, from when to when it held"
        yield View(settings.history_view.format(name=name), name, history, comment)


def _of_source(project: Project, name: str) -> View:
    made = restored(project, name)
    view = project.settings_of("sources", name).source_view.format(name=name)
    return View(view, name, made.select, f"Source {name}, restored from the vault", made.only_now)


def _check_names(project: Project, views: Iterable[View]) -> None:
    taken = {name.lower(): f"table '{name}'" for name, table in project.tables.items() if table.layer == "vault"}
    problems = []
    for view in views:
        section = "tables" if view.of in project.tables else "sources"
        if view.name.lower() in taken:
            message = f"its view '{view.name}' would have the name of {taken[view.name.lower()]}"
            problems.append(
                f"{project.place(section, view.of)}: '{view.of}': {message}. Give one of them another name."
            )
        taken[view.name.lower()] = f"the view of '{view.of}'"
    if problems:
        raise MetadataError(*problems)
