"""The control catalog of an environment: opens the store that the environment names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lakehouse.control.catalog import Catalog
from lakehouse.control.event_log import EventLogCatalog
from lakehouse.control.process import ProcessLock
from lakehouse.control.sqlite import SqliteCatalog
from lakehouse.engine.delta_events import DeltaEvents
from lakehouse.engine.session import spark_session
from lakehouse.metadata.environment import DeltaControl, Environment, SqlServerControl
from lakehouse.metadata.project import Project
from lakehouse.sql.identifiers import literal, quote_table

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def open_catalog(project: Project, environment: Environment, spark: SparkSession | None = None) -> Catalog:
    """The control catalog of an environment; a Delta one needs a session and makes one if none is given.

    Raises:
        ControlError: it cannot be reached, or is of a newer version.
    """
    folder = project.path(environment.warehouse)
    control = environment.control
    if isinstance(control, SqlServerControl):
        return _sql_server(project, environment, control)
    if control == "delta" or isinstance(control, DeltaControl):
        schema = control.delta.schema_name if isinstance(control, DeltaControl) else "control"
        events = _delta_events(environment, folder, schema, spark or spark_session())
        return EventLogCatalog(events, project.name, stale_seconds=environment.stale_seconds)
    return SqliteCatalog(folder / "control.db", project.name, stale_seconds=environment.stale_seconds)


def _sql_server(project: Project, environment: Environment, control: SqlServerControl) -> Catalog:
    from lakehouse.control.sql_server.store import open_sql_server

    database = control.sql_server
    return open_sql_server(database.secret, database.schema_name, project.name, stale_seconds=environment.stale_seconds)


def _delta_events(environment: Environment, folder: Path, schema: str, spark: SparkSession) -> DeltaEvents:
    """The log as a table ``event`` of its schema; on a local session in the warehouse folder, behind a file lock."""
    local = environment.catalog is None
    name = quote_table(environment.catalog or "", schema)
    table, place = f"{name}.`event`", folder / schema
    located = f" LOCATION {literal(str(place))}" if local else ""

    def make() -> None:
        spark.sql(f"CREATE SCHEMA IF NOT EXISTS {name}{located}")
        where = f" LOCATION {literal(str(place / 'event'))}" if local else ""
        columns = (
            ""
            if (place / "event" / "_delta_log").is_dir() and local
            else " (sequence BIGINT, kind STRING, content STRING, at TIMESTAMP)"
        )
        spark.sql(f"CREATE TABLE IF NOT EXISTS {table}{columns} USING DELTA{where}")

    lock = ProcessLock()
    return DeltaEvents(spark, table, make, lambda: lock.held(folder / ".control.lock" if local else None))
