"""The input: customers and orders, written with Spark as Parquet, one folder per delivery.

Rule: every value is a function of the key and of the row's edition (0: day 0, 1: changed on day 1, -1, -2 …: days
before), so two runs on any machine get the same rows. Day 1 changes 1 %, adds 0.5 % and lacks 0.2 % of day 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

PRODUCTS = 200
CHANGED = "pmod(id, 100) = 7"
GONE = "pmod(id, 500) = 3"
DESCRIPTIVE = ("FirstName", "LastName", "Email", "Phone", "Street", "City", "Country", "Segment")
MODIFIED = "timestamp_seconds(1704067200 + edition * 86400 + pmod(id, 80000)) AS ModifiedDate"
KEYS = {"customer": "CustomerID", "orders": "OrderID"}


def customer_columns() -> list[str]:
    """The columns of a customer over ``id`` and ``edition``; Phone and City differ between editions."""
    return [
        "CAST(id AS INT) AS CustomerID",
        "concat('First', pmod(xxhash64(id), 5000)) AS FirstName",
        "concat('Last', pmod(xxhash64(id, 1), 20000)) AS LastName",
        "concat('customer', id, '@example.com') AS Email",
        "lpad(CAST(pmod(xxhash64(id, edition), 10000000000) AS STRING), 10, '0') AS Phone",
        "concat(pmod(xxhash64(id, 2), 300), ' Street ', pmod(xxhash64(id, 3), 9000)) AS Street",
        "concat('City', pmod(xxhash64(id, edition, 4), 1000)) AS City",
        "concat('Country', pmod(xxhash64(id, 5), 60)) AS Country",
        "concat('Segment', pmod(xxhash64(id, 6), 8)) AS Segment",
        MODIFIED,
    ]


def order_columns(rows: int) -> list[str]:
    """The columns of an order over ``id`` and ``edition``; the amount differs between editions."""
    return [
        "CAST(id AS INT) AS OrderID",
        f"CAST(1 + pmod(xxhash64(id, 7), {rows}) AS INT) AS CustomerID",
        f"CAST(1 + pmod(xxhash64(id, 8), {PRODUCTS}) AS INT) AS ProductID",
        "CAST(pmod(xxhash64(id, edition, 9), 100000000) / 100 AS DECIMAL(12,2)) AS Amount",
        "date_add(DATE '2023-12-01', CAST(pmod(id, 31) AS INT)) AS OrderDate",
        MODIFIED,
    ]


def history(spark: SparkSession, rows: int, times: int) -> DataFrame:
    """Ids and editions of day 0 with ``times`` versions of each key, the last of them that of day 0."""
    return spark.range(1, rows + 1).selectExpr("id", f"explode(sequence({1 - times}, 0)) AS edition")


def day_one(spark: SparkSession, rows: int, *, full: bool) -> DataFrame:
    """Ids and editions of day 1: everything there is, or only what changed or is new."""
    known = spark.range(1, rows + 1).filter(f"NOT ({GONE})")
    known = known.selectExpr("id", f"CASE WHEN {CHANGED} THEN 1 ELSE 0 END AS edition")
    new = spark.range(rows + 1, rows + 1 + rows // 200).selectExpr("id", "1 AS edition")
    return (known if full else known.filter("edition = 1")).unionByName(new)


def write_delivery(frame: DataFrame, rows: int, folder: Path) -> Path:
    """Writes customers and orders for the given ids and editions; nothing if they are there already."""
    columns = {"customer": customer_columns(), "orders": order_columns(rows)}
    for name, expressions in columns.items():
        frame.selectExpr(*expressions).coalesce(2).write.mode("ignore").parquet(str(folder / name))
    return folder


def write_all(spark: SparkSession, rows: int, folder: Path, growth: tuple[int, ...]) -> dict[str, Path]:
    """Writes every delivery; returns their folders: ``day 0``, ``full``, ``delta`` and ``history x<n>``."""
    frames = {"day 0": history(spark, rows, 1)}
    frames |= {name: day_one(spark, rows, full=name == "full") for name in ("full", "delta")}
    frames |= {f"history x{times}": history(spark, rows, times) for times in growth if times > 1}
    return {name: write_delivery(frame, rows, folder / name.replace(" ", "_")) for name, frame in frames.items()}
