"""The project under test, and the folders that it is loaded to.

Rule: a base is loaded once; every measured run starts from a fresh copy of it in a folder and schemas of its own, with its
tables registered and Delta's log cache emptied before the clock starts. Copies link the data files, which nobody changes.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from benchmarks.generate import DESCRIPTIVE
from lakehouse import BatchResult, Plan, make_plan, read_project, run
from lakehouse.control.catalog import Catalog
from lakehouse.engine.catalogs import open_catalog
from lakehouse.metadata.environment import Environment, Schemas

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CONNECTION = "shop"
LAYERS = ("persistent_stage", "vault", "mart", "peer")
PROJECT = """\
name: benchmark_{variant}
connections:
  shop: {{kind: files, path: ./deliveries, format: parquet, files: "*/{{table}}/*.parquet"}}
sources:
  customer:
    connection: shop
    object: customer
    key: CustomerID
    applied: ModifiedDate
    changes: {changes}
    columns: {{CustomerID: int, {customer}, ModifiedDate: timestamp}}
  orders:
    connection: shop
    object: orders
    key: OrderID
    applied: ModifiedDate
    changes: {changes}
    columns:
      {{OrderID: int, CustomerID: int, ProductID: int, Amount: "decimal(12,2)", OrderDate: date, ModifiedDate: timestamp}}
tables:
  hub_customer: {{kind: hub, business_key: customer_id, sources: {{customer: CustomerID}}}}
  hub_product: {{kind: hub, business_key: product_id, sources: {{orders: ProductID}}}}
  hub_order: {{kind: hub, business_key: order_id, sources: {{orders: OrderID}}}}
  link_order:
    kind: link
    source: orders
    references:
      - {{hub: hub_order, columns: OrderID}}
      - {{hub: hub_customer, columns: CustomerID}}
      - {{hub: hub_product, columns: ProductID}}
  sat_customer: {{kind: satellite, parent: hub_customer, source: customer, columns: [{columns}]}}
  sat_order:
    {{kind: satellite, parent: hub_order, source: orders, columns: [CustomerID, ProductID, Amount, OrderDate]}}
  dim_customer:
    kind: dimension
    from: hub_customer
    columns: {{{dimension}}}
  fact_order:
    kind: fact
    from: hub_order
    grain: order_id
    event_time: OrderDate
    dimensions: {{customer: {{dimension: dim_customer, key: CustomerID}}}}
    measures: {{amount: {{sum: Amount}}}}
"""


@dataclass(frozen=True)
class Place:
    """A warehouse folder, the prefix of its schemas, and the folder of its deliveries."""

    folder: Path
    prefix: str
    deliveries: Path

    def schema(self, layer: str) -> str:
        """The schema of a layer; ``peer`` is that of the tables which others maintain."""
        return f"{self.prefix}_{layer}"

    def environment(self) -> Environment:
        """The environment that loads into it."""
        schemas = Schemas(**{layer: self.schema(layer) for layer in ("stage", *LAYERS[:3])})
        paths = {CONNECTION: str(self.deliveries)}
        return Environment(name=self.prefix, warehouse=str(self.folder), schemas=schemas, paths=paths)

    def tables(self) -> Iterator[tuple[str, Path]]:
        """Layer and folder of each table that lies in it."""
        for layer in LAYERS:
            for log in sorted((self.folder / self.schema(layer)).glob("*/_delta_log")):
                yield layer, log.parent

    def commits(self) -> dict[str, int]:
        """Delta commits per table."""
        return {
            f"{layer}.{table.name}": len(list((table / "_delta_log").glob("*.json"))) for layer, table in self.tables()
        }


def write_project(folder: Path, variant: str) -> Plan:
    """Writes the project with full snapshots (``full``) or extracts by watermark (``delta``) and plans all its loads."""
    changes = "snapshot" if variant == "full" else "{by: watermark, column: ModifiedDate}"
    text = PROJECT.format(
        variant=variant,
        changes=changes,
        customer=", ".join(f"{name}: string" for name in DESCRIPTIVE),
        columns=", ".join(DESCRIPTIVE),
        dimension=", ".join(f"{name}: {{type: 2}}" for name in DESCRIPTIVE),
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lakehouse.yml").write_text(text, encoding="utf-8")
    return make_plan(read_project(folder))


CATALOG_NAMES = (
    ("table_state", "name"),
    ("consumer_offset", "target"),
    ("consumer_offset", "source"),
    ("checkpoint", "name"),
    ("subject", "log"),
    ("run", "table_name"),
)
"""Where the control catalog names a table."""


def deliver(place: Place, number: int, data: Path) -> None:
    """Puts a generated delivery into the deliveries of a place, instead of one with the same number."""
    place.deliveries.mkdir(parents=True, exist_ok=True)
    link = place.deliveries / str(number)
    link.unlink(missing_ok=True)
    link.symlink_to(data.resolve(), target_is_directory=True)


class TimedCatalog:
    """A control catalog that adds up the time that its calls take, in all threads."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._lock = threading.Lock()
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._catalog, name)
        return self._timed(found) if callable(found) else found

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **named: Any) -> Any:
            began = time.monotonic()
            try:
                return call(*args, **named)
            finally:
                with self._lock:
                    self.seconds += time.monotonic() - began

        return timed


