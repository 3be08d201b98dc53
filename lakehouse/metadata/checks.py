"""Checks between entities that belong to no single kind: sources, batches, environments, cycles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from lakehouse.errors import suggestion
from lakehouse.metadata.connection import FilesConnection
from lakehouse.metadata.table import Problem
from lakehouse.names import SYSTEM_COLUMNS
from lakehouse.sql.expressions import column_references, non_deterministic

if TYPE_CHECKING:
    from lakehouse.metadata.batch import Batch
    from lakehouse.metadata.environment import Environment
    from lakehouse.metadata.project import Project
    from lakehouse.metadata.source import Source

ORDERED = frozenset({"tinyint", "smallint", "int", "bigint", "date", "timestamp", "string"})


def check_source(project: Project, source: Source) -> Iterator[Problem]:
    """A source's connection, key, watermark, system columns and derived columns."""
    if source.connection not in project.connections:
        message = f"names connection '{source.connection}', which is not in the project."
        yield Problem(("connection",), f"{message} {suggestion(source.connection, project.connections)}")
    elif source.files and not isinstance(project.connections[source.connection], FilesConnection):
        yield Problem(("files",), f"gives a file pattern, but connection '{source.connection}' has no files.")
    if not source.columns:
        yield Problem(("columns",), "has no columns.")
        return
    yield from _check_names(source)
    for position, column in enumerate(source.key):
        yield from missing_column(source.columns, column, ("key", position), "names, in its key, column")
        if source.spelled(column) and source.type_of(column) == "variant":
            yield Problem(
                ("key", position), f"has column '{column}' of type variant in its key; a key must be comparable."
            )
    for place, named in ((("changes", "column"), source.changes.column), (("applied",), source.applied)):
        if named:
            yield from missing_column(source.columns, named, place, "names column")
    yield from _check_ordering(source)
    yield from _check_derived(source)
    yield from _check_prepared(project, source)


def _check_names(source: Source) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for name in source.columns:
        if name.lower() in SYSTEM_COLUMNS:
            yield Problem(
                ("columns", name),
                f"has a column '{name}', which is a system column. Name it otherwise, with an expression.",
            )
        if name.lower() in seen:
            yield Problem(
                ("columns", name), f"has the columns '{seen[name.lower()]}' and '{name}', which Spark takes for one."
            )
        seen[name.lower()] = name


def _check_ordering(source: Source) -> Iterator[Problem]:
    watermark = source.changes.column
    if watermark and source.spelled(watermark) and source.type_of(watermark) not in ORDERED:
        yield Problem(
            ("changes", "column"),
            f"has a watermark of type {source.type_of(watermark)}, which has no order to rise in.",
        )
    if (
        source.applied
        and source.spelled(source.applied)
        and source.type_of(source.applied) not in ("date", "timestamp")
    ):
        yield Problem(
            ("applied",),
            f"has an applied column of type {source.type_of(source.applied)}; a date or timestamp is needed.",
        )


def _check_derived(source: Source) -> Iterator[Problem]:
    known: dict[str, str] = {name: column.type for name, column in source.delivered.items()}
    for name, column in source.derived.items():
        assert column.expression is not None
        yield from check_expression(column.expression, known, ("columns", name, "expression"), f"column '{name}'")
        known[name] = column.type


def _check_prepared(project: Project, source: Source) -> Iterator[Problem]:
    """Columns that are hashed, ranked or replaced where they are NULL."""
    known = {**source.delivered, **source.derived}
    hashes = project.settings_of("sources", source.name).hashes
    for name, column in source.hashed.items():
        field = "hash" if column.hash else "hash_diff"
        for position, part in enumerate(column.hash or column.hash_diff):
            yield from missing_column(known, part, ("columns", name, field, position), "hashes column")
        if column.type != hashes.type:
            message = f"has hash '{name}' of type {column.type}, but hashes are {hashes.type} here. Declare it so, or set hash_output."
            yield Problem(("columns", name, "type"), message)
        if hashes.preset.keys_name_their_source and column.hash:
            message = f"has key '{name}' hashed in the stage, but this hashing takes the record source into it, which the stage adds later."
            yield Problem(("columns", name, "hash"), f"{message} Let the hub hash it.")
    for name, column in source.columns.items():
        ranked = (*column.rank.partition_by, *(n for n, _ in column.rank.ordered)) if column.rank else ()
        for part in ranked:
            yield from missing_column({**known, **source.hashed}, part, ("columns", name, "rank"), "ranks by column")
    for part in source.null_keys.columns:
        yield from missing_column(known, part, ("null_keys",), "replaces, where it is NULL, column")


