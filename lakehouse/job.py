"""What a task of a job, a notebook or an orchestrator calls: a part of a batch, its result as JSON.

Rule: parameters come as text and are checked; an unknown one is an error. The result is one line of JSON on standard output;
a failure is raised, so that a workspace shows its message and marks the task as failed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakehouse.errors import LakehouseError, LoadError, MetadataError, suggestion
from lakehouse.metadata.project import Project
from lakehouse.parts import END, batch_plan, job_of, part_named
from lakehouse.plan import Plan, make_plan

if TYPE_CHECKING:
    from lakehouse.engine.runner import BatchResult
    from lakehouse.metadata.environment import Environment

LONGEST_ERROR = 4000
NOTHING: dict[str, Any] = {
    "run_id": None,
    "status": "succeeded",
    "seconds": 0.0,
    "rows": {},
    "error": None,
    "message": "nothing of this part was selected",
}


def main(project: str | Path | None = None, arguments: Sequence[str] | None = None) -> None:
    """Runs the part of a batch that the parameters name; ``project`` is the folder, if the caller knows it.

    Raises:
        LakehouseError: a parameter is wrong, or a load failed.
    """
    given = _parser(project).parse_args(sys.argv[1:] if arguments is None else arguments)
    result = run_batch(
        project or given.project,
        environment=given.environment,
        batch=given.batch,
        part=given.part,
        run=given.run,
        select=given.select,
        fresh=given.fresh,
    )
    sys.stdout.write(json.dumps(result) + "\n")
    if result["status"] == "failed":
        raise LoadError(f"run {result['run_id']}: {result['error']}")


def _parser(project: str | Path | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lakehouse.job",
        description="Run a batch, or a part of it, and print its result as JSON.",
        allow_abbrev=False,
    )
    if project is None:
        parser.add_argument("--project", default=".", help="the project's folder; the current one if left out")
    parser.add_argument("--environment", required=True, help="an environment of the project")
    parser.add_argument("--batch", required=True, help="a batch; the project's name for all there is")
    parser.add_argument("--part", default="", help="one task's share of the batch; all of it if left out")
    parser.add_argument(
        "--run", default="", help="the orchestrator's id of the run; tasks with the same one share a run"
    )
    parser.add_argument("--select", default="*", help="only these of the loads: names or patterns, with commas")
    parser.add_argument("--fresh", default="false", help="true: also what a failed run had done")
    return parser


def run_batch(
    project: str | Path,
    *,
    environment: str | None,
    batch: str,
    part: str = "",
    run: str = "",
    select: str = "*",
    fresh: str = "false",
) -> dict[str, Any]:
    """Runs a batch or a part of it: run id, status, rows per load, error.

    Parameters are text, as widgets and job parameters are. A part needs the id of the run that it belongs to; the part
    ``end`` ends that run. A load that fails is in the result; what cannot begin is raised.

    Raises:
        MetadataError: a parameter names something that does not exist.
        ControlError: the batch runs already, or the control catalog cannot be reached.
    """
    from lakehouse.kinds import read_project

    found = read_project(project)
    place, plan = found.environment(environment or None), batch_plan(found, batch)
    chosen = _chosen(plan, select)
    restart = not _flag("fresh", fresh) and len(chosen) == len(plan.nodes)
    if not part:
        return exit_result(_run(found, place, batch, run, chosen, restart=restart, ends=True))
    _check_part(found, batch, part, run)
    if part == END:
        return exit_result(_end(found, place, batch, run, chosen))
    loads = part_named(plan, job_of(found, batch).granularity, part).loads
    mine = tuple(name for name in chosen if name in loads)
    return exit_result(_run(found, place, batch, run, mine, restart=restart, ends=False)) if mine else NOTHING


def _check_part(project: Project, batch: str, part: str, run: str) -> None:
    if not run:
        raise MetadataError(f"part '{part}' needs the id of the run that it is a part of: give run.")
    if job_of(project, batch).granularity == "batch":
        raise MetadataError(f"batch '{batch}' is one task: it has no part '{part}'.")


def _chosen(plan: Plan, select: str) -> tuple[str, ...]:
    """The loads of a plan that are asked for.

    Raises:
        MetadataError: a pattern finds nothing.
    """
    patterns = [pattern.strip() for pattern in select.split(",") if pattern.strip()] or ["*"]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in plan.nodes):
            raise MetadataError(f"select: '{pattern}' finds nothing in the batch. {suggestion(pattern, plan.nodes)}")
    return tuple(name for name in plan.nodes if any(fnmatchcase(name, pattern) for pattern in patterns))


def _flag(name: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise MetadataError(f"{name} is '{value}'. Allowed: true, false.")
    return value.lower() == "true"


def _run(
    project: Project, place: Environment, batch: str, run: str, loads: Sequence[str], *, restart: bool, ends: bool
) -> BatchResult:
    from lakehouse.engine.runner import run as run_plan

    return run_plan(
        make_plan(project, select=loads),
        environment=place,
        batch=batch,
        threads=project.batches[batch].threads if batch in project.batches else None,
        restart=restart,
        external_id=run or None,
        ends=ends,
    )


def _end(project: Project, place: Environment, batch: str, run: str, loads: Sequence[str]) -> BatchResult:
    from lakehouse.engine.shared_run import end_run

    return end_run(make_plan(project, select=loads), environment=place, batch=batch, external_id=run)


def exit_result(result: BatchResult) -> dict[str, Any]:
    """A result as a notebook's exit value and a task's last line: run id, status, rows per load, error."""
    broken = [f"{load.name}: {load.message}" for load in result.loads if load.state != "succeeded"]
    return {
        "run_id": result.run_id,
        "status": "failed" if broken else "succeeded",
        "seconds": round(result.seconds, 3),
        "rows": {load.name: dict(load.counts) for load in result.loads if load.counts},
        "error": "; ".join(broken)[:LONGEST_ERROR] or None,
        "message": result.message or None,
    }


if __name__ == "__main__":
    try:
        main()
    except LakehouseError as failure:
        sys.stderr.write(f"Error: {failure}\n")
        sys.exit(2 if isinstance(failure, MetadataError) else 1)
