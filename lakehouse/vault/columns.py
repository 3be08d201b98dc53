"""The system columns of vault tables, and what every vault load says the same way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lakehouse.metadata.project import Project
from lakehouse.metadata.settings import Settings
from lakehouse.metadata.table import Input, Load, Table, kind_word
from lakehouse.names import (
    ACTIVE_FLAG,
    APPLIED_DATETIME,
    CHANGE_TYPE,
    DELETED_FLAG,
    ENDS_AT,
    LOAD_DATETIME,
    LOAD_POSITION,
    LOW_DATE,
    RECORD_SOURCE,
    ROW_AUDIT_ID,
    STARTS_AT,
)
from lakehouse.sql.ddl import TableDefinition, TargetColumn
from lakehouse.sql.identifiers import literal, quote, verbatim
from lakehouse.sql.select import Select, columns

STAMPS = (
    TargetColumn(LOAD_DATETIME, "timestamp", "When the run that staged the row began (UTC)", required=True),
    TargetColumn(RECORD_SOURCE, "string", "Where the row comes from", required=True),
    TargetColumn(ROW_AUDIT_ID, "bigint", "The run that staged the row"),
    TargetColumn(LOAD_POSITION, "bigint", "Position of the commit that added the row", required=True),
)
STAMPED = (LOAD_DATETIME, RECORD_SOURCE, ROW_AUDIT_ID)
"""The stamps that come with the source; the load position is added by the commit."""


def appended(
    table: Table,
    project: Project,
    source: str,
    own: Iterable[TargetColumn],
    select: str,
    *,
    keys: tuple[str, ...],
    counts: Mapping[str, str],
    whole: bool = False,
    helpers: tuple[str, ...] = (),
    zero: Mapping[str, str] | None = None,
) -> Load:
    """The load of an append-only table from one source: its own columns and the stamps.

    ``whole``: the SELECT reads the whole log and tells new rows by their position. ``zero``: the zero keys of the ghost
    record that it begins with, by setting.
    """
    settings = project.settings_of("tables", table.name)
    definition = TableDefinition((*own, *STAMPS), table.description, properties=properties(settings))
    return Load(
        name=table.name,
        kind=kind_word(type(table)),
        layer=table.layer,
        definition=definition,
        ghost=ghost(definition, zero, settings) if zero else None,
        inputs=(Input(source, project.log(source), whole=whole),),
        select=Select(select),
        write="append",
        keys=keys,
        counts=counts,
        helpers=helpers,
        settings=settings,
    )


def ghost(definition: TableDefinition, zero: Mapping[str, str], settings: Settings) -> Select | None:
    """The ghost record of a table, by setting: ``zero`` gives the columns that hold a zero key; the others are low or NULL."""
    if not settings.ghost_records:
        return None
    low = f"TIMESTAMP '{LOW_DATE}'"
    known = {
        LOAD_DATETIME: low,
        APPLIED_DATETIME: low,
        STARTS_AT: low,
        ENDS_AT: low,
        RECORD_SOURCE: literal(settings.ghost_record_source),
        DELETED_FLAG: "FALSE",
        ACTIVE_FLAG: "FALSE",
        **zero,
    }
    given = {
        column.name: known.get(column.name, f"CAST(NULL AS {column.type.upper()})")
        for column in definition.columns
        if column.name != LOAD_POSITION
    }
    return Select(f"SELECT\n{columns(given)},\n  'inserted' AS outcome")


def properties(settings: Settings) -> tuple[tuple[str, str], ...]:
    """Delta properties of an append-only table."""
    return (("delta.checkpointInterval", str(settings.delta_checkpoint_interval)),)


def told(source: str, where: str | None) -> str:
    """The rows of a source that a table takes: all, or those that its filter lets through, and every delete.

    >>> told("customer", "Country = 'DE'")
    "(SELECT * FROM {customer} WHERE (Country = 'DE') OR change_type = 'D')"
    """
    rows = f"{{{source}}}"
    return f"(SELECT * FROM {rows} WHERE ({verbatim(where)}) OR {CHANGE_TYPE} = 'D')" if where else rows


def stamped() -> dict[str, str]:
    """The stamps of a source row, as SELECT expressions."""
    return {name: quote(name) for name in STAMPED}


def typed_columns(columns: Mapping[str, str], comment: str) -> tuple[TargetColumn, ...]:
    """Target columns for names and types."""
    return tuple(TargetColumn(name, data_type, comment) for name, data_type in columns.items())
