"""Airflow: a project -> one DAG per batch that compiles, waits as the plan says, and holds no login.

With ``LAKEHOUSE_AIRFLOW=/path/to/python`` of an environment that has Airflow 3 and its Databricks provider, Airflow itself loads
the DAGs and makes the workflow's job, which Databricks' own classes then check.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
from pathlib import Path

import pytest
from databricks.bundles.jobs import Job

from lakehouse.deployment import check_deployment
from lakehouse.errors import MetadataError
from lakehouse.generate.airflow import airflow_files
from lakehouse.generate.artefacts import make_artefacts
from lakehouse.generate.bundle import bundle_files
from lakehouse.generate.text import python_text
from lakehouse.kinds import read_project
from lakehouse.metadata.project import metadata_text
from lakehouse.samples.project import SAMPLES
from tests.generate.bundle_checks import jobs_of
from tests.generate.projects import shop

GOLDEN = Path(__file__).parents[1] / "golden" / "artefacts" / "airflow"
LIBRARY = "      library: /Volumes/dev/libraries/files/lakehouse-0.1.0-py3-none-any.whl"
BUNDLE = f"    bundle:\n{LIBRARY}\n      mode: development"
JOB = "      granularity: layer"
SCHEDULE = (
    '      schedule: {cron: "0 30 5 ? * MON-FRI", timezone: Europe/Vienna}\n      timeout: 4 hours\n      retries: 1'
)
RUN_NOW = f"""\
    airflow: {{retries: 2, tags: [nightly]}}
    bundle:
{LIBRARY}
      mode: production
      root_path: /Shared/shop"""
WORKFLOW = f"""\
    airflow: {{mode: workflow, wheels: /Volumes/dev/wheels/files/, connection: workspace, start_date: 2025-06-01}}
{BUNDLE}"""
CLUSTER = """
      compute: etl
      computes:
        etl:
          kind: job_cluster
          spark_version: 17.3.x-scala2.13
          node_type: Standard_D4ds_v5
          environment_variables: {LOGIN: "{{secrets/lakehouse/login}}"}"""
WARM = "\n      compute: warm\n      computes:\n        warm: {kind: existing_cluster, cluster: 1234-567890-abcdefgh}"
CASES = {
    "run_now": (RUN_NOW, SCHEDULE),
    "workflow": (WORKFLOW, SCHEDULE),
    "workflow on a cluster": (WORKFLOW + CLUSTER, f"{SCHEDULE}\n      granularity: load"),
    "workflow on a warm cluster": (WORKFLOW + WARM, "      granularity: wave"),
}
AIRFLOW = os.environ.get("LAKEHOUSE_AIRFLOW")
LOADER = """
import json, sys
from airflow.dag_processing.dagbag import DagBag

bag = DagBag(sys.argv[1])
found = {"errors": bag.import_errors, "dags": {}}
for dag in bag.dags.values():
    tasks = {task.task_id: sorted(task.upstream_task_ids) for task in dag.tasks}
    jobs = [task for task in dag.tasks if hasattr(task, "create_workflow_json")]
    for task in jobs:
        task.render_template_fields({"params": {"select": "*", "fresh": "false"}})
    found["dags"][dag.dag_id] = {"tasks": tasks, "jobs": [task.create_workflow_json() for task in jobs]}
