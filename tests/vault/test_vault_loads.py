"""Hub, link and satellite: rows in, rows out, on DataFrames."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakehouse import load, read_project
from tests.rows import local_frame, multiset

pytestmark = pytest.mark.load

PROJECT = """
name: shop
connections: {files: {kind: files, path: ./deliveries}}
sources:
  customer: {connection: files, object: customer, key: [no], columns: {no: string, phone: string, city: string}}
  orders: {connection: files, object: orders, key: [id], columns: {id: int, line: int, buyer: string, payer: string}}
tables:
  hub_customer: {kind: hub, business_key: customer_no, sources: {customer: no, orders: [[buyer], [payer]]}}
  hub_orders: {kind: hub, business_key: order_id, sources: {orders: id}}
  link_orders:
    kind: link
    source: orders
    references:
      - {hub: hub_orders, columns: id}
      - {hub: hub_customer, role: buyer, columns: buyer}
      - {hub: hub_customer, role: payer, columns: payer}
    child_key: line
  sat_customer: {kind: satellite, parent: hub_customer, source: customer, columns: [phone, city]}
"""
CUSTOMER = "no|phone|city|load_datetime:timestamp|applied_datetime:timestamp|record_source|row_audit_id:bigint|change_type|changed_subjects:array<string>"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    (folder / "lakehouse.yml").write_text(PROJECT, encoding="utf-8")
    return read_project(folder)


def customers(spark, *rows):
    """(no, phone, day[, change type]) rows as the persistent stage would give them."""
    values = [
        (no, phone, "X", datetime(2024, 1, day), "crm", 1, kind[0] if kind else "U") for no, phone, day, *kind in rows
    ]
    schema = "no STRING, phone STRING, city STRING, load_datetime TIMESTAMP, record_source STRING, row_audit_id BIGINT, change_type STRING"
    frame = local_frame(spark, values, schema)
    return frame.selectExpr("*", "load_datetime AS applied_datetime", "CAST(NULL AS ARRAY<STRING>) AS changed_subjects")


def orders(spark, *rows):
    schema = "id INT, line INT, buyer STRING, payer STRING, load_datetime TIMESTAMP, record_source STRING, row_audit_id BIGINT, change_type STRING"
    values = [(*row[:4], datetime(2024, 1, row[4]), "shop", 1, "I") for row in rows]
    return local_frame(spark, values, schema)


def outcomes(spark, load_value, **relations):
    rows = load_value.select.on(spark, relations).groupBy("outcome").count().collect()
    return {row["outcome"]: row["count"] for row in rows}


def stored(spark, project, *rows):
    """A satellite's stored rows, made by its own SELECT from (no, phone, day[, change type])."""
    sat = project.table("sat_customer")
    empty = "(SELECT CAST(NULL AS BINARY) customer_hk, CAST(NULL AS BINARY) hash_diff, FALSE deleted_flag, CAST(NULL AS TIMESTAMP) load_datetime WHERE FALSE)"
    return (
        sat.select.on(spark, {"customer": customers(spark, *rows), "target": empty})
        .filter("outcome = 'inserted'")
        .drop("outcome")
    )


def inserted(spark, project, rows, target_rows=()):
    sat = project.table("sat_customer")
    target = stored(spark, project, *target_rows) if target_rows else stored(spark, project, ("none", "0", 1))
    found = sat.select.on(spark, {"customer": customers(spark, *rows), "target": target}).filter("outcome = 'inserted'")
    return sorted((row["phone"], row["load_datetime"].day, row["deleted_flag"]) for row in found.collect())


def test_hub_takes_each_key_once_with_its_earliest_row(spark, project):
    hub = project.table("hub_customer")
    source = customers(spark, (" a ", "1", 3), ("A", "2", 2), ("b", "3", 2))
    empty = "(SELECT CAST(NULL AS BINARY) AS customer_hk WHERE FALSE)"
    found = hub.select.on(spark, {"customer": source, "orders": orders(spark, (1, 1, "a", "c", 1)), "target": empty})
    rows = [
        (r["customer_no"], r["load_datetime"].day, r["record_source"])
        for r in found.filter("outcome = 'inserted'").collect()
    ]
    assert sorted(rows) == [("a", 1, "shop"), ("b", 2, "crm"), ("c", 1, "shop")]


def test_hub_counts_known_repeated_and_missing_keys(spark, project):
    hub = project.table("hub_customer")
    target = hub.select.on(
        spark,
        {
            "customer": customers(spark, ("A", "1", 1)),
            "orders": orders(spark),
            "target": "(SELECT CAST(NULL AS BINARY) AS customer_hk WHERE FALSE)",
        },
    ).drop("outcome")
    source = customers(
        spark, ("a", "2", 2), ("b", "1", 2), ("b", "1", 2), (None, "1", 2), ("  ", "1", 2), ("z", "1", 2, "D")
    )
    found = outcomes(spark, hub, customer=source, orders=orders(spark), target=target)
    assert found == {"unchanged": 1, "inserted": 1, "duplicate": 1, "excluded": 2}


def test_link_keeps_each_combination_once_and_points_a_null_reference_at_the_zero_key(spark, project):
    link = project.table("link_orders")
    empty = "(SELECT CAST(NULL AS BINARY) AS link_orders_hk WHERE FALSE)"
    source = orders(spark, (1, 1, "a", "b", 1), (1, 1, "A ", "b", 2), (1, 2, "a", None, 1), (1, None, "a", "b", 1))
    found = link.select.on(spark, {"orders": source, "target": empty}).collect()
    assert Counter(row["outcome"] for row in found) == {"inserted": 2, "duplicate": 1, "excluded": 1}
    (nobody,) = [row for row in found if row["line"] == 2]
    assert bytes(nobody["payer_customer_hk"]) == bytes(16)
    assert outcomes(spark, link, orders=source, target=link.select.on(spark, {"orders": source, "target": empty})) == {
        "unchanged": 3,
        "excluded": 1,
    }


