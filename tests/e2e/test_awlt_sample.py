"""The demo's three deliveries: planted changes, bad rows, counts that add up, the last snapshot anew, the first one again."""

from __future__ import annotations

import csv

import pytest

from lakehouse import read_project
from lakehouse.samples.awlt.generate import PLANTED, write_delivery
from lakehouse.samples.project import SAMPLES, deliver
from tests.rows import Lake

pytestmark = pytest.mark.e2e
STAGED = ("inserted", "updated", "unchanged", "duplicate", "quarantined")
VAULT = ("inserted", "unchanged", "duplicate", "quarantined")
DIMENSION = ("inserted", "updated", "unchanged", "ignored")


@pytest.fixture(scope="module")
def history(spark, tmp_path_factory):
    """The sample after its three deliveries, with the result of each."""
    lake = Lake(spark, read_project(SAMPLES["awlt"]), tmp_path_factory.mktemp("sample"))
    results = []
    for number in (1, 2, 3):
        deliver(lake.folder, str(number), customers=60)
        results.append(lake.run())
        assert results[-1].succeeded, [load.message for load in results[-1].loads if load.message]
    yield lake, results
    lake.drop()


def delivered(lake, number, table):
    folder = sorted((lake.folder / "deliveries").iterdir())[number - 1]
    with (folder / f"{table}.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_counts_add_up_by_each_kinds_identity(history):
    _, results = history
    for result in results:
        for load in (load for load in result.loads if load.counts):
            terms = {"source": STAGED, "dimension": DIMENSION}.get(load.kind, (*VAULT, "updated", "deleted", "ignored"))
            assert load.counts["read"] == sum(load.counts.get(term, 0) for term in terms), (load.name, load.counts)


def test_what_was_read_is_what_the_files_hold(history):
    lake, results = history
    for number, result in enumerate(results, 1):
        for name, table in (
            ("customer", "Customer"),
            ("address", "Address"),
            ("sales_order_detail", "SalesOrderDetail"),
        ):
            assert result[name].counts["read"] == len(delivered(lake, number, table)), (number, name)


def test_bad_rows_stand_in_quarantine_with_reason_rule_file_and_run(history):
    lake, _ = history
    found = lake.rows(
        "persistent_stage", "quarantine", "source, rule, reason, source_file LIKE '%/2024-02-15/%', row_audit_id > 0"
    )
    assert found == [
        ("address", "missing_key", "key (AddressID) is not complete", True, True),
        ("product", "wrong_type", "column ListPrice cannot be read as decimal(19,4)", True, True),
        ("sales_order_detail", "wrong_type", "column OrderQty cannot be read as smallint", True, True),
    ]


def test_a_quarantined_row_of_a_known_key_is_not_a_deleted_row(history):
    lake, _ = history
    where = f"ProductID = {PLANTED.product_bad_price}"
    assert lake.rows("persistent_stage", "awlt_product", "change_type", where) == [("I",), ("U",)]


def test_deleted_and_returned_customers_close_and_open_in_the_dimension(history):
    lake, _ = history
    columns = "change_type"
    for customer, expected in (
        (PLANTED.customer_returned, ["D", "I", "I"]),
        (PLANTED.customer_returned_changed, ["D", "I", "I"]),
        (PLANTED.customer_deleted, ["D", "I"]),
        (PLANTED.customer_phone_back, ["I", "U", "U"]),
    ):
        found = lake.rows("persistent_stage", "awlt_customer", columns, f"CustomerID = {customer}")
        assert [row[0] for row in found] == expected, customer
    current = lake.rows("mart", "dim_customer", "customer_id", "current_flag")
    assert (PLANTED.customer_deleted,) not in current
    assert (PLANTED.customer_returned,) in current
    versions = lake.rows("mart", "dim_customer", "version_number", f"customer_id = {PLANTED.customer_phone_back}")
    assert versions == [(1,), (2,), (3,)]


def test_a_key_that_comes_before_its_own_row_is_unknown_first_and_then_found(history):
    lake, _ = history
    order, line = PLANTED.order_line_early
    keys = lake.rows(
        "mart", "fact_sales_line", "product_key = -1", f"sales_order_id = {order} AND SalesOrderDetailID = {line}"
    )
    assert keys == [(False,)]


def test_same_files_again_are_known_and_the_last_snapshot_anew_adds_nothing(history):
    lake, _ = history
    idle = lake.run()
    assert idle.written() == 0
    assert idle["customer"].message == "all 3 files known"
    deliver(lake.folder, "again", customers=60)
    again = lake.run()
    assert again.succeeded
    assert again.written() == 0


def test_the_first_snapshot_after_the_third_is_a_reversal_of_exactly_the_rows_that_differ(history):
    lake, _ = history
    first = {row["CustomerID"]: row for row in delivered(lake, 1, "Customer")}
    last = {row["CustomerID"]: row for row in delivered(lake, 3, "Customer")}
    write_delivery(lake.folder / "deliveries", 1, name="reversal", customers=60)
    result = lake.run("customer", "hub_customer", "sat_customer_*")
    counts = result["customer"].counts
    assert counts["inserted"] == len(first.keys() - last.keys())
    assert counts["deleted"] == len(last.keys() - first.keys())
    assert counts["updated"] == sum(first[key] != last[key] for key in first.keys() & last.keys())
    assert result["hub_customer"].counts["inserted"] == 0
