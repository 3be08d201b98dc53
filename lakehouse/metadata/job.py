"""Job: how a batch runs as a job of a workspace or an orchestrator: its tasks, when it starts, whom it tells.

Rule: this says how a batch is run, never what it loads; ``lakehouse run`` pays no heed to it.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from lakehouse.errors import suggestion
from lakehouse.metadata.entity import Entity, Names
from lakehouse.metadata.quartz import parse_cron

_DURATION = re.compile(r"^(\d+)\s*(second|minute|hour|day)s?$")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_PLACE = re.compile(r"^(/Volumes/[^/]+/[^/]+/[^/]+|[a-z0-9]+://[^/]+)(/.*)?$")
Granularity = Literal["load", "wave", "layer", "batch"]


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _DURATION.match(value)
    if not match:
        raise ValueError(f"'{value}' is not a span of time. Write a number and a unit, such as 90 minutes.")
    return int(match[1]) * _SECONDS[match[2]]


def _mail(value: str) -> str:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", value):
        raise ValueError(f"'{value}' is not a mail address.")
    return value


def _place(value: str) -> str:
    if not _PLACE.match(value):
        raise ValueError(f"'{value}' is no place that can be watched: /Volumes/catalog/schema/volume/… or a cloud URL.")
    return value if value.endswith("/") else f"{value}/"


def _timezone(value: str) -> str:
    known = available_timezones()
    if known and value not in known:
        raise ValueError(f"'{value}' is not a time zone. {suggestion(value, known)}")
    return value


def _schedule(value: object) -> object:
    return {"cron": value} if isinstance(value, str) else value


Duration = Annotated[int, BeforeValidator(_seconds, json_schema_input_type=int | str), Field(ge=1)]
"""A span of time in seconds, written ``90 minutes`` or ``5400``."""


class Schedule(Entity):
    """When a job starts by the clock."""

    cron: Annotated[str, AfterValidator(parse_cron)]
    """A Quartz cron expression, seconds first: ``0 30 5 * * ?``."""
    timezone: Annotated[str, AfterValidator(_timezone)] = "UTC"


class FileArrival(Entity):
    """Starts a job when files arrive."""

    path: Annotated[str, AfterValidator(_place)]
    """A volume's folder or a cloud URL."""
    at_most_every: Duration | None = Field(default=None, ge=60)
    """Time between two starts, at least a minute."""
    wait: Duration | None = Field(default=None, ge=60)
    """How long no further file may have arrived, at least a minute."""


class TableUpdate(Entity):
    """Starts a job when tables of Unity Catalog were written."""

    tables: Names = Field(min_length=1)
    """Tables of three levels, or of the project by layer and name, such as ``vault.hub_customer``."""
    when: Literal["any", "all"] = "any"
    at_most_every: Duration | None = Field(default=None, ge=60)
    wait: Duration | None = Field(default=None, ge=60)


class Trigger(Entity):
    """What starts a job instead of the clock."""

    file_arrival: FileArrival | None = None
    table_update: TableUpdate | None = None

    @model_validator(mode="after")
    def _one(self) -> Trigger:
        if (self.file_arrival is None) == (self.table_update is None):
            raise ValueError("a trigger is one of file_arrival and table_update.")
        return self


Mails = Annotated[Names, AfterValidator(lambda found: tuple(_mail(value) for value in found))]


class Notifications(Entity):
    """Whom a job tells: mail addresses, and webhooks by the id of their notification destination."""

    on_start: Mails = ()
    on_success: Mails = ()
    on_failure: Mails = ()
    webhook_on_start: Names = ()
    webhook_on_success: Names = ()
    webhook_on_failure: Names = ()


class Job(Entity):
    """How a batch runs as a job. The compute of a load is the setting ``compute``."""

    granularity: Granularity = "layer"
    """What a task is: a load, a wave of the plan, a layer, or the whole batch. Fewer tasks start faster; more of them show
    more and are repaired one by one."""
    schedule: Annotated[Schedule | None, BeforeValidator(_schedule, json_schema_input_type=Schedule | str)] = None
    trigger: Trigger | None = None
    retries: int = Field(default=0, ge=0, le=10)
    """How often a failed task is started again; inside it, a load tries again by the setting ``retries``."""
    retry_wait: Duration = 60
    retry_on_timeout: bool = False
    timeout: Duration | None = None
    """After what time the whole job is ended."""
    task_timeout: Duration | None = None
    notifications: Notifications = Notifications()
    tags: dict[str, str] = Field(default_factory=dict)
    queue: bool = True
    """Whether a start waits while the workspace has no room, instead of failing."""
    performance: Literal["standard", "optimized"] | None = None
    """Serverless only: ``standard`` starts later and costs less."""

    @model_validator(mode="after")
    def _one_start(self) -> Job:
        if self.schedule and self.trigger:
            raise ValueError("a job starts by schedule or by trigger, not by both.")
        return self
