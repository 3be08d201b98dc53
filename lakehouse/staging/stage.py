"""Stage: the landed rows of one run, typed, derived and stamped.

Rule: values are typed before anything is compared or hashed. A row whose key is missing, whose value cannot be read as
its type, or which does not fit the file's header keeps the rule that it breaks; it goes to quarantine, never away.
The stamps (load date-time, run) are given once here and never read from a clock again.
"""

from __future__ import annotations

from lakehouse.metadata.project import Project
from lakehouse.metadata.source import Source
from lakehouse.names import APPLIED_DATETIME, LOAD_DATETIME, REASON, RECORD_SOURCE, ROW_AUDIT_ID, RULE, SOURCE_FILE
from lakehouse.sql.hashing import is_missing
from lakehouse.sql.identifiers import literal, quote, verbatim
from lakehouse.sql.select import Select, columns

CORRUPT = "_corrupt_record"
"""Where Spark's readers put a row that does not fit its header."""
DELIVERED_ROW = "delivered_row"
KEY_UNREADABLE = "key_unreadable"
_READABLE = f"{RULE} IS NULL"


def record_source(project: Project, source: Source) -> str:
    """The record source of a source's rows: its own, or the connection's with the object behind it."""
    if source.record_source:
        return source.record_source
    connection = project.connections[source.connection]
    return f"{connection.record_source or source.connection}.{source.object}"


def stage_select(project: Project, source: Source, *, text: bool) -> Select:
    """The typed rows of ``{landed}``, stamped with ``{load_datetime}`` and ``{row_audit_id}``.

    ``text``: the delivery holds text (CSV, JSON); otherwise it is typed already and converted where types differ.
    """
    typed = {name: source.typed(name, f"landed.{quote(name)}", text=text) for name in source.delivered}
    derived = {
        name: f"CASE WHEN {_READABLE} THEN CAST({verbatim(column.expression or '')} AS {column.type.upper()}) END"
        for name, column in source.derived.items()
    }
    applied = f"CAST({quote(source.applied)} AS TIMESTAMP)" if source.applied else "NULL"
    return Select(f"""WITH typed AS (
  -- delivered values as their types, and the rule that a row breaks
  SELECT
{columns(typed, indent=4)},
    landed.{SOURCE_FILE},
    landed.{DELIVERED_ROW},
    {_rule(source, typed)} AS {RULE},
    {_reason(source, typed)} AS {REASON},
    {_key_unreadable(source, typed)} AS {KEY_UNREADABLE}
  FROM {{landed}} AS landed
)
SELECT
{columns({name: quote(name) for name in typed} | derived)},
  {SOURCE_FILE}, {DELIVERED_ROW}, {RULE}, {REASON}, {KEY_UNREADABLE},
  {{load_datetime}} AS {LOAD_DATETIME},
  coalesce({applied}, {{load_datetime}}) AS {APPLIED_DATETIME},
  {literal(record_source(project, source))} AS {RECORD_SOURCE},
  CAST({{row_audit_id}} AS BIGINT) AS {ROW_AUDIT_ID}
FROM typed""")


def _wrong(name: str, typed: str, source: Source) -> str:
    delivered = f"landed.{quote(name)}"
    if typed == delivered:
        return "FALSE"
    blank = f" AND trim({delivered}) <> ''" if typed.startswith(("try_cast(landed", "try_to_", "try_parse")) else ""
    return f"{delivered} IS NOT NULL{blank if source.columns[name].type != 'string' else ''} AND {typed} IS NULL"


def _missing(source: Source, typed: dict[str, str]) -> list[str]:
    keys = [source.spelled(column) or column for column in source.key]
    return [is_missing(typed[name], source.columns[name].type) for name in keys if name in typed]


def _rule(source: Source, typed: dict[str, str]) -> str:
    wrong = [condition for name, value in typed.items() if (condition := _wrong(name, value, source)) != "FALSE"]
    cases = [f"WHEN landed.{CORRUPT} THEN 'ragged_row'"]
    if wrong:
        cases.append(f"WHEN {' OR '.join(f'({condition})' for condition in wrong)} THEN 'wrong_type'")
    if missing := _missing(source, typed):
        cases.append(f"WHEN {' OR '.join(missing)} THEN 'missing_key'")
    return f"CASE {' '.join(cases)} END"


def _reason(source: Source, typed: dict[str, str]) -> str:
    cases = [f"WHEN landed.{CORRUPT} THEN 'the row does not have the columns of its header'"]
    for name, value in typed.items():
        if (condition := _wrong(name, value, source)) != "FALSE":
            told = literal(f"column {name} cannot be read as {source.columns[name].type}")
            cases.append(f"WHEN {condition} THEN {told}")
    if missing := _missing(source, typed):
        told = literal(f"key ({', '.join(source.key)}) is not complete")
        cases.append(f"WHEN {' OR '.join(missing)} THEN {told}")
    return f"CASE {' '.join(cases)} END"


def _key_unreadable(source: Source, typed: dict[str, str]) -> str:
    return " OR ".join([f"landed.{CORRUPT}", *_missing(source, typed)])