print("FOUND" + json.dumps(found))
"""


def project_of(case, folder):
    environment, job = CASES[case]
    return shop(folder, (BUNDLE, environment), (JOB, job))


def dags_of(project):
    return airflow_files(project, metadata_text(project), project.environments["dev"])


@pytest.mark.parametrize("case", CASES)
def test_dag_is_python_and_good_to_deploy(case, tmp_path):
    project = project_of(case, tmp_path / "project")

    check_deployment(project)
    text = dags_of(project)["airflow/dev/shop_daily.py"]

    assert [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.With)]
    assert "token" not in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize("case", ["run_now", "workflow", "workflow on a cluster"])
def test_dag_is_the_golden_one(case, tmp_path):
    text = dags_of(project_of(case, tmp_path / "project"))["airflow/dev/shop_daily.py"]
    golden = GOLDEN / f"{case.replace(' ', '_')}.py"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text, encoding="utf-8")

    assert text == golden.read_text(), "if so intended: UPDATE_GOLDEN=1"


def test_airflow_is_the_clock_and_the_job_rests(tmp_path):
    project = project_of("run_now", tmp_path / "project")

    (job,) = jobs_of(bundle_files(project, metadata_text(project))).values()
    text = dags_of(project)["airflow/dev/shop_daily.py"]

    assert job["schedule"]["pause_status"] == "PAUSED"
    assert 'schedule="30 5 * * 1-5"' in text
    assert 'tz="Europe/Vienna"' in text
    assert f'job_name="{job["name"]}"' in text


def test_braces_that_databricks_fills_in_pass_through_airflow(tmp_path):
    text = dags_of(project_of("workflow on a cluster", tmp_path / "project"))["airflow/dev/shop_daily.py"]

    assert "{{ '{{' }}secrets/lakehouse/login}}" in text
    assert "{{ '{{' }}job.run_id}}.{{ '{{' }}job.repair_count}}" in text
    assert '"{{ params.select }}"' in text


MISTAKES = {
    "seconds in the schedule": (RUN_NOW, '      schedule: "30 0 5 * * ?"', "for which Airflow of environment 'dev' has no cron"),
    "workflow of one task": (WORKFLOW, "      granularity: batch", "is one task, and environment 'dev' runs it as a workflow"),
    "job of a name that deployers change": (f"    airflow: {{}}\n{BUNDLE}", JOB, "a bundle in development mode puts"),
    "no bundle": ("    airflow: {}", JOB, "is run by Airflow but has no bundle"),
    "workflow without a wheel": (f"    airflow: {{mode: workflow}}\n{BUNDLE}", JOB, "mode: workflow and wheels belong together"),
    "wheels on this machine": (f"    airflow: {{mode: workflow, wheels: ./dist}}\n{BUNDLE}", JOB, "'./dist' is no folder of a"),
    "retries of a workflow": (WORKFLOW.replace("start_date: 2025-06-01", "retries: 1"), JOB, "retries belong to mode: run_now"),
}  # fmt: skip


@pytest.mark.parametrize("rule", MISTAKES)
def test_what_airflow_cannot_do_is_refused(rule, tmp_path):
    environment, job, says = MISTAKES[rule]

    with pytest.raises(MetadataError, match=says):
        check_deployment(shop(tmp_path / "project", (BUNDLE, environment), (JOB, job)))


def test_project_that_airflow_does_not_run_has_no_dags():
    project = read_project(SAMPLES["awlt"])

    with pytest.raises(MetadataError, match="no environment is run by Airflow"):
        make_artefacts(project, "airflow")
    with pytest.raises(MetadataError, match="environment 'prod' is not run by Airflow"):
        make_artefacts(project, "airflow", "prod")
    assert not any(name.startswith("airflow") for name in make_artefacts(project, "all"))


@pytest.mark.parametrize(
    "value",
    [
        {"a": ["x" * 60, "y" * 60, {"b": None, "c": True}]},
        [],
        {},
        'it\'s "quoted" \\ {{x}}\n',
        [[1, 2.5, False]],
        {"k": "ü"},
    ],
)
def test_python_text_is_the_value_again(value):
    assert ast.literal_eval(python_text(value)) == value


@pytest.mark.skipif(
    not AIRFLOW, reason="set LAKEHOUSE_AIRFLOW to a Python that has Airflow 3 and its Databricks provider"
)
def test_airflow_loads_the_dags_and_databricks_takes_their_jobs(tmp_path):
    expected = {}
    for number, case in enumerate(CASES):
        folder = tmp_path / "dags" / str(number)
        folder.mkdir(parents=True)
        text = dags_of(project_of(case, tmp_path / str(number)))["airflow/dev/shop_daily.py"]
        (folder / "dag.py").write_text(text.replace('dag_id="shop_daily"', f'dag_id="case_{number}"'), encoding="utf-8")
        expected[f"case_{number}"] = case
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path / "home"), "AIRFLOW__CORE__LOAD_EXAMPLES": "false"}
    environment.pop("PYTHONPATH", None)

    done = subprocess.run([AIRFLOW, "-c", LOADER, str(tmp_path / "dags")], capture_output=True, text=True, check=False, env=environment)  # fmt: skip
    assert "FOUND" in done.stdout, done.stderr[-3000:]
    found = json.loads(done.stdout.partition("FOUND")[2].splitlines()[0])

    assert found["errors"] == {}
    assert set(found["dags"]) == set(expected)
    for dag, case in expected.items():
        tasks, jobs = found["dags"][dag]["tasks"], found["dags"][dag]["jobs"]
        if case == "run_now":
            assert tasks == {"daily": []}
            continue
        (job,) = jobs
        job.pop("format"), job["email_notifications"].pop("no_alert_for_skipped_runs")
        assert Job.from_dict(job).as_dict()["tasks"]
        assert {p["name"]: p["default"] for p in job["parameters"]} == {
            "environment": "dev", "select": "*", "fresh": "false", "run": "{{job.run_id}}.{{job.repair_count}}",
        }  # fmt: skip
        ends = [task for task in job["tasks"] if task["python_wheel_task"]["named_parameters"]["part"] == "end"]
        assert [task["run_if"] for task in ends] == ["ALL_DONE"]
        keys = {task["task_key"] for task in job["tasks"]}
        assert all(entry["task_key"] in keys for task in job["tasks"] for entry in task["depends_on"])
    cluster = found["dags"]["case_2"]["jobs"][0]["job_clusters"][0]["new_cluster"]
    assert cluster["spark_env_vars"] == {"LOGIN": "{{secrets/lakehouse/login}}"}
