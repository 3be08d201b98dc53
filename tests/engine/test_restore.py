"""Restore: sources whose rows move, go and return, each delivery compared with what the vault makes of it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from decimal import Decimal

import pytest

from lakehouse import MetadataError, make_views, restore
from tests.rows import FIRST_DAY, make_lake

pytestmark = pytest.mark.load
PROJECT = """
name: moves
settings: {ghost_records: true}     # no row of a source
connections: {files: {kind: files, path: ./deliveries}}
sources:
  line:      # of an order, with a product that changes
    connection: files
    object: line
    key: [order_id, line_no]
    columns: {order_id: int, line_no: int, product: string, qty: int, note: string}
  visit: {connection: files, object: visit, key: id, columns: {id: int, customer: string, place: string}}
  payment: {connection: files, object: payment, key: id, columns: {id: int, customer: string, amount: "decimal(9,2)"}}
  price:     # several versions of a key in one delivery
    connection: files
    object: price
    key: product
    changes: {by: watermark, column: seq}
    columns: {product: string, seq: int, amount: "decimal(9,2)"}
tables:
  hub_order: {kind: hub, business_key: order_id, sources: {line: order_id}}
  hub_product: {kind: hub, business_key: product, sources: {line: product, price: product}}
  hub_customer: {kind: hub, business_key: customer, sources: {visit: customer, payment: customer}}
  hub_visit: {kind: hub, business_key: visit_id, sources: {visit: id}}
  hub_payment: {kind: hub, business_key: payment_id, sources: {payment: id}}
  link_line:
    kind: link
    source: line
    references: [{hub: hub_order, columns: order_id}, {hub: hub_product, columns: product}]
    child_key: line_no
  sat_line: {kind: satellite, parent: link_line, source: line, columns: [qty, note]}
  sat_line_effectivity: {kind: effectivity_satellite, parent: link_line, source: line, driving_key: order}
  link_visit:
    kind: link
    source: visit
    references: [{hub: hub_visit, columns: id}, {hub: hub_customer, columns: customer}]
  sat_visit: {kind: satellite, parent: link_visit, source: visit, columns: place}
  sat_visit_status: {kind: status_satellite, parent: link_visit, source: visit}
  link_payment:
    kind: non_historised_link
    source: payment
    references: [{hub: hub_payment, columns: id}, {hub: hub_customer, columns: customer}]
    columns: amount
    measures: amount
  sat_price: {kind: satellite, parent: hub_product, source: price, columns: [seq, amount]}
