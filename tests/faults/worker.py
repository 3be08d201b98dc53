"""A process with a session that runs what it is told, line by line: {"do": "run" | "dump", "folder": …, "batch": …, "at": …}."""

from __future__ import annotations

import json
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


def main() -> None:
    """Answers each line with one."""
    from lakehouse import spark_session
    from tests.faults.child import dump

    spark_session(cores=2, small=True)
    print(json.dumps({"state": "ready"}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        folder = Path(order["folder"])
        time.sleep(max(0.0, order.get("at", 0.0) - time.time()))
        answer = dump(folder) if order["do"] == "dump" else run_batch(folder, order.get("batch"))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
