"""Which artefacts there are, and what makes each."""

from __future__ import annotations

from collections.abc import Callable

from lakehouse.deployment import bundle_environments, check_deployment
from lakehouse.errors import MetadataError, suggestion
from lakehouse.generate.bundle import bundle_files
from lakehouse.generate.output import Made
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
        if what in (ALL, name):
            made.update(generator(project, environment, what == ALL))
    return made


def _bundle(project: Project, environment: str | None, optional: bool) -> dict[str, dict[str, str]]:
    targets = bundle_environments(project)
    if optional and (environment not in targets if environment else not targets):
        return {}
    return {"bundle": bundle_files(project, metadata_text(project), environment)}


GENERATORS: dict[str, Callable[[Project, str | None, bool], dict[str, dict[str, str]]]] = {"bundle": _bundle}
"""Artefact to the function that makes it, per manifest entry; the last argument says that it may be left out."""
