"""Environment: where the tables, the landing files and the control catalog are. Table metadata never names a catalog."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from lakehouse.metadata.airflow import Airflow
from lakehouse.metadata.bundle import Bundle
from lakehouse.metadata.entity import Entity
from lakehouse.sql.identifiers import quote_table

Layer = Literal["stage", "persistent_stage", "vault", "mart"]
LAYERS: tuple[Layer, ...] = ("stage", "persistent_stage", "vault", "mart")


class Schemas(Entity):
    """The schema of each layer."""

    stage: str = "stage"
    persistent_stage: str = "persistent_stage"
    vault: str = "vault"
    mart: str = "mart"


class DeltaTables(Entity):
    """Where the control catalog's log is."""

    schema_name: str = Field(default="control", alias="schema")


class DeltaControl(Entity):
    """A control catalog in a Delta table: needs no server."""

    delta: DeltaTables


class SqlServerDatabase(Entity):
    """Which database the control catalog is in."""

    secret: str
    """Where its login is: ``scope/key`` of a Databricks secret, ``env:NAME`` or ``file:/path``."""
    schema_name: str = Field(default="control", alias="schema")


class SqlServerControl(Entity):
    """A control catalog in SQL Server or Azure SQL."""

    sql_server: SqlServerDatabase


class Retention(Entity):
    """For how many days history is kept; applied by ``lakehouse housekeeping``."""

    landing: int = Field(default=30, ge=1)
    """Landed files of runs that ended."""
    run: int = Field(default=400, ge=1)
    """Loads; batches stay."""
    row_count: int = Field(default=400, ge=1)
    load_error: int = Field(default=400, ge=1)
    parameter_history: int = Field(default=400, ge=1)
    quality_result: int = Field(default=400, ge=1)
    schema_change: int = Field(default=400, ge=1)

    def history(self) -> dict[str, int]:
        """Days per table of the control catalog."""
        return {name: days for name, days in self.model_dump().items() if name != "landing"}


class Databricks(Entity):
    """The workspace of an environment."""

    host: str | None = None
    token: str | None = None
    """Where its token is: ``env:NAME`` or ``file:/path``; the SDK's own ways to log in if left out."""
    profile: str | None = None


class Environment(Entity):
    """Where a project is loaded to."""

    name: str = Field(default="", exclude=True)
    catalog: str | None = None
    """Unity Catalog catalog; none on a local session, where names have two levels."""
    schemas: Schemas = Schemas()
    warehouse: str = "./warehouse"
    """Folder of the local warehouse; also the default place of landing and control catalog."""
    landing: str | None = None
    """Folder or volume of the landing files; ``<warehouse>/landing`` if left out."""
    control: Literal["sqlite", "delta"] | DeltaControl | SqlServerControl = "sqlite"
    """Store of the control catalog: SQLite in ``<warehouse>/control.db``, Delta tables, or a SQL Server database."""
    stale_seconds: float = Field(default=300, gt=0)
    """A run without a heartbeat for so long counts as dead; its tables are free and its loads are repeated."""
    retention: Retention = Retention()
    databricks: Databricks | None = None
    """The Databricks workspace, for ``lakehouse connection test``."""
    bundle: Bundle | None = None
    """Makes it a target of the asset bundle; for ``lakehouse build``."""
    airflow: Airflow | None = None
    """Its batches are started by Airflow; for ``lakehouse build``."""
    paths: dict[str, str] = Field(default_factory=dict)
    """Another folder for a files connection, by the connection's name."""

    def table(self, layer: Layer, name: str) -> str:
        """The quoted name of a table."""
        return quote_table(self.catalog or "", getattr(self.schemas, layer), name)

    def schema_name(self, layer: Layer) -> str:
        """The quoted name of a layer's schema."""
        return quote_table(self.catalog or "", getattr(self.schemas, layer))


@dataclass(frozen=True)
class Relation:
    """A table of the project by layer and name; an environment gives it a place."""

    layer: Layer
    name: str

    def __str__(self) -> str:
        return f"{self.layer}.{self.name}"


def table_id(environment: Environment, relation: Relation) -> str:
    """The name by which the control catalog knows a table: the same for every project that writes it."""
    parts = (environment.catalog, getattr(environment.schemas, relation.layer), relation.name)
    return ".".join(part for part in parts if part)
