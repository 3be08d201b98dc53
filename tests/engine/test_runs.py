"""Whole runs of a small project: files to a star, and everything that a run may meet."""

from __future__ import annotations

from datetime import datetime

import pytest

from lakehouse import SourceError, read_project
from lakehouse.engine import delta
from lakehouse.engine.catalogs import open_catalog
from lakehouse.engine.table_load import TableLoad
from tests.rows import Lake, make_lake

pytestmark = pytest.mark.load

PROJECT = """
name: shop
settings: {delete_guard: 60%}
connections:
  files: {kind: files, path: ./deliveries, files: "*/{table}.csv"}
sources:
  customer:
    connection: files
    object: customer
    key: id
    applied: changed
    columns: {id: int, name: string, city: string, changed: timestamp}
  sale:
    connection: files
    object: sale
    key: id
    changes: {by: watermark, column: changed}
    columns:
      id: int
      customer: int
      amount: decimal(9,2)
      sold: timestamp
      changed: timestamp
      double: {type: "decimal(10,2)", expression: amount * 2}
tables:
  hub_customer: {kind: hub, business_key: customer_id, sources: {customer: id, sale: customer}}
  hub_sale: {kind: hub, business_key: sale_id, sources: {sale: id}}
  sat_customer: {kind: satellite, parent: hub_customer, source: customer, columns: [name, city]}
  sat_sale: {kind: satellite, parent: hub_sale, source: sale, columns: [customer, amount, sold, double]}
  dim_customer:
    kind: dimension
    from: hub_customer
    columns: {full_name: {expression: name, type: 1}, town: {expression: city, type: 2}, first_town: {expression: city, type: 0}}
  dim_date: {kind: date_dimension, from: 2024-01-01, to: 2024-12-31}
  fact_sale:
    kind: fact
    from: hub_sale
    grain: sale_id
    event_time: sold
    dimensions: {customer: {dimension: dim_customer, key: customer}, day: {dimension: dim_date, key: sold}}
    measures: {amount: {sum: amount}, double_amount: double}
"""
MEMBER = "customer_id, full_name, town, first_town, date_format(effective_from, 'MM-dd') , date_format(effective_to, 'yyyy-MM-dd'), current_flag, version_number"


@pytest.fixture
def lake(spark, tmp_path):
    lake = make_lake(spark, tmp_path, PROJECT)
    yield lake
    lake.drop()


def counts(result, name):
    return {key: value for key, value in result[name].counts.items() if value}


def test_three_deliveries_from_files_to_a_star(lake: Lake):
    first = lake.load(
        customer="id,name,city,changed\n1,Ann,Bonn,2024-01-01\n2,Bob,Kiel,2024-01-01\n3,Cid,Ulm,2024-01-01",
        sale="id,customer,amount,sold,changed\n10,1,5.00,2024-01-05,2024-01-05\n11,9,7.00,2024-01-06,2024-01-06",
    )
    assert counts(first, "customer") == {"read": 3, "inserted": 3}
    assert counts(first, "hub_customer") == {"read": 5, "inserted": 4, "duplicate": 1}
    assert lake.rows("mart", "fact_sale", "sale_id, customer_key = -1, day_key, amount, double_amount") == [
        (10, False, 20240105, *_money("5.00", "10.00")),
        (11, True, 20240106, *_money("7.00", "14.00")),
    ]

    second = lake.load(
        customer="id,name,city,changed\n1,Anna,Bonn,2024-02-01\n2,Bob,Köln,2024-02-01\n,Nil,Ulm,2024-02-01\n3,Cid,Ulm,yesterday",
        sale="id,customer,amount,sold,changed\n10,1,6.00,2024-01-05,2024-02-01\n12,2,8.00,2024-02-10,2024-02-10\n13,2,x,2024-02-10,2024-02-10",
    )
    assert counts(second, "customer") == {"read": 4, "updated": 2, "quarantined": 2}
    assert counts(second, "sale") == {"read": 3, "inserted": 1, "updated": 1, "quarantined": 1}
    quarantine = lake.rows(
        "persistent_stage", "quarantine", "source, rule, reason, row_audit_id > 0, source_file LIKE '%.csv'"
    )
    assert quarantine == [
        ("customer", "missing_key", "key (id) is not complete", True, True),
        ("customer", "wrong_type", "column changed cannot be read as timestamp", True, True),
        ("sale", "wrong_type", "column amount cannot be read as decimal(9,2)", True, True),
    ]
    assert counts(second, "dim_customer") == {"read": 2, "inserted": 1, "updated": 1}

    third = lake.load(
        customer="id,name,city,changed\n2,Bob,Kiel,2024-03-01\n3,Cid,Ulm,2024-01-01\n9,Eve,Jena,2024-01-02"
    )
    assert counts(third, "customer") == {"read": 3, "inserted": 1, "updated": 1, "unchanged": 1, "deleted": 1}
    assert lake.rows("mart", "dim_customer", MEMBER, "customer_id IN (1, 2)") == [
        (1, "Anna", "Bonn", "Bonn", "01-01", "2024-02-01", False, 1),
        (2, "Bob", "Kiel", "Kiel", "01-01", "2024-02-01", False, 1),
        (2, "Bob", "Kiel", "Kiel", "03-01", "9999-12-31", True, 3),
        (2, "Bob", "Köln", "Kiel", "02-01", "2024-03-01", False, 2),
    ]
    known = "sale_id, town"
    joined = f"{lake.name('mart', 'fact_sale')} AS f JOIN {lake.name('mart', 'dim_customer')} AS d USING (customer_key)"
    from tests.rows import table_rows

    assert table_rows(lake.spark, joined, known) == [(10, "Bonn"), (11, "Jena"), (12, "Köln")]

    idle = lake.run()
    assert idle.written() == 0
    assert {load.message for load in idle.loads} == {"all 3 files known", "all 2 files known", "nothing new"}


