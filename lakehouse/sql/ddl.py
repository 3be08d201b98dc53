"""Definition of a table: columns, comments, properties.

Rule: a table is created by one CREATE TABLE IF NOT EXISTS and widened by ALTER TABLE … ADD COLUMNS; nothing is dropped here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lakehouse.sql.identifiers import literal, quote, quote_list


@dataclass(frozen=True)
class TargetColumn:
    """A column of a table that the library writes."""

    name: str
    type: str
    comment: str = ""
    required: bool = False

    def definition(self) -> str:
        """The column as CREATE TABLE says it."""
        written = self.type if self.type.startswith("/*") else self.type.upper()
        text = f"{quote(self.name)} {written}" + (" NOT NULL" if self.required else "")
        return text + (f" COMMENT {literal(self.comment)}" if self.comment else "")


@dataclass(frozen=True)
class TableDefinition:
    """What CREATE TABLE needs beside the name."""

    columns: tuple[TargetColumn, ...]
    comment: str = ""
    cluster_by: tuple[str, ...] = ()
    properties: tuple[tuple[str, str], ...] = field(default=())

    @property
    def names(self) -> tuple[str, ...]:
        """The column names in order."""
        return tuple(column.name for column in self.columns)


def create_table(table: str, definition: TableDefinition) -> str:
    """CREATE TABLE IF NOT EXISTS for a quoted table name."""
    columns = ",\n  ".join(column.definition() for column in definition.columns)
    return plain("\n".join([f"CREATE TABLE IF NOT EXISTS {table} (\n  {columns}\n)", *_clauses(definition)]))


def create_table_as(table: str, definition: TableDefinition, select: str) -> str:
    """CREATE TABLE IF NOT EXISTS … AS a SELECT without rows, for a table whose types only Spark can tell.

    Such a table has neither comments on its columns nor NOT NULL.
    """
    head = "\n".join([f"CREATE TABLE IF NOT EXISTS {table}", *_clauses(definition)])
    return f"{plain(head)}\nAS SELECT {quote_list(definition.names)}\nFROM (\n{select}\n)\nWHERE FALSE"


def _clauses(definition: TableDefinition) -> list[str]:
    lines = ["USING DELTA"]
    if definition.cluster_by:
        lines.append(f"CLUSTER BY ({quote_list(definition.cluster_by)})")
    if definition.comment:
        lines.append(f"COMMENT {literal(definition.comment)}")
    if definition.properties:
        properties = ", ".join(f"{literal(key)} = {literal(value)}" for key, value in definition.properties)
        lines.append(f"TBLPROPERTIES ({properties})")
    return lines


def empty_relation(definition: TableDefinition) -> str:
    """A subquery without rows for a table that does not exist yet; columns of open type are untyped NULLs."""
    columns = ", ".join(
        f"CAST(NULL AS {column.type.upper()}) AS {quote(column.name)}"
        if column.type
        else f"NULL AS {quote(column.name)}"
        for column in definition.columns
    )
    return f"(SELECT {columns} WHERE FALSE)"


def create_view(view: str, select: str, *, comment: str = "") -> str:
    """CREATE OR REPLACE VIEW for a quoted name, from a SELECT on table names."""
    said = f"\nCOMMENT {plain(literal(comment))}" if comment else ""
    return f"CREATE OR REPLACE VIEW {plain(view)}{said}\nAS {select}"


def add_columns(table: str, columns: Sequence[TargetColumn]) -> str:
    """ALTER TABLE … ADD COLUMNS; new columns are NULL in the rows that exist, so they cannot be required."""
    definitions = ", ".join(TargetColumn(c.name, c.type, c.comment).definition() for c in columns)
    return plain(f"ALTER TABLE {table} ADD COLUMNS ({definitions})")


def create_schema(schema: str) -> str:
    """CREATE SCHEMA IF NOT EXISTS for a quoted schema name."""
    return plain(f"CREATE SCHEMA IF NOT EXISTS {schema}")


def plain(text: str) -> str:
    """Text for direct execution: doubled braces become single ones again."""
    return text.replace("{{", "{").replace("}}", "}")
