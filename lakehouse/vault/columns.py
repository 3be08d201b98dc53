"""The system columns of vault tables, and what every vault load says the same way."""

from __future__ import annotations

from collections.abc import Mapping

from lakehouse.metadata.settings import Settings
from lakehouse.names import CHANGE_TYPE, LOAD_DATETIME, LOAD_POSITION, RECORD_SOURCE, ROW_AUDIT_ID
from lakehouse.sql.ddl import TargetColumn
from lakehouse.sql.identifiers import quote, verbatim

STAMPS = (
    TargetColumn(LOAD_DATETIME, "timestamp", "When the run that staged the row began (UTC)", required=True),
    TargetColumn(RECORD_SOURCE, "string", "Where the row comes from", required=True),
    TargetColumn(ROW_AUDIT_ID, "bigint", "The run that staged the row"),
    TargetColumn(LOAD_POSITION, "bigint", "Position of the commit that added the row", required=True),
)
STAMPED = (LOAD_DATETIME, RECORD_SOURCE, ROW_AUDIT_ID)
"""The stamps that come with the source; the load position is added by the commit."""


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
