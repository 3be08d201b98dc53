"""Point-in-time tables: hub and satellite rows -> pointers per snapshot or span, loaded in any order of batches."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakehouse import read_project
from lakehouse.metadata.table import OFFSET
from lakehouse.sql.ddl import empty_relation
from tests.rows import local_frame

pytestmark = pytest.mark.load

PROJECT = """
name: shop
connections: {files: {kind: files, path: ./deliveries}}
sources:
  customer: {connection: files, object: customer, key: [no], columns: {no: string, phone: string, city: string}}
tables:
  hub_customer: {kind: hub, business_key: customer_no, sources: {customer: no}}
  sat_a: {kind: satellite, parent: hub_customer, source: customer, columns: [phone]}
  sat_b: {kind: satellite, parent: hub_customer, source: customer, columns: [city]}
  pit_daily: {kind: point_in_time, parent: hub_customer, satellites: [sat_a, sat_b], snapshots: {daily: 1000}}
  pit_thin: {kind: point_in_time, parent: hub_customer, satellites: [sat_a], snapshots: {daily: 2, weekly: 2, monthly: 2, yearly: 1, dates: [2023-11-15]}}
  pit_ranges: {kind: point_in_time, parent: hub_customer, satellites: [sat_a, sat_b], snapshots: ranges}
"""
FIRST = datetime(2024, 1, 1)
INPUTS = ("hub_customer", "sat_a", "sat_b")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    (folder / "lakehouse.yml").write_text(PROJECT, encoding="utf-8")
    return read_project(folder)


def noon(day):
    return FIRST + timedelta(days=day - 1, hours=12)


class Pit:
    """One table, loaded from rows of its inputs: (table, key, day)."""

    def __init__(self, spark, load):
        self.spark, self.load = spark, load
        self.inputs = {entry.name: [] for entry in load.inputs}
        self.stored, self.position = [], 0

    def run(self, *rows, rebuild=False):
        """Adds rows to the inputs and loads; the outcomes."""
        offset, self.position = self.position, self.position + 1
        for table, key, day in rows:
            if table in self.inputs:
                self.inputs[table].append((key.encode(), noon(day), self.position))
        relations = {"target": self.target([] if rebuild else self.stored)}
        schema = "customer_hk BINARY, load_datetime TIMESTAMP, load_position BIGINT"
        for name, held in self.inputs.items():
            relations[name] = local_frame(self.spark, held, schema)
            relations[name + OFFSET] = "-1" if rebuild else str(offset)
        found = self.load.select.on(self.spark, relations).collect()
        names = [name for name in self.load.definition.names if name != "load_position"]
        keys = [names.index(key) for key in self.load.keys]
        changed = {
            tuple(bytes(v) if isinstance(v, bytearray) else v for v in (row[n] for n in names)): row["outcome"]
            for row in found
        }
        touched = {tuple(row[i] for i in keys) for row, outcome in changed.items() if outcome != "unchanged"}
        kept = [row for row in ([] if rebuild else self.stored) if tuple(row[i] for i in keys) not in touched]
        self.stored = kept + [row for row, outcome in changed.items() if outcome in ("inserted", "updated")]
        return Counter(row["outcome"] for row in found)

    def target(self, rows):
        if not rows:
            return empty_relation(self.load.definition)
        schema = ", ".join(f"`{column.name}` {column.type}" for column in self.load.definition.columns)
        return local_frame(self.spark, [(*row, 1) for row in rows], schema)

    def rows(self):
        """The stored rows: keys as text, moments as days; 1900 is None."""
        return Counter(tuple(shown(value) for value in row) for row in self.stored)


def shown(value):
    if isinstance(value, bytes):
        return None if value == bytes(16) else value.decode()
    if value.year in (1900, 9999):
        return None
    return (value - FIRST) / timedelta(days=1) + 1


def expected(rows, satellites, *, days):
    """What each key's snapshot at the end of each day says."""
    found = Counter()
    keys = {key for table, key, _ in rows if table == "hub_customer"}
    for day in days:
        for key in keys:
            if min(d for table, k, d in rows if (table, k) == ("hub_customer", key)) > day:
                continue
            pointers = []
            for satellite in satellites:
                known = [d for table, k, d in rows if (table, k) == (satellite, key) and d <= day]
                pointers += [key, max(known) + 0.5] if known else [None, None]
            found[(key, day + 1.0, *pointers)] += 1
    return found


