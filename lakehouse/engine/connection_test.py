"""Trying a connection before a run needs it: what was tried, and what answered.

Rule: every step is told; a failing one says what to do; no secret is ever shown.
"""

from __future__ import annotations

from lakehouse.engine.catalogs import open_catalog
from lakehouse.engine.intake import file_pattern, offered, source_table
from lakehouse.engine.session import spark_session
from lakehouse.errors import MetadataError, SourceError, suggestion
from lakehouse.metadata.connection import DeltaConnection, FilesConnection
from lakehouse.metadata.environment import Environment, SqlServerControl
from lakehouse.metadata.project import Project


def test_connection(project: Project, environment: Environment, name: str) -> list[str]:
    """The steps that were tried for a connection of the project, the control catalog or the workspace.

    Raises:
        MetadataError: there is no such connection.
        SourceError, ControlError, SetupError: a step failed.
    """
    if name == "control":
        return _control(project, environment)
    if name == "databricks":
        return _databricks(environment)
    if name not in project.connections:
        known = [*project.connections, "control", "databricks"]
        raise MetadataError(f"no connection '{name}'. {suggestion(name, known)}")
    connection = project.connections[name]
    if isinstance(connection, FilesConnection):
        return _files(project, environment, name, connection)
    return _tables(project, name, connection)


test_connection.__test__ = False  # type: ignore[attr-defined]  # its name is the command's, it is no test


def _files(project: Project, environment: Environment, name: str, connection: FilesConnection) -> list[str]:
    folder = project.path(environment.paths.get(name, connection.path))
    if not folder.is_dir():
        raise SourceError(f"connection '{name}': the folder {folder} is not there or may not be read.")
    told = [f"folder {folder}: there"]
    for source_name, source in project.sources.items():
        if source.connection == name:
            pattern = file_pattern(source, connection)
            told.append(f"source {source_name}: {len(offered(folder, pattern))} files match {pattern}")
    return told


def _tables(project: Project, name: str, connection: DeltaConnection) -> list[str]:
    spark = spark_session()
    told = []
    for source_name, source in project.sources.items():
        if source.connection == name:
            table = source_table(source, connection)
            if not spark.catalog.tableExists(table):
                raise SourceError(f"connection '{name}': the table {table} of source '{source_name}' is not there.")
            told.append(f"source {source_name}: table {table} is there, {len(spark.table(table).columns)} columns")
    return told or [f"no source uses connection '{name}'"]


def _control(project: Project, environment: Environment) -> list[str]:
    control = environment.control
    if isinstance(control, SqlServerControl):
        from lakehouse.control.connection_test import test_sql_server
        from lakehouse.control.credentials import parse_secret
        from lakehouse.control.secrets import read_secret

        text, origin = read_secret(control.sql_server.secret)
        return [f"secret: read from {origin}", *test_sql_server(parse_secret(text, origin=origin))]
    catalog = open_catalog(project, environment)
    return [f"control catalog: open, version {catalog.init()}, {len(catalog.batches(1_000_000))} batch runs"]


def _databricks(environment: Environment) -> list[str]:
    from lakehouse.control.connection_test import test_databricks
    from lakehouse.control.secrets import read_secret

    place = environment.databricks
    if place is None:
        raise MetadataError(
            f"environment '{environment.name}' names no Databricks workspace. Give it databricks: {{host: https://…}}."
        )
    token = read_secret(place.token)[0] if place.token else None
    return test_databricks(place.host, token=token, profile=place.profile)
