"""Which artefacts there are, and what makes each."""

from __future__ import annotations

from collections.abc import Callable

from lakehouse.deployment import bundle_environments, check_deployment
from lakehouse.errors import MetadataError, suggestion
from lakehouse.generate.airflow import airflow_files
from lakehouse.generate.bundle import bundle_files
from lakehouse.generate.notebooks import notebook_files
from lakehouse.generate.output import Made
from lakehouse.generate.sql_scripts import sql_files
from lakehouse.metadata.environment import Environment
from lakehouse.metadata.project import Project, metadata_text

ALL = "all"


def make_artefacts(project: Project, what: str, environment: str | None = None) -> Made:
    """The files of an artefact, or of all that the project is set up for.

    Raises:
        MetadataError: there is no such artefact or environment, or bundles and jobs are wrong.
    """
    if what != ALL and what not in GENERATORS:
        raise MetadataError(f"no artefact '{what}'. {suggestion(what, [ALL, *GENERATORS])}")
    project.environment(environment)
    check_deployment(project)
    made: dict[str, dict[str, str]] = {}
    for name, generator in GENERATORS.items():
        if what == name or (what == ALL and not _is_left_out(project, name, environment)):
            made.update(generator(project, environment))
    return made


def _is_left_out(project: Project, name: str, environment: str | None) -> bool:
    """Whether an artefact that nobody asked for by name makes no sense: a bundle without a target, a DAG without Airflow."""
    meant = {
        "bundle": set(bundle_environments(project)),
        "airflow": {key for key, found in project.environments.items() if found.airflow is not None},
    }
    return name in meant and (environment not in meant[name] if environment else not meant[name])


def _bundle(project: Project, environment: str | None) -> dict[str, dict[str, str]]:
    return {"bundle": bundle_files(project, metadata_text(project), environment)}


def _notebooks(project: Project, environment: str | None) -> dict[str, dict[str, str]]:
    return {"notebooks": notebook_files(project, environment)}


def _sql(project: Project, environment: str | None) -> dict[str, dict[str, str]]:
    place = project.environment(environment)
    return {f"sql {place.name}": sql_files(project, place)}


def _airflow(project: Project, environment: str | None) -> dict[str, dict[str, str]]:
    place = _airflow_environment(project, environment)
    return {f"airflow {place.name}": airflow_files(project, metadata_text(project), place)}


def _airflow_environment(project: Project, environment: str | None) -> Environment:
    """The environment named, or the first one that Airflow runs.

    Raises:
        MetadataError: there is none.
    """
    run = {name: found for name, found in project.environments.items() if found.airflow is not None}
    if environment in run or (environment is None and run):
        return run[environment] if environment else next(iter(run.values()))
    section, name = ("environments", environment) if environment else ("project", project.name)
    who = f"environment '{environment}' is not" if environment else "no environment is"
    raise MetadataError(f"{project.place(section, name)}: {who} run by Airflow. Say so: airflow: {{mode: run_now}}.")


GENERATORS: dict[str, Callable[[Project, str | None], dict[str, dict[str, str]]]] = {
    "bundle": _bundle,
    "notebooks": _notebooks,
    "airflow": _airflow,
    "sql": _sql,
}
"""Artefact to the function that makes it: per entry of the manifest, the files by path."""
