"""Which artefacts there are, and what makes each."""

from __future__ import annotations

from collections.abc import Callable

from lakehouse.deployment import bundle_environments, check_deployment
from lakehouse.errors import MetadataError, suggestion
from lakehouse.generate.airflow import airflow_files
from lakehouse.generate.bundle import bundle_files
from lakehouse.generate.notebooks import notebook_files
from lakehouse.generate.output import Made
from lakehouse.generate.secrets import needed_secrets, secret_files
from lakehouse.generate.sql_scripts import sql_files
from lakehouse.metadata.environment import Environment
from lakehouse.metadata.project import Project, metadata_text

ALL = "all"


def make_artefacts(project: Project, what: str, environment: str | None = None) -> Made:
    """The files of an artefact, or of all that the project is set up for.

    Raises:
        MetadataError: there is no such artefact or environment, or bundles and jobs are wrong.
    """
    project.environment(environment)
    check_deployment(project)
    made: dict[str, dict[str, str]] = {}
    for name in kinds_of(what):
        if what == name or not _is_left_out(project, name, environment):
            made.update(GENERATORS[name](project, environment))
    return made


def kinds_of(what: str) -> tuple[str, ...]:
    """The artefacts that a word stands for.

    Raises:
        MetadataError: it stands for none.
    """
    if what != ALL and what not in GENERATORS:
        raise MetadataError(f"no artefact '{what}'. {suggestion(what, [ALL, *GENERATORS])}")
    return tuple(GENERATORS) if what == ALL else (what,)


def _is_left_out(project: Project, name: str, environment: str | None) -> bool:
    """Whether an artefact that nobody asked for by name makes no sense: a bundle without a target, …"""
    secret = {name for name, found in project.environments.items() if needed_secrets(found)}
    meant = {"bundle": set(bundle_environments(project)), "airflow": set(_run_by_airflow(project)), "secrets": secret}
    return name in meant and (environment not in meant[name] if environment else not meant[name])


def _bundle(project: Project, environment: str | None) -> dict[str, dict[str, str]]:
    return {"bundle": bundle_files(project, metadata_text(project), environment)}


def _notebooks(project: Project, environment: str | None) -> dict[str, dict[str, str]]:
    return {"notebooks": notebook_files(project, environment)}


def _airflow(project: Project, environment: str | None) -> dict[str, dict[str, str]]:
    """The DAGs of the environment named, or of all that Airflow runs.

    Raises:
        MetadataError: there is none.
    """
    run, text = _run_by_airflow(project), metadata_text(project)
    chosen = [environment] if environment else list(run)
    if not chosen or chosen[0] not in run:
        section, name = ("environments", environment) if environment else ("project", project.name)
        who = f"environment '{environment}' is not" if environment else "no environment is"
        raise MetadataError(
            f"{project.place(section, name)}: {who} run by Airflow. Say so: airflow: {{mode: run_now}}."
        )
    return {f"airflow {name}": airflow_files(project, text, run[name]) for name in chosen}


def _run_by_airflow(project: Project) -> dict[str, Environment]:
    return {name: found for name, found in project.environments.items() if found.airflow is not None}


def _sql(project: Project, environment: str | None) -> dict[str, dict[str, str]]:
    """The scripts for the environment named, or for every one in Unity Catalog, or for the first one."""
    places = [found for found in project.environments.values() if found.catalog is not None]
    if environment or not places:
        places = [project.environment(environment)]
    return {f"sql {place.name}": sql_files(project, place) for place in places}


def _secrets(project: Project, environment: str | None) -> dict[str, dict[str, str]]:
    """The scripts of the environment named, or of all that need one.

    Raises:
        MetadataError: the environment named needs none.
    """
    places = [project.environment(environment)] if environment else list(project.environments.values())
    made = {f"secrets {place.name}": secret_files(project, place) for place in places}
    if not any(made.values()):
        section, name = ("environments", environment) if environment else ("project", project.name)
        raise MetadataError(
            f"{project.place(section, name)}: no secret of a workspace is named here: "
            "control: {sql_server: {secret: scope/key}} would be one."
        )
    return {name: files for name, files in made.items() if files}


GENERATORS: dict[str, Callable[[Project, str | None], dict[str, dict[str, str]]]] = {
    "bundle": _bundle,
    "notebooks": _notebooks,
    "airflow": _airflow,
    "sql": _sql,
    "secrets": _secrets,
}
"""Artefact to the function that makes it: per entry of the manifest, the files by path."""
