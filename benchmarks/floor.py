"""The floor of each load: what any implementation has to do.

Rule: read and hash the input (what this load reads: a delivery, or the new rows of a log), read the key columns of the
target, append the rows that changed: one query and one append. No join, no comparison, no closing of rows.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.generate import DESCRIPTIVE, KEYS
from benchmarks.project import Place
from lakehouse import Plan
from lakehouse.metadata.environment import Relation
from lakehouse.names import LOAD_POSITION

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

HASHED = {
    "hub_customer": ("CustomerID",),
    "hub_product": ("ProductID",),
    "hub_order": ("OrderID",),
    "link_order": ("OrderID", "CustomerID", "ProductID"),
    "sat_customer": ("CustomerID", *DESCRIPTIVE),
    "sat_order": ("OrderID", "CustomerID", "ProductID", "Amount", "OrderDate"),
    "dim_customer": DESCRIPTIVE,
    "fact_order": ("OrderID", "CustomerID", "Amount", "OrderDate"),
}
"""The columns that a load has to hash, or to compare by a hash."""
READS = {
    **dict.fromkeys(("hub_customer", "sat_customer", "dim_customer"), "customer"),
    **dict.fromkeys(("hub_product", "hub_order", "link_order", "sat_order", "fact_order"), "orders"),
}
"""The source whose rows a table gets."""


def table_name(place: Place, relation: Relation) -> str:
    """A relation's name in the schemas of a place."""
    return f"{place.schema(relation.layer)}.{relation.name}"


def positions(plan: Plan, place: Place, spark: SparkSession) -> dict[str, int]:
    """The newest position in each target; the rows of a later load stand after it."""
    query = f"SELECT coalesce(max({LOAD_POSITION}), 0) FROM {{}}"
    return {
        n: spark.sql(query.format(table_name(place, node.target))).collect()[0][0] for n, node in plan.nodes.items()
    }


def keep_changed(plan: Plan, place: Place, before: dict[str, int], folder: Path, spark: SparkSession) -> None:
    """Keeps, per load, the rows that it wrote after the given positions, to append them again."""
    for name, node in plan.nodes.items():
        rows = spark.table(table_name(place, node.target)).filter(f"{LOAD_POSITION} > {before[name]}")
        rows.coalesce(1).write.mode("ignore").parquet(str(folder / name))


def floor(plan: Plan, name: str, place: Place, before: dict[str, int], changed: Path, spark: SparkSession) -> float:
    """Seconds of one load's floor in a place that holds the new rows already."""
    node = plan.nodes[name]
    target = table_name(place, node.target)
    keys = (KEYS[name],) if node.kind == "source" else plan.project.table(name).keys
    began = time.monotonic()
    read = spark.table(target).filter(f"{LOAD_POSITION} <= {before[name]}").selectExpr(f"xxhash64({', '.join(keys)})")
    if node.kind == "source":
        given = spark.read.parquet(str(place.deliveries / "1" / name)).selectExpr("xxhash64(*)")
    else:
        source = READS[name]
        log = spark.table(table_name(place, plan.nodes[source].target)).filter(f"{LOAD_POSITION} > {before[source]}")
        given = log.selectExpr(f"CAST(conv(left(md5({_text(HASHED[name])}), 15), 16, 10) AS BIGINT)")
    given.union(read).toDF("hash").selectExpr("bit_xor(hash)").collect()
    schema = spark.table(target).schema
    spark.read.schema(schema).parquet(str(changed / name)).writeTo(target).append()
    return time.monotonic() - began


def initial_floor(name: str, place: Place, spark: SparkSession) -> float:
    """Seconds to write one load's rows of day 0 to a Delta table without hashing or comparing anything."""
    source = READS.get(name, name)
    target = f"{place.schema('peer')}.plain_{name}"
    began = time.monotonic()
    rows = spark.read.parquet(str(place.deliveries / "0" / source))
    if name in HASHED:
        rows = rows.select(*HASHED[name], "ModifiedDate")
    if name == "hub_product":
        rows = rows.dropDuplicates(["ProductID"])
    rows.writeTo(target).using("delta").create()
    return time.monotonic() - began


def _text(columns: tuple[str, ...]) -> str:
    return "concat_ws('|', " + ", ".join(f"CAST({name} AS STRING)" for name in columns) + ")"
