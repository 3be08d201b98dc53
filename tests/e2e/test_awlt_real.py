"""The sample's metadata on the real AdventureWorksLT rows; expected figures come from DuckDB over the files."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from lakehouse import BatchResult, read_project, restore
from lakehouse.engine import table_load
from lakehouse.engine.catalogs import open_catalog
from lakehouse.samples.project import SAMPLES, write_sample
from lakehouse.status import story
from tests.rows import Lake, table_rows

DATA = Path(__file__).parents[3] / "shared" / "data" / "awlt" / "csv"
TYPED = DATA.parent / "parquet"
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real AdventureWorksLT rows are not beside the project"),
]
HUBS = {
    "hub_customer": ("Customer", "CustomerID"),
    "hub_address": ("Address", "AddressID"),
    "hub_product": ("Product", "ProductID"),
    "hub_product_category": ("ProductCategory", "ProductCategoryID"),
    "hub_product_model": ("ProductModel", "ProductModelID"),
    "hub_product_description": ("ProductDescription", "ProductDescriptionID"),
    "hub_sales_order": ("SalesOrderHeader", "SalesOrderID"),
}
WINDOWS = (
    "ModifiedDate < '2007-01-01'",
    "ModifiedDate >= '2007-01-01' AND ModifiedDate < '2008-01-01'",
    "ModifiedDate >= '2008-01-01' AND ModifiedDate < '2008-07-01'",
    "ModifiedDate >= '2008-07-01'",
)


@pytest.fixture(scope="module")
def files():
    """The files as DuckDB tables of text."""
    db = duckdb.connect()
    for path in DATA.glob("*.csv"):
        db.execute(f"CREATE TABLE {path.stem} AS SELECT * FROM read_csv('{path}', all_varchar = true, header = true)")
    return db


@dataclass
class Restarted:
    """A batch in which one load of the vault failed, and the one that went on with it."""

    failed: BatchResult
    healed: BatchResult
    told: str
    """What ``lakehouse status`` says of the second."""


@pytest.fixture(scope="module")
def loaded(spark, tmp_path_factory):
    """The sample project, loaded with everything; a satellite failed at first, and the files were gone when it went on."""
    folder = tmp_path_factory.mktemp("awlt")
    lake = Lake(spark, read_project(SAMPLES["awlt"]), folder)
    shutil.copytree(DATA, folder / "deliveries" / "full")
    with pytest.MonkeyPatch.context() as patch:
        original = table_load.TableLoad._write
        patch.setattr(table_load.TableLoad, "_write", lambda load, *args: _broken(load, original, *args))
        failed = lake.run()
    shutil.move(folder / "deliveries", folder / "away")
    (folder / "deliveries").mkdir()
    healed = lake.run()
    shutil.rmtree(folder / "deliveries")
    shutil.move(folder / "away", folder / "deliveries")
    assert healed.succeeded, [load.message for load in healed.loads if load.message]
    catalog = open_catalog(lake.project, lake.environment, spark)
    yield lake, Restarted(failed, healed, " ".join(story(catalog.latest_batch())))
    lake.drop()


def _broken(load, original, *args):
    if load.load.name == "sat_customer_contact":
        raise RuntimeError("no space left for sat_customer_contact")
    return original(load, *args)


def test_a_failed_vault_load_is_made_up_for_without_copying_anything_again(loaded):
    lake, restarted = loaded
    states = {load.name: load.state for load in restarted.failed.loads}
    assert states["sat_customer_contact"] == "failed"
    assert states["customer"] == states["hub_customer"] == "succeeded"
    assert states["dim_customer"] == "skipped"
    assert "fact_sales_line" in {name for name, state in states.items() if state == "skipped"}
    landed = [load for load in restarted.healed.loads if load.name in lake.project.sources]
    assert all(load.message.startswith("done by run") for load in landed)
    assert len(landed) == 10
    runs = {row[0] for row in lake.rows("persistent_stage", "awlt_customer", "DISTINCT row_audit_id")}
    assert {row[0] for row in lake.rows("vault", "sat_customer_contact", "DISTINCT row_audit_id")} == runs
    assert f"It went on with run {restarted.failed.run_id}, which had failed." in restarted.told
    assert (
        f"Nothing was copied again: the rows that run {', '.join(map(str, sorted(_landing_runs(lake))))} landed"
        in restarted.told
    )
    assert "Passed over, because they had succeeded before:" in restarted.told


def _landing_runs(lake):
    names = [lake.project.log(source).name for source in lake.project.sources]
    return {row[0] for name in names for row in lake.rows("persistent_stage", name, "DISTINCT row_audit_id")}


def expected_hubs(files) -> dict[str, int]:
    return {
        hub: files.execute(f"SELECT count(DISTINCT {key}) FROM {table}").fetchone()[0]
        for hub, (table, key) in HUBS.items()
    }


def count(lake, layer, table):
    return lake.rows(layer, table, "count(*)")[0][0]


def test_hubs_hold_every_business_key_once(loaded, files):
    lake, _ = loaded
    found = {hub: count(lake, "vault", hub) for hub in HUBS}
    assert found == expected_hubs(files)
    assert list(found.values()) == [847, 450, 295, 41, 128, 762, 32]


def test_sales_lines_reconcile_with_the_files(loaded, files):
    lake, _ = loaded
    wanted = files.execute(
        "SELECT count(*), sum(OrderQty::int), sum(UnitPrice::decimal(19,4) * (1 - UnitPriceDiscount::decimal(9,4)) * OrderQty::int) "
        "FROM SalesOrderDetail"
    ).fetchone()
    found = lake.rows("mart", "fact_sales_line", "count(*), sum(order_quantity), sum(line_total)")[0]
    assert found == (wanted[0], wanted[1], Decimal(wanted[2]))
    assert found == (542, 2087, Decimal("708690.153058"))


def test_orders_reconcile_with_the_files(loaded, files):
    lake, _ = loaded
    wanted = files.execute(
        "SELECT count(*), sum(SubTotal::decimal(19,4) + TaxAmt::decimal(19,4) + Freight::decimal(19,4)) FROM SalesOrderHeader"
    ).fetchone()
    assert lake.rows("mart", "fact_sales_order", "count(*), sum(total_due)")[0] == (wanted[0], Decimal(wanted[1]))


def test_every_line_finds_its_customer_product_and_city(loaded, files):
    lake, _ = loaded
    wanted = files.execute(
        "SELECT p.Name, c.CompanyName, a.City, count(*) FROM SalesOrderDetail d JOIN SalesOrderHeader h USING (SalesOrderID) "
        "JOIN Product p USING (ProductID) JOIN Customer c USING (CustomerID) JOIN Address a ON a.AddressID = h.ShipToAddressID "
        "GROUP BY ALL"
    ).fetchall()
    joined = (
        f"{lake.name('mart', 'fact_sales_line')} f JOIN {lake.name('mart', 'dim_product')} p USING (product_key) "
        f"JOIN {lake.name('mart', 'dim_customer')} c USING (customer_key) "
        f"JOIN {lake.name('mart', 'dim_address')} a ON a.address_key = f.ship_to_key"
    )
    found = Counter(table_rows(lake.spark, joined, "product_name, company_name, city"))
    assert found == {(product, company, city): number for product, company, city, number in wanted}


def test_product_dimension_flattens_category_and_model(loaded, files):
    lake, _ = loaded
    wanted = files.execute(
        "SELECT p.ProductID::int, c.Name, coalesce(t.Name, c.Name), m.Name FROM Product p LEFT JOIN ProductCategory c USING (ProductCategoryID) "
        "LEFT JOIN ProductCategory t ON t.ProductCategoryID = c.ParentProductCategoryID LEFT JOIN ProductModel m USING (ProductModelID)"
    ).fetchall()
    found = lake.rows(
        "mart", "dim_product", "product_id, category, top_category, model", "current_flag AND product_key <> -1"
    )
    assert found == sorted(wanted, key=repr)


SAMPLE = read_project(SAMPLES["awlt"])


@pytest.mark.parametrize("source", SAMPLE.sources)
def test_every_table_comes_back_from_the_vault_row_for_row(loaded, source):
    """Compared with the publisher's rows as typed Parquet, which the loads do not read."""
    lake, _ = loaded
    frame = restore(lake.project, source, environment=lake.environment, spark=lake.spark)
    times = {name: f"CAST(`{name}` AS TIMESTAMP_NTZ) AS `{name}`" for name, kind in frame.dtypes if kind == "timestamp"}
    found = frame.selectExpr(*(times.get(name, f"`{name}`") for name in frame.columns)).collect()
    name = SAMPLE.sources[source].object.rpartition(".")[2]
    photo = "* REPLACE (unhex(substr(ThumbNailPhoto, 3)) AS ThumbNailPhoto)" if name == "Product" else "*"
    wanted = duckdb.sql(f"SELECT {photo} FROM '{TYPED / name}.parquet'")

    assert frame.columns == wanted.columns
    rows = Counter(tuple(bytes(v) if isinstance(v, bytearray) else v for v in row) for row in found)
    assert rows == Counter(wanted.fetchall())
    assert rows.total() > 0


