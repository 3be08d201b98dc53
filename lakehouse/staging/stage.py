"""Landing and stage: the rows of one run, typed, derived and fingerprinted when they land, stamped when they are staged.

Rule: a delivery is read and computed once; the stage is a view over what landed. Values are typed before anything is compared or hashed. A row whose key is missing, whose value cannot be read as
its type, or which does not fit the file's header keeps the rule that it breaks and the row as it was delivered; it goes
to quarantine, never away. The stamps (load date-time, run) are given once and never read from a clock again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lakehouse.metadata.project import Project
from lakehouse.metadata.source import Source
from lakehouse.metadata.table import Subject
from lakehouse.names import APPLIED_DATETIME, LOAD_DATETIME, REASON, RECORD_SOURCE, ROW_AUDIT_ID, RULE, SOURCE_FILE
from lakehouse.sql.hashing import fingerprint, is_missing
from lakehouse.sql.identifiers import literal, quote, verbatim
from lakehouse.sql.presets import Hashing
from lakehouse.sql.select import Select, columns
from lakehouse.staging.prepare import steps

CORRUPT = "does_not_fit"
"""Whether a delivered row does not fit its header."""
DELIVERED_ROW = "delivered_row"
KEY_UNREADABLE = "key_unreadable"
ROW_FINGERPRINT = "row_fingerprint"


def record_source(project: Project, source: Source) -> str:
    """The record source of a source's rows: its own, or the connection's with the object behind it."""
    if source.record_source:
        return source.record_source
    connection = project.connections[source.connection]
    return f"{connection.record_source or source.connection}.{source.object}"


def landing_select(
    source: Source, subjects: Sequence[Subject], *, types: Mapping[str, str] | None, hashes: Hashing
) -> Select:
    """The rows of ``{delivered}`` as they are landed: typed, derived, with fingerprints and the rule that a row breaks.

    ``types`` are those of the delivered columns (lower-case name to type); None where everything is text.
    """
    typed = {name: _typed(source, name, types) for name in source.delivered}
    derived = {
        name: f"CASE WHEN {RULE} IS NULL THEN CAST({verbatim(column.expression or '')} AS {column.type.upper()}) END"
        for name, column in source.derived.items()
    }
    rest = f"{SOURCE_FILE}, {RULE}, {REASON}, CASE WHEN {RULE} IS NOT NULL THEN {DELIVERED_ROW} END AS {DELIVERED_ROW}"
    names = [*typed, *derived]
    later = steps(source, hashes, names, "derived", further=(SOURCE_FILE, RULE, REASON, DELIVERED_ROW))
    prepared = "".join(f",\n{step}" for step in later)
    last = later[-1].split(" AS (")[0] if later else "derived"
    return Select(f"""WITH typed AS (
  -- delivered values as their types, and the rule that a row breaks
  SELECT
{columns(typed, indent=4)},
    {SOURCE_FILE}, {DELIVERED_ROW},
    {_rule(source, typed)} AS {RULE},
    {_reason(source, typed)} AS {REASON}
  FROM {{delivered}} AS delivered
),
derived AS (
  SELECT
{columns({name: quote(name) for name in typed} | derived, indent=4)},
    {rest}
  FROM typed
){prepared}
SELECT
  *,
{columns(fingerprints(source, subjects))}
FROM {last}""")


def stage_select(project: Project, source: Source) -> Select:
    """The landed rows of ``{landed}``, stamped with ``{load_datetime}`` and ``{row_audit_id}``."""
    applied = f"CAST({quote(source.applied)} AS TIMESTAMP)" if source.applied else "NULL"
    missing = " OR ".join(
        [f"{RULE} = 'ragged_row'", *_missing(source, {name: quote(name) for name in source.delivered})]
    )
    return Select(f"""SELECT
  *,
  {RULE} IS NOT NULL AND ({missing}) AS {KEY_UNREADABLE},
  {{load_datetime}} AS {LOAD_DATETIME},
  coalesce({applied}, {{load_datetime}}) AS {APPLIED_DATETIME},
  {literal(record_source(project, source))} AS {RECORD_SOURCE},
  CAST({{row_audit_id}} AS BIGINT) AS {ROW_AUDIT_ID}
FROM {{landed}}""")


def fingerprints(source: Source, subjects: Sequence[Subject]) -> dict[str, str]:
    """Fingerprint columns: one for the whole row, one per subject; over typed columns of that name."""
    keys = {column.lower() for column in source.key}
    everything = [(quote(name), column.type) for name, column in source.columns.items() if name.lower() not in keys]
    found = {ROW_FINGERPRINT: fingerprint(everything)}
    for subject in subjects:
        names = [source.spelled(column) or column for column in subject.columns]
        found[subject_fingerprint(subject)] = fingerprint([(quote(n), source.columns[n].type) for n in names])
    return found


def subject_fingerprint(subject: Subject) -> str:
    """The fingerprint column of a subject."""
    return f"{subject.name}_fingerprint"


def _typed(source: Source, name: str, types: Mapping[str, str] | None) -> str:
    delivered = f"delivered.{quote(name)}"
    if types is not None and types.get(name.lower()) == source.columns[name].type:
        return delivered
    return source.typed(name, delivered, text=types is None or types.get(name.lower()) == "string")


def _wrong(name: str, typed: str) -> str:
    """SQL condition: the value is there but cannot be read as its type; blank text counts as no value."""
    delivered = f"delivered.{quote(name)}"
    if typed == delivered:
        return "FALSE"
    return f"{typed} IS NULL AND trim(CAST({delivered} AS STRING)) <> ''"


def _missing(source: Source, typed: dict[str, str]) -> list[str]:
    replaced = {column.lower() for column in source.null_keys.columns}
    keys = [source.spelled(column) or column for column in source.key if column.lower() not in replaced]
    return [is_missing(typed[name], source.columns[name].type) for name in keys if name in typed]


def _rule(source: Source, typed: dict[str, str]) -> str:
    wrong = [condition for name, value in typed.items() if (condition := _wrong(name, value)) != "FALSE"]
    cases = [f"WHEN {CORRUPT} THEN 'ragged_row'"]
    if wrong:
        cases.append(f"WHEN {' OR '.join(f'({condition})' for condition in wrong)} THEN 'wrong_type'")
    if missing := _missing(source, typed):
        cases.append(f"WHEN {' OR '.join(missing)} THEN 'missing_key'")
    return f"CASE {' '.join(cases)} END"


def _reason(source: Source, typed: dict[str, str]) -> str:
    cases = [f"WHEN {CORRUPT} THEN 'the row does not have the columns of its header'"]
    for name, value in typed.items():
        if (condition := _wrong(name, value)) != "FALSE":
            told = literal(f"column {name} cannot be read as {source.columns[name].type}")
            cases.append(f"WHEN {condition} THEN {told}")
    if missing := _missing(source, typed):
        told = literal(f"key ({', '.join(source.key)}) is not complete")
        cases.append(f"WHEN {' OR '.join(missing)} THEN {told}")
    return f"CASE {' '.join(cases)} END"
