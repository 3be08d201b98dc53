"""What Databricks' own checker lets pass in a bundle: dangling keys, circles, two kinds of task, bad cron, wrong variables.

Written against the Jobs API and bundle references, not against the generator.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter
from typing import Any

import yaml

TOP = {"bundle", "include", "sync", "artifacts", "variables", "targets", "resources"}
TARGET = {"mode", "default", "workspace", "variables", "run_as", "permissions", "resources"}
TASK_KINDS = re.compile(r"_task$")
COMPUTES = ("environment_key", "job_cluster_key", "existing_cluster_id", "new_cluster")
REFERENCES = {"job.run_id", "job.repair_count", "task.execution_count"}


def bundle_faults(files: Mapping[str, str]) -> list[str]:
    """What is wrong with the files of a bundle."""
    top = yaml.safe_load(files["databricks.yml"])
    return [
        *_top_faults(top, files),
        *(fault for job in jobs_of(files).values() for fault in job_faults(job, top, files)),
    ]


def jobs_of(files: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The jobs in the files, by ``target/key`` or by key alone."""
    found: dict[str, dict[str, Any]] = {}
    for path, text in files.items():
        if path.startswith("resources/"):
            parsed = yaml.safe_load(text)
            found.update(parsed.get("resources", {}).get("jobs", {}))
            for target, entry in parsed.get("targets", {}).items():
                found.update({f"{target}/{key}": job for key, job in entry["resources"]["jobs"].items()})
    return found


def _top_faults(top: Mapping[str, Any], files: Mapping[str, str]) -> Iterator[str]:
    yield from (f"databricks.yml: unknown key {key}" for key in set(top) - TOP)
    for name, target in top["targets"].items():
        yield from (f"target {name}: unknown key {key}" for key in set(target) - TARGET)
        yield from (f"target {name}: no value for {key}" for key in set(top["variables"]) ^ set(target["variables"]))
        if target["mode"] not in ("development", "production"):
            yield f"target {name}: mode {target['mode']}"
    if sum(bool(target.get("default")) for target in top["targets"].values()) != 1:
        yield "databricks.yml: one target is the default"
    included = {path for path in files if any(fnmatchcase(path, pattern) for pattern in top["include"])}
    yield from (f"{path} is not included" for path in files if path.startswith("resources/") and path not in included)
    yield from (f"artifact {name}: no build" for name, found in top["artifacts"].items() if not found.get("build"))


def job_faults(job: Mapping[str, Any], top: Mapping[str, Any], files: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with one job."""
    tasks = {task["task_key"]: task for task in job["tasks"]}
    if len(tasks) != len(job["tasks"]):
        yield "two tasks of one key"
    graph = {key: [entry["task_key"] for entry in task.get("depends_on", [])] for key, task in tasks.items()}
    yield from (f"{key} depends on {name}" for key, names in graph.items() for name in names if name not in tasks)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"a circle: {error.args[1]}"
    for task in tasks.values():
        yield from _task_faults(task, job, top)
    yield from _schedule_faults(job)
    for variable in re.findall(r"\$\{var\.(\w+)\}", yaml.safe_dump(dict(job))):
        if variable not in top["variables"]:
            yield f"variable {variable} is not declared"


def _task_faults(task: Mapping[str, Any], job: Mapping[str, Any], top: Mapping[str, Any]) -> Iterator[str]:
    key = task["task_key"]
    if not re.fullmatch(r"[\w-]{1,100}", key):
        yield f"task key {key}"
    if len([name for name in task if TASK_KINDS.search(name)]) != 1:
        yield f"{key}: one kind of task"
    if len([name for name in COMPUTES if name in task]) != 1:
        yield f"{key}: one compute"
    environments = {entry["environment_key"]: entry["spec"] for entry in job.get("environments", [])}
    clusters = {entry["job_cluster_key"] for entry in job.get("job_clusters", [])}
    if task.get("environment_key", next(iter(environments), None)) not in {*environments, None}:
        yield f"{key}: no environment {task['environment_key']}"
    if "job_cluster_key" in task and task["job_cluster_key"] not in clusters:
        yield f"{key}: no job cluster {task['job_cluster_key']}"
    spec = environments.get(task.get("environment_key", ""))
    libraries = spec["dependencies"] if spec else [entry.get("whl", "") for entry in task.get("libraries", [])]
    package = task["python_wheel_task"]["package_name"]
    if (
        not any(re.fullmatch(rf"\.\./dist/{package}-[^/]+\.whl", name) for name in libraries)
        or package not in top["artifacts"]
    ):
        yield f"{key}: its package {package} is no library of it"
    if spec and task.get("libraries"):
        yield f"{key}: libraries on serverless compute"
    declared = {entry["name"] for entry in job.get("parameters", [])}
    for value in task["python_wheel_task"]["named_parameters"].values():
        for reference in re.findall(r"\{\{(.*?)\}\}", value):
            if reference not in REFERENCES and reference.removeprefix("job.parameters.") not in declared:
                yield f"{key}: reference {reference}"


def _schedule_faults(job: Mapping[str, Any]) -> Iterator[str]:
    if "schedule" in job and "trigger" in job:
        yield "a schedule and a trigger"
    fields = job.get("schedule", {}).get("quartz_cron_expression", "0 0 0 * * ?").split()
    if len(fields) not in (6, 7) or (fields[3] == "?") == (fields[5] == "?"):
        yield f"cron {fields}"
