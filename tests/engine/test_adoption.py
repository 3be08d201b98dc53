"""A vault that AutomateDV loaded (its acceptance test of several cycles, given as data) is taken over and goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lakehouse.engine.adoption import adopt, adoptable
from lakehouse.engine.workspace import open_workspace
from lakehouse.errors import LoadError, MetadataError
from tests.rows import local_frame, make_lake

pytestmark = [pytest.mark.load, pytest.mark.classic]
CASES = Path(__file__).parents[3] / "shared" / "conformance" / "automate_dv" / "cycle.json"
HASHED = "customer_hk: CUSTOMER_PK, hash_diff: HASHDIFF, load_datetime: LOAD_DATE, applied_datetime: EFFECTIVE_FROM, record_source: SOURCE"
PROJECT = f"""
name: adopted
settings: {{hashing: automate_dv}}
connections: {{files: {{kind: files, path: ./deliveries}}}}
sources:
  customer:
    connection: files
    object: customer
    key: CUSTOMER_ID
    columns: {{CUSTOMER_ID: string, CUSTOMER_NAME: string, CUSTOMER_DOB: date}}
  booking:
    connection: files
    object: booking
    key: BOOKING_ID
    columns: {{BOOKING_ID: string, CUSTOMER_ID: string, BOOKING_DATE: date, PRICE: "decimal(38,2)", DEPARTURE_DATE: date,
      DESTINATION: string, PHONE: string, NATIONALITY: string}}
tables:
  hub_customer:
    kind: hub
    business_key: CUSTOMER_ID
    sources: {{customer: CUSTOMER_ID, booking: CUSTOMER_ID}}
    adopts: {{table: old.hub_customer, columns: {{customer_hk: CUSTOMER_PK, load_datetime: LOAD_DATE, record_source: SOURCE}}}}
  hub_booking:
    kind: hub
    business_key: BOOKING_ID
    sources: {{booking: BOOKING_ID}}
    adopts: {{table: old.hub_booking, columns: {{booking_hk: BOOKING_PK, load_datetime: LOAD_DATE, record_source: SOURCE}}}}
  link_customer_booking:
    kind: link
    source: booking
    references: [{{hub: hub_customer, columns: CUSTOMER_ID}}, {{hub: hub_booking, columns: BOOKING_ID}}]
    adopts:
      table: old.link_customer_booking
      columns: {{link_customer_booking_hk: CUSTOMER_BOOKING_PK, customer_hk: CUSTOMER_PK, booking_hk: BOOKING_PK, load_datetime: LOAD_DATE, record_source: SOURCE}}
  sat_customer:
    kind: satellite
    parent: hub_customer
    source: customer
    columns: [CUSTOMER_NAME, CUSTOMER_DOB]
    hash_diff_columns: [CUSTOMER_ID, CUSTOMER_NAME, CUSTOMER_DOB]
    adopts: {{table: old.sat_cust_customer_details, columns: {{{HASHED}}}}}
  sat_booking:
    kind: satellite
    parent: hub_booking
    source: booking
    columns: [PRICE, BOOKING_DATE, DEPARTURE_DATE, DESTINATION]
    hash_diff_columns: [BOOKING_ID, BOOKING_DATE, PRICE, DEPARTURE_DATE, DESTINATION]
    adopts: {{table: old.sat_book_booking_details, columns: {{{HASHED.replace("customer_hk: CUSTOMER_PK", "booking_hk: BOOKING_PK")}}}}}
"""


@pytest.fixture
def old(spark):
    """The vault as AutomateDV left it, and what its sources say now."""
    if not CASES.exists():
        pytest.skip(f"the conformance cases are not at {CASES.parent.name} beside the project")
    scenario = json.loads(CASES.read_text(encoding="utf-8"))[0]
    spark.sql("CREATE SCHEMA old")
    for action in scenario["actions"]:
        if action["action"] == "expect":
            schema = ", ".join(f"`{name}` STRING" for name in action["columns"])
            local_frame(spark, action["rows"], schema).writeTo(f"old.{action['table'].lower()}").using("delta").create()
    now: dict[str, dict[str, dict]] = {"customer": {}, "booking": {}}
    for action in scenario["actions"]:
        for name, rows in now.items():
            if action["action"] == "source_data" and action["table"].lower().endswith(name):
                for row in action["rows"]:
                    rows[row[0]] = dict(zip(action["columns"], row, strict=True))
    yield now
    spark.sql("DROP SCHEMA old CASCADE")


@pytest.fixture
def lake(spark, tmp_path, old):
    found = make_lake(spark, tmp_path, PROJECT)
    found.runs = 9000  # the runs of the old vault were in 2019
    yield found
    found.drop()


def csv(lake, name, rows):
    columns = list(lake.project.sources[name].columns)
    return "\n".join([",".join(columns), *(",".join(row[column] for column in columns) for row in rows.values())])


def test_an_adopted_vault_goes_on_without_a_spurious_row(spark, lake, old):
    workspace = open_workspace(spark, lake.project, lake.environment)
    taken = {name: adopt(workspace, name) for name in adoptable(workspace, [])}
    again = adopt(workspace, "hub_customer")

    same = lake.load(**{name: csv(lake, name, rows) for name, rows in old.items()})
    old["customer"]["1001"]["CUSTOMER_NAME"] = "Alfred"
    changed = lake.load(**{name: csv(lake, name, rows) for name, rows in old.items()})

    assert {name: result.rows for name, result in taken.items()} == {
        "hub_customer": 16, "hub_booking": 16, "link_customer_booking": 16, "sat_customer": 21, "sat_booking": 17,
    }  # fmt: skip
    assert (again.rows, again.message) == (0, "has rows already")
    assert {name: same[name].counts["inserted"] for name in taken} == dict.fromkeys(taken, 0)
    assert {name: changed[name].counts.get("inserted", 0) for name in taken} == {
        **dict.fromkeys(taken, 0),
        "sat_customer": 1,
    }


def test_hashes_of_another_preset_are_told_before_anything_is_copied(spark, tmp_path, old):
    lake = make_lake(spark, tmp_path, PROJECT.replace("hashing: automate_dv", "hashing: datavault4dbt_v2"))
    workspace = open_workspace(spark, lake.project, lake.environment)

    with pytest.raises(
        LoadError, match=r"lakehouse\.yml:\d+: of 16 values of customer_hk, 16 are not what preset 'datavault4dbt_v2'"
    ):
        adopt(workspace, "hub_customer")

    assert not workspace.exists(lake.project.tables["hub_customer"].relation)
    lake.drop()


def test_binary_hashes_of_text_are_refused_and_an_unknown_table_is_named(spark, tmp_path, old):
    lake = make_lake(
        spark, tmp_path, PROJECT.replace("hashing: automate_dv", "hashing: automate_dv, hash_output: binary")
    )
    workspace = open_workspace(spark, lake.project, lake.environment)

    with pytest.raises(LoadError, match=r"customer_hk is string there and binary here\. Set hash_output: string"):
        adopt(workspace, "hub_customer")
    with pytest.raises(MetadataError, match=r"'hub_custmer' is not in the project\."):
        adoptable(workspace, ["hub_custmer"])
    lake.drop()
