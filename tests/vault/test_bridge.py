"""Bridges: hub, link and effectivity rows -> the paths that hold per snapshot or now, in any order of batches."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakehouse import read_project
from lakehouse.errors import MetadataError
from lakehouse.metadata.table import OFFSET
from lakehouse.sql.ddl import empty_relation
from tests.rows import local_frame

pytestmark = pytest.mark.load

PROJECT = """
name: shop
connections: {files: {kind: files, path: ./deliveries}}
sources:
  sale: {connection: files, object: sale, key: [no], columns: {no: string, customer: string, product: string}}
  part: {connection: files, object: part, key: [product, part], columns: {product: string, part: string}}
tables:
  hub_customer: {kind: hub, business_key: customer_no, sources: {sale: customer}}
  hub_product: {kind: hub, business_key: product_no, sources: {sale: product, part: product}}
  hub_part: {kind: hub, business_key: part_no, sources: {part: part}}
  link_sale: {kind: link, source: sale, references: [{hub: hub_customer, columns: customer}, {hub: hub_product, columns: product}]}
  link_part: {kind: link, source: part, references: [{hub: hub_product, columns: product}, {hub: hub_part, columns: part}]}
  sat_sale: {kind: effectivity_satellite, parent: link_sale, source: sale, driving_key: customer}
  bridge_daily:
    kind: bridge
    parent: hub_customer
    links: [{link: link_sale, effectivity: sat_sale}, {link: link_part}]
    columns: customer_no
    snapshots: {daily: 1000}
  bridge_now: {kind: bridge, parent: hub_customer, links: [{link: link_sale, effectivity: sat_sale}, {link: link_part}]}
