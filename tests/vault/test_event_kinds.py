"""Non-historised links and satellites, record tracking, reference tables: deliveries -> the rows that they keep."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakehouse import read_project
from tests.vault.simulation import Log, Simulation

pytestmark = pytest.mark.load

PROJECT = """
name: shop
connections: {files: {kind: files, path: ./deliveries}}
sources:
  sale:
    connection: files
    object: sale
    key: [no]
    columns: {no: int, customer: string, amount: "decimal(9,2)", note: string}
  colour: {connection: files, object: colour, key: [code], columns: {code: string, name: string}}
tables:
  hub_sale: {kind: hub, business_key: sale_no, sources: {sale: no}}
  hub_customer: {kind: hub, business_key: customer_no, sources: {sale: customer}}
  link_sale:
    kind: non_historised_link
    source: sale
    references: [{hub: hub_sale, columns: no}, {hub: hub_customer, columns: customer}]
    columns: [amount, note]
    measures: [amount]
  link_first:
    kind: non_historised_link
    source: sale
    references: [{hub: hub_sale, columns: no}]
    columns: [amount]
    corrections: ignore
  sat_sale: {kind: non_historised_satellite, parent: hub_sale, source: sale, columns: [note]}
  sat_seen: {kind: record_tracking_satellite, parent: hub_customer, source: sale}
  ref_colour: {kind: reference_table, source: colour, key: code, columns: name}
  ref_colour_history: {kind: reference_table, source: colour, key: code, columns: name, history: true}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    (folder / "lakehouse.yml").write_text(PROJECT, encoding="utf-8")
    return read_project(folder)


def sales(spark, project, table="link_sale"):
    return Simulation(spark, project.table(table), Log("no INT, customer STRING, amount DECIMAL(9,2), note STRING"))


def colours(spark, project, table):
    return Simulation(spark, project.table(table), Log("code STRING, name STRING"))


def sale(no, amount, customer="c", note="n"):
    return (no, customer, Decimal(amount), note)


def test_correction_and_delete_are_reversing_rows(spark, project):
    lake = sales(spark, project)
    for rows in ([sale(1, 10), sale(2, 5)], [sale(1, 12), sale(2, 5)], [sale(2, 5)], [sale(1, 12), sale(2, 5)]):
        lake.log.snapshot(*rows)
        lake.run()

    assert lake.rows("amount", "reversal_flag", "load_datetime") == sorted(
        [(Decimal(10), False, 1), (Decimal(5), False, 1), (Decimal(-10), True, 2), (Decimal(12), False, 2),
         (Decimal(-12), True, 3), (Decimal(12), False, 4)],
        key=lambda row: repr((row[0].quantize(Decimal("0.01")), *row[1:])),
    )  # fmt: skip
    assert not lake.again()["inserted"]


def test_counts_of_a_correction_add_up(spark, project):
    link = project.table("link_sale")
    lake = sales(spark, project)
    lake.log.snapshot(sale(1, 10), sale(2, 5))
    lake.run()
    lake.log.snapshot(sale(1, 11))
    relations = {"sale": lake.log.frame(spark, 0, 2), "sale__offset": "1", "target": lake._target()}
    row = link.select.on(spark, relations).selectExpr(*[f"{e} AS `{n}`" for n, e in link.counts.items()]).collect()[0]

    assert row.asDict() == {"read": 2, "inserted": 2, "unchanged": 0, "duplicate": 0, "excluded": 0, "reversed": 2}


def test_several_versions_of_an_event_in_one_delivery(spark, project):
    lake = sales(spark, project)
    lake.log.versions(sale(1, 1), sale(1, 2), sale(1, 1))
    lake.run()

    found = lake.rows("amount", "reversal_flag", "load_datetime")
    assert Counter(found) == Counter(
        [(Decimal(1), False, 1), (Decimal(-1), True, "1.1"), (Decimal(2), False, "1.1"), (Decimal(-2), True, "1.2"),
         (Decimal(1), False, "1.2")]
    )  # fmt: skip
    assert not lake.again()["inserted"]


