"""Every kind of the raw vault through the engine: deliveries, nothing new, a lost control catalog, rebuild."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakehouse import read_project
from lakehouse.engine.catalogs import open_catalog
from lakehouse.engine.maintenance import Maintenance
from lakehouse.engine.workspace import open_workspace
from tests.rows import Lake

pytestmark = [pytest.mark.load, pytest.mark.classic]
PROJECT = Path(__file__).parents[1] / "golden" / "kinds"
FIRST = {
    "phone": "CustomerID,PhoneType,Number\n1,home,11\n1,work,12\n2,home,21",
    "customer": "CustomerID,Club,MemberSince,MemberUntil\n1,A,2023-12-31,\n2,B,2023-12-31,",
    "sale": "SaleID,CustomerID,Amount,Remark\n10,1,5.00,first\n11,2,7.00,second",
    "culture": "CultureID,Name\nen,English\nde,German",
}
SECOND = {
    "phone": "CustomerID,PhoneType,Number\n1,home,11\n1,work,99",
    "customer": "CustomerID,Club,MemberSince,MemberUntil\n1,B,2024-01-01,\n2,B,2023-12-31,",
    "sale": "SaleID,CustomerID,Amount,Remark\n10,1,6.00,first\n12,1,8.00,third",
    "culture": "CultureID,Name\nen,English\nde,Deutsch",
}
STAMPS = {"load_position", "row_audit_id"}


@pytest.fixture(scope="module")
def lake(spark, tmp_path_factory):
    found = Lake(spark, read_project(PROJECT), tmp_path_factory.mktemp("kinds"))
    found.load(**FIRST)
    found.load(**SECOND)
    yield found
    found.drop()


def contents(lake):
    """Every table without what tells one run from another."""
    found = {}
    for name, table in lake.project.tables.items():
        columns = [f"`{c}`" for c in lake.spark.table(lake.name(table.layer, name)).columns if c not in STAMPS]
        found[name] = lake.rows(table.layer, name, ", ".join(columns))
    return found


def test_every_kind_keeps_what_two_deliveries_say(lake: Lake):
    assert lake.rows("vault", "sat_phone", "PhoneType, Number, deleted_flag") == sorted(
        [("home", "11", False), ("work", "12", False), ("home", "21", False), ("home", "11", False), ("work", "99", False),
         ("home", "21", True)],
        key=repr,
    )  # fmt: skip
    assert [row[0] for row in lake.rows("vault", "sat_membership", "active_flag")] == [False, True, True, True]
    assert lake.rows("vault", "sat_customer_status", "status") == [("I",), ("I",), ("U",)]
    assert len(lake.rows("vault", "sat_customer_seen")) == 3
    amounts = lake.rows("vault", "link_sale", "sum(Amount), count(*), count_if(reversal_flag)")[0]
    assert (float(amounts[0]), *amounts[1:]) == (14.0, 6, 2)
    assert lake.rows("vault", "sat_sale_remark", "Remark") == [("first",), ("second",), ("third",)]
    assert lake.rows("vault", "ref_culture", "CultureID, Name") == [("de", "Deutsch"), ("en", "English")]
    assert len(lake.rows("vault", "ref_culture_history")) == 3
    assert lake.rows("vault", "pit_customer", "count(*), count(DISTINCT snapshot_datetime)") == [(4, 2)]


def test_nothing_new_a_lost_catalog_and_a_rebuild_change_nothing(lake: Lake):
    before = contents(lake)
    assert lake.run().written() == 0

    for file in (lake.folder / "wh").glob("control.db*"):
        file.unlink()
    again = lake.run()
    assert again.succeeded, [load.message for load in again.loads if load.message]
    assert contents(lake) == before

    maintenance = Maintenance(open_workspace(lake.spark, lake.project, lake.environment), open_catalog(lake.project, lake.environment, lake.spark))  # fmt: skip
    names = [name for name in lake.project.tables if name not in ("ref_culture",)]
    for name in names:
        maintenance.rebuild(name)
    assert lake.run().succeeded
    assert contents(lake) == before
