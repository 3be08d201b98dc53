"""A process that runs the project and dies: ``python -m tests.faults.child FOLDER DELIVERY [--at POINT] [--dump FILE]``.

Every write (a control transaction, a Delta commit, landed files) is a point; the process is killed just before the one asked
for. ``--only-python`` kills Python alone, a moment after the write began, so that its Java goes on without it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

from tests.faults.project import DAYS

WRITES = ("MERGE", "CREATE TABLE", "ALTER", "DELETE")
HIDDEN = {"row_audit_id", "load_position", "source_file"}


class Points:
    """Counts the writes; dies before one of them."""

    def __init__(self, at: int | None, only_python: float | None) -> None:
        self.at, self.only_python = at, only_python
        self.names: list[str] = []

    def reached(self, name: str) -> None:
        """A write is about to begin."""
        self.names.append(name)
        if len(self.names) - 1 != self.at:
            return
        if self.only_python is None:
            os.killpg(0, signal.SIGKILL)
        threading.Thread(target=_die_after, args=(self.only_python,), daemon=True).start()


def _die_after(seconds: float) -> None:
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def watch(points: Points) -> None:
    """Puts a point before every write of the library."""
    from pyspark.sql import SparkSession
    from pyspark.sql.readwriter import DataFrameWriter, DataFrameWriterV2

    from lakehouse.control.sqlite import SqliteCatalog

    SqliteCatalog.beat_seconds = 3600.0
    _before(
        SqliteCatalog, "_transact", lambda a, k: None if k.get("reads") else f"control: {a[0].__qualname__}", points
    )
    _before(DataFrameWriterV2, "append", lambda a, k: "append", points)
    _before(DataFrameWriterV2, "createOrReplace", lambda a, k: "checkpoint", points)
    _before(DataFrameWriter, "parquet", lambda a, k: f"files {Path(a[0]).parts[-2]}", points)
    _before(SparkSession, "sql", lambda a, k: a[0][:60].partition("(")[0] if a[0].startswith(WRITES) else None, points)


def _before(owner: type, method: str, name: Any, points: Points) -> None:
    original = getattr(owner, method)

    def watched(self: Any, *args: Any, **options: Any) -> Any:
        if (found := name(args, options)) is not None:
            points.reached(found)
        return original(self, *args, **options)

    setattr(owner, method, watched)


def run_batch(folder: Path, number: int) -> bool:
    """One run of the whole project, one load after the other."""
    from lakehouse import make_plan, read_project, run, spark_session

    project = read_project(folder)
    result = run(make_plan(project), spark=spark_session(cores=2, small=True), threads=1, now=lambda: DAYS[number])
    for load in result.loads:
        if load.state == "failed":
            print(f"{load.name} failed: {load.message}", flush=True)
    return result.succeeded


def dump(folder: Path) -> dict[str, Any]:
    """What the tables and the control catalog hold, without what tells one run from another."""
    from lakehouse import read_project, spark_session
    from lakehouse.engine.stage_load import QUARANTINE_TABLE
    from lakehouse.engine.workspace import open_workspace

    spark, project = spark_session(), read_project(folder)
    workspace = open_workspace(spark, project, project.environment())
    relations = [project.log(name) for name in project.sources] + [t.relation for t in project.tables.values()]
    tables = [relation for relation in [*relations, QUARANTINE_TABLE] if workspace.exists(relation)]
    return {**{str(r): _rows(spark, workspace.name(r)) for r in tables}, **control(folder)}


def _rows(spark: Any, name: str) -> list[str]:
    frame = spark.table(name)
    columns = [f"`{column}`" for column in frame.columns if column not in HIDDEN]
    return sorted(repr(tuple(row)) for row in frame.selectExpr(*columns).collect())


def control(folder: Path) -> dict[str, Any]:
    """Counts by load, offsets against heads, rows and keys by table, files and watermarks."""
    with sqlite3.connect(folder / "warehouse" / "control.db") as db:
        counts = db.execute(
            "SELECT object, count_type, sum(rows) FROM row_count GROUP BY 1, 2 ORDER BY 1, 2"
        ).fetchall()
        behind = db.execute(
            "SELECT o.target, o.source FROM consumer_offset o JOIN table_state t ON t.name = o.source WHERE o.position <> t.head"
        ).fetchall()
        state = db.execute(
            "SELECT name, row_total, live_keys, intent, claimed_by FROM table_state ORDER BY 1"
        ).fetchall()
        files = db.execute("SELECT source, count(*) FROM file GROUP BY 1 ORDER BY 1").fetchall()
        marks = db.execute("SELECT object, name, value FROM parameter ORDER BY 1, 2").fetchall()
        open_runs = db.execute("SELECT count(*) FROM run WHERE ended IS NULL").fetchall()
    found = {"counts": counts, "behind": behind, "state": state, "files": files, "marks": marks, "open": open_runs}
    return {key: [list(row) for row in rows] for key, rows in found.items()}


def main() -> int:
    """Runs, perhaps to its death; writes the dump and the points if it lives."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("delivery", type=int)
    parser.add_argument("--at", type=int)
    parser.add_argument("--only-python", type=float)
    parser.add_argument("--dump", type=Path)
    options = parser.parse_args()
    os.chdir(options.folder)
    points = Points(options.at, options.only_python)
    watch(points)
    if not run_batch(options.folder, options.delivery):
        return 1
    if options.dump:
        options.dump.write_text(json.dumps({"points": points.names, "tables": dump(options.folder)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
