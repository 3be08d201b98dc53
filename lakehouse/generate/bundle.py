"""Databricks asset bundle: one target per environment with a bundle, one job per batch, one task per part.

Rule: a job that is the same in every target is written once, one that is not once per target. Tasks hold no logic: they name
a batch and a part, and the wheel beside them brings the metadata.
Source: the bundle and Jobs API references of Databricks; ``databricks.bundles.jobs.Job`` for fields and words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lakehouse.deployment import bundle_environments, compute_of
from lakehouse.errors import MetadataError
from lakehouse.generate.clusters import new_cluster
from lakehouse.generate.text import filled, yaml_text
from lakehouse.generate.wheel import ENTRY_POINT, Wheel, project_wheel
from lakehouse.metadata.bundle import Bundle, ExistingCluster, Identity, Permission, Serverless
from lakehouse.metadata.environment import LAYERS, Environment
from lakehouse.metadata.job import Job, Notifications, Trigger
from lakehouse.metadata.project import Project
from lakehouse.parts import END, Part, batch_parts, batch_plan, job_of

DRIVERS = {
    "jdbc": ("python-tds>=1.16,<1.18", "pyOpenSSL>=24", "certifi"),
    "odbc": ("python-tds>=1.16,<1.18", "pyOpenSSL>=24", "certifi", "pyodbc>=5"),
}
BUILD = "python3 -m pip wheel --quiet --no-deps --wheel-dir dist ."
PARAMETERS = {
    "environment": "${bundle.target}",
    "select": "*",
    "fresh": "false",
}
"""Parameters of every job: whoever starts one by hand may name some loads, or run everything again."""
SHARED_RUN = "{{job.run_id}}.{{job.repair_count}}"
"""The control catalog's external id of a run that several tasks share: the same for all of them, another one for a repair."""
OWN_RUN = "{{job.run_id}}.{{task.execution_count}}"
"""The external id of a run that is one task: another one each time it is started again."""


def bundle_files(project: Project, metadata: Mapping[str, str], only: str | None = None) -> dict[str, str]:
    """The files of the asset bundle by path; ``only`` leaves one target.

    Raises:
        MetadataError: no environment has a bundle, or the one named has none.
    """
    targets = _targets(project, only)
    wheel = project_wheel(project, metadata)
    files = {"databricks.yml": yaml_text(_databricks(project, wheel, targets), f"Asset bundle of {project.name}.")}
    for name in _batches(project):
        files.update(_job_files(project, wheel, targets, name))
    return {**files, **wheel.files}


def _targets(project: Project, only: str | None) -> Mapping[str, Environment]:
    targets = bundle_environments(project)
    if only is not None:
        place = project.place("environments", only)
        if only not in targets:
            raise MetadataError(
                f"{place}: environment '{only}' has no bundle. Give it one: bundle: {{mode: development}}."
            )
        return {only: targets[only]}
    if not targets:
        raise MetadataError(
            f"{project.place('project', project.name)}: no environment has a bundle. "
            "Give one to an environment of the workspace: bundle: {mode: development}."
        )
    return targets


def _batches(project: Project) -> tuple[str, ...]:
    """The batches, or the whole project where there are none."""
    return tuple(project.batches) or (project.name,)


def _databricks(project: Project, wheel: Wheel, targets: Mapping[str, Environment]) -> dict[str, Any]:
    variables = {"catalog": {"description": "Unity Catalog catalog of the tables"}}
    variables |= {"library": {"description": "Where tasks get lakehouse from"}}
    variables |= {f"{layer}_schema": {"description": f"Schema of layer {layer}"} for layer in LAYERS}
    return {
        "bundle": {"name": project.name},
        "include": ["resources/*.yml"],
        "sync": {"exclude": ["dist/*"]},
        "artifacts": {wheel.package: {"type": "whl", "path": ".", "build": BUILD}},
        "variables": variables,
        "targets": {
            name: _target(environment, default=position == 0)
            for position, (name, environment) in enumerate(targets.items())
        },
    }


def _target(environment: Environment, *, default: bool) -> dict[str, Any]:
    bundle, place = environment.bundle, environment.databricks
    assert bundle is not None
    workspace = filled(
        host=place.host if place else None, profile=place.profile if place else None, root_path=bundle.root_path
    )
    variables = {"catalog": environment.catalog, "library": bundle.library}
    variables |= {f"{layer}_schema": getattr(environment.schemas, layer) for layer in LAYERS}
    return filled(
        mode=bundle.mode,
        default=default or None,
        workspace=workspace,
        variables=variables,
        run_as=_identity(bundle.run_as) if bundle.run_as else None,
        permissions=[_permission(entry) for entry in bundle.permissions],
    )


