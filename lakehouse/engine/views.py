"""Makes the vault's views in a session, and restores a source from the vault.

Rule: a view reads tables that were loaded; one whose tables are not there yet is passed over, and told. A local session's
catalog forgets its views when it ends, as it does its tables.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from lakehouse.engine.session import spark_session
from lakehouse.engine.workspace import Workspace, open_workspace
from lakehouse.errors import MetadataError
from lakehouse.metadata.environment import Environment, Relation
from lakehouse.metadata.project import Project
from lakehouse.vault.restore import NOW
from lakehouse.vault.views import View, views_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MadeViews:
    """What came of the views of a project."""

    made: tuple[str, ...]
    passed_over: dict[str, str]
    """View or source to the reason why it has no view."""


def make_views(
    project: Project,
    *,
    select: Iterable[str] = ("*",),
    as_of: datetime | None = None,
    environment: Environment | None = None,
    spark: SparkSession | None = None,
) -> MadeViews:
    """Creates the views of the selected tables and sources, or replaces them.

    Raises:
        MetadataError: a pattern finds nothing, or a source that is named cannot be restored.
    """
    found = views_of(project, select=select)
    passed_over = {name: "; ".join(error.problems) for name, error in found.refused.items()}
    workspace = open_workspace(spark or spark_session(), project, environment or project.environment())
    made = []
    for view in found.made:
        reason = _not_there(workspace, view) or not_known(view, as_of)
        if reason:
            passed_over[view.name] = reason
            continue
        workspace.spark.sql(view.statement(workspace.environment, as_of=moment(as_of)))
        made.append(view.name)
    logger.info("%s: %d views made", project.name, len(made))
    return MadeViews(tuple(made), passed_over)


def printed_views(
    project: Project, environment: Environment, *, select: Iterable[str] = ("*",), as_of: datetime | None = None
) -> str:
    """The statements that make the views, as a script; what has no view is told in a comment."""
    found = views_of(project, select=select)
    parts = [f"-- {problem}" for error in found.refused.values() for problem in error.problems]
    for view in found.made:
        reason = not_known(view, as_of)
        parts.append(f"-- {view.name}: {reason}" if reason else view.statement(environment, as_of=moment(as_of)) + ";")
    return "\n\n".join(parts) + "\n"


def restore(
    project: Project,
    source: str,
    *,
    as_of: datetime | None = None,
    environment: Environment | None = None,
    spark: SparkSession | None = None,
) -> DataFrame:
    """The rows of a source, made again from the vault: all of them, or as they were when the loads up to ``as_of`` (a load
    date-time, UTC where it has no zone) were done.

    Raises:
        MetadataError: the vault does not keep all of the source, or not its history, or was not loaded.
    """
    (view,) = views_of(project, select=[source]).made
    workspace = open_workspace(spark or spark_session(), project, environment or project.environment())
    if reason := _not_there(workspace, view) or not_known(view, as_of):
        raise MetadataError(f"{project.place('sources', source)}: source '{source}' cannot be restored: {reason}")
    names = {name: workspace.name(Relation("vault", name)) for name in view.tables}
    return view.select.on(workspace.spark, {**names, "as_of": moment(as_of)})


def moment(as_of: datetime | None) -> str:
    """SQL for a moment; for everything that was loaded, without one.

    >>> moment(datetime(2024, 1, 31, 6, 30))
    "TIMESTAMP '2024-01-31 06:30:00+00:00'"
    """
    if as_of is None:
        return NOW
    given = as_of if as_of.tzinfo else as_of.replace(tzinfo=timezone.utc)
    return f"TIMESTAMP '{given.astimezone(timezone.utc).isoformat(sep=' ')}'"


def not_known(view: View, as_of: datetime | None) -> str:
    """Why a view cannot tell of an earlier moment; empty if it can."""
    if as_of is None or not view.only_now:
        return ""
    tables = ", ".join(view.only_now)
    return f"{tables} keeps no history, so only what holds now is known."


def _not_there(workspace: Workspace, view: View) -> str:
    missing = [name for name in view.tables if not workspace.exists(Relation("vault", name))]
    return f"{', '.join(missing)} was never loaded. Run it first." if missing else ""
