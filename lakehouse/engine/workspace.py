"""Workspace: a project's tables and folders in one environment, on one session.

Rule: a table is made from its definition when it is first loaded, widened when columns were added, never dropped. On a
local session the catalog forgets its tables, so a table that lies in the warehouse is registered again.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lakehouse.control.process import ProcessLock
from lakehouse.errors import LoadError, SetupError
from lakehouse.metadata.environment import LAYERS, Environment, Layer, Relation, table_id
from lakehouse.metadata.project import Project
from lakehouse.sql.ddl import TableDefinition, add_columns, create_schema, create_table
from lakehouse.sql.identifiers import literal

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.types import StructType

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workspace:
    """Where a project's tables are."""

    spark: SparkSession
    project: Project
    environment: Environment
    _lock: ProcessLock

    @property
    def warehouse(self) -> Path:
        """The folder of the local warehouse."""
        return self.project.path(self.environment.warehouse)

    @property
    def local(self) -> bool:
        """Whether tables lie in the warehouse folder, rather than in Unity Catalog."""
        return self.environment.catalog is None

    def landing(self, source: str, run_id: int) -> str:
        """The folder for the landed files of one run of a source."""
        return str(self.landing_root / self.project.log(source).name / str(run_id))

    def changes(self, table: str, run_id: int) -> str:
        """The folder for the changed rows of one run of a dimension or fact, before they are merged."""
        return str(self.landing_root / "_changes" / table / str(run_id))

    def connection_path(self, connection: str, given: str) -> Path:
        """The folder of a files connection."""
        return self.project.path(self.environment.paths.get(connection, given))

    @property
    def landing_root(self) -> Path:
        """The folder of the landed files of all runs."""
        return self.project.path(self.environment.landing) if self.environment.landing else self.warehouse / "landing"

    def name(self, relation: Relation) -> str:
        """The quoted name of a table."""
        return self.environment.table(relation.layer, relation.name)

    def id(self, relation: Relation) -> str:
        """The name by which the control catalog knows a table: the same for every project that writes it."""
        return table_id(self.environment, relation)

    def exclusive(self) -> AbstractContextManager[None]:
        """This workspace for one process and thread at a time, where it is local: two Java processes have no atomic commit."""
        return self._lock.held(self.warehouse / ".lock" if self.local else None)

    def make_schemas(self) -> None:
        """Creates the schemas of all layers; on a local session below the warehouse folder."""
        for layer in LAYERS:
            location = f" LOCATION {literal(str(self._schema_folder(layer)))}" if self.local else ""
            self.spark.sql(create_schema(self.environment.schema_name(layer)) + location)
        if self.local:
            self._check_schema_folder("mart")

    def _schema_folder(self, layer: Layer) -> Path:
        return self.warehouse / str(getattr(self.environment.schemas, layer))

    def _check_schema_folder(self, layer: Layer) -> None:
        rows = self.spark.sql(f"DESCRIBE SCHEMA {self.environment.schema_name(layer)}").collect()
        found = next((row[1] for row in rows if row[0].lower() in ("location", "namespace location")), "")
        if found and Path(found.removeprefix("file:")) != self._schema_folder(layer):
            raise SetupError(
                f"schema {self.environment.schema_name(layer)} of this Spark session lies in {found}, not in "
                f"{self._schema_folder(layer)}. Use a new session, or give the environment other schemas."
            )

    def exists(self, relation: Relation) -> bool:
        """Whether a table is there; registers it if it only lies in the warehouse folder."""
        name = self.name(relation)
        if self.spark.catalog.tableExists(name):
            return True
        folder = self._schema_folder(relation.layer) / relation.name
        if not self.local or not (folder / "_delta_log").is_dir():
            return False
        with self.exclusive():
            self.spark.sql(f"CREATE TABLE IF NOT EXISTS {name} USING DELTA LOCATION {literal(str(folder))}")
        return True

    def make_table(self, relation: Relation, definition: TableDefinition) -> None:
        """Creates a table, or adds the columns that it does not have.

        Raises:
            LoadError: a column has another type than the definition gives it.
        """
        name = self.name(relation)
        if not self.exists(relation):
            with self.exclusive():  # two consumers may make one input at the same moment
                if not self.exists(relation):
                    self.spark.sql(create_table(name, definition))
            return
        found = {field.name.lower(): field.dataType.simpleString() for field in self.spark.table(name).schema}
        missing = [column for column in definition.columns if column.name.lower() not in found]
        for column in definition.columns:
            there = found.get(column.name.lower(), column.type)
            if there != column.type:
                raise LoadError(
                    f"{name}: column {column.name} is {there} and the project says {column.type}. "
                    "Alter the table, or give the column its former type."
                )
        if missing:
            self.spark.sql(add_columns(name, missing))
            logger.info("%s: added columns %s", name, ", ".join(column.name for column in missing))


def open_workspace(spark: SparkSession, project: Project, environment: Environment) -> Workspace:
    """A workspace with its schemas made."""
    workspace = Workspace(spark, project, environment, ProcessLock())
    workspace.make_schemas()
    return workspace


def complete(definition: TableDefinition, schema: StructType) -> TableDefinition:
    """A definition whose open types are filled from the schema of the rows."""
    types = {field.name.lower(): field.dataType.simpleString() for field in schema}
    columns = tuple(c if c.type else replace(c, type=_named(types[c.name.lower()])) for c in definition.columns)
    return replace(definition, columns=columns)


def _named(data_type: str) -> str:
    return "string" if data_type == "void" else data_type
