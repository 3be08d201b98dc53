"""The asset bundle: a project -> files that Databricks' own classes take and that hold together."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from databricks.bundles.jobs import Job as DatabricksJob

from lakehouse.errors import MetadataError
from lakehouse.generate.artefacts import make_artefacts
from lakehouse.generate.bundle import DRIVERS, bundle_files
from lakehouse.kinds import read_project
from lakehouse.metadata.batch import Batch
from lakehouse.metadata.bundle import Bundle
from lakehouse.metadata.environment import Environment
from lakehouse.metadata.job import Job
from lakehouse.metadata.located_yaml import read_yaml
from lakehouse.metadata.project import metadata_text
from lakehouse.samples.project import SAMPLES
from tests.generate.bundle_checks import bundle_faults, jobs_of
from tests.generate.projects import shop

GOLDEN = Path(__file__).parents[1] / "golden" / "artefacts"
SAMPLE = read_project(SAMPLES["awlt"])
ROOT = Path(__file__).parents[2]
BUNDLE = "      mode: development"
JOB = "      granularity: layer"
COMPUTES = {
    "serverless": "      compute: serverless",
    "other serverless": '      compute: new\n      computes: {new: {kind: serverless, environment_version: "5"}}',
    "job cluster": """\
      compute: etl
      computes:
        etl:
          kind: job_cluster
          spark_version: 17.3.x-scala2.13
          node_type: Standard_D4ds_v5
          driver_node_type: Standard_D8ds_v5
          workers: {min: 1, max: 8}
          policy: ABC123
          photon: true
          spark_conf: {spark.sql.shuffle.partitions: 200, spark.databricks.delta.preview.enabled: true}
          environment_variables: {LOGIN: "{{secrets/lakehouse/login}}"}
          init_scripts: [/Volumes/dev/scripts/files/odbc.sh, /Shared/more.sh]
          instance_profile: arn:aws:iam::1:instance-profile/etl
          tags: {cost: etl}
      driver: odbc""",
    "single node of a pool": """\
      compute: pool
      computes:
        pool: {kind: job_cluster, spark_version: 17.3.x-scala2.13, instance_pool: pool-1, driver_instance_pool: pool-2}""",
    "existing cluster": """\
      compute: warm
      libraries: pandas>=2
      computes:
        warm: {kind: existing_cluster, cluster: 1234-567890-abcdefgh}""",
}
STARTS = {
    "schedule": '      schedule: {cron: "0 0/15 8-18 ? * MON-FRI", timezone: Europe/Vienna}',
    "file arrival": "      trigger: {file_arrival: {path: /Volumes/dev/landing/in, wait: 2 minutes}}",
    "table update": "      trigger: {table_update: {tables: [vault.hub_customer, a.b.c], when: all, at_most_every: 1 hour}}",
}


def files_of(project, only=None):
    return bundle_files(project, metadata_text(project), only)


def loads_in_databricks(job):
    """The job as Databricks' classes understand it; they refuse unknown keys, words and types."""
    return DatabricksJob.from_dict(job).as_dict()


@pytest.mark.parametrize("granularity", ["load", "wave", "layer", "batch"])
@pytest.mark.parametrize("compute", COMPUTES)
def test_every_granularity_on_every_compute_is_a_good_job(granularity, compute, tmp_path):
    project = shop(tmp_path / "project", (JOB, f"      granularity: {granularity}"), (BUNDLE, COMPUTES[compute]))

    files = files_of(project)
    (job,) = jobs_of(files).values()

    assert bundle_faults(files) == []
    assert loads_in_databricks(job) == job


@pytest.mark.parametrize("start", STARTS)
def test_every_way_to_start_is_a_good_job(start, tmp_path):
    project = shop(tmp_path / "project", (JOB, STARTS[start]), (BUNDLE, "      paused: true"))

    files = files_of(project)
    (job,) = jobs_of(files).values()

    assert bundle_faults(files) == []
    assert loads_in_databricks(job) == job
    assert "PAUSED" in (job.get("schedule") or job["trigger"])["pause_status"]


