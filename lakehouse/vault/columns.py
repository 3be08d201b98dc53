"""The system columns of vault tables, and what every vault load says the same way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lakehouse.metadata.project import Project
from lakehouse.metadata.settings import Settings
from lakehouse.metadata.table import Input, Load, Table, kind_word
from lakehouse.names import CHANGE_TYPE, LOAD_DATETIME, LOAD_POSITION, RECORD_SOURCE, ROW_AUDIT_ID
from lakehouse.sql.ddl import TableDefinition, TargetColumn
from lakehouse.sql.identifiers import quote, verbatim
from lakehouse.sql.select import Select

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
) -> Load:
    """The load of an append-only table from one source: its own columns and the stamps.

    ``whole``: the SELECT reads the whole log and tells new rows by their position.
    """
    settings = project.settings_of("tables", table.name)
    return Load(
        name=table.name,
        kind=kind_word(type(table)),
        layer=table.layer,
        definition=TableDefinition((*own, *STAMPS), table.description, properties=properties(settings)),
        inputs=(Input(source, project.log(source), whole=whole),),
        select=Select(select),
        write="append",
        keys=keys,
        counts=counts,
        helpers=helpers,
        settings=settings,
    )


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
