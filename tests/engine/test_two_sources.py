"""One hub fed by two sources: in one run, and with the run of one of them taken back."""

from __future__ import annotations

import pytest

from lakehouse.engine.catalogs import open_catalog
from lakehouse.engine.maintenance import Maintenance
from lakehouse.engine.workspace import open_workspace
from tests.rows import Lake, make_lake

pytestmark = [pytest.mark.load, pytest.mark.classic]

PROJECT = """
name: two
connections: {files: {kind: files, path: ./deliveries}}
sources:
  shop: {connection: files, object: shop, key: no, columns: {no: int, name: string}}
  crm: {connection: files, object: crm, key: id, columns: {id: int, customer: int, city: string}}
tables:
  hub_customer: {kind: hub, business_key: customer_no, sources: {shop: no, crm: customer}}
  sat_name: {kind: satellite, parent: hub_customer, source: shop, columns: [name]}
  sat_city: {kind: multi_active_satellite, parent: hub_customer, source: crm, multi_active_key: id, columns: [city]}
"""
SHOP = "no,name\n1,Ann\n2,Bob"
CRM = "id,customer,city\n10,2,Ulm\n11,3,Kiel\n12,3,Jena"


@pytest.fixture
def lake(spark, tmp_path):
    found = make_lake(spark, tmp_path, PROJECT)
    yield found
    found.drop()


def keys(lake: Lake):
    return lake.rows("vault", "hub_customer", "customer_no, record_source")


def test_both_sources_in_one_run_give_each_key_once(lake: Lake):
    result = lake.load(shop=SHOP, crm=CRM)

    counts = result["hub_customer"].counts
    assert (counts["read"], counts["inserted"], counts["duplicate"]) == (5, 3, 2)
    assert keys(lake) == [(1, "files.shop"), (2, "files.crm"), (3, "files.crm")]
    assert lake.load(shop=SHOP, crm=CRM).written() == 0


def test_a_rollback_of_one_source_leaves_the_keys_that_the_other_told_first(lake: Lake):
    lake.load(shop=SHOP)
    before = keys(lake)
    second = lake.load(crm=CRM)
    after = keys(lake)
    workspace = open_workspace(lake.spark, lake.project, lake.environment)

    Maintenance(workspace, open_catalog(lake.project, lake.environment, lake.spark)).rollback(second.run_id)

    assert before == keys(lake) == [(1, "files.shop"), (2, "files.shop")]
    assert lake.rows("vault", "sat_city") == []
    lake.runs -= 1  # the same day again
    assert lake.run().succeeded
    assert keys(lake) == after == [*before, (3, "files.crm")]
