"""A vault over an external stage: prepared columns, ready-made keys and hash diffs, loaded directly without log and catalog."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

import lakehouse
from lakehouse import LoadError, read_project
from lakehouse.errors import MetadataError

pytestmark = pytest.mark.load
PROJECT = Path(__file__).parents[1] / "golden" / "external"
STAGED = "customer_pk | order_pk | item_pk | id | name | phone | row_hash | until:date | load_datetime:timestamp | record_source"


@pytest.fixture(scope="module")
def project():
    return read_project(PROJECT)


class Table:
    """One table of the project, loaded directly."""

    def __init__(self, spark, frame, project, schema, name):
        self.spark, self.frame, self.place = spark, frame, f"{schema}.{name}"
        self.table = project.table(name)

    def load(self, *lines):
        """Loads staged rows: cells by name, others NULL."""
        names = [head.partition(":")[0].strip() for head in STAGED.split("|")]
        given = [dict(cell.split("=") for cell in line.split()) for line in lines]
        rows = [" | ".join({"load_datetime": "2024-01-01", "record_source": "s", **cells}.get(n, "NULL") for n in names) for cells in given]  # fmt: skip
        staged = self.frame("\n".join([STAGED, *rows]))
        return lakehouse.load(self.table, staged, spark=self.spark, target=self.place)

    def rows(self, *columns, ghosts=False):
        where = "TRUE" if ghosts else "record_source <> 'ghost'"
        found = self.spark.sql(f"SELECT {', '.join(columns)} FROM {self.place} WHERE {where}").collect()
        return sorted((tuple(row) for row in found), key=repr)


@pytest.fixture
def table(spark, frame, project, schema):
    return lambda name: Table(spark, frame, project, schema, name)


def test_columns_are_derived_then_replaced_then_hashed_then_ranked(spark, frame, project):
    raw = frame(
        "id | item | name | day:date\nA | 1 | Ada | 2024-01-01\nA | 2 | Ada | 2024-01-02\nNULL | 3 | Ida | 2024-01-01"
    )

    rows = lakehouse.prepare(project, "raw", raw, spark=spark).orderBy("item").collect()

    assert [(r["id"], r["id_original"], r["position"]) for r in rows] == [("A", "A", 2), ("A", "A", 1), ("-1", None, 1)]
    assert rows[0]["customer_pk"] == rows[1]["customer_pk"] == "7FC56270E7A70FA81A5935B72EACBE29"
    assert rows[2]["customer_pk"] == "6BB61E3B7BCE0931DA574D19D1D82C88"
    assert rows[0]["row_hash"] != rows[1]["row_hash"]


def test_a_source_that_does_not_exist_is_named(frame, project, spark):
    with pytest.raises(MetadataError, match=r"no source 'rwa'\. Known: raw, staged"):
        lakehouse.prepare(project, "rwa", frame("id\nA"), spark=spark)


def test_a_hub_takes_its_key_as_the_stage_holds_it(table):
    hub = table("hub_customer")

    first = hub.load("customer_pk=K1 id=1 name=Ada", "customer_pk=K1 id=1 name=Ida", "id=2")
    again = hub.load("customer_pk=K1 id=1 name=Ida load_datetime=2024-01-02")

    assert (first["inserted"], first["duplicate"], first["excluded"], again["inserted"]) == (1, 1, 1, 0)
    assert [row[:2] for row in hub.rows("customer_pk", "customer_id", "name")] == [("K1", "1")]


def test_a_link_row_without_a_reference_is_left_out_by_setting(table):
    link = table("link_order")

    counts = link.load("order_pk=O1 customer_pk=K1 item_pk=I1", "order_pk=O2 customer_pk=K1")

    assert (counts["inserted"], counts["excluded"]) == (1, 1)
    assert link.rows("order_pk", "customer_pk", "item_pk") == [("O1", "K1", "I1")]


def test_rows_of_a_key_at_one_moment_are_a_set_where_ties_are_kept(table):
    satellite = table("sat_customer")
    day = "load_datetime=2024-01-0"

    satellite.load(f"customer_pk=K1 name=A row_hash=a {day}1")
    tied = satellite.load(f"customer_pk=K1 name=A row_hash=a {day}2", f"customer_pk=K1 name=B row_hash=b {day}2")
    back = satellite.load(f"customer_pk=K1 name=A row_hash=a {day}3")
    replay = satellite.load(f"customer_pk=K1 name=A row_hash=a {day}3", f"customer_pk=K1 name=A row_hash=a {day}4")

    assert (tied["inserted"], back["inserted"], replay["inserted"], replay["unchanged"]) == (2, 1, 0, 2)
    assert satellite.rows("name", "day(load_datetime)") == [("A", 1), ("A", 2), ("A", 3), ("B", 2)]


def test_a_satellite_of_a_key_of_two_columns_compares_by_both(table):
    satellite = table("sat_pair")

    satellite.load(
        "customer_pk=K1 item_pk=I1 name=A row_hash=a",
        "customer_pk=K1 item_pk=I2 name=A row_hash=a",
        "customer_pk=K1 row_hash=a",
    )
    again = satellite.load(
        "customer_pk=K1 item_pk=I1 name=B row_hash=b load_datetime=2024-01-02",
        "customer_pk=K1 item_pk=I2 name=A row_hash=a load_datetime=2024-01-02",
    )

    assert (again["inserted"], again["unchanged"]) == (1, 1)
    assert satellite.rows("item_pk", "name") == [("I1", "A"), ("I1", "B"), ("I2", "A")]


def test_a_ready_made_hash_without_the_multi_active_key_still_tells_its_rows_apart(table):
    satellite = table("sat_phone")

    satellite.load("customer_pk=K1 phone=1 name=A row_hash=a", "customer_pk=K1 phone=2 name=A row_hash=a")
    same = satellite.load(*(f"customer_pk=K1 phone={n} name=A row_hash=a load_datetime=2024-01-02" for n in (2, 1)))
    fewer = satellite.load("customer_pk=K1 phone=2 name=A row_hash=a load_datetime=2024-01-03")

    assert (same["inserted"], fewer["inserted"]) == (0, 1)
    assert satellite.rows("phone", "day(load_datetime)") == [("1", 1), ("2", 1), ("2", 3)]


def test_delivered_combinations_close_those_of_their_driving_key_and_open_again(table):
    satellite = table("sat_order")
    of = "customer_pk=K1 load_datetime=2024-01-0"

    satellite.load(f"{of}1 order_pk=O1 item_pk=I1", f"{of}2 order_pk=O2 item_pk=I2", f"{of}3 order_pk=O1 item_pk=I1")
    replay = satellite.load(f"{of}3 order_pk=O1 item_pk=I1")
    late = satellite.load(f"{of}4 order_pk=O1 item_pk=I1 until=2024-01-03")

    assert (replay["inserted"], late["inserted"]) == (0, 1)
    assert satellite.rows("item_pk", "active_flag", "day(load_datetime)") == sorted(
        [("I1", True, 1), ("I1", False, 2), ("I2", True, 2), ("I2", False, 3), ("I1", True, 3), ("I1", False, 4)],
        key=repr,
    )


def test_a_satellite_begins_with_one_ghost_record(table):
    satellite = table("sat_customer")
    satellite.load()
    satellite.load("customer_pk=K1 name=A row_hash=a")

    ghost = [
        row
        for row in satellite.rows("customer_pk", "name", "row_audit_id", "load_datetime", ghosts=True)
        if row[0] != "K1"
    ]

    assert ghost == [("0" * 32, None, None, datetime(1900, 1, 1))]


def test_rows_are_cut_into_periods_and_ranks(spark, frame):
    rows = frame("at:timestamp | n:int\n2024-01-01 10:00:00 | 2\n2024-01-01 11:00:00 | 1\n2024-01-03 00:00:00 | 1")

    days = [bucket.count() for bucket in lakehouse.batches(rows, "at", period="day")]
    one_day = [bucket.count() for bucket in lakehouse.batches(rows, "at", period="day", stop="2024-01-02")]
    ranks = [sorted(row["n"] for row in bucket.collect()) for bucket in lakehouse.batches(rows, "n")]

    assert (days, one_day, ranks) == ([2, 1], [2], [[1, 1], [2]])


@pytest.mark.parametrize(("period", "told"), [("millisecond", "172,800,001"), ("microsecond", "not a period")])
def test_a_period_that_is_too_small_or_unknown_is_refused(frame, period, told):
    rows = frame("at:timestamp\n2024-01-01\n2024-01-03")
    with pytest.raises(LoadError, match=told.replace("172,800,001", "periods of a millisecond")):
        list(lakehouse.batches(rows, "at", period=period))