def test_each_snapshot_points_to_the_version_that_was_the_last_then(spark, project):
    pit = Pit(spark, project.table("pit_daily"))
    rows = [
        ("hub_customer", "x", 1),
        ("sat_a", "x", 1),
        ("sat_a", "x", 3),
        ("sat_b", "x", 2),
        ("hub_customer", "y", 3),
        ("sat_b", "y", 4),
    ]
    pit.run(*rows)

    assert pit.rows() == expected(rows, ("sat_a", "sat_b"), days=(1, 2, 3))
    assert pit.run() == Counter()


def test_a_late_row_repairs_older_snapshots_and_nothing_else(spark, project):
    pit = Pit(spark, project.table("pit_daily"))
    rows = [(t, k, 1) for t in INPUTS for k in "xy"] + [("sat_a", "x", 5)]
    pit.run(*rows)
    outcomes = pit.run(("sat_b", "y", 3))

    assert outcomes["updated"] == 2
    assert not outcomes["inserted"]
    assert pit.rows() == expected([*rows, ("sat_b", "y", 3)], ("sat_a", "sat_b"), days=(1, 2, 3, 4))


def test_the_calendar_thins_out(spark, project):
    pit = Pit(spark, project.table("pit_thin"))
    pit.run(("hub_customer", "x", -400), ("sat_a", "x", -400), ("sat_a", "x", 44))
    days = sorted((FIRST + timedelta(days=day - 1)).date().isoformat() for _, day, *_ in pit.rows())
    # the newest load is on 2024-02-13, a Tuesday
    assert days == ["2023-11-15", "2024-01-01", "2024-02-01", "2024-02-05", "2024-02-12", "2024-02-13"]

    outcomes = pit.run(("sat_a", "x", 45))
    days = sorted((FIRST + timedelta(days=day - 1)).date().isoformat() for _, day, *_ in pit.rows())
    assert days == ["2023-11-15", "2024-01-01", "2024-02-01", "2024-02-05", "2024-02-12", "2024-02-13", "2024-02-14"]
    assert outcomes["inserted"] == 1

    outcomes = pit.run(("sat_a", "x", 56))
    days = sorted((FIRST + timedelta(days=day - 1)).date().isoformat() for _, day, *_ in pit.rows())
    assert days == ["2023-11-15", "2024-01-01", "2024-02-01", "2024-02-12", "2024-02-19", "2024-02-24", "2024-02-25"]
    assert outcomes["removed"] == 3


def test_ranges_say_from_when_to_when_nothing_changed(spark, project):
    pit = Pit(spark, project.table("pit_ranges"))
    pit.run(("hub_customer", "x", 1), ("sat_a", "x", 1), ("sat_b", "x", 3))
    assert pit.rows() == Counter([("x", 1.5, 3.5, "x", 1.5, None, None), ("x", 3.5, None, "x", 1.5, "x", 3.5)])

    pit.run(("sat_a", "x", 2))
    assert pit.rows() == Counter(
        [
            ("x", 1.5, 2.5, "x", 1.5, None, None),
            ("x", 2.5, 3.5, "x", 2.5, None, None),
            ("x", 3.5, None, "x", 2.5, "x", 3.5),
        ]
    )


ROWS = st.lists(
    st.tuples(st.sampled_from(["sat_a", "sat_b"]), st.sampled_from("xy"), st.integers(1, 6)), unique=True, max_size=6
)


@pytest.mark.classic
@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(batches=st.lists(ROWS, min_size=2, max_size=2))
@pytest.mark.parametrize("name", ["pit_daily", "pit_ranges"])
def test_any_order_of_batches_gives_what_a_rebuild_gives(spark, project, name, batches):
    pit = Pit(spark, project.table(name))
    seen = {("hub_customer", "x", 1), ("hub_customer", "y", 2)}
    pit.run(*seen)
    for batch in batches:
        pit.run(*(set(batch) - seen))
        seen |= set(batch)
    step_by_step = pit.rows()
    pit.run(rebuild=True)

    assert step_by_step == pit.rows()
    if name == "pit_daily":
        last = max(day for _, _, day in seen)
        assert step_by_step == expected(seen, ("sat_a", "sat_b"), days=range(1, last))
