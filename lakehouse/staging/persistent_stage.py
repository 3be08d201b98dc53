"""Persistent stage: the full history of a source as a log; where a delivery is compared, once.

Rule: a delivered row is compared with the newest row of its key: new or returned I, different U, equal nothing. Several
versions of a key in one delivery stand a microsecond apart in sequence order. A live key that a full snapshot no longer
holds gets its last full row again as D; rows in quarantine count as delivered; where a key cannot be read, that run
deletes nothing. Every table downstream reads only the log's new rows.
"""

from __future__ import annotations

from lakehouse.metadata.project import Project
from lakehouse.metadata.settings import Settings
from lakehouse.metadata.source import Source
from lakehouse.metadata.table import Subject
from lakehouse.names import (
    APPLIED_DATETIME,
    CHANGE_TYPE,
    CHANGED_SUBJECTS,
    LOAD_DATETIME,
    LOAD_POSITION,
    REASON,
    RECORD_SOURCE,
    ROW_AUDIT_ID,
    RULE,
    SOURCE_FILE,
)
from lakehouse.sql.ddl import TableDefinition, TargetColumn
from lakehouse.sql.identifiers import literal, quote, quote_list
from lakehouse.sql.select import Select, columns
from lakehouse.staging.stage import (
    DELIVERED_ROW,
    KEY_UNREADABLE,
    ROW_FINGERPRINT,
    fingerprints,
    subject_fingerprint,
)

COUNTS = {
    "read": "count_if(outcome <> 'deleted')",
    **{
        name: f"count_if(outcome = '{name}')"
        for name in ("inserted", "updated", "unchanged", "duplicate", "quarantined", "deleted")
    },
}


def log_definition(source: Source, settings: Settings) -> TableDefinition:
    """The columns of a persistent stage table: the source's, then the stamps."""
    keys = {column.lower() for column in source.key}
    own = tuple(
        TargetColumn(name, column.type, column.description, required=name.lower() in keys)
        for name, column in source.columns.items()
    )
    stamps = (
        TargetColumn(LOAD_DATETIME, "timestamp", "When the run that staged the row began (UTC)", required=True),
        TargetColumn(APPLIED_DATETIME, "timestamp", "The business's own time of the row (UTC)", required=True),
        TargetColumn(RECORD_SOURCE, "string", "Where the row comes from", required=True),
        TargetColumn(ROW_AUDIT_ID, "bigint", "The run that staged the row", required=True),
        TargetColumn(CHANGE_TYPE, "string", "I: new or returned, U: changed, D: gone", required=True),
        TargetColumn(CHANGED_SUBJECTS, "array<string>", "The satellites for which the row differs from the one before"),
        TargetColumn(LOAD_POSITION, "bigint", "Position of the commit that added the row", required=True),
    )
    properties = (("delta.checkpointInterval", str(settings.delta_checkpoint_interval)),)
    return TableDefinition((*own, *stamps), source.description, properties=properties)


def quarantine_definition() -> TableDefinition:
    """The table of rows that no load could take; the row is kept as it was delivered, in JSON."""
    return TableDefinition(
        (
            TargetColumn("source", "string", "The source that delivered it", required=True),
            TargetColumn(RULE, "string", "The rule that it breaks", required=True),
            TargetColumn(REASON, "string", "Why it was not loaded", required=True),
            TargetColumn(SOURCE_FILE, "string", "The file or table that it came in"),
            TargetColumn(DELIVERED_ROW, "string", "The row as delivered, as JSON"),
            TargetColumn(LOAD_DATETIME, "timestamp", "When its run began (UTC)", required=True),
            TargetColumn(RECORD_SOURCE, "string", "Where the row comes from", required=True),
            TargetColumn(ROW_AUDIT_ID, "bigint", "The run that staged it", required=True),
            TargetColumn(LOAD_POSITION, "bigint", "Position that the run's rows have in the log", required=True),
        ),
        "Rows that could not be loaded, with the reason",
    )


def compare_select(project: Project, source: Source) -> Select:
    """The log's new rows with an outcome, from ``{staged}``, ``{current}`` and ``{log}``; ``{max_deletes}`` is the guard."""
    subjects = project.subjects(source.name)
    keys = [source.spelled(column) or column for column in source.key]
    log_columns = [column.name for column in log_definition(source, Settings()).columns if column.name != LOAD_POSITION]
    prints = fingerprints(source, subjects)
    same_key = " AND ".join(f"current.{quote(key)} = sequenced.{quote(key)}" for key in keys)
    snapshot = source.changes.by == "snapshot"
    text = f"""WITH sequenced AS (
  -- the versions of each key in this delivery{", the newest first" if snapshot else ", in sequence order"}
  SELECT
    *,
    row_number() OVER version AS version,
    {"first_value" if snapshot else "lag"}({_struct(prints)}) OVER version AS neighbour
  FROM {{staged}}
  WINDOW version AS (PARTITION BY {RULE} IS NULL, {quote_list(keys)} ORDER BY {_order(source, snapshot)})
),
compared AS (
  -- each row beside the newest row of its key
  SELECT
    sequenced.*,
    current.{CHANGE_TYPE} AS current_change_type,
    current.{APPLIED_DATETIME} AS current_applied,
    CASE WHEN version = 1 THEN {_struct(prints, "current")} ELSE neighbour END AS predecessor
  FROM sequenced
  LEFT JOIN {{current}} AS current ON {same_key}
),
judged AS (
  SELECT
    *,
    CASE
      WHEN {RULE} IS NOT NULL THEN 'quarantined'
      WHEN version > 1 AND neighbour.{ROW_FINGERPRINT} = {ROW_FINGERPRINT} THEN 'duplicate'
      WHEN version > 1 THEN '{"quarantined" if snapshot else "updated"}'
      WHEN current_change_type IS NULL OR current_change_type = 'D' THEN 'inserted'
      WHEN predecessor.{ROW_FINGERPRINT} = {ROW_FINGERPRINT} THEN 'unchanged'
      ELSE 'updated'
    END AS outcome
  FROM compared
)
SELECT
{columns(_judged_columns(subjects, log_columns))},
  outcome
FROM judged"""
    return Select(text + (_deleted_arm(source, keys, log_columns) if snapshot else ""))


