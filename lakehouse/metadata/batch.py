"""Batch: a named selection of sources and tables that are loaded together."""

from __future__ import annotations

from lakehouse.metadata.entity import Entity, Names
from lakehouse.metadata.job import Job
from lakehouse.metadata.settings import Settings


class Batch(Entity):
    """A selection by name patterns; what the selected tables read is not pulled in by itself."""

    select: Names = ("*",)
    """Names or patterns of sources and tables, such as ``hub_*``."""
    threads: int | None = None
    """Loads that run at once; the number of cores, at least 2, if left out."""
    description: str = ""
    settings: Settings = Settings()
    job: Job = Job()
    """How it runs as a job; for ``lakehouse build``."""
