"""Which artefacts there are, and what makes each."""

from __future__ import annotations

from collections.abc import Callable

from lakehouse.deployment import bundle_environments, check_deployment
from lakehouse.errors import MetadataError, suggestion
from lakehouse.generate.bundle import bundle_files
from lakehouse.generate.notebooks import notebook_files
from lakehouse.generate.output import Made
from lakehouse.generate.sql_scripts import sql_files
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
    """Whether an artefact that nobody asked for by name makes no sense: a bundle without a target."""
    targets = bundle_environments(project)
    return name == "bundle" and (environment not in targets if environment else not targets)


def _bundle(project: Project, environment: str | None) -> dict[str, dict[str, str]]:
    return {"bundle": bundle_files(project, metadata_text(project), environment)}


def _notebooks(project: Project, environment: str | None) -> dict[str, dict[str, str]]:
    return {"notebooks": notebook_files(project, environment)}


def _sql(project: Project, environment: str | None) -> dict[str, dict[str, str]]:
    place = project.environment(environment)
    return {f"sql {place.name}": sql_files(project, place)}


GENERATORS: dict[str, Callable[[Project, str | None], dict[str, dict[str, str]]]] = {
    "bundle": _bundle,
    "notebooks": _notebooks,
    "sql": _sql,
}
"""Artefact to the function that makes it: per entry of the manifest, the files by path."""
