"""Checks of what a workspace would refuse or do wrong: the bundle of each environment and the job of each batch.

Rule: ``lakehouse validate`` and ``lakehouse build`` make them; a local run needs no bundle and is not stopped by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from lakehouse.errors import MetadataError, suggestion
from lakehouse.metadata.bundle import Bundle, JobCluster, Serverless
from lakehouse.metadata.connection import FilesConnection
from lakehouse.metadata.environment import LAYERS, Environment
from lakehouse.metadata.located_yaml import Location
from lakehouse.metadata.project import Project
from lakehouse.metadata.quartz import to_unix_cron
from lakehouse.metadata.settings import resolve
from lakehouse.metadata.table import Problem
from lakehouse.parts import Part, batch_parts, batch_plan

MOST_TASKS = 1000
"""Tasks that a Databricks job may have."""
LONGEST_TASK_KEY = 100
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,60}")


def check_deployment(project: Project) -> None:
    """Raises what is wrong with bundles and jobs, all at once.

    Raises:
        MetadataError: one line per problem, each with file and line.
    """
    problems = list(deployment_problems(project))
    if problems:
        raise MetadataError(*problems)


def deployment_problems(project: Project) -> Iterator[str]:
    """One line per problem, each with file and line."""
    targets = bundle_environments(project)
    if targets:
        yield from _name_problems(project)
    for environment in project.environments.values():
        bundled = _environment_problems(project, environment) if environment.bundle else ()
        for problem in (*bundled, *_airflow_problems(environment)):
            yield _located(project, "environments", environment.name, problem)
    yield from _setting_problems(project, targets)
    for name in project.batches:
        for problem in (*_job_problems(project, name, targets), *_clock_problems(project, name)):
            yield _located(project, "batches", name, problem)


def bundle_environments(project: Project) -> Mapping[str, Environment]:
    """The environments that are targets of the asset bundle."""
    return {name: found for name, found in project.environments.items() if found.bundle is not None}


def compute_of(project: Project, batch: str, load: str, bundle: Bundle) -> str:
    """The name of the compute on which a batch's job runs a load: nearest setting, or the environment's default.

    What another batch sets for the same load does not count.
    """
    if next(_computes_set(project), None) is None:
        return bundle.compute
    section = "sources" if load in project.sources else "tables"
    others = {f"batch {name}" for name in project.batches if name != batch}
    layers = [layer for layer in project.settings_layers(section, load) if layer.origin not in others]
    found = next(setting for setting in resolve(layers) if setting.name == "compute")
    return str(found.value or bundle.compute)


def _located(project: Project, section: str, name: str, problem: Problem) -> str:
    label = {"environments": "environment", "batches": "batch"}[section]
    return f"{project.place(section, name, problem.location)}: {label} '{name}' {problem.message}"


def _name_problems(project: Project) -> Iterator[str]:
    """The name goes with the metadata into a wheel, where no folder tells it."""
    located, _ = project.places[("project", project.name)]
    if "name" not in located.value:
        yield f"{located.place()}: a project with a bundle says its name, such as name: shop."
    elif not _NAME.fullmatch(project.name):
        yield f"{located.place(('name',))}: '{project.name}' cannot name a bundle: letters, digits, _ and -, a letter first."


def _environment_problems(project: Project, environment: Environment) -> Iterator[Problem]:
    bundle = environment.bundle
    assert bundle is not None
    if environment.catalog is None:
        yield Problem(("bundle",), "has a bundle but no catalog: in a workspace tables are in Unity Catalog. Name it.")
    if environment.control == "sqlite":
        yield Problem(
            ("control",),
            "keeps its control catalog in SQLite, a file of one machine; tasks of a job share none. "
            "Use control: delta, or sql_server.",
        )
    yield from _place_problems(project, environment)
    if bundle.compute_named(bundle.compute) is None:
        known = suggestion(bundle.compute, bundle.known_computes)
        yield Problem(("bundle", "compute"), f"names compute '{bundle.compute}', which it does not have. {known}")
    yield from _driver_problems(bundle)
    if bundle.mode == "production" and bundle.run_as is None and bundle.root_path is None:
        yield Problem(
            ("bundle", "mode"),
            "is in production mode without run_as or root_path, so each deployer would deploy a copy of their own.",
        )


def _airflow_problems(environment: Environment) -> Iterator[Problem]:
    """Airflow starts jobs by their names, as the bundle deployed them."""
    if environment.airflow is None:
        return
    if environment.bundle is None:
        yield Problem(
            ("airflow",), "is run by Airflow but has no bundle, which says what it runs on. Give it a bundle."
        )
    elif environment.airflow.mode == "run_now" and environment.bundle.mode == "development":
        yield Problem(
            ("airflow",),
            "starts jobs by name, but a bundle in development mode puts the deployer's name before it. "
            "Use mode: production, or airflow: {mode: workflow, …}.",
        )


def _clock_problems(project: Project, batch: str) -> Iterator[Problem]:
    """What an environment's Airflow cannot do with a batch: not all that Quartz can say, and no single task."""
    job = project.batches[batch].job
    for environment in project.environments.values():
        if environment.airflow is None:
            continue
        if job.schedule and to_unix_cron(job.schedule.cron) is None:
            yield Problem(
                ("job", "schedule"),
                f"starts at '{job.schedule.cron}', for which Airflow of environment '{environment.name}' has no cron "
                "expression: it knows neither seconds nor years, L, W or #.",
            )
        if environment.airflow.mode == "workflow" and job.granularity == "batch":
            yield Problem(
                ("job", "granularity"),
                f"is one task, and environment '{environment.name}' runs it as a workflow of Airflow. "
                "Use airflow: {mode: run_now}, or another granularity.",
            )


