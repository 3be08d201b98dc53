"""The control catalog's T-SQL: scripts to deploy, for a schema of any name.

Rule: a version's table script is never changed, only followed by another one; views and procedures are replaced, and gain
parameters only with a default, so that an upgrade never asks for new pipelines. Every script may be run again.
"""

from __future__ import annotations

import re
from importlib.resources import files

from lakehouse.errors import ControlError

VERSION = 1
"""Of the whole catalog: tables and procedures. Raised by whoever changes a script that was released."""
TABLES = ("001_tables.sql",)
"""The table scripts in their order; the first three digits are the version that a script leads to."""
PROCEDURES = "procedures.sql"
LAST = "version.sql"

_SCHEMA = re.compile(r"[A-Za-z_][A-Za-z0-9_@$#-]{0,127}")


def installation(schema: str = "control", *, since: int = 0) -> dict[str, str]:
    """The scripts that bring a catalog of version ``since`` (0: none) to the newest, by file name, in order.

    Each can be run with sqlcmd or any other client that knows ``GO``.

    Raises:
        ControlError: the schema's name is none.

    >>> list(installation("control"))
    ['001_tables.sql', 'procedures.sql', 'version.sql']
    """
    tables = [name for name in TABLES if int(name[:3]) > since]
    return {name: _text(name, schema) for name in (*tables, PROCEDURES, LAST)}


def version_query(schema: str) -> str:
    """The query for the version of the catalog in a schema; 0 if there is none. Needs only the right to execute."""
    return _text("get_version.sql", schema)


def procedure(schema: str, name: str) -> str:
    """The quoted name of a procedure.

    >>> procedure("control", "LogExecutionStart")
    '[control].[LogExecutionStart]'
    """
    return f"[{checked(schema)}].[{name}]"


def checked(schema: str) -> str:
    """The name of a schema, if it can stand in the scripts.

    Raises:
        ControlError: it cannot.
    """
    if not _SCHEMA.fullmatch(schema):
        raise ControlError(
            f"'{schema}' cannot be the control catalog's schema in SQL Server: letters, digits, _, @, $, # and -, not a "
            "digit first, at most 128."
        )
    return schema


def _text(name: str, schema: str) -> str:
    text = files("lakehouse.control.sql_server").joinpath("scripts", name).read_text(encoding="utf-8")
    return text.replace("{schema}", checked(schema)).replace("{version}", str(VERSION))
