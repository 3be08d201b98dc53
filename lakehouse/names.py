"""Every system column and naming pattern in one place.

Rule: a source column may not use a system column's name; tables are named after what they hold.
"""

from __future__ import annotations

LOAD_DATETIME = "load_datetime"
"""When the run that staged the row began (UTC); versions of a key in one run stand a microsecond apart."""
APPLIED_DATETIME = "applied_datetime"
"""The business's own time of the row (UTC); the load datetime where the source declares none."""
RECORD_SOURCE = "record_source"
ROW_AUDIT_ID = "row_audit_id"
"""The run that staged the row."""
LOAD_POSITION = "load_position"
"""A rising number of the table, stamped by the commit that added or changed the row; offsets count it."""
CHANGE_TYPE = "change_type"
"""I: the key is new or returns, U: it changed, D: it is gone (the last full row is kept)."""
CHANGED_SUBJECTS = "changed_subjects"
"""The satellites for which a row of the persistent stage differs from the row of its key before it."""
HASH_DIFF = "hash_diff"
DELETED_FLAG = "deleted_flag"
SOURCE_FILE = "source_file"
RULE = "rule"
REASON = "reason"
OUTCOME = "outcome"
"""What a load's SELECT says of a row: inserted, updated, removed, unchanged, duplicate, quarantined …"""

EFFECTIVE_FROM = "effective_from"
EFFECTIVE_TO = "effective_to"
CURRENT_FLAG = "current_flag"
VERSION_NUMBER = "version_number"

ACTIVE_FLAG = "active_flag"
"""Whether a combination of a link holds from a row of its effectivity satellite on."""
STARTS_AT = "starts_at"
ENDS_AT = "ends_at"
SNAPSHOT = "snapshot_datetime"
"""The end of a day in a point-in-time table: the midnight after it (UTC)."""
REVERSAL_FLAG = "reversal_flag"
"""Whether a row of a non-historised link takes a former one back."""
STATUS = "status"
"""What a status tracking satellite says of a key: I it is there (again), U it changed, D it is gone."""

UNKNOWN_KEY = -1
"""Surrogate key of the unknown member."""
OPEN_END = "9999-12-31"
LOW_DATE = "1900-01-01"

QUARANTINE = "quarantine"
"""The table in the persistent stage's schema that keeps rows no load could take."""

SYSTEM_COLUMNS = frozenset(
    {
        LOAD_DATETIME,
        APPLIED_DATETIME,
        RECORD_SOURCE,
        ROW_AUDIT_ID,
        LOAD_POSITION,
        CHANGE_TYPE,
        CHANGED_SUBJECTS,
        HASH_DIFF,
        DELETED_FLAG,
        SOURCE_FILE,
        RULE,
        REASON,
        OUTCOME,
        EFFECTIVE_FROM,
        EFFECTIVE_TO,
        CURRENT_FLAG,
        VERSION_NUMBER,
        ACTIVE_FLAG,
        STARTS_AT,
        ENDS_AT,
        REVERSAL_FLAG,
        SNAPSHOT,
    }
)

PREFIXES = ("hub_", "link_", "sat_", "dim_", "fact_", "pit_", "bridge_", "ref_")


def entity(table: str) -> str:
    """The noun a table is about.

    >>> entity("hub_customer")
    'customer'
    """
    for prefix in PREFIXES:
        if table.startswith(prefix) and len(table) > len(prefix):
            return table[len(prefix) :]
    return table


def hash_key(table: str, role: str | None = None) -> str:
    """The hash key column of a hub, in a role, or of a link, which keeps its prefix: a hub may have the same noun.

    >>> hash_key("hub_address"), hash_key("hub_address", "ship_to"), hash_key("link_order")
    ('address_hk', 'ship_to_address_hk', 'link_order_hk')
    """
    noun = table if table.startswith("link_") else entity(table)
    return f"{role}_{noun}_hk" if role else f"{noun}_hk"


def surrogate_key(name: str) -> str:
    """The surrogate key column of a dimension, or of a role of it on a fact.

    >>> surrogate_key("dim_customer"), surrogate_key("ship_to")
    ('customer_key', 'ship_to_key')
    """
    return f"{entity(name)}_key"


def staged(connection: str, source: str) -> str:
    """The name of a source's table in the stage and the persistent stage."""
    return f"{connection}_{source}"


def checkpoint(table: str) -> str:
    """The table that keeps the current rows of a persistent stage table."""
    return f"{table}_checkpoint"