def load(plan: Plan, place: Place, spark: SparkSession, *, threads: int) -> BatchResult:
    """Runs all loads of a plan.

    Raises:
        RuntimeError: one of them failed.
    """
    return timed_load(plan, place, spark, threads=threads)[0]


def timed_load(plan: Plan, place: Place, spark: SparkSession, *, threads: int) -> tuple[BatchResult, float]:
    """Runs all loads of a plan; also tells the seconds spent in the control catalog.

    Raises:
        RuntimeError: one of them failed.
    """
    environment = place.environment()
    catalog = TimedCatalog(open_catalog(plan.project, environment, spark))
    result = run(plan, environment=environment, spark=spark, threads=threads, catalog=cast("Catalog", catalog))
    if not result.succeeded:
        raise RuntimeError("\n".join(f"{x.name}: {x.message}" for x in result.loads if x.state != "succeeded"))
    return result, catalog.seconds


def copy(base: Place, folder: Path, prefix: str, spark: SparkSession) -> Place:
    """A fresh copy of a place, registered under schemas of its own, with a cold Delta log cache."""
    place = Place(folder / prefix, prefix, base.deliveries)
    place.folder.mkdir(parents=True)
    _copy_catalog(base, place)
    for layer in LAYERS:
        if (base.folder / base.schema(layer)).is_dir():
            shutil.copytree(
                base.folder / base.schema(layer), place.folder / place.schema(layer), copy_function=_link_or_copy
            )
    register(place, spark)
    return place


def _copy_catalog(base: Place, place: Place) -> None:
    """The control catalog of a copy: it knows tables by schema and name, so their schemas are renamed in it."""
    with sqlite3.connect(base.folder / "control.db") as old, sqlite3.connect(place.folder / "control.db") as new:
        old.backup(new)
        for table, column in CATALOG_NAMES:
            new.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} LIKE ? || '%'",
                (place.prefix, len(base.prefix) + 1, base.prefix),
            )


def register(place: Place, spark: SparkSession) -> None:
    """Tells the session's catalog of the tables of a place, then empties Delta's cache of logs."""
    for layer in ("stage", *LAYERS):
        folder = place.folder / place.schema(layer)
        spark.sql(f"CREATE SCHEMA IF NOT EXISTS {place.schema(layer)} LOCATION '{folder}'")
    for layer, table in place.tables():
        name = f"{place.schema(layer)}.{table.name}"
        spark.sql(f"CREATE TABLE IF NOT EXISTS {name} USING DELTA LOCATION '{table}'")
    forget_logs(spark)


def forget_logs(spark: SparkSession) -> None:
    """Empties Delta's cache of logs, so that every run reads them anew; only on classic Spark."""
    if hasattr(spark, "_jvm"):
        spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()


def _link_or_copy(source: str, target: str) -> None:
    """Data files are never changed and may be shared; logs are copied."""
    if source.endswith(".parquet") and "/_delta_log/" not in source:
        os.link(source, target)
    else:
        shutil.copy2(source, target)