"""
A = {
    "line": "order_id,line_no,product,qty,note\n1,1,A,5,x\n1,2,B,6,y\n2,1,,7,z",
    "visit": "id,customer,place\n1,ann,Rome\n2,bob,Oslo\n3,,Bern",
    "payment": "id,customer,amount\n1,ann,10.00\n2,bob,20.00\n3,,5.00",
    "price": "product,seq,amount\nA,1,1.00\nA,2,2.00\nB,1,9.00",
}
B = {
    "line": "order_id,line_no,product,qty,note\n1,1,B,5,x\n1,2,B,6,y2\n2,1,A,7,z\n3,1,C,1,new",
    "visit": "id,customer,place\n1,bob,Rome\n2,,Oslo\n4,ann,Bonn",
    "payment": "id,customer,amount\n1,bob,10.00\n2,bob,25.00\n4,ann,1.00",
    "price": "product,seq,amount\nA,3,3.00\nA,4,4.00\nC,1,7.00",
}
C = {
    "line": "order_id,line_no,product,qty,note\n1,1,A,5,x\n2,1,,7,z",
    "visit": "id,customer,place\n1,ann,Rome\n2,bob,Oslo\n3,,Bern",
    "payment": "id,customer,amount\n1,ann,10.00\n2,bob,25.00\n3,,5.00",
    "price": "product,seq,amount\nA,5,4.00",
}
SELECT = ["line", "visit", "payment", "hub_[ocvp]*", "link_*", "sat_line*", "sat_visit*"]
DELIVERIES = [A, B, C, B]
TYPES = {"order_id": int, "line_no": int, "qty": int, "id": int, "seq": int, "amount": Decimal}


def rows_of(text: str) -> list[tuple]:
    """The typed rows of a delivery."""
    head, *lines = [line.split(",") for line in text.splitlines()]
    return [tuple(TYPES.get(n, str)(v) if v else None for n, v in zip(head, line, strict=True)) for line in lines]


def delivered(source: str, number: int) -> Counter:
    """The rows of a delivery as a multiset."""
    return Counter(rows_of(DELIVERIES[number][source]))


def run(lake) -> None:
    result = lake.run(*SELECT)
    assert result.succeeded, [load.message for load in result.loads if load.message]


@pytest.fixture(
    scope="module", params=[pytest.param("a run per delivery", marks=pytest.mark.classic), "all deliveries in one run"]
)
def lake(request, spark, tmp_path_factory):
    """The project after all deliveries, and how far their load date-times stand apart."""
    found = make_lake(spark, tmp_path_factory.mktemp("moves"), PROJECT)
    together = request.param == "all deliveries in one run"
    for delivery in DELIVERIES:
        found.deliver(**{name: text for name, text in delivery.items() if name != "price"})
        if not together:
            run(found)
    if together:
        run(found)
    found.apart = timedelta(seconds=1) if together else timedelta(days=1)
    yield found
    found.drop()


@pytest.mark.parametrize("source", ["line", "visit", "payment"])
@pytest.mark.parametrize("number", range(len(DELIVERIES)))
def test_a_delivery_comes_back_as_of_its_load(lake, source, number):
    moment = FIRST_DAY + number * lake.apart
    frame = restore(lake.project, source, as_of=moment, environment=lake.environment, spark=lake.spark)

    assert Counter(tuple(row) for row in frame.collect()) == delivered(source, number)


def test_of_several_versions_in_one_load_the_last_holds(spark, tmp_path):
    own = make_lake(spark, tmp_path, PROJECT)
    for number, delivery in enumerate((A, B)):
        own.deliver(price=delivery["price"])
        assert own.run("price", "hub_product", "sat_price").succeeded
        moment = FIRST_DAY + timedelta(days=number)
        frame = restore(own.project, "price", as_of=moment, environment=own.environment, spark=spark)
        latest = {row[0]: row for text in (A, B)[: number + 1] for row in rows_of(text["price"])}
        assert Counter(tuple(row) for row in frame.collect()) == Counter(latest.values())
    first = restore(own.project, "price", as_of=FIRST_DAY, environment=own.environment, spark=spark)
    assert sorted(tuple(row) for row in first.collect()) == [("A", 2, Decimal("2.00")), ("B", 1, Decimal("9.00"))]
    own.drop()


def test_views_show_what_restore_gives(lake):
    result = make_views(lake.project, select=["line", "sat_*"], environment=lake.environment, spark=lake.spark)

    assert "line_as_of" in result.made
    assert Counter(lake.rows("vault", "line_as_of")) == delivered("line", len(DELIVERIES) - 1)
    assert lake.rows("vault", "sat_line_effectivity_current", "count(*)") == [(4,)]


def test_views_of_tables_that_were_never_loaded_are_passed_over(spark, tmp_path):
    empty = make_lake(spark, tmp_path, PROJECT)
    result = make_views(empty.project, select=["visit"], environment=empty.environment, spark=spark)

    assert result.made == ()
    assert result.passed_over == {"visit_as_of": "sat_visit_status, sat_visit, link_visit, hub_visit, hub_customer was never loaded. Run it first."}  # fmt: skip
    with pytest.raises(MetadataError, match=r"source 'visit' cannot be restored: .* was never loaded"):
        restore(empty.project, "visit", environment=empty.environment, spark=spark)
    empty.drop()