def _identity(identity: Identity) -> dict[str, Any]:
    return filled(user_name=identity.user, service_principal_name=identity.service_principal)


def _permission(entry: Permission) -> dict[str, Any]:
    return filled(
        level=entry.level,
        user_name=entry.user,
        group_name=entry.group,
        service_principal_name=entry.service_principal,
    )


def _job_files(project: Project, wheel: Wheel, targets: Mapping[str, Environment], batch: str) -> Mapping[str, str]:
    """One file with the batch's job, or one per target where they differ."""
    jobs = {name: job(project, wheel, environment, batch) for name, environment in targets.items()}
    heading = f"Job of batch {batch}."
    first, *others = jobs.values()
    if all(other == first for other in others):
        return {f"resources/{batch}.job.yml": yaml_text({"resources": {"jobs": {batch: first}}}, heading)}
    return {
        f"resources/{batch}.{name}.job.yml": yaml_text(
            {"targets": {name: {"resources": {"jobs": {batch: found}}}}}, f"{heading[:-1]} in {name}."
        )
        for name, found in jobs.items()
    }


def job(project: Project, wheel: Wheel, environment: Environment, batch: str) -> dict[str, Any]:
    """A batch as a job, as the Jobs API takes it."""
    bundle, settings = environment.bundle, job_of(project, batch)
    assert bundle is not None
    parts = batch_parts(batch_plan(project, batch), settings.granularity)
    computes = {part.name: compute_of(project, batch, part.loads[0], bundle) for part in parts}
    used = list(dict.fromkeys(computes.values()))
    tasks = [_task(part, batch, settings, bundle, wheel, computes[part.name]) for part in parts]
    if settings.granularity != "batch":
        tasks.append(_end(parts, batch, settings, bundle, wheel, computes[parts[-1].name]))
    notified = settings.notifications
    return filled(
        name=f"{project.name} {batch}",
        description=project.batches[batch].description if batch in project.batches else "",
        max_concurrent_runs=1,
        queue={"enabled": settings.queue},
        timeout_seconds=settings.timeout,
        performance_target=_performance(settings),
        schedule=_schedule(settings, environment),
        trigger=_trigger(settings.trigger, environment) if settings.trigger else None,
        email_notifications=_mails(notified),
        webhook_notifications=_webhooks(notified),
        tags={"project": project.name, **bundle.tags, **settings.tags},
        parameters=[{"name": name, "default": value} for name, value in PARAMETERS.items()],
        tasks=tasks,
        job_clusters=_job_clusters(bundle, used),
        environments=_environments(bundle, used, wheel),
    )


def _task(part: Part, batch: str, settings: Job, bundle: Bundle, wheel: Wheel, compute: str) -> dict[str, Any]:
    called = {name: "{{job.parameters." + name + "}}" for name in PARAMETERS}
    called |= {"batch": batch, "run": OWN_RUN}
    if settings.granularity != "batch":
        called |= {"part": part.name, "run": SHARED_RUN}
    return filled(
        task_key=part.name,
        depends_on=[{"task_key": name} for name in part.after],
        python_wheel_task={
            "package_name": wheel.package,
            "entry_point": ENTRY_POINT,
            "named_parameters": called,
        },
        **_compute(bundle, compute, wheel),
        max_retries=settings.retries or None,
        min_retry_interval_millis=settings.retry_wait * 1000 if settings.retries else None,
        retry_on_timeout=(settings.retry_on_timeout or None) if settings.retries else None,
        timeout_seconds=settings.task_timeout,
    )


def _end(
    parts: Sequence[Part], batch: str, settings: Job, bundle: Bundle, wheel: Wheel, compute: str
) -> dict[str, Any]:
    """The task that ends the batch in the control catalog, whatever became of the others; it fails if one of them did."""
    needed = {name for part in parts for name in part.after}
    last = tuple(part.name for part in parts if part.name not in needed)
    once = settings.model_copy(update={"retries": 0})  # a second try would find the run ended
    task = _task(Part(END, (), last), batch, once, bundle, wheel, compute)
    return {"task_key": END, "depends_on": task.pop("depends_on"), "run_if": "ALL_DONE", **task}


