"""What ``lakehouse connection test`` tries: each answer is a line; the first thing that fails ends it.

Rule: nothing is retried and nothing is changed; no line holds a secret.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from importlib.util import find_spec

from lakehouse.control.credentials import SqlServerLogin
from lakehouse.control.sql_server.connection import Session
from lakehouse.errors import ControlError, SetupError

WHO = (
    "SELECT ORIGINAL_LOGIN() AS [login], DB_NAME() AS [database],"
    " CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(128)) AS [version],"
    " CAST(SERVERPROPERTY('Edition') AS nvarchar(128)) AS [edition]"
)
CATALOG = (
    "SELECT SCHEMA_NAME(schema_id) AS [schema], COUNT(*) AS [procedures] FROM sys.procedures WHERE schema_id IN"
    " (SELECT schema_id FROM sys.procedures WHERE name = N'LogExecutionStart') GROUP BY schema_id"
)


def test_sql_server(login: SqlServerLogin) -> list[str]:
    """Tries a SQL Server: name, port, TLS, login, version, catalog; what each answered.

    Raises:
        ControlError: something did not answer; the message holds the lines up to it.
    """
    told: list[str] = []
    try:
        if login.instance is None:
            told.append(_resolved(login))
            told.append(_reached(login))
        with Session(login, attempts=1) as session:
            for line in _asked(session):
                told.append(line)
        return told
    except ControlError as error:
        told.append(str(error))
    raise ControlError("\n".join(told))


def _resolved(login: SqlServerLogin) -> str:
    try:
        found = socket.getaddrinfo(login.server, login.port, type=socket.SOCK_STREAM)
    except OSError:
        found = []
    if not found:
        raise ControlError(
            f"name: {login.server} cannot be resolved. Is it spelt so, and is this network allowed to know it?"
        )
    return f"name: {login.server} is {', '.join(sorted({str(place[4][0]) for place in found}))}"


def _reached(login: SqlServerLogin) -> str:
    began = time.monotonic()
    try:
        socket.create_connection((login.server, login.port), login.login_timeout).close()
    except OSError as error:
        problem = "no answer" if isinstance(error, TimeoutError) else error.strerror or type(error).__name__
    else:
        return f"port: {login.port} answers after {(time.monotonic() - began) * 1000:.0f} ms"
    raise ControlError(f"port: {login.address} cannot be reached: {problem}. A firewall, or another port?")


def _asked(session: Session) -> Iterator[str]:
    login = session.login
    certificate = (
        "not checked" if login.trust_server_certificate else f"good for {login.certificate_host or login.server}"
    )
    extent = "everything" if login.encrypt else "the login only"
    yield f"encryption: {session.tls()} for {extent}; certificate {certificate}"
    who = session.query(WHO)[0]
    yield f"login: {who['login']} in database {who['database']}"
    yield f"server: SQL Server {who['version']}, {who['edition']}"
    schemas = [f"schema {row['schema']} with {row['procedures']} procedures" for row in session.query(CATALOG)]
    yield f"catalog: {', '.join(schemas) or 'none in this database yet'}"


def test_databricks(host: str | None = None, *, token: str | None = None, profile: str | None = None) -> list[str]:
    """Tries a Databricks workspace: which it is, and as whom; without arguments with what the environment offers.

    Raises:
        SetupError: databricks-sdk is missing.
        ControlError: the workspace does not answer or refuses.
    """
    if find_spec("databricks") is None or find_spec("databricks.sdk") is None:
        raise SetupError("databricks-sdk is missing: pip install 'lakehouse[databricks]'.")
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.config import Config

    place = host or (f"profile {profile}" if profile else "the default login")
    try:
        config = Config(host=host, token=token, profile=profile, http_timeout_seconds=15, retry_timeout_seconds=15)
        client = WorkspaceClient(config=config)
        told = [f"workspace: {client.config.host} (authentication {client.config.auth_type})"]
        return [*told, f"login: {client.current_user.me().user_name}"]
    except Exception as error:
        unset = "no login is configured" if isinstance(error, ValueError) else type(error).__name__
        problem = getattr(error, "error_code", None) or unset
    raise ControlError(
        f"Databricks {place}: {problem}. The workspace URL must be right, and a token or a profile (databricks auth login) valid."
    )


# pytest collects by name what a test module imports; these are no tests.
test_sql_server.__test__ = False  # type: ignore[attr-defined]
test_databricks.__test__ = False  # type: ignore[attr-defined]
