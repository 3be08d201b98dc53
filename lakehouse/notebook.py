"""What the generated notebooks call beside ``lakehouse.job``: one function per notebook, each with plain values as result.

Rule: a notebook has no logic; whatever it shows or returns is made here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakehouse.errors import MetadataError, suggestion
from lakehouse.metadata.environment import Environment, Relation
from lakehouse.metadata.project import Project

if TYPE_CHECKING:
    from lakehouse.control.catalog import Catalog

COUNTS = ("read", "inserted", "updated", "deleted", "unchanged", "duplicate", "quarantined")
STATUS_SCHEMA = ", ".join(
    ["run_id BIGINT", "load STRING", "kind STRING", "status STRING", "started TIMESTAMP", "seconds DOUBLE"]
    + [f"{name}_rows BIGINT" for name in COUNTS]
    + ["message STRING"]
)
"""Columns of ``status_rows``, as Spark takes them."""


def status_rows(project: str | Path, environment: str, batch: str) -> list[tuple[Any, ...]]:
    """The newest run of a batch and its loads: status, times (UTC) and row counts, one tuple per run."""
    from lakehouse.control.catalog import STATUS_WORDS

    rows = _catalog(*_opened(project, environment)).latest_batch(batch or None)
    found = []
    for row in rows:
        counts = (row.counts.get(name) for name in COUNTS)
        status = STATUS_WORDS[row.status]
        found.append((row.run_id, row.object, row.kind, status, row.started, row.seconds, *counts, row.message))
    return found


def status_result(project: str | Path, environment: str, batch: str) -> dict[str, Any]:
    """The newest run of a batch as a notebook's exit value: run id, status, rows per load, error."""
    from lakehouse.control.catalog import STATUS_WORDS

    rows = _catalog(*_opened(project, environment)).latest_batch(batch or None)
    if not rows:
        return {"run_id": None, "status": "nothing was run yet", "rows": {}, "error": None}
    first, *loads = rows
    return {
        "run_id": first.run_id,
        "status": STATUS_WORDS[first.status],
        "rows": {row.object: dict(row.counts) for row in loads if row.counts},
        "error": first.message if first.status == "F" else None,
    }


def table_name(project: str | Path, environment: str, name: str) -> str:
    """The quoted name of a table, or of a source's persistent stage table.

    Raises:
        MetadataError: the project has no such source or table.
    """
    found, place = _opened(project, environment)
    if name not in found.tables and name not in found.sources:
        known = [*found.tables, *found.sources]
        raise MetadataError(f"no source or table '{name}'. {suggestion(name, known)}")
    relation: Relation = found.tables[name].relation if name in found.tables else found.log(name)
    return place.table(relation.layer, relation.name)


def set_up_control_catalog(project: str | Path, environment: str) -> dict[str, Any]:
    """Makes or upgrades the control catalog; returns its version."""
    return {"status": "succeeded", "version": _catalog(*_opened(project, environment)).init()}


def _opened(project: str | Path, environment: str) -> tuple[Project, Environment]:
    from lakehouse.kinds import read_project

    found = read_project(project)
    return found, found.environment(environment or None)


def _catalog(project: Project, environment: Environment) -> Catalog:
    from lakehouse.engine.catalogs import open_catalog

    return open_catalog(project, environment)
