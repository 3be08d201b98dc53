"""Airflow: one DAG per batch, which starts the deployed job or is the job.

Rule: a DAG names what runs and when; host and token stand in Airflow's connection. In a workflow the parts know their run by a
job parameter, since Airflow renders the texts of a task when it follows it, but not when it hands it to Databricks.
Source: apache-airflow-providers-databricks 7.23 for Airflow 3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lakehouse.generate.bundle import PARAMETERS, SHARED_RUN, job
from lakehouse.generate.text import MADE_BY, python_text
from lakehouse.generate.wheel import Wheel, project_wheel
from lakehouse.metadata.airflow import Airflow
from lakehouse.metadata.environment import Environment
from lakehouse.metadata.project import Project
from lakehouse.metadata.quartz import to_unix_cron
from lakehouse.parts import job_of
from lakehouse.sql.select import block

REQUIREMENTS = f"# {MADE_BY}\napache-airflow>=3\napache-airflow-providers-databricks>=7.13\n"
PROVIDER = "from airflow.providers.databricks.operators"
_DAG = """\
\"\"\"{title} {made_by}\"\"\"

from datetime import timedelta

import pendulum
{imports}
from airflow.sdk import DAG

with DAG(
{settings}
):
{body}
"""
_AIRFLOWS = frozenset({"task_key", "depends_on", "run_if", "job_cluster_key", "existing_cluster_id"})
"""What Airflow itself says of a task."""
_KEPT = ("timeout_seconds", "queue", "performance_target", "email_notifications", "webhook_notifications", "tags", "environments")  # fmt: skip
"""What a workflow keeps of the job's settings; Airflow is its clock."""


def airflow_files(project: Project, metadata: Mapping[str, str], environment: Environment) -> dict[str, str]:
    """The DAGs of an environment's batches, and what Airflow needs to have installed, by path."""
    wheel = project_wheel(project, metadata)
    folder = f"airflow/{environment.name}"
    batches = tuple(project.batches) or (project.name,)
    dags = {f"{folder}/{project.name}_{name}.py": _dag(project, wheel, environment, name) for name in batches}
    return {**dags, f"{folder}/requirements.txt": REQUIREMENTS}


def _dag(project: Project, wheel: Wheel, environment: Environment, batch: str) -> str:
    airflow = environment.airflow
    assert airflow is not None
    if airflow.mode == "workflow":
        body = _workflow(project, wheel, environment, airflow, batch)
        imports = (
            f"{PROVIDER}.databricks import DatabricksTaskOperator\n"
            f"{PROVIDER}.databricks_workflow import DatabricksWorkflowTaskGroup"
        )
    else:
        body = _run_now(project, environment, airflow, batch)
        imports = f"{PROVIDER}.databricks import DatabricksRunNowOperator"
    settings = _settings(project, environment, airflow, batch)
    title = f"Batch {batch} of {project.name} in {environment.name}."
    return _DAG.format(
        title=title, made_by=MADE_BY, imports=imports, settings=block(settings, indent=4), body=block(body, indent=4)
    )


def _settings(project: Project, environment: Environment, airflow: Airflow, batch: str) -> str:
    """The arguments of the DAG."""
    settings, day = job_of(project, batch), airflow.start_date
    clock = settings.schedule
    told = project.batches[batch].description if batch in project.batches else ""
    zone = python_text(clock.timezone if clock else "UTC")
    arguments = {
        "dag_id": python_text(f"{project.name}_{batch}"),
        "description": python_text(told or f"Batch {batch} of {project.name}"),
        "schedule": python_text(to_unix_cron(clock.cron) if clock else None),
        "start_date": f"pendulum.datetime({day.year}, {day.month}, {day.day}, tz={zone})",
        "catchup": "False",
        "max_active_runs": "1",
        "dagrun_timeout": f"timedelta(seconds={settings.timeout})" if settings.timeout else "None",
        "params": python_text({name: value for name, value in PARAMETERS.items() if name != "environment"}),
        "tags": python_text([project.name, environment.name, *airflow.tags]),
    }
    return _arguments(arguments)


