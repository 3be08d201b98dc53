"""The commands that steer runs: arguments -> what the control catalog then says. No Spark, no Java."""

from __future__ import annotations

import sys

import pytest

from lakehouse.cli import main
from lakehouse.control.catalog import Ended
from lakehouse.control.sqlite import SqliteCatalog

PROJECT = """
name: shop
connections:
  files: {kind: files, path: ./deliveries, files: "*/{table}.csv"}
sources:
  customer:
    connection: files
    object: customer
    key: id
    changes: {by: watermark, column: changed}
    columns: {id: int, name: string, changed: timestamp}
batches:
  nightly: {select: [customer]}
environments:
  local: {}
  server: {control: {sql_server: {secret: "env:LAKEHOUSE_NO_SUCH_SECRET"}}}
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "lakehouse.yml").write_text(PROJECT, encoding="utf-8")
    return tmp_path


@pytest.fixture
def lakehouse(monkeypatch, capsys, project):
    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["lakehouse", *map(str, arguments), "-p", str(project)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out + err

    return run


@pytest.fixture
def catalog(project):
    return SqliteCatalog(project / "warehouse" / "control.db", "shop")


def test_a_suspended_batch_starts_again_when_it_is_resumed(lakehouse, catalog):
    assert lakehouse("suspend", "nightly") == (0, "batch nightly is suspended; lakehouse resume nightly lets it run\n")
    assert catalog.start_batch("nightly").status == "C"
    assert lakehouse("resume", "nightly") == (0, "batch nightly may run\n")
    assert catalog.start_batch("nightly").status == "E"


def test_a_disabled_source_is_passed_over(lakehouse, catalog):
    assert lakehouse("disable", "customer")[0] == 0
    run = catalog.start_batch("shop").run_id
    assert catalog.claim(run, "customer", "source", "t").status == "C"
    assert lakehouse("enable", "customer") == (0, "customer may run\n")
    assert catalog.claim(run, "customer", "source", "t").executes


def test_stop_and_reset_tell_what_they_did(lakehouse, catalog):
    assert lakehouse("stop") == (0, "nothing is running\n")
    run = catalog.start_batch("shop").run_id
    assert lakehouse("stop") == (0, f"run {run} stops after its current loads\n")
    assert lakehouse("reset", "shop") == (0, f"shop: ended run {run}\n")
    assert lakehouse("reset", "customer") == (0, "customer: nothing was stuck\n")


def test_unknown_names_are_told_with_what_there_is(lakehouse):
    assert lakehouse("disable", "custmer") == (
        2,
        "Error: no source or table 'custmer'. Known: customer. Did you mean 'customer'?\n",
    )
    assert "no batch 'daily'. Known: nightly, shop." in lakehouse("suspend", "daily")[1]
    assert "no batch, source or table 'x'" in lakehouse("reset", "x")[1]
    assert (
        "no connection 'nothing'. Known: control, databricks, files." in lakehouse("connection", "test", "nothing")[1]
    )


def test_a_watermark_is_shown_set_and_not_set_back(lakehouse):
    assert lakehouse("watermark", "customer") == (0, "customer: changed = not set\n")
    assert lakehouse("watermark", "customer", "--set", "2024-02-01 00:00:00")[0] == 0
    code, told = lakehouse("watermark", "customer", "--set", "2024-01-01 00:00:00")
    assert (code, "goes backwards only with --force" in told) == (1, True)
    assert lakehouse("watermark", "customer", "--set", "2024-01-01 00:00:00", "--force") == (
        0,
        "customer: changed = 2024-01-01 00:00:00\n",
    )
    assert "no source 'nobody' with a watermark" in lakehouse("watermark", "nobody")[1]


def test_status_lists_batches_and_tells_the_latest(lakehouse, catalog):
    assert lakehouse("status") == (0, "Nothing was run yet.\n")
    first = catalog.start_batch("shop").run_id
    claim = catalog.claim(first, "customer", "source", "persistent_stage.files_customer")
    catalog.fail(claim, ValueError("the folder is not there"))
    catalog.end_batch(first, "F", "failed: customer")
    code, told = lakehouse("status")
    assert code == 0
    assert f"Batch shop, run {first}: failed at" in told
    assert "customer failed: the folder is not there" in told
    assert "The next start copies again what was not landed, and passes over what succeeded." in told
    again = catalog.start_batch("shop").run_id
    claim = catalog.claim(again, "customer", "source", "persistent_stage.files_customer")
    catalog.end(claim, Ended({"read": 2, "inserted": 1}, 0, reconciled=False))
    catalog.end_batch(again, "S")
    told = lakehouse("status")[1]
    assert f"It went on with run {first}, which had failed." in told
    assert "The row counts of customer do not reconcile" in told
    listed = lakehouse("status", "--runs", 5)[1].splitlines()
    assert [line.split()[0] for line in listed[1:]] == [str(again), str(first)]


def test_the_catalog_is_made_and_upgraded(lakehouse, project):
    assert lakehouse("control", "init") == (0, "control catalog: version 1\n")
    assert lakehouse("control", "upgrade") == (0, "control catalog: version 1\n")
    assert (project / "warehouse" / "control.db").is_file()


def test_connections_are_tried_step_by_step(lakehouse, project):
    code, told = lakehouse("connection", "test", "files")
    assert (code, "the folder" in told, "is not there" in told) == (1, True, True)
    (project / "deliveries" / "1").mkdir(parents=True)
    (project / "deliveries" / "1" / "customer.csv").write_text("id,name,changed\n", encoding="utf-8")
    assert "source customer: 1 files match */customer.csv" in lakehouse("connection", "test", "files")[1]
    assert lakehouse("connection", "test", "control") == (0, "control catalog: open, version 1, 0 batch runs\n")
    assert "names no Databricks workspace" in lakehouse("connection", "test", "databricks")[1]
    code, told = lakehouse("connection", "test", "control", "-e", "server")
    assert (code, "LAKEHOUSE_NO_SUCH_SECRET" in told) == (1, True)