def _money(*texts):
    from decimal import Decimal

    return tuple(Decimal(text) for text in texts)


def test_same_rows_in_a_new_file_add_nothing(lake: Lake):
    rows = "id,name,city,changed\n1,Ann,Bonn,2024-01-01\n1,Ann,Bonn,2024-01-01"
    lake.load(customer=rows)
    again = lake.load(customer=rows)
    assert counts(again, "customer") == {"read": 2, "unchanged": 1, "duplicate": 1}
    assert again.written() == 0


def test_guard_stops_before_anything_is_written_and_the_corrected_delivery_loads(lake: Lake):
    lake.load(customer="id,name,city,changed\n" + "\n".join(f"{i},N,C,2024-01-01" for i in range(10)))
    lake.deliver(customer="id,name,city,changed\n1,N,C,2024-01-01")
    result = lake.run("customer")
    assert not result.succeeded
    assert "would delete more than 60 % of its 10 live keys" in result["customer"].message
    assert len(lake.rows("persistent_stage", "files_customer")) == 10
    truncated = lake.folder / "deliveries" / "002" / "customer.csv"
    truncated.unlink()
    lake.deliver(customer="id,name,city,changed\n" + "\n".join(f"{i},N,C,2024-01-01" for i in range(9)))
    assert counts(lake.run("customer"), "customer") == {"read": 9, "unchanged": 9, "deleted": 1}


def test_unreadable_key_switches_delete_detection_off_and_an_empty_snapshot_deletes_nothing(lake: Lake):
    lake.load(customer="id,name,city,changed\n1,A,B,2024-01-01\n2,A,B,2024-01-01")
    lake.deliver(customer="id,name,city,changed\n1,A,B,2024-01-01\nx,A,B,2024-01-01")
    assert counts(lake.run("customer"), "customer") == {"read": 2, "unchanged": 1, "quarantined": 1}
    lake.deliver(customer="id,name,city,changed")
    assert lake.run("customer")["customer"].counts["deleted"] == 0


def test_missing_column_stops_the_load_and_names_file_and_columns(lake: Lake):
    lake.deliver(customer="id,name,changed\n1,A,2024-01-01")
    result = lake.run("customer", "hub_customer")
    assert "does not deliver the column city. It delivers: id, name, changed" in result["customer"].message
    assert result["hub_customer"].state == "skipped"


def test_two_different_rows_of_one_key_in_a_snapshot_keep_the_newest_and_quarantine_the_other(lake: Lake):
    lake.deliver(customer="id,name,city,changed\n1,Old,B,2024-01-01\n1,New,B,2024-01-02")
    assert counts(lake.run("customer"), "customer") == {"read": 2, "inserted": 1, "quarantined": 1}
    assert lake.rows("persistent_stage", "files_customer", "name") == [("New",)]
    assert lake.rows("persistent_stage", "quarantine", "rule") == [("key_not_unique",)]


def test_a_load_that_died_after_its_commit_is_repeated_without_adding_a_row(lake: Lake, monkeypatch):
    lake.deliver(customer="id,name,city,changed\n1,A,B,2024-01-01\n2,A,B,2024-01-01")
    original = TableLoad._end
    monkeypatch.setattr(TableLoad, "_end", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("power cut")))
    broken = lake.run("customer", "hub_customer")
    assert "power cut" in broken["hub_customer"].message
    assert len(lake.rows("vault", "hub_customer")) == 2
    monkeypatch.setattr(TableLoad, "_end", original)
    healed = lake.run("customer", "hub_customer")
    assert counts(healed, "hub_customer") == {"read": 2, "inserted": 2}
    assert len(lake.rows("vault", "hub_customer")) == 2


