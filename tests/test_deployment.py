"""Bundles and jobs that a workspace would refuse: one thing is wrong -> ``lakehouse validate`` names file, line and way out."""

from __future__ import annotations

import sys

import pytest

from lakehouse.cli import main
from lakehouse.deployment import check_deployment, compute_of
from lakehouse.errors import MetadataError
from lakehouse.kinds import read_project
from tests.generate.projects import SHOP, changed, shop

HERE = "# <-- here"
BUNDLE = "      mode: development"
WITH_BUNDLE = SHOP.partition("    paths: {files: /Volumes/dev/landing/in}\n")[2]
JOB = "      granularity: layer"
WARM = "      compute: warm\n      computes:\n        warm: {kind: existing_cluster, cluster: 1234-567890-abcdefgh}"
REST = SHOP.partition(f"{JOB}\n")[2]
CLUSTER = "{kind: job_cluster, spark_version: 17.3.x-scala2.13, node_type: Standard_D4ds_v5"

# rule: (what stands in the good project, what stands there now, what the message says)
ONE_MISTAKE = {
    "odbc on serverless": (
        BUNDLE,
        f"      driver: odbc {HERE}",
        "environment 'dev' wants driver odbc on compute 'serverless', which is serverless and runs no init script to "
        "install it. Use driver: jdbc, or a job cluster.",
    ),
    "odbc without an init script": (
        BUNDLE,
        f"      compute: small\n      driver: odbc\n      computes:\n        small: {CLUSTER}}} {HERE}",
        "environment 'dev' wants driver odbc, but compute 'small' has no init script that installs Microsoft's driver.",
    ),
    "default compute that is not there": (
        BUNDLE,
        f"      compute: large {HERE}",
        "environment 'dev' names compute 'large', which it does not have. Known: serverless.",
    ),
    "compute of a table that is not there": (
        "    columns: name",
        f"    columns: name\n    settings:\n      compute: serverles {HERE}",
        "table 'sat_customer' names compute 'serverles', which environment 'dev' does not have. Known: serverless. "
        "Did you mean 'serverless'?",
    ),
    "compute of the project that is not there": (
        "name: shop",
        f"name: shop\nsettings:\n  compute: large {HERE}",
        "the project names compute 'large', which environment 'dev' does not have. Known: serverless.",
    ),
    "unknown kind of compute": (
        BUNDLE,
        f"      computes:\n        small: {{kind: spot}} {HERE}",
        "environment 'dev': 'bundle.computes.small.kind' is 'spot'. Allowed: 'serverless', 'job_cluster', "
        "'existing_cluster'.",
    ),
    "compute without a kind": (
        BUNDLE,
        f"      computes:\n        small: {{node_type: large}} {HERE}",
        "environment 'dev': 'bundle.computes.small' has no kind. Known: serverless, job_cluster, existing_cluster.",
    ),
    "unknown key of a compute": (
        BUNDLE,
        f"      computes:\n        small: {CLUSTER}, wrokers: 2}} {HERE}",
        "unknown key 'bundle.computes.small.wrokers'. Known: data_security_mode, driver_instance_pool, driver_node_type, "
        "environment_variables, init_scripts, instance_pool, instance_profile, kind, node_type, photon, policy, "
        "spark_conf, spark_version, tags, workers. Did you mean 'workers'?",
    ),
    "cluster of node type and pool": (
        BUNDLE,
        f"      computes:\n        small: {CLUSTER}, instance_pool: pool-1}} {HERE}",
        "a job cluster's nodes come from node_type or from instance_pool, one of them.",
    ),
    "autoscaling upside down": (
        BUNDLE,
        f"      computes:\n        small: {CLUSTER}, workers: {{min: 8, max: 2}}}} {HERE}",
        "min 8 is more than max 2.",
    ),
    "cron of five fields": (
        JOB,
        f"      schedule: 30 5 * * * {HERE}",
        "batch 'daily': 'job.schedule.cron': '30 5 * * *' has 5 fields; Quartz wants 6 or 7, seconds first, such as "
        "0 30 5 * * ? for half past five.",
    ),
    "cron with a wrong minute": (
        JOB,
        f"      schedule: 0 75 5 * * ? {HERE}",
        "batch 'daily': 'job.schedule.cron': '75' is no minute: 0 to 59, *, a range, a list or steps such as */15.",
    ),
    "cron with both days": (
        JOB,
        f"      schedule: 0 30 5 1 * MON {HERE}",
        "'0 30 5 1 * MON': exactly one of day of month and day of week is ?, the other one says when.",
    ),
    "unknown time zone": (
        JOB,
        f'      schedule:\n        cron: "0 30 5 * * ?"\n        timezone: Europe/Berln {HERE}',
        "batch 'daily': 'job.schedule.timezone': 'Europe/Berln' is not a time zone. Known: Africa/Abidjan,",
    ),
    "schedule and trigger": (
        JOB,
        '      schedule: "0 30 5 * * ?"\n      trigger: {file_arrival: {path: /Volumes/a/b/c}}',
        "batch 'daily': 'job': a job starts by schedule or by trigger, not by both.",
    ),
    "trigger on a place that cannot be watched": (
        JOB,
        f"      trigger: {{file_arrival: {{path: ./deliveries}}}} {HERE}",
        "'./deliveries' is no place that can be watched: /Volumes/catalog/schema/volume/… or a cloud URL.",
    ),
    "trigger on a table that is not there": (
        JOB,
        f"      trigger: {{table_update: {{tables: vault.hub_custmer}}}} {HERE}",
        "batch 'daily' waits for table 'vault.hub_custmer', which is none of the project's. Known: "
        "mart.dim_customer, vault.hub_customer, vault.sat_customer. Did you mean 'vault.hub_customer'?",
    ),
    "unknown granularity": (
        JOB,
        f"      granularity: table {HERE}",
        "batch 'daily': 'job.granularity' is 'table'. Allowed: 'load', 'wave', 'layer' or 'batch'.",
    ),
    "unknown key of a job": (
        JOB,
        f"      shedule: 0 30 5 * * ? {HERE}",
        "batch 'daily': unknown key 'job.shedule'. Known: granularity, notifications, performance, queue, retries, "
        "retry_on_timeout, retry_wait, schedule, tags, task_timeout, timeout, trigger. Did you mean 'schedule'?",
    ),
    "time-out without a unit": (
        JOB,
        f"      timeout: long {HERE}",
        "batch 'daily': 'job.timeout': 'long' is not a span of time. Write a number and a unit, such as 90 minutes.",
    ),
    "mail address that is none": (
        JOB,
        f"      notifications: {{on_failure: data}} {HERE}",
        "batch 'daily': 'job.notifications.on_failure': 'data' is not a mail address.",
    ),
    "workspace without a catalog": (
        "    catalog: dev\n",
        "",
        "environment 'dev' has a bundle but no catalog: in a workspace tables are in Unity Catalog. Name it.",
    ),
    "control catalog on one machine": (
        "    control: delta",
        f"    control: sqlite {HERE}",
        "environment 'dev' keeps its control catalog in SQLite, a file of one machine; tasks of a job share none.",
    ),
    "landing on one machine": (
        "    landing: /Volumes/dev/landing/files",
        f"    landing: ./landing {HERE}",
        "environment 'dev' lands files in ./landing, a folder of one machine. Give landing: /Volumes/…",
    ),
    "deliveries on one machine": (
        "    paths: {files: /Volumes/dev/landing/in}",
        f"    paths: {{files: ./in}} {HERE}",
        "environment 'dev' reads connection 'files' from ./in, a folder of one machine. Give paths: {files: /Volumes/…}",
    ),
    "production of whoever deploys": (
        BUNDLE,
        f"      mode: production {HERE}",
        "environment 'dev' is in production mode without run_as or root_path, so each deployer would deploy a copy",
    ),
    "library of another project": (
        "      library: /Volumes/dev/libraries/files/lakehouse-0.1.0-py3-none-any.whl",
        f"      library: lakehouse==0.1.0 {HERE}",
        "environment 'dev': 'bundle.library': 'lakehouse==0.1.0' is neither the path of a wheel, /Volumes/….whl, nor "
        "'lakehouse @ URL'.",
    ),
    "bundle without the library": (
        "      library: /Volumes/dev/libraries/files/lakehouse-0.1.0-py3-none-any.whl\n",
        "",
        "environment 'dev': 'bundle.library' is missing.",
    ),
    "identity of two": (
        BUNDLE,
        f"      run_as: {{user: a@b, service_principal: c}} {HERE}",
        "environment 'dev': 'bundle.run_as': name a user or a service_principal, one of them.",
    ),
    "permission for nobody": (
        BUNDLE,
        f"      permissions: [{{level: CAN_VIEW}}] {HERE}",
        "environment 'dev': 'bundle.permissions.0': a permission is for one of user, group and service_principal.",
    ),
    "performance of a cluster": (
        f"{JOB}\n{REST}",
        f"      performance: standard {HERE}\n{REST.replace(BUNDLE, WARM)}",
        "batch 'daily' sets performance, which only serverless compute has; 'warm' is a cluster.",
    ),
    "name that no bundle can have": (
        "name: shop",
        f"name: the shop {HERE}",
        "'the shop' cannot name a bundle: letters, digits, _ and -, a letter first.",
    ),
    "project without a name": (
        "name: shop\n",
        "",
        "a project with a bundle says its name, such as name: shop.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("rule", ONE_MISTAKE)
def test_mistake_is_refused_by_validate_with_file_and_line(rule, tmp_path, monkeypatch, capsys):
    good, broken, says = ONE_MISTAKE[rule]
    text = changed((good, broken))
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "lakehouse.yml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["lakehouse", "validate"])

    with pytest.raises(SystemExit) as ended:
        main()

    said = capsys.readouterr().err.splitlines()
    marked = [number for number, line in enumerate(text.splitlines(), 1) if HERE in line]
    assert ended.value.code == 2
    assert len(said) == 1, said
    assert says in said[0]
    assert all(f"lakehouse.yml:{number}: " in said[0] for number in marked)


def test_the_good_project_has_no_problems(tmp_path):
    check_deployment(shop(tmp_path / "project"))


def test_project_without_a_bundle_is_not_checked(tmp_path):
    text = SHOP.replace(WITH_BUNDLE, "").replace("    catalog: dev\n", "")
    (tmp_path / "lakehouse.yml").write_text(text.replace("control: delta", "control: sqlite"), encoding="utf-8")

    check_deployment(read_project(tmp_path))


def test_two_computes_in_one_task_are_refused(tmp_path):
    project = shop(
        tmp_path / "project",
        ("    columns: name", "    columns: name\n    settings: {compute: warm}"),
        (BUNDLE, "      computes:\n        warm: {kind: existing_cluster, cluster: 1234-567890-abcdefgh}"),
    )

    with pytest.raises(
        MetadataError, match=r"would run .*sat_customer on warm.* in one task 'vault'.*granularity: load"
    ):
        check_deployment(project)


def test_two_computes_are_good_where_every_load_is_a_task(tmp_path):
    project = shop(
        tmp_path / "project",
        (JOB, "      granularity: load"),
        ("    columns: name", "    columns: name\n    settings: {compute: warm}"),
        (BUNDLE, "      computes:\n        warm: {kind: existing_cluster, cluster: 1234-567890-abcdefgh}"),
    )
    bundle = project.environments["dev"].bundle

    check_deployment(project)

    assert {name: compute_of(project, "daily", name, bundle) for name in project.tables} == {
        "hub_customer": "serverless",
        "sat_customer": "warm",
        "dim_customer": "serverless",
    }


def test_compute_that_another_batch_sets_does_not_count(tmp_path):
    project = shop(
        tmp_path / "project",
        (
            "batches:\n",
            "batches:\n  hourly: {select: hub_customer, settings: {compute: warm}, job: {granularity: batch}}\n",
        ),
        (BUNDLE, "      computes:\n        warm: {kind: existing_cluster, cluster: 1234-567890-abcdefgh}"),
    )
    bundle = project.environments["dev"].bundle

    assert compute_of(project, "hourly", "hub_customer", bundle) == "warm"
    assert compute_of(project, "daily", "hub_customer", bundle) == "serverless"


def test_too_many_tasks_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("lakehouse.deployment.MOST_TASKS", 4)
    project = shop(tmp_path / "project", (JOB, "      granularity: load"))

    with pytest.raises(MetadataError, match="would be a job of 5 tasks; Databricks takes 4"):
        check_deployment(project)
