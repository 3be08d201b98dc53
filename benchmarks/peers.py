"""What one writes by hand instead: a Delta MERGE per table, and mack for the type 2 dimension.

Rule: each reads a whole delivery and its target, with the hash expressions of lakehouse, so that both find the same rows;
dimensions have deletion vectors. None of them looks for deleted keys.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from benchmarks.generate import DESCRIPTIVE
from benchmarks.project import Place
from lakehouse.sql.presets import hashing_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TYPES = {"CustomerID": "int", "OrderID": "int", "ProductID": "int", "Amount": "decimal(12,2)", "OrderDate": "date"}
STAMPS = {
    "load_datetime": "current_timestamp()",
    "record_source": "'shop'",
    "row_audit_id": "CAST(0 AS BIGINT)",
    "load_position": "CAST(0 AS BIGINT)",
}
ORDER = ("CustomerID", "ProductID", "Amount", "OrderDate")


def make_dimensions(place: Place, spark: SparkSession) -> None:
    """The dimension as of day 0 for the hand-written MERGE and for mack, each in a table of its own."""
    delivery = place.deliveries / "0" / "customer"
    for name in ("dim_merge", "dim_mack"):
        spark.sql(f"""CREATE TABLE {place.schema("peer")}.{name} USING DELTA
TBLPROPERTIES ('delta.enableDeletionVectors' = 'true', 'delta.checkpointInterval' = '100')
AS SELECT CustomerID, {", ".join(DESCRIPTIVE)}, TRUE AS is_current,
  ModifiedDate AS effective_time, CAST(NULL AS TIMESTAMP) AS end_time FROM parquet.`{delivery}`""")


def peers(place: Place) -> Mapping[str, Callable[[SparkSession], None]]:
    """Per name the work of one peer, from the second delivery."""
    customer, orders = (_delivery(place, name) for name in ("customer", "orders"))
    statements = {
        "hub_customer": _hub(place, customer, "hub_customer", "CustomerID"),
        "hub_product": _hub(place, orders, "hub_product", "ProductID"),
        "hub_order": _hub(place, orders, "hub_order", "OrderID"),
        "link_order": _link(place, orders),
        "sat_customer": _satellite(place, customer, "sat_customer", "CustomerID", DESCRIPTIVE),
        "sat_order": _satellite(place, orders, "sat_order", "OrderID", ORDER),
        "dim_customer": _dimension(place, customer),
    }
    work: dict[str, Callable[[SparkSession], None]] = {n: _statement(text) for n, text in statements.items()}
    return {**work, "dim_customer (mack)": lambda spark: _mack(place, spark)}


def seconds(work: Callable[[SparkSession], None], spark: SparkSession) -> float:
    """How long it takes."""
    began = time.monotonic()
    work(spark)
    return time.monotonic() - began


def _statement(text: str) -> Callable[[SparkSession], None]:
    def execute(spark: SparkSession) -> None:
        spark.sql(text)

    return execute


def _delivery(place: Place, name: str) -> str:
    return f"parquet.`{place.deliveries / '1' / name}`"


def _hashed(*columns: str) -> str:
    return hashing_of().key([(name, TYPES[name]) for name in columns])


def _insert(values: Mapping[str, str]) -> str:
    return f"INSERT ({', '.join(values)}) VALUES ({', '.join(values.values())})"


def _hub(place: Place, delivery: str, table: str, column: str) -> str:
    noun = table.removeprefix("hub_")
    values = {f"{noun}_hk": "s.hk", f"{noun}_id": f"s.{column}", **STAMPS}
    return f"""MERGE INTO {place.schema("vault")}.{table} AS t