def test_a_staging_that_died_before_its_commit_goes_on_from_what_it_landed(lake: Lake, monkeypatch):
    lake.deliver(customer="id,name,city,changed\n1,A,B,2024-01-01")
    original = delta.append
    monkeypatch.setattr(delta, "append", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("power cut")))
    assert not lake.run("customer").succeeded
    monkeypatch.setattr(delta, "append", original)
    (lake.folder / "deliveries" / "001" / "customer.csv").unlink()
    assert counts(lake.run("customer"), "customer") == {"read": 1, "inserted": 1}
    assert lake.rows("persistent_stage", "files_customer", "load_datetime") == [(datetime(2000, 1, 1),)]


def test_a_table_added_later_reads_the_whole_log(lake: Lake):
    lake.load(customer="id,name,city,changed\n1,A,B,2024-01-01")
    lake.load(customer="id,name,city,changed\n1,A,C,2024-01-02")
    path = lake.project.folder / "lakehouse.yml"
    added = "  sat_changed: {kind: satellite, parent: hub_customer, source: customer, columns: [changed]}\n"
    path.write_text(path.read_text(encoding="utf-8") + added, encoding="utf-8")
    lake.project = read_project(lake.project.folder)
    result = lake.run()
    assert counts(result, "sat_changed") == {"read": 2, "inserted": 2}
    assert result.written() == 2


def test_a_lost_control_catalog_adds_no_row_twice(lake: Lake):
    rows = "id,name,city,changed\n1,A,B,2024-01-01\n2,C,D,2024-01-01"
    lake.load(customer=rows)
    before = lake.rows("vault", "sat_customer")
    forget_catalog(lake)
    lake.load(customer=rows)
    assert lake.rows("vault", "sat_customer") == before
    assert len(lake.rows("persistent_stage", "files_customer")) == 2


def test_a_lost_control_catalog_knows_old_snapshots_again_and_takes_what_came_later(lake: Lake):
    """Read again, the older snapshot would be a reversal."""
    lake.load(customer="id,name,city,changed\n1,A,B,2024-01-01\n2,C,D,2024-01-01")
    lake.load(customer="id,name,city,changed\n1,Z,B,2024-01-02\n2,C,D,2024-01-01")
    before = lake.rows("persistent_stage", "files_customer")
    forget_catalog(lake)
    assert lake.run()["customer"].message == "all 2 files known"
    assert lake.rows("persistent_stage", "files_customer") == before

    forget_catalog(lake)
    late = lake.folder / "deliveries" / "001b"  # its name comes before the newest that was read
    late.mkdir()
    (late / "customer.csv").write_text("id,name,city,changed\n1,Y,B,2024-01-03\n", encoding="utf-8")
    counts = lake.run()["customer"].counts
    assert (counts["updated"], counts["deleted"]) == (1, 1)
    assert lake.run()["customer"].message == "all 3 files known"


def forget_catalog(lake: Lake):
    for file in open_catalog(lake.project, lake.environment).path.parent.glob("control.db*"):
        file.unlink()


def test_checkpoint_gives_the_same_comparison_as_the_log(spark, tmp_path):
    lake = make_lake(spark, tmp_path, PROJECT.replace("delete_guard: 60%", "delete_guard: 100%, checkpoint_rows: 2"))
    lake.deliver(customer="id,name,city,changed\n1,A,B,2024-01-01\n2,A,B,2024-01-01\n3,A,B,2024-01-01")
    lake.run("customer")
    assert spark.catalog.tableExists(lake.name("persistent_stage", "files_customer_checkpoint"))
    lake.deliver(customer="id,name,city,changed\n1,A,B,2024-01-01\n2,Z,B,2024-01-02")
    assert counts(lake.run("customer"), "customer") == {"read": 2, "updated": 1, "unchanged": 1, "deleted": 1}
    lake.deliver(customer="id,name,city,changed\n1,A,B,2024-01-01\n2,A,B,2024-01-01\n3,A,B,2024-01-01")
    assert counts(lake.run("customer"), "customer") == {"read": 3, "inserted": 1, "updated": 1, "unchanged": 1}
    lake.drop()


def test_missing_folder_is_told_in_one_sentence(lake: Lake):
    result = lake.run("customer")
    assert "is not there" in result["customer"].message
    assert "Traceback" not in result["customer"].message
    assert issubclass(SourceError, Exception)