def test_event_that_changes_its_customer_moves_its_amount(spark, project):
    lake = sales(spark, project)
    lake.log.snapshot(sale(1, 10, customer="a"))
    lake.run()
    lake.log.snapshot(sale(1, 10, customer="b"))
    lake.run()
    keys = {row[0] for row in lake.rows("customer_hk")}

    assert len(keys) == 2
    assert Counter(lake.rows("amount", "reversal_flag", "load_datetime")) == Counter(
        [(Decimal(10), False, 1), (Decimal(-10), True, 2), (Decimal(10), False, 2)]
    )
    assert len({row for row in lake.rows("customer_hk", "reversal_flag") if row[1]}) == 1
    assert not lake.again()["inserted"]


def test_first_telling_is_kept_where_corrections_are_ignored(spark, project):
    lake = sales(spark, project, "link_first")
    for rows in ([sale(1, 10)], [sale(1, 12)], []):
        lake.log.snapshot(*rows)
        lake.run()

    assert lake.rows("amount", "load_datetime") == [(Decimal(10), 1)]


def test_non_historised_satellite_keeps_the_first_telling(spark, project):
    lake = sales(spark, project, "sat_sale")
    lake.log.versions(sale(1, 10, note="first"), sale(1, 10, note="second"))
    assert lake.run() == Counter(inserted=1, duplicate=1)
    lake.log.snapshot(sale(1, 10, note="third"))
    assert lake.run() == Counter(unchanged=1)

    assert lake.rows("note") == [("first",)]


def test_each_telling_of_each_key_is_tracked(spark, project):
    lake = sales(spark, project, "sat_seen")
    lake.log.snapshot(
        sale(1, 1, customer="a"), sale(2, 1, customer="a"), sale(3, 1, customer="b"), sale(4, 1, customer=None)
    )
    assert lake.run() == Counter(inserted=2, duplicate=1, excluded=1)
    lake.log.snapshot(sale(1, 2, customer="a"))
    lake.run()

    assert lake.rows("load_datetime", "record_source") == [(1, "crm"), (1, "crm"), (2, "crm")]
    assert not lake.again()["inserted"]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("ref_colour", [("R", "rot", False, 3), ("X", "old", True, 2)]),
        (
            "ref_colour_history",
            [("R", "red", False, 1), ("R", "rot", False, 3), ("X", "old", False, 1), ("X", "old", True, 2)],
        ),
    ],
)
def test_reference_table(spark, project, table, expected):
    lake = colours(spark, project, table)
    for rows in ([("R", "red"), ("X", "old")], [("R", "red")], [("R", "rot")], [("R", "rot")]):
        lake.log.snapshot(*rows)
        lake.run()

    assert lake.rows("code", "name", "deleted_flag", "load_datetime") == expected
    found = lake.again()
    assert not found["inserted"]
    assert not found["updated"]


@pytest.mark.classic
@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    days=st.lists(
        st.dictionaries(
            st.sampled_from([1, 2, 3]), st.tuples(st.sampled_from([1, 2]), st.sampled_from("ab")), max_size=3
        ),
        min_size=2,
        max_size=5,
    ),
    cut=st.integers(1, 4),
)
def test_sums_over_the_events_are_those_of_the_source_however_the_deliveries_are_cut(spark, project, days, cut):
    at_once, in_two = sales(spark, project), sales(spark, project)
    in_two.log = at_once.log
    for day in days:
        at_once.log.snapshot(*(sale(no, amount, customer) for no, (amount, customer) in sorted(day.items())))
    at_once.run()
    in_two.run(min(cut, len(days)))
    in_two.run()

    assert at_once.contents() == in_two.contents()
    assert not in_two.again(since=cut - 1)["inserted"]
    for number, day in enumerate(days, start=1):
        told = [amount for amount, moment in at_once.rows("amount", "load_datetime") if moment <= number]
        assert sum(told) == sum(amount for amount, _ in day.values())