def _place_problems(project: Project, environment: Environment) -> Iterator[Problem]:
    """Folders must be the same for every machine: a volume, not a folder beside the project."""
    landing: Location = ("landing",) if environment.landing else ("bundle",)
    if not PurePosixPath(environment.landing or environment.warehouse).is_absolute():
        found = environment.landing or f"{environment.warehouse}/landing, the default"
        yield Problem(landing, f"lands files in {found}, a folder of one machine. Give landing: /Volumes/…")
    for name, connection in project.connections.items():
        if isinstance(connection, FilesConnection):
            path = environment.paths.get(name, connection.path)
            if not PurePosixPath(path).is_absolute():
                at: Location = ("paths", name) if name in environment.paths else ("bundle",)
                yield Problem(
                    at,
                    f"reads connection '{name}' from {path}, a folder of one machine. Give paths: {{{name}: /Volumes/…}}",
                )


def _driver_problems(bundle: Bundle) -> Iterator[Problem]:
    if bundle.driver == "jdbc":
        return
    for name in bundle.known_computes if bundle.compute == "serverless" else bundle.computes:
        compute = bundle.compute_named(name)
        if isinstance(compute, Serverless):
            yield Problem(
                ("bundle", "driver"),
                f"wants driver odbc on compute '{name}', which is serverless and runs no init script to install it. "
                "Use driver: jdbc, or a job cluster.",
            )
        elif isinstance(compute, JobCluster) and not compute.init_scripts:
            yield Problem(
                ("bundle", "computes", name),
                f"wants driver odbc, but compute '{name}' has no init script that installs Microsoft's driver.",
            )


def _setting_problems(project: Project, targets: Mapping[str, Environment]) -> Iterator[str]:
    """Every setting ``compute`` names a compute that each target has."""
    for place, what, value in _computes_set(project):
        for environment in targets.values():
            bundle = environment.bundle
            if bundle is not None and bundle.compute_named(value) is None:
                known = suggestion(value, bundle.known_computes)
                yield f"{place}: {what} names compute '{value}', which environment '{environment.name}' does not have. {known}"


def _computes_set(project: Project) -> Iterator[tuple[str, str, str]]:
    """Where the setting is given: place, what gives it, value."""
    if project.settings.compute is not None:
        yield project.place("project", project.name, ("settings", "compute")), "the project", project.settings.compute
    sections: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
        ("connections", "connection", project.connections),
        ("batches", "batch", project.batches),
        ("sources", "source", project.sources),
        ("tables", "table", project.tables),
    )
    for section, label, entities in sections:
        for name, entity in entities.items():
            if entity.settings.compute is not None:
                place = project.place(section, name, ("settings", "compute"))
                yield place, f"{label} '{name}'", entity.settings.compute


def _job_problems(project: Project, name: str, targets: Mapping[str, Environment]) -> Iterator[Problem]:
    if not targets:
        return
    job, plan = project.batches[name].job, batch_plan(project, name)
    parts = batch_parts(plan, job.granularity)
    if len(parts) + 1 > MOST_TASKS:
        message = f"would be a job of {len(parts) + 1} tasks; Databricks takes {MOST_TASKS}. Use granularity: wave."
        yield Problem(("job", "granularity"), message)
    for part in parts:
        if len(part.name) > LONGEST_TASK_KEY:
            message = f"has a task '{part.name}' of more than {LONGEST_TASK_KEY} letters. Use granularity: wave."
            yield Problem(("job", "granularity"), message)
    for environment in targets.values():
        yield from _compute_problems(project, name, environment, parts)
    yield from _trigger_problems(project, name)


def _compute_problems(
    project: Project, batch: str, environment: Environment, parts: tuple[Part, ...]
) -> Iterator[Problem]:
    bundle, job = environment.bundle, project.batches[batch].job
    assert bundle is not None
    for part in parts:
        loads: dict[str, str] = {}
        for load in part.loads:
            loads.setdefault(compute_of(project, batch, load, bundle), load)
        if any(bundle.compute_named(name) is None for name in loads):
            continue  # told where it is set
        if len(loads) > 1:
            shown = " and ".join(f"{load} on {compute}" for compute, load in loads.items())
            yield Problem(
                ("job", "granularity"),
                f"would run {shown} in one task '{part.name}' of environment '{environment.name}'; a task has one compute. "
                "Use granularity: load.",
            )
        slow = [name for name in loads if not isinstance(bundle.compute_named(name), Serverless)]
        if job.performance and slow:
            message = f"sets performance, which only serverless compute has; '{slow[0]}' is a cluster."
            yield Problem(("job", "performance"), message)
            return


def _trigger_problems(project: Project, batch: str) -> Iterator[Problem]:
    trigger = project.batches[batch].job.trigger
    for position, table in enumerate(trigger.table_update.tables if trigger and trigger.table_update else ()):
        parts = table.split(".")
        if len(parts) == 3 and all(parts):
            continue
        at: Location = ("job", "trigger", "table_update", "tables", position)
        known = [f"{found.layer}.{name}" for name, found in project.tables.items()]
        if table not in known:
            hint = suggestion(table, known) if parts[0] in LAYERS else "Write catalog.schema.table, or layer.table."
            yield Problem(at, f"waits for table '{table}', which is none of the project's. {hint}")