def test_everything_else_that_a_batch_can_say_is_a_good_job(tmp_path):
    said = """\
      retries: 2
      retry_wait: 5 minutes
      retry_on_timeout: true
      timeout: 4 hours
      task_timeout: 90 minutes
      performance: standard
      queue: false
      tags: {team: sales}
      notifications: {on_start: a@b.c, on_success: [a@b.c], on_failure: [a@b.c, d@e.f], webhook_on_failure: id-1}"""
    project = shop(tmp_path / "project", (JOB, said))

    (job,) = jobs_of(files_of(project)).values()
    first, *_, end = job["tasks"]

    assert loads_in_databricks(job) == job
    assert (job["timeout_seconds"], job["performance_target"], job["queue"]) == (14400, "STANDARD", {"enabled": False})
    assert (first["max_retries"], first["min_retry_interval_millis"], first["timeout_seconds"]) == (2, 300_000, 5400)
    assert first["retry_on_timeout"] is True
    assert job["tags"] == {"project": "shop", "team": "sales"}
    assert job["webhook_notifications"] == {"on_failure": [{"id": "id-1"}]}
    assert "max_retries" not in end, "a second end would find the run ended"


@pytest.mark.parametrize(
    ("library", "taken"),
    [
        ("/Volumes/dev/libraries/files/lakehouse-0.1.0-py3-none-any.whl", {"whl": "${var.library}"}),
        ("lakehouse @ https://x/lakehouse-0.1.0-py3-none-any.whl", {"pypi": {"package": "${var.library}"}}),
    ],
)
def test_library_is_a_variable_of_the_target(library, taken, tmp_path):
    default = "/Volumes/dev/libraries/files/lakehouse-0.1.0-py3-none-any.whl"
    project = shop(
        tmp_path / "project", (BUNDLE, COMPUTES["existing cluster"]), (f"library: {default}", f"library: {library}")
    )

    files = files_of(project)
    (job,) = jobs_of(files).values()

    assert yaml.safe_load(files["databricks.yml"])["targets"]["dev"]["variables"]["library"] == library
    assert job["tasks"][0]["libraries"][1] == taken


def test_tasks_follow_the_plan(tmp_path):
    project = shop(tmp_path / "project", (JOB, "      granularity: load"))

    (job,) = jobs_of(files_of(project)).values()

    assert {task["task_key"]: [entry["task_key"] for entry in task.get("depends_on", [])] for task in job["tasks"]} == {
        "customer": [],
        "hub_customer": ["customer"],
        "sat_customer": ["customer"],
        "dim_customer": ["hub_customer", "sat_customer"],
        "end": ["dim_customer"],
    }


def test_tasks_of_a_run_share_its_id_and_a_single_task_has_its_own(tmp_path):
    shared = jobs_of(files_of(shop(tmp_path / "a")))["daily"]["tasks"]
    alone = jobs_of(files_of(shop(tmp_path / "b", (JOB, "      granularity: batch"))))["daily"]["tasks"]

    ids = {task["python_wheel_task"]["named_parameters"]["run"] for task in shared}
    (parameters,) = (task["python_wheel_task"]["named_parameters"] for task in alone)
    assert ids == {"{{job.run_id}}.{{job.repair_count}}"}
    assert parameters["run"] == "{{job.run_id}}.{{task.execution_count}}"
    assert "part" not in parameters


def test_job_that_differs_between_targets_is_written_once_per_target(tmp_path):
    more = f"{BUNDLE}\n  big:\n    catalog: big\n    landing: /Volumes/big/landing/files\n    control: delta\n" + (
        "    paths: {files: /Volumes/big/landing/in}\n    bundle:\n      library: lakehouse @ https://x/y.whl\n      compute: warm\n      computes: "
        "{warm: {kind: existing_cluster, cluster: 1234-567890-abcdefgh}}"
    )
    project = shop(tmp_path / "project", (BUNDLE, more))

    files = files_of(project)

    assert sorted(jobs_of(files)) == ["big/daily", "dev/daily"]
    assert bundle_faults(files) == []
    assert [task["task_key"] for task in jobs_of(files)["big/daily"]["tasks"]] == [
        "persistent_stage",
        "vault",
        "mart",
        "end",
    ]