def _compute(bundle: Bundle, name: str, wheel: Wheel) -> dict[str, Any]:
    """What a task says of its compute; libraries of a serverless one stand in its environment."""
    compute = bundle.compute_named(name)
    if isinstance(compute, Serverless):
        return {"environment_key": _environment_key(bundle, name), "disable_auto_optimization": True}
    libraries = [_library(requirement, bundle) for requirement in _requirements(bundle, wheel)]
    if isinstance(compute, ExistingCluster):
        return {"existing_cluster_id": compute.cluster, "libraries": libraries}
    return {"job_cluster_key": name, "libraries": libraries}


def _environment_key(bundle: Bundle, compute: str) -> str:
    """One environment per serverless compute; the default one has the bundle's own name for it."""
    return bundle.environment_key if compute == "serverless" else f"{bundle.environment_key}_{compute}"


def _requirements(bundle: Bundle, wheel: Wheel) -> tuple[str, ...]:
    return (wheel.path, wheel.library or bundle.library, *DRIVERS[bundle.driver], *bundle.libraries)


def _library(requirement: str, bundle: Bundle) -> dict[str, Any]:
    """A requirement as a cluster takes it; a variable of the bundle stands for the library."""
    named = bundle.library if requirement.startswith("${") else requirement
    return {"whl": requirement} if named.startswith(("/", "../")) else {"pypi": {"package": requirement}}


def _job_clusters(bundle: Bundle, used: Sequence[str]) -> list[dict[str, Any]]:
    found = [(name, bundle.compute_named(name)) for name in used]
    return [
        {"job_cluster_key": name, "new_cluster": new_cluster(compute)}
        for name, compute in found
        if compute is not None and compute.kind == "job_cluster"
    ]


def _environments(bundle: Bundle, used: Sequence[str], wheel: Wheel) -> list[dict[str, Any]]:
    found = [(name, bundle.compute_named(name)) for name in used]
    return [
        {
            "environment_key": _environment_key(bundle, name),
            "spec": {
                "environment_version": compute.environment_version,
                "dependencies": list(_requirements(bundle, wheel)),
            },
        }
        for name, compute in found
        if isinstance(compute, Serverless)
    ]


def _performance(settings: Job) -> str | None:
    return {"standard": "STANDARD", "optimized": "PERFORMANCE_OPTIMIZED", None: None}[settings.performance]


def _paused(environment: Environment) -> dict[str, str]:
    """Nothing where it is not paused: said aloud, it would start the jobs of a development target, too.

    Where Airflow is the clock, the job's own one rests.
    """
    bundle = environment.bundle
    return {"pause_status": "PAUSED"} if environment.airflow or (bundle and bundle.paused) else {}


def _schedule(settings: Job, environment: Environment) -> dict[str, Any] | None:
    if settings.schedule is None:
        return None
    return {
        "quartz_cron_expression": settings.schedule.cron,
        "timezone_id": settings.schedule.timezone,
        **_paused(environment),
    }


def _trigger(trigger: Trigger, environment: Environment) -> dict[str, Any]:
    files, tables = trigger.file_arrival, trigger.table_update
    if files is not None:
        waits = _waits(files.at_most_every, files.wait)
        return {**_paused(environment), "file_arrival": {"url": files.path, **waits}}
    assert tables is not None
    found = {
        "table_names": [_full_name(table) for table in tables.tables],
        "condition": f"{tables.when.upper()}_UPDATED",
    }
    return {
        **_paused(environment),
        "table_update": {**found, **_waits(tables.at_most_every, tables.wait)},
    }


def _waits(at_most_every: int | None, wait: int | None) -> dict[str, Any]:
    return filled(min_time_between_triggers_seconds=at_most_every, wait_after_last_change_seconds=wait)


def _full_name(table: str) -> str:
    """A table of three levels; one of the project by the target's variables."""
    layer, _, name = table.partition(".")
    return table if "." in name else f"${{var.catalog}}.${{var.{layer}_schema}}.{name}"


def _mails(notified: Notifications) -> dict[str, Any]:
    return filled(
        on_start=list(notified.on_start), on_success=list(notified.on_success), on_failure=list(notified.on_failure)
    )


def _webhooks(notified: Notifications) -> dict[str, Any]:
    return filled(
        on_start=[{"id": name} for name in notified.webhook_on_start],
        on_success=[{"id": name} for name in notified.webhook_on_success],
        on_failure=[{"id": name} for name in notified.webhook_on_failure],
    )
