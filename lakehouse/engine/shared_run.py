"""A run that several tasks of a job share: each loads a part, the last one ends it.

Rule: who comes with the same external id takes part in the same run of the control catalog; the end looks at what became of
every load, also of one whose task never began.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lakehouse.control.catalog import Catalog, RunRow
from lakehouse.engine.catalogs import open_catalog
from lakehouse.engine.runner import BatchResult, LoadResult, State
from lakehouse.errors import ControlError
from lakehouse.metadata.environment import Environment
from lakehouse.plan import Plan

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def end_run(
    plan: Plan,
    *,
    environment: Environment,
    batch: str,
    external_id: str,
    spark: SparkSession | None = None,
    catalog: Catalog | None = None,
) -> BatchResult:
    """Ends a run whose loads ran in several tasks, and returns what became of each load of the plan.

    Raises:
        ControlError: the control catalog cannot be reached, or the run has ended already.
    """
    began = time.monotonic()
    catalog = catalog or open_catalog(plan.project, environment, spark)
    started = catalog.start_batch(batch, external_id=external_id)
    if started.status in ("A", "S", "F"):
        raise ControlError(started.message or f"run {started.run_id} of {external_id} has ended already.")
    if not started.executes:
        return BatchResult(started.run_id, (), time.monotonic() - began, started.message)
    rows = {row.object: row for row in catalog.latest_batch(batch) if row.parent_id == started.run_id}
    loads = tuple(_load(plan, name, rows.get(name)) for wave in plan.waves for name in wave)
    open_ones = [load.name for load in loads if load.state != "succeeded"]
    if not open_ones:
        catalog.end_batch(started.run_id, "S")
    elif catalog.beat(started.run_id):
        catalog.end_batch(started.run_id, "A", "stopped on request; the next run loads the rest")
    else:
        catalog.end_batch(started.run_id, "F", f"failed or not loaded: {', '.join(open_ones)}"[:500])
    return BatchResult(started.run_id, loads, time.monotonic() - began, started.message)


def _load(plan: Plan, name: str, row: RunRow | None) -> LoadResult:
    kind = plan.nodes[name].kind
    if row is None:
        return LoadResult(name, kind, "skipped", message="not loaded, because its task did not run")
    return LoadResult(name, kind, _state(row), row.counts, row.seconds or 0.0, row.message)


def _state(row: RunRow) -> State:
    """Passed over (disabled, or done before a restart) is as good as loaded, as it is inside a run."""
    if row.status == "S" or (row.status == "C" and not row.message.startswith("not loaded")):
        return "succeeded"
    return "skipped" if row.status == "C" else "failed"
