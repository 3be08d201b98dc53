"""Bundle: what an environment's workspace needs to run batches as jobs: computes, identity, permissions.

Rule: names, ids and places only; a secret never stands here.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from lakehouse.metadata.entity import Entity, Names


class Serverless(Entity):
    """Serverless compute: nothing to size; starts in seconds."""

    kind: Literal["serverless"]
    environment_version: Annotated[str, Field(pattern=r"^[1-9][0-9]?$")] = "4"
    """Which Python and packages it brings, as Databricks numbers them, in quotes."""


def _library(value: str) -> str:
    """The public index has another project of the same name, which must not be what a task installs."""
    if re.match(r"^/(Volumes|Workspace)/.*\.whl$", value) or re.match(r"^lakehouse(\[.*\])? *@ *\S+$", value):
        return value
    raise ValueError(f"'{value}' is neither the path of a wheel, /Volumes/….whl, nor 'lakehouse @ URL'.")


def _workers(value: object) -> object:
    return {"min": value, "max": value} if isinstance(value, int) else value


class Workers(Entity):
    """How many workers a cluster has at least and at most; if both are the same, so many."""

    min: int = Field(ge=0)
    max: int = Field(ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Workers:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is more than max {self.max}.")
        return self


class JobCluster(Entity):
    """A cluster that a job makes for itself and leaves nothing of."""

    kind: Literal["job_cluster"]
    spark_version: str
    """Databricks runtime, such as ``17.3.x-scala2.13``."""
    node_type: str | None = None
    driver_node_type: str | None = None
    instance_pool: str | None = None
    """Id of an instance pool that the nodes come from, instead of a node type."""
    driver_instance_pool: str | None = None
    workers: Annotated[Workers, BeforeValidator(_workers, json_schema_input_type=int | Workers)] = Workers(min=0, max=0)
    """A number, or {min: …, max: …}; 0 is a single node."""
    policy: str | None = None
    """Id of a cluster policy."""
    photon: bool = False
    data_security_mode: Literal["SINGLE_USER", "USER_ISOLATION"] = "SINGLE_USER"
    spark_conf: dict[str, str | int | float | bool] = Field(default_factory=dict)
    environment_variables: dict[str, str] = Field(default_factory=dict)
    """Never secrets; a secret is written {{secrets/scope/key}}."""
    init_scripts: Names = ()
    """Scripts in a volume or in the workspace."""
    instance_profile: str | None = None
    """AWS: ARN of the instance profile."""
    tags: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _nodes(self) -> JobCluster:
        if (self.node_type is None) == (self.instance_pool is None):
            raise ValueError("a job cluster's nodes come from node_type or from instance_pool, one of them.")
        if self.instance_pool is None and self.driver_instance_pool:
            raise ValueError("driver_instance_pool belongs to instance_pool.")
        if self.instance_pool and self.driver_node_type:
            raise ValueError("with instance_pool the driver is driver_instance_pool, not driver_node_type.")
        return self


class ExistingCluster(Entity):
    """A cluster that is there already: warm, for trying things out."""

    kind: Literal["existing_cluster"]
    cluster: str
    """Its id."""


Compute = Annotated[Serverless | JobCluster | ExistingCluster, Field(discriminator="kind")]


class Identity(Entity):
    """A user or a service principal (by application id)."""

    user: str | None = None
    service_principal: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Identity:
        if (self.user is None) == (self.service_principal is None):
            raise ValueError("name a user or a service_principal, one of them.")
        return self


class Permission(Entity):
    """Who may do what with the bundle's jobs and files."""

    level: Literal["CAN_VIEW", "CAN_RUN", "CAN_MANAGE"]
    user: str | None = None
    group: str | None = None
    service_principal: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Permission:
        if sum(value is not None for value in (self.user, self.group, self.service_principal)) != 1:
            raise ValueError("a permission is for one of user, group and service_principal.")
        return self


class Bundle(Entity):
    """An environment as a target of the asset bundle."""

    mode: Literal["development", "production"] = "development"
    """Development: jobs carry the name of who deployed them and do not start by themselves."""
    root_path: str | None = None
    """Folder of the workspace that is deployed to; Databricks' own default if left out."""
    run_as: Identity | None = None
    permissions: tuple[Permission, ...] = ()
    compute: str = "serverless"
    """The compute of a load whose settings name none."""
    computes: dict[str, Compute] = Field(default_factory=dict)
    """Computes by name; ``serverless`` is there without being named."""
    environment_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")] = "bfx_jdbc"
    """Name of the environment of serverless tasks."""
    library: Annotated[str, AfterValidator(_library)]
    """Where tasks get this library from: the path of its wheel in a volume or in the workspace, or ``lakehouse @ URL``."""
    libraries: Names = ()
    """More requirements of pip."""
    driver: Literal["jdbc", "odbc"] = "jdbc"
    """How the project's own code reaches SQL Server: jdbc installs python-tds; odbc also pyodbc, and wants an init script
    that installs Microsoft's driver. The control catalog always goes through python-tds."""
    paused: bool = False
    """Whether schedules and triggers wait until somebody turns them on."""
    tags: dict[str, str] = Field(default_factory=dict)

    def compute_named(self, name: str) -> Serverless | JobCluster | ExistingCluster | None:
        """A compute by name."""
        default = Serverless(kind="serverless") if name == "serverless" else None
        return self.computes.get(name, default)

    @property
    def known_computes(self) -> tuple[str, ...]:
        """The names of its computes."""
        return tuple(dict.fromkeys(("serverless", *self.computes)))
