"""Taking over the tables of another tool: their rows are copied once into the project's tables, which then go on from there.

Rule: a column comes from what the table's ``adopts`` says of it, from a column of the same name, or from its default; hashes
are copied as they are. Before anything is written they are computed anew from what they were made of, where that is in
the table: if they differ, the preset is another one, and every later load would find every row changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lakehouse.engine.workspace import Workspace
from lakehouse.errors import LoadError, MetadataError, suggestion
from lakehouse.metadata.table import Table
from lakehouse.names import APPLIED_DATETIME, DELETED_FLAG, LOAD_DATETIME, LOAD_POSITION, ROW_AUDIT_ID
from lakehouse.sql.ddl import TargetColumn
from lakehouse.sql.identifiers import quote

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

DEFAULTS = {LOAD_POSITION: "1", DELETED_FLAG: "FALSE", ROW_AUDIT_ID: "NULL"}


@dataclass(frozen=True)
class Adopted:
    """What became of one table."""

    table: str
    rows: int
    """Rows that were copied; 0 where the table has rows already."""
    message: str


def adoptable(workspace: Workspace, names: list[str]) -> list[str]:
    """The tables to take over: those named, or all that say what they adopt.

    Raises:
        MetadataError: a table does not exist or does not say what it adopts.
    """
    tables = workspace.project.tables
    known = [name for name, table in tables.items() if table.adopts]
    for name in names:
        if name not in known:
            found = "says nothing of a table to adopt" if name in tables else "is not in the project"
            raise MetadataError(f"{workspace.project.folder}: '{name}' {found}. {suggestion(name, known)}")
    return names or known


def adopt(workspace: Workspace, name: str) -> Adopted:
    """Copies the rows of the table that ``name`` adopts; a table that has rows is left alone.

    Raises:
        LoadError: the other table or a column of it is missing, or its hashes are not those of the preset.
    """
    table = workspace.project.tables[name]
    load = table.load(workspace.project)
    place = workspace.name(load.relation)
    if workspace.exists(load.relation) and not workspace.spark.table(place).isEmpty():
        return Adopted(name, 0, "has rows already")
    rows = _rows(workspace, table, load.definition.columns)
    _check_hashes(workspace, table, rows)
    workspace.make_table(load.relation, load.definition)
    rows.writeTo(place).append()
    return Adopted(name, workspace.spark.table(place).count(), "")


def _rows(workspace: Workspace, table: Table, columns: tuple[TargetColumn, ...]) -> DataFrame:
    assert table.adopts is not None  # chosen by it
    if not workspace.spark.catalog.tableExists(table.adopts.table):
        raise LoadError(f"{_place(workspace, table)}: no table '{table.adopts.table}' to adopt in this session.")
    there = workspace.spark.table(table.adopts.table)
    known = {column.lower(): column for column in there.columns}
    said = {column.lower(): expression for column, expression in table.adopts.columns.items()}
    if unknown := set(said) - {column.name.lower() for column in columns}:
        name = min(unknown)
        hint = suggestion(name, [column.name for column in columns])
        raise LoadError(
            f"{_place(workspace, table)}: adopts a column '{name}', which '{table.name}' does not have. {hint}"
        )
    chosen = {column.name: _expression(workspace, table, column, said, known) for column in columns}
    try:
        found = there.selectExpr(*(f"{value} AS {quote(name)}" for name, value in chosen.items()))
    except Exception as error:
        first = str(error).splitlines()[0]
        raise LoadError(f"{_place(workspace, table)}: '{table.adopts.table}' has no such columns: {first}") from error
    return found.selectExpr(*(_typed(workspace, table, c, dict(found.dtypes)[c.name]) for c in columns))


def _expression(
    workspace: Workspace, table: Table, column: TargetColumn, said: Mapping[str, str], known: Mapping[str, str]
) -> str:
    name = column.name.lower()
    if name in said:
        return said[name]
    if name in known:
        return quote(known[name])
    if column.name in DEFAULTS:
        return DEFAULTS[column.name]
    if column.name == APPLIED_DATETIME:
        return said.get(LOAD_DATETIME, LOAD_DATETIME)
    if not column.required:
        return "NULL"
    assert table.adopts is not None
    message = f"'{table.adopts.table}' has no column {column.name}, and 'adopts' does not say which one it is."
    raise LoadError(f"{_place(workspace, table)}: {message} It has: {', '.join(known.values())}.")


def _typed(workspace: Workspace, table: Table, column: TargetColumn, there: str) -> str:
    if {there, column.type} == {"string", "binary"}:
        message = f"column {column.name} is {there} there and {column.type} here. Set hash_output: {'string' if there == 'string' else 'binary'}."
        raise LoadError(f"{_place(workspace, table)}: {message}")
    return f"CAST({quote(column.name)} AS {column.type.upper()}) AS {quote(column.name)}"


def _check_hashes(workspace: Workspace, table: Table, rows: DataFrame) -> None:
    for column, computed in table.stored_hashes(workspace.project).items():
        counts = f"count({quote(column)}) AS stored", f"count_if({quote(column)} <> {computed}) AS other"
        row = rows.filter(_not_ghost(workspace, table, column)).selectExpr(*counts).head()
        if row is not None and row["other"]:
            preset = workspace.project.settings_of("tables", table.name).hashing
            raise LoadError(
                f"{_place(workspace, table)}: of {row['stored']} values of {column}, {row['other']} are not what preset '{preset}' "
                "makes of their columns. Nothing was copied. Check 'hashing', the algorithm, the columns and their order."
            )


def _not_ghost(workspace: Workspace, table: Table, column: str) -> str:
    return f"{quote(column)} <> {workspace.project.hashes_of(table.name).zero_key}"


def _place(workspace: Workspace, table: Table) -> str:
    return workspace.project.place("tables", table.name, ("adopts",))


def told(results: list[Adopted]) -> Iterator[str]:
    """One line per table."""
    for result in results:
        yield f"{result.table}: {result.message or f'{result.rows} rows taken over'}"
