"""Whether two business keys share a hash key: a hash compared with what it was made from, over the whole log.

Rule: keys are the same where their parts are the same, trimmed and in upper case. The default preset cannot mix keys up
before hashing; presets of other tools can, where values hold their delimiters, so this is a job to run once in a while.
"""

from __future__ import annotations

from lakehouse.metadata.project import Project
from lakehouse.metadata.table import KeyedTable
from lakehouse.names import CHANGE_TYPE
from lakehouse.sql import hashing
from lakehouse.sql.select import Select, block, computed_once


def collision_select(table: KeyedTable, project: Project) -> Select:
    """One row over the logs of all sources: how many ``business_keys`` there are, and how many ``collisions`` of them."""
    hashes = project.hashes_of(table.name)
    arms = []
    for source, parts in table.key_arms(project):
        found = {"hash_key": hashes.key(parts), "business_key": hashing.joined([hashing.key_text(*p) for p in parts])}
        arms.append(
            f"SELECT hash_key, business_key\nFROM {{{source}}}\n{computed_once(found, alias='hashed')}\n"
            f"WHERE {CHANGE_TYPE} <> 'D' AND NOT ({hashes.is_missing(parts)})"
        )
    union = "\nUNION\n".join(arms)
    return Select(f"""SELECT coalesce(sum(named), 0) AS business_keys, coalesce(sum(named - 1), 0) AS collisions
FROM (
  -- how many business keys each hash key stands for
  SELECT hash_key, count(DISTINCT business_key) AS named
  FROM (
{block(union, indent=4)}
  )
  GROUP BY hash_key
)""")