"""
FIRST = datetime(2024, 1, 1)
SCHEMAS = {
    "hub_customer": "customer_hk BINARY, customer_no STRING",
    "link_sale": "link_sale_hk BINARY, customer_hk BINARY, product_hk BINARY",
    "link_part": "link_part_hk BINARY, product_hk BINARY, part_hk BINARY",
    "sat_sale": "link_sale_hk BINARY, active_flag BOOLEAN, ends_at TIMESTAMP",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bridge")
    (folder / "lakehouse.yml").write_text(PROJECT, encoding="utf-8")
    return read_project(folder)


def noon(day):
    return FIRST + timedelta(days=day - 1, hours=12)


def as_row(table, said):
    """The row of a table that a short saying stands for: hub x; link x, p; sat x, p, + or -."""
    parts = [part.encode() for part in said]
    if table == "hub_customer":
        return (parts[0], said[0])
    if table == "sat_sale":
        return (b"".join(parts[:2]), said[2] == "+", datetime(9999, 12, 31))
    return (b"".join(parts), *parts)


class Bridge:
    """One bridge, loaded from rows of its inputs: (table, saying, day)."""

    def __init__(self, spark, load):
        self.spark, self.load = spark, load
        self.inputs = {entry.name: [] for entry in load.inputs}
        self.stored, self.position = [], 0

    def run(self, *rows, rebuild=False):
        """Adds rows to the inputs and loads; the outcomes."""
        offset, self.position = self.position, self.position + 1
        for table, said, day in rows:
            self.inputs[table].append((*as_row(table, said), noon(day), self.position))
        if rebuild:
            self.stored, offset = [], -1
        relations = {"target": self.target()}
        for name, held in self.inputs.items():
            schema = f"{SCHEMAS[name]}, load_datetime TIMESTAMP, load_position BIGINT"
            relations[name] = local_frame(self.spark, held, schema)
            relations[name + OFFSET] = str(offset)
        found = self.load.select.on(self.spark, relations).collect()
        names = [name for name in self.load.definition.names if name != "load_position"]
        changed = [(tuple(plain(row[n]) for n in names), row["outcome"]) for row in found]
        gone = {row for row, outcome in changed if outcome == "removed"}
        keys = [names.index(key) for key in self.load.keys]
        taken = {tuple(row[i] for i in keys) for row in gone}
        self.stored = [row for row in self.stored if tuple(row[i] for i in keys) not in taken]
        self.stored += [row for row, outcome in changed if outcome == "inserted"]
        assert not [row for row, outcome in changed if outcome == "updated"]
        return Counter(outcome for _, outcome in changed)

    def target(self):
        if not self.stored:
            return empty_relation(self.load.definition)
        schema = ", ".join(f"`{column.name}` {column.type}" for column in self.load.definition.columns)
        return local_frame(self.spark, [(*row, 1) for row in self.stored], schema)

    def rows(self):
        """The stored rows: keys as text, moments as days."""
        return Counter(tuple(shown(value) for value in row) for row in self.stored)


def plain(value):
    return bytes(value) if isinstance(value, bytearray) else value


def shown(value):
    if isinstance(value, bytes):
        return value.decode()
    return (value - FRIDAY) // timedelta(days=1) if isinstance(value, datetime) else value


FRIDAY = FIRST - timedelta(days=1)


def expected(rows, days):
    """The paths that hold at the end of each day, by looking at every row."""
    found = Counter()
    for day in days:
        known = [(table, said) for table, said, told in sorted(rows, key=lambda row: row[2]) if told <= day]
        states = {said[:2]: said[2] == "+" for table, said in known if table == "sat_sale"}
        for sale in {said for table, said in known if table == "link_sale" and states.get(said)}:
            for part in {said for table, said in known if table == "link_part" and said[0] == sale[1]}:
                if ("hub_customer", sale[0]) in known:
                    found[(sale[0], sale[0], day + 1, sale, part)] += 1
    return found


START = [
    ("hub_customer", "x", 1),
    ("hub_customer", "y", 2),
    ("link_part", "pa", 1),
    ("link_part", "pb", 3),
    ("link_part", "qa", 1),
]


def test_paths_hold_while_every_link_of_them_does(spark, project):
    bridge = Bridge(spark, project.table("bridge_daily"))
    rows = [*START, ("link_sale", "xp", 1), ("sat_sale", "xp+", 1), ("sat_sale", "xp-", 4), ("link_sale", "xq", 4), ("sat_sale", "xq+", 4)]  # fmt: skip
    bridge.run(*rows)

    assert bridge.rows() == expected(rows, (1, 2, 3))
    outcomes = bridge.run(("sat_sale", "xq-", 6))
    assert bridge.rows() == expected([*rows, ("sat_sale", "xq-", 6)], (1, 2, 3, 4, 5))
    assert not outcomes["removed"]
    assert not bridge.run()["inserted"]


def test_what_holds_now_follows_the_last_row(spark, project):
    bridge = Bridge(spark, project.table("bridge_now"))

    bridge.run(*START, ("link_sale", "xp", 1), ("sat_sale", "xp+", 1))
    assert bridge.rows() == Counter({("x", "xp", "pa"): 1, ("x", "xp", "pb"): 1})
    outcomes = bridge.run(("sat_sale", "xp-", 2), ("link_sale", "xq", 2), ("sat_sale", "xq+", 2))

    assert bridge.rows() == Counter({("x", "xq", "qa"): 1})
    assert (outcomes["removed"], outcomes["inserted"]) == (2, 1)


SAYINGS = st.sampled_from(
    [(table, said, day) for day in (1, 2, 3, 5) for table, said in (
        ("link_sale", "xp"), ("link_sale", "xq"), ("link_sale", "yp"), ("link_part", "qc"),
        ("sat_sale", "xp+"), ("sat_sale", "xq+"), ("sat_sale", "yp+"))]
    + [("sat_sale", said, day) for day in (4, 6) for said in ("xp-", "xq-", "yp-")]
)  # fmt: skip


@pytest.mark.classic
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(SAYINGS, max_size=4, unique=True), min_size=1, max_size=3))
def test_any_order_of_batches_gives_what_a_rebuild_gives(spark, project, batches):
    bridge = Bridge(spark, project.table("bridge_daily"))
    seen = set(START)
    bridge.run(*START)
    for batch in batches:
        bridge.run(*(set(batch) - seen))
        seen |= set(batch)
    step_by_step = bridge.rows()
    bridge.run(rebuild=True)

    assert step_by_step == bridge.rows() == expected(seen, range(1, max(day for _, _, day in seen)))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("{link: link_part}", "{link: link_prat}"), "names link 'link_prat', which is not in the project"),
        (
            ("{link: link_sale, effectivity: sat_sale}, {link: link_part}", "{link: link_part}"),
            "comes from 'hub_customer' to link 'link_part'",
        ),
        (("effectivity: sat_sale", "effectivity: sat_sail"), "is no effectivity satellite of 'link_sale'"),
        (("{link: link_part}", "{link: link_part, via: prat}"), "leaves link 'link_part' by end 'prat'"),
    ],
)
def test_a_broken_chain_is_told_with_its_place(tmp_path, change, told):
    (tmp_path / "lakehouse.yml").write_text(PROJECT.replace(*change), encoding="utf-8")
    with pytest.raises(MetadataError) as error:
        read_project(tmp_path)
    assert told in str(error.value)
    assert "lakehouse.yml:" in str(error.value)
