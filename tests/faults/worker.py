"""A process with a session that does what it is told, a line of JSON each, and answers with one.

``run`` a batch at a moment, ``dump`` the tables of a folder, ``heal`` (run the whole project for a delivery, and dump),
``forget`` the tables of a folder that was put away.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def run_batch(folder: Path, batch: str | None) -> dict[str, Any]:
    """One run, started at the moment that both processes were told."""
    from lakehouse import make_plan, read_project, run
    from lakehouse.errors import ControlError
    from tests.faults.project import DAYS

    project = read_project(folder)
    select = list(project.batches[batch].select) if batch else ["*"]
    try:
        result = run(make_plan(project, select=select), batch=batch, threads=2, now=lambda: DAYS[0])
    except ControlError as error:
        return {"state": "refused", "message": str(error)}
    failed = [f"{load.name}: {load.message}" for load in result.loads if load.state != "succeeded"]
    return {"state": "failed" if failed else "succeeded", "message": "; ".join(failed)}


def heal(folder: Path, number: int) -> dict[str, Any]:
    """The run after a death, in this process."""
    from tests.faults.child import dump
    from tests.faults.child import run_batch as run_all

    os.chdir(folder)
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        healed = run_all(folder, number)
    return {"tables": dump(folder)} if healed else {"failed": told.getvalue()}


def forget() -> dict[str, Any]:
    """Forgets every schema and Delta's cache of logs; the folder must not be there, or its files would be deleted."""
    from lakehouse import spark_session

    spark = spark_session()
    for row in spark.sql("SHOW SCHEMAS").collect():
        if row[0] != "default":
            spark.sql(f"DROP SCHEMA IF EXISTS `{row[0]}` CASCADE")
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    return {"state": "forgotten"}


def answer(order: dict[str, Any]) -> dict[str, Any]:
    """What an order gives."""
    from tests.faults.child import dump

    folder = Path(order["folder"])
    time.sleep(max(0.0, order.get("at", 0.0) - time.time()))
    if order["do"] == "dump":
        return dump(folder)
    if order["do"] == "heal":
        return heal(folder, order["delivery"])
    return forget() if order["do"] == "forget" else run_batch(folder, order.get("batch"))


def main() -> None:
    """Answers each line with one."""
    from lakehouse import spark_session

    spark_session(cores=2, small=True)
    print(json.dumps({"state": "ready"}), flush=True)
    sys.stdout = sys.stderr  # only answers go to standard output
    for line in sys.stdin:
        told = json.dumps(answer(json.loads(line)))
        sys.__stdout__.write(told + "\n")  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