def _arguments(values: Mapping[str, str]) -> str:
    return "\n".join(f"{name}={value}," for name, value in values.items())


def _call(function: str, values: Mapping[str, str]) -> str:
    return f"{function}(\n{block(_arguments(values), indent=4)}\n)"


def _parameters(environment: Environment) -> dict[str, str]:
    """The job's parameters: what whoever starts the DAG may say is taken from its own parameters."""
    given = {name: "{{ params." + name + " }}" for name in PARAMETERS if name != "environment"}
    return {"environment": environment.name, **given}


def _run_now(project: Project, environment: Environment, airflow: Airflow, batch: str) -> str:
    return _call(
        "DatabricksRunNowOperator",
        {
            "task_id": python_text(batch),
            "databricks_conn_id": python_text(airflow.connection),
            "job_name": python_text(f"{project.name} {batch}"),
            "job_parameters": python_text(_parameters(environment)),
            "retries": str(airflow.retries),
            "retry_delay": f"timedelta(seconds={job_of(project, batch).retry_wait})",
        },
    )


def _workflow(project: Project, wheel: Wheel, environment: Environment, airflow: Airflow, batch: str) -> str:
    made = job(project, replace(wheel, folder=str(airflow.wheels), library=""), environment, batch)
    settings = {name: _verbatim(made[name]) for name in _KEPT if name in made}
    parameters = {**_parameters(environment), "run": _verbatim(SHARED_RUN)}
    settings["parameters"] = [{"name": name, "default": value} for name, value in parameters.items()]
    group = _call(
        "with DatabricksWorkflowTaskGroup",
        {
            "group_id": python_text(batch),
            "databricks_conn_id": python_text(airflow.connection),
            "job_clusters": python_text(_verbatim(made.get("job_clusters", []))),
            "extra_job_params": python_text(settings),
        },
    )
    tasks = [f"parts[{python_text(task['task_key'])}] = {_task(task, airflow)}" for task in made["tasks"]]
    return f"{group}:\n" + block("\n".join(["parts = {}", *tasks, *_order(made["tasks"])]), indent=4)


def _task(task: Mapping[str, Any], airflow: Airflow) -> str:
    """A part: what Databricks is told is its ``task_config``, what Airflow knows itself is not."""
    called = task["python_wheel_task"]["named_parameters"]
    kept = {name: called[name] for name in ("batch", "part")}
    config = {key: value for key, value in task.items() if key not in _AIRFLOWS}
    config["python_wheel_task"] = {**task["python_wheel_task"], "named_parameters": kept}
    values = {
        "task_id": python_text(task["task_key"]),
        "databricks_conn_id": python_text(airflow.connection),
        "task_config": python_text(config),
    }
    values |= {key: python_text(task[key]) for key in ("job_cluster_key", "existing_cluster_id") if key in task}
    values |= {"trigger_rule": '"all_done"'} if task.get("run_if") == "ALL_DONE" else {}
    return _call("DatabricksTaskOperator", values)


def _order(tasks: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for task in tasks:
        before = [f"parts[{python_text(entry['task_key'])}]" for entry in task.get("depends_on", [])]
        if before:
            named = before[0] if len(before) == 1 else f"[{', '.join(before)}]"
            lines.append(f"{named} >> parts[{python_text(task['task_key'])}]")
    return lines


def _verbatim(value: Any) -> Any:
    """A value whose texts pass through Airflow's templates as they are: braces are Databricks' to fill in."""
    if isinstance(value, dict):
        return {key: _verbatim(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_verbatim(entry) for entry in value]
    return re.sub(r"\{[{%#]", lambda found: "{{ '" + found[0] + "' }}", value) if isinstance(value, str) else value