def rejected_select(source: Source) -> Select:
    """The rows of ``{staged}`` that go to quarantine, as the quarantine table keeps them."""
    names = (SOURCE_FILE, DELIVERED_ROW, LOAD_DATETIME, RECORD_SOURCE, ROW_AUDIT_ID)
    broken = f"""SELECT
  {literal(source.name)} AS source, {RULE}, {REASON}, {quote_list(names)}
FROM {{staged}}
WHERE {RULE} IS NOT NULL"""
    if source.changes.by != "snapshot":
        return Select(broken)
    keys = [source.spelled(column) or column for column in source.key]
    told = literal(f"another row of the same delivery has the same key ({', '.join(keys)})")
    return Select(f"""{broken}
UNION ALL
SELECT
  {literal(source.name)} AS source, 'key_not_unique' AS {RULE}, {told} AS {REASON}, {quote_list(names)}
FROM (
  SELECT *, first_value({ROW_FINGERPRINT}) OVER (PARTITION BY {quote_list(keys)} ORDER BY {_order(source, True)}) AS kept
  FROM {{staged}}
  WHERE {RULE} IS NULL
)
WHERE kept <> {ROW_FINGERPRINT}""")


def _struct(prints: dict[str, str], relation: str = "") -> str:
    lead = f"{relation}." if relation else ""
    return "struct(" + ", ".join(lead + quote(name) for name in prints) + ")"


def _order(source: Source, snapshot: bool) -> str:
    sequence = source.sequence
    direction = " DESC NULLS LAST" if snapshot else ""
    return (f"{quote(sequence)}{direction}, " if sequence else "") + ROW_FINGERPRINT


def _judged_columns(subjects: tuple[Subject, ...], names: list[str]) -> dict[str, str]:
    marks = ", ".join(
        f"CASE WHEN NOT (predecessor.{quote(subject_fingerprint(s))} <=> {quote(subject_fingerprint(s))}) "
        f"THEN {literal(s.name)} END"
        for s in subjects
    )
    given = {
        LOAD_DATETIME: f"timestampadd(MICROSECOND, version - 1, {LOAD_DATETIME})",
        # a key that returns does so after it was deleted, whatever its row says
        APPLIED_DATETIME: f"CASE WHEN outcome = 'inserted' AND current_change_type = 'D' THEN greatest({APPLIED_DATETIME}, "
        f"{LOAD_DATETIME}, timestampadd(MICROSECOND, 1, current_applied)) ELSE {APPLIED_DATETIME} END",
        CHANGE_TYPE: "CASE WHEN outcome = 'inserted' THEN 'I' ELSE 'U' END",
        CHANGED_SUBJECTS: f"array_compact(array({marks}))" if marks else "CAST(array() AS ARRAY<STRING>)",
    }
    return {name: given.get(name, quote(name)) for name in names}


def _deleted_arm(source: Source, keys: list[str], names: list[str]) -> str:
    same_key = " AND ".join(f"current.{quote(key)} = delivered.{quote(key)}" for key in keys)
    same_row = " AND ".join(f"log.{quote(key)} = gone.{quote(key)}" for key in [*keys, LOAD_DATETIME])
    given = {
        LOAD_DATETIME: "{load_datetime}",
        APPLIED_DATETIME: f"greatest({{load_datetime}}, timestampadd(MICROSECOND, 1, log.{APPLIED_DATETIME}))",
        ROW_AUDIT_ID: "CAST({row_audit_id} AS BIGINT)",
        CHANGE_TYPE: "'D'",
        CHANGED_SUBJECTS: "CAST(array() AS ARRAY<STRING>)",
    }
    message = literal(
        f"GUARD: source '{source.name}': the snapshot would delete more keys than its delete_guard allows"
    )
    gone = quote_list([*keys, LOAD_DATETIME], alias="current")
    return f"""
UNION ALL
SELECT
{columns({name: given.get(name, f"log.{quote(name)}") for name in names})},
  CASE WHEN count(*) OVER () > {{max_deletes}} THEN raise_error({message}) ELSE 'deleted' END AS outcome
FROM (
  -- live keys that the snapshot no longer holds; none where a key could not be read
  SELECT {gone}
  FROM {{current}} AS current
  LEFT ANTI JOIN {{staged}} AS delivered ON {same_key}
  WHERE current.{CHANGE_TYPE} <> 'D'
    AND (SELECT count(*) FROM {{staged}} WHERE {KEY_UNREADABLE}) = 0
) AS gone
JOIN {{log}} AS log ON {same_row}"""
