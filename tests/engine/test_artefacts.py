"""What is generated really runs: the parts of a job through the entry point, and the notebooks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lakehouse.errors import LoadError
from lakehouse.generate.notebooks import notebook_files
from lakehouse.job import main
from lakehouse.kinds import read_project
from lakehouse.parts import batch_parts, batch_plan
from tests.generate.notebooks import run_notebook
from tests.generate.projects import SHOP
from tests.rows import table_rows

pytestmark = [pytest.mark.load, pytest.mark.classic]
SCHEMAS = "{stage: job_stage, persistent_stage: job_psa, vault: job_vault, mart: job_mart}"
LOCAL = SHOP.replace("environments:\n", f"environments:\n  local: {{warehouse: ./warehouse, schemas: {SCHEMAS}}}\n")


@pytest.fixture
def folder(spark, tmp_path: Path):
    """A project with a local environment and one delivery."""
    (tmp_path / "lakehouse.yml").write_text(LOCAL, encoding="utf-8")
    deliver(tmp_path, "1", "id,name\n1,Ann\n2,Bob\n")
    yield tmp_path
    for schema in ("job_stage", "job_psa", "job_vault", "job_mart"):
        spark.sql(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


def deliver(folder: Path, day: str, text: str) -> None:
    (folder / "deliveries" / day).mkdir(parents=True)
    (folder / "deliveries" / day / "customer.csv").write_text(text, encoding="utf-8")


def run_part(folder: Path, part: str, run: str, capsys) -> dict:
    """What a task of the bundle calls, with the job's parameters as the workspace fills them in."""
    given = {"environment": "local", "select": "*", "fresh": "false", "batch": "daily", "run": run, "part": part}
    capsys.readouterr()
    main(folder, [f"--{name}={value}" for name, value in given.items()])
    return json.loads(capsys.readouterr().out)


def test_tasks_of_a_job_load_a_batch_in_one_run(folder, spark, capsys):
    project = read_project(folder)
    parts = [part.name for part in batch_parts(batch_plan(project, "daily"), "layer")]

    results = {part: run_part(folder, part, "7.0", capsys) for part in [*parts, "end"]}

    assert {result["run_id"] for result in results.values()} == {1}
    assert results["persistent_stage"]["rows"]["customer"]["inserted"] == 2
    assert results["end"]["status"] == "succeeded"
    assert set(results["end"]["rows"]) == {"customer", "hub_customer", "sat_customer", "dim_customer"}
    assert table_rows(spark, "job_mart.dim_customer", "customer_id, name", "customer_id IS NOT NULL") == [
        (1, "Ann"),
        (2, "Bob"),
    ]


def test_failed_task_fails_the_end_and_a_repair_loads_the_rest(folder, spark, capsys):
    run_part(folder, "persistent_stage", "7.0", capsys)
    spark.sql("CREATE TABLE job_vault.sat_customer (name INT, load_position BIGINT) USING DELTA")
    with pytest.raises(LoadError, match="sat_customer: "):
        run_part(folder, "vault", "7.0", capsys)
    with pytest.raises(LoadError, match="dim_customer: not loaded, because its task did not run"):
        run_part(folder, "end", "7.0", capsys)
    spark.sql("DROP TABLE job_vault.sat_customer")

    results = {part: run_part(folder, part, "7.1", capsys) for part in ("vault", "mart", "end")}

    assert "hub_customer" not in results["vault"]["rows"], "it had succeeded"
    assert results["vault"]["rows"]["sat_customer"]["inserted"] == 2
    assert results["end"]["status"] == "succeeded"


def test_notebooks_run_a_batch_and_tell_what_it_did(folder, spark):
    notebooks = notebook_files(read_project(folder), "local")
    given = {"project": str(folder), "environment": "local"}

    first, _ = run_notebook(notebooks["notebooks/run_batch.py"], spark, **given, batch="daily")
    deliver(folder, "2", "id,name\n1,Anna\n2,Bob\n")
    second, _ = run_notebook(notebooks["notebooks/run_load.py"], spark, **given, select="customer, *_customer")
    status, (shown,) = run_notebook(notebooks["notebooks/status.py"], spark, **given, batch="shop")
    history, (versions, rows) = run_notebook(notebooks["notebooks/history.py"], spark, **given, table="sat_customer")

    assert json.loads(first)["rows"]["sat_customer"] | {"inserted": 2} == json.loads(first)["rows"]["sat_customer"]
    assert json.loads(second)["rows"]["sat_customer"]["inserted"] == 1
    assert json.loads(status)["status"] == "succeeded"
    assert {row["load"]: row["inserted_rows"] for row in shown.collect()}["sat_customer"] == 1
    assert json.loads(history)["table"] == "`job_vault`.`sat_customer`"
    assert versions.count() >= 2
    assert rows.count() == 3
