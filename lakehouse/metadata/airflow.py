"""Airflow: how an environment's batches are started by Airflow instead of by their own schedules."""

from __future__ import annotations

import datetime
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from lakehouse.metadata.entity import Entity


def _folder(value: str) -> str:
    if not re.match(r"^/(Volumes|Workspace)/.", value):
        raise ValueError(f"'{value}' is no folder of a workspace: /Volumes/… or /Workspace/….")
    return value.rstrip("/")


class Airflow(Entity):
    """One DAG per batch. Schedules of the bundle are then left to Airflow."""

    mode: Literal["run_now", "workflow"] = "run_now"
    """run_now starts the job that the bundle deployed, by its name. workflow makes the job from the DAG: every part is a task
    of Airflow that can be repaired by itself."""
    connection: str = "databricks_default"
    """Id of Airflow's connection to the workspace; host and token stand there, never here."""
    wheels: Annotated[str, AfterValidator(_folder)] | None = None
    """workflow only: the folder of the workspace where the project's wheel is."""
    start_date: datetime.date = datetime.date(2024, 1, 1)
    retries: int = Field(default=0, ge=0, le=10)
    """run_now only: how often Airflow starts a failed job again; it goes on where the failed one stopped."""
    tags: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _wheels_of_a_workflow(self) -> Airflow:
        if (self.mode == "workflow") != (self.wheels is not None):
            raise ValueError("mode: workflow and wheels belong together: the folder where the project's wheel is.")
        if self.mode == "workflow" and self.retries:
            raise ValueError(
                "retries belong to mode: run_now; in a workflow a part is tried again by its job's retries."
            )
        return self