def missing_column(columns: Iterable[str], name: str, location: tuple[str | int, ...], lead: str) -> Iterator[Problem]:
    """A problem if a column is not among those that exist; case does not matter, as in Spark."""
    known = list(columns)
    if name.lower() not in {column.lower() for column in known}:
        yield Problem(location, f"{lead} '{name}', which does not exist. {suggestion(name, known)}")


def check_expression(
    expression: str, columns: Mapping[str, str], location: tuple[str | int, ...], what: str
) -> Iterator[Problem]:
    """An expression over plain columns: it parses, names only existing columns and reads no clock."""
    try:
        references = column_references(expression)
    except ValueError as error:
        yield Problem(location, f"has {what} with an expression that is not Spark SQL: {error}.")
        return
    for _, column in references:
        yield from missing_column(columns, column, location, f"has {what} with an expression that names column")
    yield from check_deterministic(expression, location, what)


def check_deterministic(expression: str, location: tuple[str | int, ...], what: str) -> Iterator[Problem]:
    """An expression must give the same value when a load is repeated."""
    function = non_deterministic(expression)
    if function:
        yield Problem(
            location, f"has {what} that calls {function}(), so a repeated load would differ. Use a column instead."
        )


def check_batches(project: Project, batch: Batch) -> Iterator[Problem]:
    """A batch's patterns must find something."""
    names = [*project.sources, *project.tables]
    for position, pattern in enumerate(batch.select):
        if not any(fnmatchcase(name, pattern) for name in names):
            yield Problem(
                ("select", position), f"selects '{pattern}', which finds nothing. {suggestion(pattern, names)}"
            )


def check_environments(project: Project, environment: Environment) -> Iterator[Problem]:
    """The connections whose paths an environment replaces must exist."""
    for name in environment.paths:
        if name not in project.connections:
            yield Problem(
                ("paths", name), f"gives a path for connection '{name}'. {suggestion(name, project.connections)}"
            )


def check_names(project: Project) -> Iterator[tuple[str, Problem]]:
    """A name stands for one thing: no table is called like a source, none like another in other letters."""
    seen: dict[str, str] = {name.lower(): f"source '{name}'" for name in project.sources}
    for name, table in project.tables.items():
        if name.lower() in seen:
            yield name, Problem((), f"has the name of {seen[name.lower()]}. Give one of them another name.")
        seen[name.lower()] = f"table '{name}' in layer {table.layer}"


def check_tables(project: Project) -> Iterator[tuple[str, Problem]]:
    """The problems of each table: the mart waits until the vault is right, a fact until its dimensions are.

    What is made from a broken table would only repeat its problems, or could not be read at all.
    """
    broken: set[str] = set()
    for name, table in project.tables.items():
        if table.layer != "mart":
            for problem in table.problems(project):
                broken.add(name)
                yield name, problem
    if broken:
        return
    marts = {name: table for name, table in project.tables.items() if table.layer == "mart"}
    reads = {name: [r.name for r in table.reads(project) if r.layer == "mart"] for name, table in marts.items()}
    for name, table in sorted(marts.items(), key=lambda item: bool(reads[item[0]])):
        if broken.isdisjoint(reads[name]):
            for problem in table.problems(project):
                broken.add(name)
                yield name, problem


def check_cycles(project: Project) -> Iterator[tuple[str, Problem]]:
    """Tables that read each other in a circle."""
    graph = {
        name: [relation.name for relation in table.reads(project) if relation.layer != "persistent_stage"]
        for name, table in project.tables.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = list(reversed(error.args[1]))
        name = circle[0]
        yield name, Problem((), f"is part of a circle: {' reads '.join(circle)}.")
