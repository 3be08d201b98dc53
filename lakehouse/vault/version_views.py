"""Views of the vault's tables: of each key the version that holds (current), and from when to when each one did (history).

Rule: a version holds from its load date-time until the next one of its key, half-open; the end is told by LEAD, so a late
row is right as soon as it is there. What is gone is not current; in the history it ends the versions before it and stands
there as its own row says. A set is a version as a whole.
Source: Linstedt & Olschimke, Building a Scalable Data Warehouse with Data Vault 2.0 (2015), load end dates as views.
"""

from __future__ import annotations

from collections.abc import Sequence

from lakehouse.metadata.kept import Versions
from lakehouse.metadata.project import Project
from lakehouse.names import EFFECTIVE_FROM, EFFECTIVE_TO, LOAD_DATETIME, OPEN_END
from lakehouse.sql.identifiers import quote, quote_list
from lakehouse.sql.select import Select, block, columns

LAST = "last_load_datetime"


def current_select(project: Project, table: str) -> Select | None:
    """The rows of a table that hold now, with all its columns; None where its rows are no versions."""
    versions = project.tables[table].versions(project)
    if versions is None:
        return None
    return Select(held_rows(versions, f"{{{table}}}", project.table(table).definition.names))


def history_select(project: Project, table: str) -> Select | None:
    """All rows of a table with ``effective_from`` and ``effective_to``; None where its rows are no versions."""
    versions = project.tables[table].versions(project)
    if versions is None:
        return None
    settings, names = project.settings_of("tables", table), project.table(table).definition.names
    following = f"lead({LOAD_DATETIME}) OVER (PARTITION BY {quote_list(versions.keys)} ORDER BY {LOAD_DATETIME})"
    until = following if settings.open_end == "null" else f"coalesce({following}, TIMESTAMP '{OPEN_END}')"
    relation = f"{{{table}}}"
    if versions.sets:
        return Select(_set_history(relation, versions, names, until))
    given = {**{name: quote(name) for name in names}, EFFECTIVE_FROM: LOAD_DATETIME, EFFECTIVE_TO: until}
    return Select(f"SELECT\n{columns(given)}\nFROM {relation}")


def held_rows(versions: Versions, relation: str, names: Sequence[str], *, by: str = "") -> str:
    """SELECT of the columns ``names`` of the rows that hold; with ``by``, of those that held when all loads up to this
    moment were done: rows of one load stand within a second after its load date-time."""
    loaded = f"\n  WHERE {LOAD_DATETIME} < {by} + INTERVAL '1' SECOND" if by else ""
    gone = "" if versions.gone == "FALSE" else f" AND {negated(versions.gone)}"
    return f"""SELECT
{columns({name: quote(name) for name in names})}
FROM (
  -- each row beside the last load date-time of its key
  SELECT *, max({LOAD_DATETIME}) OVER (PARTITION BY {quote_list(versions.keys)}) AS {LAST}
  FROM {relation}{loaded}
)
WHERE {LOAD_DATETIME} = {LAST}{gone}"""


def negated(condition: str) -> str:
    """SQL for the opposite of a condition.

    >>> negated("deleted_flag"), negated("NOT active_flag"), negated("status = 'D'")
    ('NOT deleted_flag', 'active_flag', "NOT (status = 'D')")
    """
    if condition.startswith("NOT "):
        return condition.removeprefix("NOT ")
    return f"NOT ({condition})" if " " in condition else f"NOT {condition}"


def _set_history(relation: str, versions: Versions, names: Sequence[str], until: str) -> str:
    moment = [*versions.keys, LOAD_DATETIME]
    same = " AND ".join(f"moments.{quote(name)} = versions.{quote(name)}" for name in moment)
    given = {name: f"versions.{quote(name)}" for name in names}
    given |= {EFFECTIVE_FROM: f"versions.{LOAD_DATETIME}", EFFECTIVE_TO: f"moments.{EFFECTIVE_TO}"}
    distinct = f"SELECT DISTINCT {quote_list(moment)}\nFROM {relation}"
    return f"""WITH moments AS (
  -- when the set of each key changed, and until when it stayed so
  SELECT
    {quote_list(moment)},
    {until} AS {EFFECTIVE_TO}
  FROM (
{block(distinct, indent=4)}
  )
)
SELECT
{columns(given)}
FROM {relation} AS versions
JOIN moments ON {same}"""
