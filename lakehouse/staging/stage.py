"""Landing and stage: the rows of one run, typed when they land, derived and stamped when they are staged.

Rule: values are typed before anything is compared or hashed. A row whose key is missing, whose value cannot be read as
its type, or which does not fit the file's header keeps the rule that it breaks and the row as it was delivered; it goes
to quarantine, never away. The stamps (load date-time, run) are given once and never read from a clock again.
"""

from __future__ import annotations

from collections.abc import Mapping

from lakehouse.metadata.project import Project
from lakehouse.metadata.source import Source
from lakehouse.names import APPLIED_DATETIME, LOAD_DATETIME, REASON, RECORD_SOURCE, ROW_AUDIT_ID, RULE, SOURCE_FILE
from lakehouse.sql.hashing import is_missing
from lakehouse.sql.identifiers import literal, quote, verbatim
from lakehouse.sql.select import Select, columns

CORRUPT = "does_not_fit"
"""Whether a delivered row does not fit its header."""
DELIVERED_ROW = "delivered_row"
KEY_UNREADABLE = "key_unreadable"
_READABLE = f"{RULE} IS NULL"
_READABLE_NOT = f"{RULE} IS NOT NULL"


def record_source(project: Project, source: Source) -> str:
    """The record source of a source's rows: its own, or the connection's with the object behind it."""
    if source.record_source:
        return source.record_source
    connection = project.connections[source.connection]
    return f"{connection.record_source or source.connection}.{source.object}"


def landing_select(source: Source, *, types: Mapping[str, str] | None) -> Select:
    """The rows of ``{delivered}`` as the declared types, each with the rule that it breaks.

    ``types`` are those of the delivered columns (lower-case name to type); None where everything is text.
    """
    typed = {name: _typed(source, name, types) for name in source.delivered}
    return Select(f"""SELECT
{columns(typed)},
  {SOURCE_FILE},
  {_rule(source, typed)} AS {RULE},
  {_reason(source, typed)} AS {REASON},
  CASE WHEN {_rule(source, typed)} IS NOT NULL THEN {DELIVERED_ROW} END AS {DELIVERED_ROW}
FROM {{delivered}} AS delivered""")


def fits(source: Source, types: Mapping[str, str]) -> bool:
    """Whether every delivered column already has its declared type, so that the delivery can be read where it lies."""
    return all(types.get(name.lower()) == column.type for name, column in source.delivered.items())


def stage_select(project: Project, source: Source) -> Select:
    """The rows of ``{landed}`` with derived columns, stamped with ``{load_datetime}`` and ``{row_audit_id}``."""
    derived = {
        name: f"CASE WHEN {_READABLE} THEN CAST({verbatim(column.expression or '')} AS {column.type.upper()}) END"
        for name, column in source.derived.items()
    }
    applied = f"CAST({quote(source.applied)} AS TIMESTAMP)" if source.applied else "NULL"
    missing = " OR ".join([f"{RULE} = 'ragged_row'", *_missing(source, {name: quote(name) for name in source.delivered})])
    return Select(f"""SELECT
{columns({name: quote(name) for name in source.delivered} | derived)},
  {SOURCE_FILE}, {DELIVERED_ROW}, {RULE}, {REASON},
  {_READABLE_NOT} AND ({missing}) AS {KEY_UNREADABLE},
  {{load_datetime}} AS {LOAD_DATETIME},
  coalesce({applied}, {{load_datetime}}) AS {APPLIED_DATETIME},
  {literal(record_source(project, source))} AS {RECORD_SOURCE},
  CAST({{row_audit_id}} AS BIGINT) AS {ROW_AUDIT_ID}
FROM {{landed}}""")


def _typed(source: Source, name: str, types: Mapping[str, str] | None) -> str:
    delivered = f"delivered.{quote(name)}"
    if types is not None and types.get(name.lower()) == source.columns[name].type:
        return delivered
    return source.typed(name, delivered, text=types is None or types.get(name.lower()) == "string")


def _wrong(name: str, typed: str, source: Source) -> str:
    """SQL condition: the value is there but cannot be read as its type; blank text counts as no value."""
    delivered = f"delivered.{quote(name)}"
    if typed == delivered:
        return "FALSE"
    return f"{typed} IS NULL AND trim(CAST({delivered} AS STRING)) <> ''"


def _missing(source: Source, typed: dict[str, str]) -> list[str]:
    keys = [source.spelled(column) or column for column in source.key]
    return [is_missing(typed[name], source.columns[name].type) for name in keys if name in typed]


def _rule(source: Source, typed: dict[str, str]) -> str:
    wrong = [condition for name, value in typed.items() if (condition := _wrong(name, value, source)) != "FALSE"]
    cases = [f"WHEN {CORRUPT} THEN 'ragged_row'"]
    if wrong:
        cases.append(f"WHEN {' OR '.join(f'({condition})' for condition in wrong)} THEN 'wrong_type'")
    if missing := _missing(source, typed):
        cases.append(f"WHEN {' OR '.join(missing)} THEN 'missing_key'")
    return f"CASE {' '.join(cases)} END"


def _reason(source: Source, typed: dict[str, str]) -> str:
    cases = [f"WHEN {CORRUPT} THEN 'the row does not have the columns of its header'"]
    for name, value in typed.items():
        if (condition := _wrong(name, value, source)) != "FALSE":
            told = literal(f"column {name} cannot be read as {source.columns[name].type}")
            cases.append(f"WHEN {condition} THEN {told}")
    if missing := _missing(source, typed):
        told = literal(f"key ({', '.join(source.key)}) is not complete")
        cases.append(f"WHEN {' OR '.join(missing)} THEN {told}")
    return f"CASE {' '.join(cases)} END"
