"""Runs a plan: its loads in dependency order, those without a path between them at once, in threads of one session.

Rule: a load that fails stops only what depends on it; everything else goes on, and the batch counts as failed. Each load
claims its own table; the control catalog says what there is to do.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Literal

from lakehouse.control.catalog import Catalog
from lakehouse.control.sqlite import SqliteCatalog
from lakehouse.engine.session import spark_session
from lakehouse.engine.stage_load import QUARANTINE_TABLE, SourceLoad
from lakehouse.engine.table_load import TableLoad
from lakehouse.engine.workspace import Workspace, open_workspace
from lakehouse.errors import LakehouseError, LoadError
from lakehouse.metadata.environment import Environment
from lakehouse.plan import Node, Plan
from lakehouse.staging.persistent_stage import quarantine_definition

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)
State = Literal["running", "succeeded", "failed", "skipped"]


@dataclass(frozen=True)
class LoadResult:
    """What became of one load."""

    name: str
    kind: str
    state: State
    counts: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    message: str = ""


@dataclass(frozen=True)
class BatchResult:
    """What became of a batch: its run id and its loads in the order of their end."""

    run_id: int
    loads: tuple[LoadResult, ...]
    seconds: float

    @property
    def succeeded(self) -> bool:
        """Whether every load did."""
        return all(load.state == "succeeded" for load in self.loads)

    def __getitem__(self, name: str) -> LoadResult:
        return next(load for load in self.loads if load.name == name)

    def written(self) -> int:
        """Rows inserted, updated or deleted, over all loads."""
        return sum(load.counts.get(c, 0) for load in self.loads for c in ("inserted", "updated", "deleted"))


def open_catalog(plan: Plan, environment: Environment) -> Catalog:
    """The control catalog of an environment."""
    from pathlib import Path

    folder = Path(environment.warehouse).expanduser()
    folder = folder if folder.is_absolute() else (plan.project.folder / folder).resolve()
    return SqliteCatalog(folder / "control.db")


def run(
    plan: Plan,
    *,
    environment: Environment | None = None,
    spark: SparkSession | None = None,
    batch: str | None = None,
    threads: int | None = None,
    now: Callable[[], datetime] | None = None,
    progress: Callable[[LoadResult], None] | None = None,
) -> BatchResult:
    """Runs the loads of a plan and returns what became of each.

    ``batch`` is the name it is recorded under (the project's, if left out), ``now`` gives the load date-time of sources
    (UTC), ``progress`` is told when a load begins and ends. A load that fails is in the result; nothing is raised for it.

    Raises:
        ControlError: the batch is running already.
        SetupError: there is no Spark session and none can be made.
    """
    environment = environment or plan.project.environment()
    began = time.monotonic()
    catalog = open_catalog(plan, environment)
    run_id = catalog.start_batch(batch or plan.project.name)
    try:
        workspace = open_workspace(spark or spark_session(), plan.project, environment)
        workspace.make_table(QUARANTINE_TABLE, quarantine_definition())
        batch_run = _BatchRun(plan, workspace, catalog, run_id, now or _utc_now, progress or _ignore)
        loads = batch_run.run(threads or max(4, os.cpu_count() or 1))
    except BaseException as error:
        catalog.end_batch(run_id, "F", str(error).splitlines()[0][:500] if str(error) else type(error).__name__)
        raise
    failed = [load.name for load in loads if load.state == "failed"]
    catalog.end_batch(run_id, "F" if failed else "S", f"failed: {', '.join(failed)}" if failed else "")
    return BatchResult(run_id, loads, time.monotonic() - began)


@dataclass(frozen=True)
class _BatchRun:
    plan: Plan
    workspace: Workspace
    catalog: Catalog
    run_id: int
    now: Callable[[], datetime]
    progress: Callable[[LoadResult], None]

    def run(self, threads: int) -> tuple[LoadResult, ...]:
        sorter = self.plan.sorter()
        sorter.prepare()
        results: dict[str, LoadResult] = {}
        with ThreadPoolExecutor(threads, thread_name_prefix="load") as pool:
            running: dict[Future[LoadResult], str] = {}
            try:
                while sorter.is_active():
                    for name in sorter.get_ready():
                        broken = [a for a in self.plan.nodes[name].after if results[a].state != "succeeded"]
                        running[pool.submit(self._load, self.plan.nodes[name], tuple(broken))] = name
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        name = running.pop(future)
                        results[name] = future.result()
                        sorter.done(name)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return tuple(results.values())

    def _load(self, node: Node, broken: tuple[str, ...]) -> LoadResult:
        if broken:
            message = f"not loaded, because {', '.join(broken)} did not succeed"
            self.catalog.skip(self.run_id, node.name, node.kind, message)
            return self._told(LoadResult(node.name, node.kind, "skipped", message=message))
        self._told(LoadResult(node.name, node.kind, "running"))
        began = time.monotonic()
        try:
            counts, message = self._run(node)
        except Exception as error:
            return self._failed(node, error, time.monotonic() - began)
        seconds = time.monotonic() - began
        logger.info("%s: %s in %.1f s, run %d", node.name, _shown(counts) or message, seconds, self.run_id)
        return self._told(LoadResult(node.name, node.kind, "succeeded", counts, seconds, message))

    def _failed(self, node: Node, error: Exception, seconds: float) -> LoadResult:
        """The result of a load that failed; what Spark said is kept, with the table and the run beside it."""
        known = error if isinstance(error, LakehouseError) else LoadError(f"{node.target}: {_first_line(error)}")
        known.add_note(f"table {node.target}, run {self.run_id}") if hasattr(known, "add_note") else None
        logger.error("%s failed: %s", node.name, error, exc_info=not isinstance(error, LakehouseError))
        return self._told(LoadResult(node.name, node.kind, "failed", {}, seconds, str(known)))

    def _run(self, node: Node) -> tuple[dict[str, int], str]:
        if node.kind == "source":
            source = self.plan.project.sources[node.name]
            return SourceLoad(self.workspace, self.catalog, source, self.run_id, self.now()).run()
        return TableLoad(self.workspace, self.catalog, self.plan.project.table(node.name), self.run_id).run()

    def _told(self, result: LoadResult) -> LoadResult:
        self.progress(result)
        return result


def _utc_now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)


def _ignore(result: LoadResult) -> None:
    """The progress callback of a run that nobody watches."""


def _shown(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{rows} {name}" for name, rows in counts.items() if rows)


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0][:1000] if lines else type(error).__name__
