"""Runs a plan: its loads in dependency order, those without a path between them at once, in threads of one session.

Rule: a load that fails stops only what depends on it; everything else goes on, and the batch counts as failed. Each load
claims its own table; the control catalog says what there is to do.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Literal

from lakehouse.control.catalog import Catalog
from lakehouse.engine.attempts import plainly, tried
from lakehouse.engine.catalogs import open_catalog
from lakehouse.engine.heartbeat import Heartbeat
from lakehouse.engine.session import spark_session
from lakehouse.engine.stage_load import QUARANTINE_TABLE, SourceLoad
from lakehouse.engine.table_load import TableLoad
from lakehouse.engine.workspace import Workspace, open_workspace
from lakehouse.errors import ControlError, LakehouseError
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
    message: str = ""
    """Which failed run it went on with, or why nothing ran."""

    @property
    def succeeded(self) -> bool:
        """Whether every load did."""
        return all(load.state == "succeeded" for load in self.loads)

    def __getitem__(self, name: str) -> LoadResult:
        return next(load for load in self.loads if load.name == name)

    def written(self) -> int:
        """Rows inserted, updated or deleted, over all loads."""
        return sum(load.counts.get(c, 0) for load in self.loads for c in ("inserted", "updated", "deleted"))


def run(
    plan: Plan,
    *,
    environment: Environment | None = None,
    spark: SparkSession | None = None,
    batch: str | None = None,
    threads: int | None = None,
    now: Callable[[], datetime] | None = None,
    progress: Callable[[LoadResult], None] | None = None,
    restart: bool | None = None,
    catalog: Catalog | None = None,
    external_id: str | None = None,
    ends: bool = True,
) -> BatchResult:
    """Runs the loads of a plan and returns what became of each.

    ``batch`` is the name it is recorded under (the project's, if left out), ``now`` gives the load date-time of sources
    (UTC), ``progress`` is told when a load begins and ends. ``restart`` goes on with a failed run: what succeeded there is
    passed over; it is the default for a batch and for the whole project. A load that fails is in the result; nothing is
    raised for it. ``external_id`` is an orchestrator's name for the run: whoever comes with the same one takes part in it, and
    all but the last one leave it open (``ends``).

    Raises:
        ControlError: the batch is running already, or the control catalog cannot be reached.
        SetupError: there is no Spark session and none can be made.
    """
    environment = environment or plan.project.environment()
    began = time.monotonic()
    catalog = catalog or open_catalog(plan.project, environment, spark)
    restart = (batch is not None or plan.whole) if restart is None else restart
    started = catalog.start_batch(batch or plan.project.name, external_id=external_id, restart=restart)
    if started.status == "A":
        raise ControlError(started.message)
    if started.status in ("S", "F"):
        raise ControlError(f"run {started.run_id} of {external_id} has ended already; start it under a new id.")
    if not started.executes:
        return BatchResult(started.run_id, (), time.monotonic() - began, started.message)
    stopped = False
    try:
        with Heartbeat(
            catalog, started.run_id, seconds=min(catalog.beat_seconds, environment.stale_seconds / 3)
        ) as beat:
            workspace = open_workspace(spark or spark_session(), plan.project, environment)
            workspace.make_table(QUARANTINE_TABLE, quarantine_definition())
            told_by = progress or _ignore
            batch_run = _BatchRun(plan, workspace, catalog, started.run_id, now or _utc_now, told_by, restart, beat)
            loads = batch_run.run(threads or max(4, os.cpu_count() or 1))
            stopped = beat.stop_requested
    except BaseException as error:
        if ends:
            _end_failed(catalog, started.run_id, error)
        raise
    if ends:
        _end(catalog, started.run_id, loads, stopped)
    return BatchResult(started.run_id, loads, time.monotonic() - began, started.message)


def _end_failed(catalog: Catalog, run_id: int, error: BaseException) -> None:
    """Ends a batch that broke off; the error that came first goes on."""
    try:
        catalog.end_batch(run_id, "F", str(error).splitlines()[0][:500] if str(error) else type(error).__name__)
    except LakehouseError as second:
        logger.error("run %d: its end could not be recorded: %s", run_id, second)


def _end(catalog: Catalog, run_id: int, loads: Sequence[LoadResult], stopped: bool) -> None:
    failed = [load.name for load in loads if load.state == "failed"]
    if failed:
        catalog.end_batch(run_id, "F", f"failed: {', '.join(failed)}")
    elif stopped and any(load.state == "skipped" for load in loads):
        catalog.end_batch(run_id, "A", "stopped on request; the next run loads the rest")
    else:
        catalog.end_batch(run_id, "S")


@dataclass(frozen=True)
class _BatchRun:
    plan: Plan
    workspace: Workspace
    catalog: Catalog
    run_id: int
    now: Callable[[], datetime]
    progress: Callable[[LoadResult], None]
    restart: bool
    beat: Heartbeat

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
        if message := self._why_not(broken):
            self.catalog.skip(self.run_id, node.name, node.kind, message)
            return self._told(LoadResult(node.name, node.kind, "skipped", message=message))
        self._told(LoadResult(node.name, node.kind, "running"))
        began = time.monotonic()
        try:
            settings = self.plan.project.settings_of("sources" if node.kind == "source" else "tables", node.name)
            counts, message = tried(lambda: self._run(node, settings.attempts), node.name, retries=settings.retries)
        except Exception as error:
            return self._failed(node, error, time.monotonic() - began)
        seconds = time.monotonic() - began
        logger.info("%s: %s in %.1f s, run %d", node.name, _shown(counts) or message, seconds, self.run_id)
        return self._told(LoadResult(node.name, node.kind, "succeeded", counts, seconds, message))

    def _why_not(self, broken: tuple[str, ...]) -> str:
        if broken:
            return f"not loaded, because {', '.join(broken)} did not succeed"
        return "not loaded, because the batch was asked to stop" if self.beat.stop_requested else ""

    def _failed(self, node: Node, error: Exception, seconds: float) -> LoadResult:
        """The result of a load that failed; what Spark said is kept, with the table and the run beside it."""
        known = plainly(error, str(node.target))
        known.add_note(f"table {node.target}, run {self.run_id}") if hasattr(known, "add_note") else None
        logger.error("%s failed: %s", node.name, error, exc_info=not isinstance(error, LakehouseError))
        return self._told(LoadResult(node.name, node.kind, "failed", {}, seconds, str(known)))

    def _run(self, node: Node, attempts: int) -> tuple[dict[str, int], str]:
        limit = attempts if self.restart else None
        if node.kind == "source":
            source = self.plan.project.sources[node.name]
            return SourceLoad(self.workspace, self.catalog, source, self.run_id, self.now(), limit).run()
        return TableLoad(self.workspace, self.catalog, self.plan.project.table(node.name), self.run_id, limit).run()

    def _told(self, result: LoadResult) -> LoadResult:
        self.progress(result)
        return result


def _utc_now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)


def _ignore(result: LoadResult) -> None:
    """The progress callback of a run that nobody watches."""


def _shown(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{rows} {name}" for name, rows in counts.items() if rows)