def test_one_environment_may_be_built_alone():
    files = files_of(SAMPLE, "prod")

    assert list(yaml.safe_load(files["databricks.yml"])["targets"]) == ["prod"]
    assert bundle_faults(files) == []


@pytest.mark.parametrize(("environment", "says"), [("local", "has no bundle"), ("nowhere", "no environment 'nowhere'")])
def test_environment_without_a_bundle_is_refused(environment, says):
    with pytest.raises(MetadataError, match=says):
        make_artefacts(SAMPLE, "bundle", environment)


def test_project_without_a_batch_is_one_job(tmp_path):
    project = shop(
        tmp_path / "project", ('batches:\n  daily:\n    select: "*"\n    job:\n      granularity: layer\n', "")
    )

    files = files_of(project)

    assert list(jobs_of(files)) == ["shop"]
    assert bundle_faults(files) == []


def test_sample_bundle_is_the_golden_one():
    files = files_of(SAMPLE)
    shown = {path: text for path, text in files.items() if "/project/" not in path}
    if os.environ.get("UPDATE_GOLDEN") == "1":
        for path, text in shown.items():
            (GOLDEN / "bundle" / path).parent.mkdir(parents=True, exist_ok=True)
            (GOLDEN / "bundle" / path).write_text(text, encoding="utf-8")

    golden = {
        p.relative_to(GOLDEN / "bundle").as_posix(): p.read_text()
        for p in (GOLDEN / "bundle").rglob("*")
        if p.is_file()
    }
    assert shown == golden, "if so intended: UPDATE_GOLDEN=1"
    assert bundle_faults(files) == []
    assert {name: loads_in_databricks(job) for name, job in jobs_of(files).items()} == jobs_of(files)


def test_bundle_is_the_same_bytes_twice_and_holds_no_secret_time_or_local_path(tmp_path):
    secret = "token: env:FAKE_TOKEN, host: https://adb-1.azuredatabricks.net"
    project = shop(tmp_path / "project", (BUNDLE, f"{BUNDLE}\n    databricks: {{{secret}}}"))

    files = files_of(project)
    generated = "".join(text for path, text in files.items() if "/project/" not in path)

    assert files == files_of(read_project(tmp_path / "project"))
    assert "FAKE_TOKEN" not in generated
    assert "https://adb-1.azuredatabricks.net" in files["databricks.yml"]
    assert str(tmp_path) not in "".join(files.values())
    assert not re.search(r"20\d\d-\d\d-\d\d", generated)


def test_version_of_the_wheel_changes_with_the_metadata(tmp_path):
    one, two = (files_of(shop(tmp_path / name, *change)) for name, change in
                (("a", ()), ("b", (("    columns: name", "    columns: [name]"),))))  # fmt: skip

    version = re.compile(r'version = "(.*)"')
    first, second = (version.search(files["pyproject.toml"])[1] for files in (one, two))
    assert first != second
    assert all(
        f"shop_lakehouse-{v}-py3-none-any.whl" in f["resources/daily.job.yml"] for v, f in ((first, one), (second, two))
    )


ENTER = """
from importlib.metadata import entry_points
(found,) = [entry for entry in entry_points(group="packages") if entry.value == "awlt_lakehouse:main"]
found.load()()
"""


