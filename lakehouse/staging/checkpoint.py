"""Checkpoint: the current rows of a persistent stage table, narrow enough to compare a delivery with.

Rule: per key the fingerprints and the change type of its last row, deleted keys included. It is derived from the log and
stands for one log position and one layout; current rows are the checkpoint overlaid by the log rows after it. Where it
does not fit it is rebuilt from the log, so it can never disagree with it.
"""

from __future__ import annotations

import hashlib

from lakehouse.metadata.project import Project
from lakehouse.metadata.source import Source
from lakehouse.names import APPLIED_DATETIME, CHANGE_TYPE, LOAD_DATETIME
from lakehouse.sql.ddl import TableDefinition, TargetColumn
from lakehouse.sql.identifiers import quote_list
from lakehouse.sql.select import Select, columns
from lakehouse.staging.stage import fingerprints


def checkpoint_definition(project: Project, source: Source) -> TableDefinition:
    """Key, fingerprints, and what the last row was."""
    keys = [source.spelled(column) or column for column in source.key]
    prints = fingerprints(source, project.subjects(source.name))
    return TableDefinition(
        (
            *(TargetColumn(key, source.columns[key].type) for key in keys),
            *(TargetColumn(name, "bigint") for name in prints),
            TargetColumn(CHANGE_TYPE, "string"),
            TargetColumn(LOAD_DATETIME, "timestamp"),
            TargetColumn(APPLIED_DATETIME, "timestamp"),
        ),
        "Current rows of the persistent stage, to compare a delivery with; may be dropped at any time",
    )


def layout(project: Project, source: Source) -> str:
    """What a checkpoint's fingerprints were computed over; one made for another layout is not used."""
    prints = fingerprints(source, project.subjects(source.name))
    derived = sorted((name, column.expression) for name, column in source.derived.items())
    told = [tuple(source.key), sorted(prints.items()), derived]
    if text := project.text_format(source.name).model_dump(exclude_none=True):
        told.append(sorted(text.items()))
    return hashlib.sha256(repr(tuple(told)).encode()).hexdigest()[:16]


def current_select(project: Project, source: Source, *, checkpoint: bool) -> Select:
    """The newest row per key of ``{log}`` (the rows after the checkpoint), overlaid on ``{checkpoint}`` if there is one."""
    keys = [source.spelled(column) or column for column in source.key]
    prints = fingerprints(source, project.subjects(source.name))
    names = [*keys, *prints, CHANGE_TYPE, LOAD_DATETIME, APPLIED_DATETIME]
    newest = f"""SELECT {quote_list(names)}
  FROM (
    SELECT
      {quote_list(keys)},
{columns(prints, indent=6)},
      {CHANGE_TYPE}, {LOAD_DATETIME}, {APPLIED_DATETIME},
      row_number() OVER (PARTITION BY {quote_list(keys)} ORDER BY {LOAD_DATETIME} DESC) AS age
    FROM {{log}}
  )
  WHERE age = 1"""
    if not checkpoint:
        return Select(newest)
    same = " AND ".join(f"older.{name} = newer.{name}" for name in (quote_list([key]) for key in keys))
    return Select(f"""WITH newer AS (
  -- the newest rows of the keys that the log has touched since
  {newest}
)
SELECT {quote_list(names)} FROM newer
UNION ALL
SELECT {quote_list(names)} FROM {{checkpoint}} AS older
WHERE NOT EXISTS (SELECT 1 FROM newer WHERE {same})""")
