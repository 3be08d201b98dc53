"""A control catalog in a live SQL Server, for tests: the server that ``LAKEHOUSE_TEST_SQLSERVER`` names.

The variable holds what a secret holds: an ODBC connection string, or JSON. The login must be allowed to make schemas.
"""

from __future__ import annotations

import os
from typing import Any
from uuid import uuid4

from lakehouse.control.credentials import parse_secret
from lakehouse.control.sql_server.connection import Session
from lakehouse.control.sql_server.store import SqlServerCatalog

VARIABLE = "LAKEHOUSE_TEST_SQLSERVER"
DROPS = """
SELECT N'DROP ' + CASE type WHEN 'P' THEN N'PROCEDURE ' WHEN 'V' THEN N'VIEW ' ELSE N'TABLE ' END
    + QUOTENAME(SCHEMA_NAME(schema_id)) + N'.' + QUOTENAME(name) AS statement
FROM sys.objects WHERE schema_id = SCHEMA_ID(N'{schema}') AND type IN ('P', 'V', 'U') ORDER BY type
"""


def fresh_schema() -> str:
    """The name of a schema that is not there."""
    return f"lakehouse_test_{uuid4().hex[:12]}"


def open_test_catalog(project: str, *, schema: str | None = None, **options: Any) -> SqlServerCatalog:
    """A control catalog in a schema; in a fresh one if none is given, which ``drop_schema`` drops."""
    catalog = SqlServerCatalog(_session(), schema or fresh_schema(), project, **options)
    catalog.init()
    return catalog


def drop_schema(schema: str) -> None:
    """Drops a schema with all that is in it."""
    with _session() as session:
        for row in session.query(DROPS.format(schema=schema)):
            session.execute(str(row["statement"]))
        session.execute(f"DROP SCHEMA IF EXISTS [{schema}]")


def _session() -> Session:
    return Session(parse_secret(os.environ[VARIABLE], origin=f"environment variable {VARIABLE}"))