USING (SELECT DISTINCT {_hashed(column)} AS hk, {column} FROM {delivery}) AS s
ON t.{noun}_hk = s.hk
WHEN NOT MATCHED THEN {_insert(values)}"""


def _link(place: Place, delivery: str) -> str:
    keys = {
        "link_order_hk": _hashed("OrderID", "CustomerID", "ProductID"),
        "order_hk": _hashed("OrderID"),
        "customer_hk": _hashed("CustomerID"),
        "product_hk": _hashed("ProductID"),
    }
    values = {**{name: f"s.{name}" for name in keys}, **STAMPS}
    selected = ", ".join(f"{expression} AS {name}" for name, expression in keys.items())
    return f"""MERGE INTO {place.schema("vault")}.link_order AS t
USING (SELECT DISTINCT {selected} FROM {delivery}) AS s
ON t.link_order_hk = s.link_order_hk
WHEN NOT MATCHED THEN {_insert(values)}"""


def _satellite(place: Place, delivery: str, table: str, key: str, columns: tuple[str, ...]) -> str:
    """Inserts what differs from the newest stored version: the anti-join that satellite templates use."""
    hk = f"{table.removeprefix('sat_')}_hk"
    diff = hashing_of().diff({name: (name, TYPES.get(name, "string")) for name in columns})
    names = [hk, *columns, "hash_diff", "deleted_flag", "applied_datetime", *STAMPS]
    target = f"{place.schema('vault')}.{table}"
    return f"""INSERT INTO {target} ({", ".join(names)})
WITH staged AS (
  SELECT {_hashed(key)} AS {hk}, {", ".join(columns)}, {diff} AS hash_diff, FALSE AS deleted_flag, ModifiedDate,
    {", ".join(f"{value} AS {name}" for name, value in STAMPS.items())}
  FROM {delivery}
),
newest AS (
  SELECT {hk}, hash_diff FROM (
    SELECT {hk}, hash_diff, row_number() OVER (PARTITION BY {hk} ORDER BY load_datetime DESC) AS age FROM {target}
  ) WHERE age = 1
)
SELECT {hk}, {", ".join(columns)}, hash_diff, deleted_flag, ModifiedDate, {", ".join(STAMPS)}
FROM staged LEFT ANTI JOIN newest USING ({hk}, hash_diff)"""


def _dimension(place: Place, delivery: str) -> str:
    """The usual union: each changed row once to close the current version, once without a merge key to be inserted."""
    target = f"{place.schema('peer')}.dim_merge"
    differs = " OR ".join(f"NOT (s.{name} <=> t.{name})" for name in DESCRIPTIVE)
    attributes = ", ".join(DESCRIPTIVE)
    values = {name: f"s.{name}" for name in ("CustomerID", *DESCRIPTIVE)}
    values |= {"is_current": "TRUE", "effective_time": "s.ModifiedDate", "end_time": "NULL"}
    return f"""MERGE INTO {target} AS t
USING (
  SELECT CustomerID AS merge_key, CustomerID, {attributes}, ModifiedDate FROM {delivery}
  UNION ALL
  SELECT NULL, s.CustomerID, {", ".join(f"s.{name}" for name in DESCRIPTIVE)}, s.ModifiedDate
  FROM {delivery} AS s JOIN {target} AS t ON s.CustomerID = t.CustomerID
  WHERE t.is_current AND ({differs})
) AS s
ON t.CustomerID = s.merge_key AND t.is_current
WHEN MATCHED AND ({differs}) THEN UPDATE SET is_current = FALSE, end_time = s.ModifiedDate
WHEN NOT MATCHED THEN {_insert(values)}"""


def _mack(place: Place, spark: SparkSession) -> None:
    import mack
    from delta.tables import DeltaTable

    updates = spark.read.parquet(str(place.deliveries / "1" / "customer"))
    updates = updates.withColumnRenamed("ModifiedDate", "effective_time")
    table = DeltaTable.forName(spark, f"{place.schema('peer')}.dim_mack")
    mack.type_2_scd_upsert(table, updates, "CustomerID", list(DESCRIPTIVE))


def has_mack(spark: SparkSession) -> bool:
    """Whether mack is installed and the session is a classic one."""
    from importlib.util import find_spec

    return find_spec("mack") is not None and hasattr(spark, "_jvm")