def test_same_files_again_add_nothing(loaded):
    lake, _ = loaded
    again = lake.run()
    assert again.succeeded
    assert again.written() == 0
    shutil.copytree(DATA, lake.folder / "deliveries" / "full-again")
    anew = lake.run()
    assert anew.succeeded
    assert anew.written() == 0


def test_four_windows_of_modified_date_end_in_the_same_star(spark, tmp_path_factory, files, loaded):
    whole, _ = loaded
    folder = tmp_path_factory.mktemp("windows")
    write_sample("awlt", folder / "project")
    sources = folder / "project" / "sources.yml"
    text = sources.read_text(encoding="utf-8")
    changes = "    changes: {by: watermark, column: ModifiedDate}\n"
    sources.write_text(
        text.replace(changes, "").replace("    applied: ModifiedDate\n", changes + "    applied: ModifiedDate\n"),
        encoding="utf-8",
    )
    lake = Lake(spark, read_project(folder / "project"), folder)
    for number, window in enumerate(WINDOWS):
        delivery = folder / "deliveries" / f"window-{number}"
        delivery.mkdir(parents=True)
        for path in DATA.glob("*.csv"):
            files.execute(
                f"COPY (SELECT * FROM {path.stem} WHERE {window}) TO '{delivery / path.name}' (HEADER, QUOTE '\"')"
            )
        result = lake.run()
        assert result.succeeded, [load.message for load in result.loads if load.message]
    assert {hub: count(lake, "vault", hub) for hub in HUBS} == expected_hubs(files)
    for table, columns in {
        "fact_sales_line": "sales_order_id, SalesOrderDetailID, product_key, customer_key, ship_to_key, order_quantity, line_total",
        "fact_sales_order": "sales_order_id, customer_key, ship_to_key, bill_to_key, total_due",
        "dim_customer": "customer_key, customer_id, full_name, company_name, effective_from, effective_to, version_number",
    }.items():
        assert lake.rows("mart", table, columns) == whole.rows("mart", table, columns), table
    lake.drop()
