"""lakehouse: from YAML metadata to a loaded lakehouse on Spark and Delta Lake.

from lakehouse import make_plan, read_project, run

project = read_project("my_project")
result = run(make_plan(project))
"""

from __future__ import annotations

from lakehouse.engine.direct import load
from lakehouse.engine.external import batches, prepare
from lakehouse.engine.runner import BatchResult, LoadResult, run
from lakehouse.engine.session import spark_session
from lakehouse.errors import (
    ControlError,
    GuardError,
    LakehouseError,
    LoadError,
    MetadataError,
    SetupError,
    SourceError,
)
from lakehouse.kinds import read_project
from lakehouse.metadata.project import Project
from lakehouse.plan import Plan, make_plan

__version__ = "0.1.0"

__all__ = [
    "BatchResult",
    "ControlError",
    "GuardError",
    "LakehouseError",
    "LoadError",
    "LoadResult",
    "MetadataError",
    "Plan",
    "Project",
    "SetupError",
    "SourceError",
    "batches",
    "load",
    "make_plan",
    "prepare",
    "read_project",
    "run",
    "spark_session",
]
