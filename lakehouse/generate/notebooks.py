"""Thin notebooks in Databricks' source format: widgets, one call into the library, a JSON result.

Rule: a notebook has no logic and at most 20 lines. It ends with its result also where a load failed: whoever calls it looks at
``status``; a task that is to fail with its loads calls the wheel.
"""

from __future__ import annotations

import json

from lakehouse.deployment import bundle_environments
from lakehouse.generate.text import MADE_BY
from lakehouse.generate.wheel import package_of
from lakehouse.metadata.project import Project

CELL = "\n\n# COMMAND ----------\n\n"


def notebook_files(project: Project, environment: str | None = None) -> dict[str, str]:
    """The notebooks of a project by path; ``environment`` is what their widget says at first."""
    targets = bundle_environments(project)
    place = project.environment(environment or next(iter(targets), None))
    library = place.bundle.library if place.bundle else None
    folder = f"../{package_of(project)}/project" if targets else "../.."
    batch = next(iter(project.batches), project.name)
    known = {"project": folder, "environment": place.name}
    notebooks = {
        "run_batch": _notebook(
            f"Run a batch of {project.name}.",
            library,
            {**known, "batch": batch, "select": "*", "fresh": "false"},
            _RUN_BATCH,
        ),
        "run_load": _notebook(
            f"Run some loads of {project.name}: names or patterns, with commas.",
            library,
            {**known, "batch": project.name, "select": next(iter(project.tables), "*"), "fresh": "false"},
            _RUN_BATCH,
        ),
        "status": _notebook(
            f"What the newest run of a batch of {project.name} did.", library, {**known, "batch": batch}, _STATUS
        ),
        "history": _notebook(
            f"Versions and newest rows of a table of {project.name}.",
            library,
            {**known, "table": next(iter(project.tables), "")},
            _HISTORY,
        ),
        "control_catalog": _notebook(
            f"Make or upgrade the control catalog of {project.name}.", library, known, _CONTROL
        ),
    }
    return {f"notebooks/{name}.py": text for name, text in notebooks.items()}


_RUN_BATCH = """\
import json
from lakehouse.job import run_batch

result = run_batch(**given)
dbutils.notebook.exit(json.dumps(result))"""
_STATUS = """\
import json
from lakehouse.notebook import STATUS_SCHEMA, status_result, status_rows

display(spark.createDataFrame(status_rows(**given), STATUS_SCHEMA))
dbutils.notebook.exit(json.dumps(status_result(**given)))"""
_HISTORY = """\
import json
from lakehouse.notebook import table_name

name = table_name(given["project"], given["environment"], given["table"])
display(spark.sql(f"DESCRIBE HISTORY {name}"))
display(spark.sql(f"SELECT * FROM {name} ORDER BY load_position DESC LIMIT 100"))
dbutils.notebook.exit(json.dumps({"status": "succeeded", "table": name}))"""
_CONTROL = """\
import json
from lakehouse.notebook import set_up_control_catalog

dbutils.notebook.exit(json.dumps(set_up_control_catalog(**given)))"""


def _notebook(title: str, library: str | None, widgets: dict[str, str], body: str) -> str:
    declared = [f"# {title} {MADE_BY}", f"widgets = {json.dumps(widgets)}"]
    declared += ["for widget in widgets:", "    dbutils.widgets.text(widget, widgets[widget])"]
    given = "given = {widget: dbutils.widgets.get(widget) for widget in widgets}"
    install = [f"# MAGIC %pip install --quiet {library}"] if library else []
    return "# Databricks notebook source\n" + CELL.join([*install, "\n".join((*declared, given)), body]) + "\n"