def test_link_in_two_roles_gives_two_keys(spark, project):
    link = project.table("link_orders")
    empty = "(SELECT CAST(NULL AS BINARY) AS link_orders_hk WHERE FALSE)"
    row = link.select.on(spark, {"orders": orders(spark, (1, 1, "a", "b", 1)), "target": empty}).collect()[0]
    assert bytes(row["buyer_customer_hk"]) != bytes(row["payer_customer_hk"])


@pytest.mark.parametrize(
    ("name", "rows", "target", "expected"),
    [
        ("first load", [("a", "1", 1)], [], [("1", 1, False)]),
        ("unchanged", [("a", "1", 2)], [("a", "1", 1)], []),
        ("changed", [("a", "2", 2)], [("a", "1", 1)], [("2", 2, False)]),
        ("NULL differs from blank", [("a", "", 2)], [("a", None, 1)], [("", 2, False)]),
        ("re-run adds nothing", [("a", "1", 1), ("a", "2", 2)], [("a", "1", 1), ("a", "2", 2)], []),
        (
            "several versions in one batch",
            [("a", "2", 2), ("a", "3", 3)],
            [("a", "1", 1)],
            [("2", 2, False), ("3", 3, False)],
        ),
        ("A to B to A", [("a", "2", 2), ("a", "1", 3)], [("a", "1", 1)], [("1", 3, False), ("2", 2, False)]),
        ("duplicates in the batch", [("a", "2", 2), ("a", "2", 2), ("a", "2", 3)], [("a", "1", 1)], [("2", 2, False)]),
        ("late row between two versions", [("a", "9", 2)], [("a", "1", 1), ("a", "3", 3)], [("9", 2, False)]),
        ("late row equal to the one before it", [("a", "1", 2)], [("a", "1", 1), ("a", "3", 3)], []),
        ("late row before all", [("a", "0", 1)], [("a", "1", 2)], [("0", 1, False)]),
        ("NULL key", [(None, "1", 1), (" ", "2", 1)], [], []),
        ("delete", [("a", "1", 2, "D")], [("a", "1", 1)], [("1", 2, True)]),
        ("delete twice", [("a", "1", 3, "D")], [("a", "1", 1), ("a", "1", 2, "D")], []),
        ("return with equal values", [("a", "1", 3, "I")], [("a", "1", 1), ("a", "1", 2, "D")], [("1", 3, False)]),
    ],
)
def test_satellite(spark, project, name, rows, target, expected):
    assert inserted(spark, project, rows, target) == sorted(expected)


def test_two_rows_of_one_key_at_one_time_are_an_error_that_names_the_kind_to_use(spark, project):
    with pytest.raises(Exception, match="multi_active_satellite"):
        inserted(spark, project, [("a", "1", 2), ("a", "2", 2)])


def test_marks_of_the_log_prove_what_the_target_would_say(spark, project):
    """The predecessors that unmarked rows prove give the same result as the whole target."""
    sat = project.table("sat_customer")
    target = stored(spark, project, ("a", "1", 1), ("b", "1", 1), ("c", "1", 1))
    source = customers(
        spark, ("a", "1", 2), ("b", "2", 2), ("b", "2", 3), ("c", "1", 2), ("c", "2", 3), ("d", "7", 2, "I")
    )
    marked = source.selectExpr(
        "no", "phone", "city", "load_datetime", "applied_datetime", "record_source", "row_audit_id", "change_type",
        "CASE WHEN (no, phone, day(load_datetime)) IN (('b', '2', 2), ('c', '2', 3), ('d', '7', 2)) "
        "THEN array('sat_customer') ELSE CAST(array() AS ARRAY<STRING>) END AS changed_subjects",
    )  # fmt: skip
    proven = sat.predecessors.on(spark, {"customer": marked})
    by_marks = outcomes(spark, sat, customer=marked, target=proven)
    assert by_marks == outcomes(spark, sat, customer=marked, target=target) == {"inserted": 3, "unchanged": 3}


VERSIONS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("12"), st.integers(1, 5)),
    min_size=1,
    max_size=7,
    unique_by=lambda v: (v[0], v[2]),
)


@pytest.mark.classic
@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(rows=VERSIONS, cut=st.integers(0, 7))
def test_any_cut_of_rows_in_load_order_into_batches_gives_the_same_versions(spark, project, rows, cut):
    ordered = sorted(rows, key=lambda row: row[2])
    first, second = ordered[:cut], ordered[cut:]
    whole = inserted(spark, project, ordered)
    parts = inserted(spark, project, first) if first else []
    parts += inserted(spark, project, second, first) if second else []
    assert sorted(parts) == whole


def test_direct_load_writes_once_and_again_nothing(spark, project, schema):
    table, target = project.table("sat_customer"), f"{schema}.sat_customer"
    rows = customers(spark, ("a", "1", 1), ("a", "2", 2), ("b", "1", 1)).drop(
        "applied_datetime", "change_type", "row_audit_id"
    )
    assert load(table, rows, spark=spark, target=target)["inserted"] == 3
    before = multiset(spark, target)
    assert load(table, rows, spark=spark, target=target) == {
        "read": 3,
        "inserted": 0,
        "unchanged": 3,
        "duplicate": 0,
        "excluded": 0,
    }
    assert multiset(spark, target) == before
