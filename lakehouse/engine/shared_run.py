"""A run that several tasks of a job share: each loads a part, the last one ends it.

Rule: who comes with the same external id takes part in the same run of the control catalog; the end looks at what became of
every load, also of one whose task never began. A repair starts only the tasks that failed, under a new id: what the others had
done before is asked of the control catalog.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lakehouse.control.catalog import Catalog, RunRow, Started
from lakehouse.engine.catalogs import open_catalog
from lakehouse.engine.runner import BatchResult, LoadResult, State
from lakehouse.errors import ControlError, LoadError
from lakehouse.metadata.environment import Environment, table_id
from lakehouse.plan import Node, Plan

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NO_TASK = "not loaded, because its task did not run"


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
    loads = _loads(plan, environment, batch, catalog, started)
    open_ones = [load.name for load in loads if load.state != "succeeded"]
    if not open_ones:
        catalog.end_batch(started.run_id, "S")
    elif catalog.beat(started.run_id):
        catalog.end_batch(started.run_id, "A", "stopped on request; the next run loads the rest")
    else:
        catalog.end_batch(started.run_id, "F", f"failed or not loaded: {', '.join(open_ones)}"[:500])
    return BatchResult(started.run_id, loads, time.monotonic() - began, started.message)


def _loads(
    plan: Plan, environment: Environment, batch: str, catalog: Catalog, started: Started
) -> tuple[LoadResult, ...]:
    """What became of each load, those before it first."""
    rows: dict[str, list[RunRow]] = {}
    for row in catalog.latest_batch(batch):
        if row.parent_id == started.run_id:
            rows.setdefault(row.object, []).append(row)
    found: dict[str, LoadResult] = {}
    for name in (name for wave in plan.waves for name in wave):
        node = plan.nodes[name]
        ready = all(found[before].state == "succeeded" for before in node.after)
        if name in rows:
            found[name] = _result(node, rows[name])
        elif ready and started.restarts is not None:
            found[name] = _done_before(node, environment, catalog, started.run_id)
        else:
            found[name] = LoadResult(name, node.kind, "skipped", message=NO_TASK)
    return tuple(found.values())


def _result(node: Node, rows: Sequence[RunRow]) -> LoadResult:
    """The last attempt decides; what the ones before it wrote is written, so counts are of all."""
    counts = Counter[str]()
    for row in rows:
        counts.update(row.counts)
    last = rows[-1]
    return LoadResult(node.name, node.kind, _state(last), dict(counts), sum(r.seconds or 0 for r in rows), last.message)


def _done_before(node: Node, environment: Environment, catalog: Catalog, run_id: int) -> LoadResult:
    """A load that no task of a repair ran: passed over because the failed run had done it, or not loaded at all.

    The claim names a definition of its own, so that a load whose task did not run has no failed attempt more.
    """
    table, definition = table_id(environment, node.target), f"end of run {run_id}"
    try:
        claim = catalog.claim(run_id, node.name, node.kind, table, definition=definition)
    except ControlError as error:
        return LoadResult(node.name, node.kind, "skipped", message=f"{NO_TASK}; {error}")
    if claim.executes:
        catalog.fail(claim, LoadError(NO_TASK))
        return LoadResult(node.name, node.kind, "skipped", message=NO_TASK)
    return LoadResult(node.name, node.kind, "succeeded" if claim.status == "C" else "failed", message=claim.message)


def _state(row: RunRow) -> State:
    """Passed over (disabled, or done before a restart) is as good as loaded, as it is inside a run."""
    if row.status == "S" or (row.status == "C" and not row.message.startswith("not loaded")):
        return "succeeded"
    return "skipped" if row.status == "C" else "failed"