def test_wheel_is_built_from_the_bundle_and_its_entry_point_takes_the_jobs_parameters(tmp_path):
    for path, text in files_of(SAMPLE).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    build = yaml.safe_load((tmp_path / "databricks.yml").read_text())["artifacts"]["awlt_lakehouse"]["build"]
    expected = re.search(r"\.\./(dist/.*\.whl)", (tmp_path / "resources/daily.job.yml").read_text())[1]

    # the build backend is the one that is installed here: no download, and pip's switch is the other way round
    offline = {**os.environ, "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1"}
    command = build.replace("python3", sys.executable)
    done = subprocess.run(command, shell=True, cwd=tmp_path, env=offline, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / expected) as wheel:
        names = {name for name in wheel.namelist() if "dist-info" not in name}
    assert names == {f"awlt_lakehouse/project/{path}" for path in metadata_text(SAMPLE)} | {
        "awlt_lakehouse/__init__.py"
    }

    installed = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(installed)]
    subprocess.run([*pip, str(tmp_path / expected)], check=True)
    task = jobs_of(files_of(SAMPLE))["daily"]["tasks"][2]
    given = {**task["python_wheel_task"]["named_parameters"], "environment": "dev", "select": "customer", "fresh": "false", "run": "7.0"}  # fmt: skip
    paths = {"PYTHONPATH": os.pathsep.join([str(installed), *filter(None, sys.path)]), "PATH": "/nonexistent"}
    arguments = [f"--{name}={value}" for name, value in given.items()]

    ran = subprocess.run([sys.executable, "-c", ENTER, *arguments], env=paths, cwd=tmp_path, capture_output=True, text=True, check=False)  # fmt: skip
    assert (task["task_key"], ran.returncode, ran.stderr) == ("mart", 0, "")
    assert json.loads(ran.stdout)["message"] == "nothing of this part was selected"


def test_drivers_are_those_of_the_extra():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extra = re.search(r"^databricks = \[(.*)\]", text, re.MULTILINE)[1]

    assert set(DRIVERS["jdbc"]) <= set(re.findall(r'"(.*?)"', extra))


def test_documented_settings_are_those_that_are_read(tmp_path):
    text = (ROOT / "docs" / "artefacts.md").read_text(encoding="utf-8")
    bundle, airflow = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "lakehouse.yml").write_text(bundle, encoding="utf-8")
    both = bundle.replace("    bundle:\n", airflow.partition("prod:\n")[2] + "    bundle:\n")
    documented = read_yaml(tmp_path / "lakehouse.yml").value

    Batch.model_validate(documented["batches"]["daily"])
    Environment.model_validate(documented["environments"]["prod"])
    (tmp_path / "lakehouse.yml").write_text(both, encoding="utf-8")
    Environment.model_validate(read_yaml(tmp_path / "lakehouse.yml").value["environments"]["prod"])
    said = set(re.findall(r"^ +#? ?(\w+):", bundle, re.MULTILINE))
    assert set(Job.model_fields) - {"retry_on_timeout"} <= said
    assert set(Bundle.model_fields) - {"environment_key", "tags"} <= said


MISTAKES = {
    "unknown top key": ("databricks.yml", "include:", "includes:"),
    "dangling dependency": ("resources/daily.job.yml", "- task_key: mart\n          run_if", "- task_key: volt\n          run_if"),
    "dangling environment": ("resources/daily.job.yml", "- environment_key: bfx_jdbc", "- environment_key: other"),
    "undeclared parameter": ("resources/daily.job.yml", "- name: select", "- name: selection"),
    "old wheel": ("resources/daily.job.yml", "- ../dist/shop_lakehouse", "- ../dist/shop"),
    "circle": ("resources/daily.job.yml", "- task_key: persistent_stage\n          python", "- task_key: persistent_stage\n          depends_on: [{task_key: end}]\n          python"),
}  # fmt: skip


@pytest.mark.parametrize("rule", MISTAKES)
def test_the_check_finds_what_it_is_for(rule, tmp_path):
    path, good, bad = MISTAKES[rule]
    files = files_of(shop(tmp_path / "project"))
    broken = files[path].replace(good, bad)
    assert broken != files[path]

    try:
        found = bundle_faults({**files, path: broken})
    except KeyError as error:
        found = [str(error)]

    assert found
