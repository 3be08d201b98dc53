"""The small project that is killed, and its deliveries: every layer, a quarantined row, a delete, a late row, a merge."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

PROJECT = """
name: faults
settings: {checkpoint_rows: 2, retries: 0}
environments:
  local: {schemas: {stage: PREFIX_stage, persistent_stage: PREFIX_persistent_stage, vault: PREFIX_vault, mart: PREFIX_mart}}
batches:
  customers: {select: [customer, hub_customer, sat_customer]}
  sales: {select: [sale, hub_customer, hub_sale, link_sale, sat_sale]}
connections:
  files: {kind: files, path: ./deliveries, files: "*/{table}.csv"}
sources:
  customer:
    connection: files
    object: customer
    key: id
    applied: changed
    columns: {id: int, name: string, city: string, changed: timestamp}
  sale:
    connection: files
    object: sale
    key: id
    changes: {by: watermark, column: changed}
    columns: {id: int, customer: int, amount: "decimal(9,2)", sold: timestamp, changed: timestamp}
tables:
  hub_customer: {kind: hub, business_key: customer_id, sources: {customer: id, sale: customer}}
  hub_sale: {kind: hub, business_key: sale_id, sources: {sale: id}}
  link_sale: {kind: link, source: sale, references: [{hub: hub_sale, columns: id}, {hub: hub_customer, columns: customer}]}
  sat_customer: {kind: satellite, parent: hub_customer, source: customer, columns: [name, city]}
  sat_sale: {kind: satellite, parent: hub_sale, source: sale, columns: [customer, amount, sold]}
  dim_customer: {kind: dimension, from: hub_customer, columns: {name: {type: 1}, city: {type: 2}}}
  dim_date: {kind: date_dimension, from: 2024-01-01, to: 2024-03-31}
  fact_sale:
    kind: fact
    from: hub_sale
    grain: sale_id
    event_time: sold
    dimensions: {customer: {dimension: dim_customer, key: customer}, day: {dimension: dim_date, key: sold}}
    measures: {amount: {sum: amount}}
"""
DELIVERIES = (
    {
        "customer": "id,name,city,changed\n1,Ann,Bonn,2024-01-01\n2,Bob,Kiel,2024-01-01\n3,Cid,Ulm,2024-01-01\n,Nil,Ulm,2024-01-01",
        "sale": "id,customer,amount,sold,changed\n10,1,5.00,2024-01-05,2024-01-05\n11,9,7.00,2024-01-06,2024-01-06\n12,2,x,2024-01-06,2024-01-06",
    },
    {
        "customer": "id,name,city,changed\n1,Anna,Bonn,2024-02-01\n2,Bob,Jena,2024-02-02\n4,Dan,Kiel,2024-02-01\n5,Eve,Ulm,gestern",
        "sale": "id,customer,amount,sold,changed\n10,1,6.00,2024-01-05,2024-02-01\n13,2,8.00,2024-02-10,2024-02-10\n14,4,9.00,2024-02-11,2024-02-11",
    },
)
DAYS = (datetime(2024, 1, 10, tzinfo=timezone.utc), datetime(2024, 2, 20, tzinfo=timezone.utc))


def write_project(folder: Path, *, prefix: str = "") -> None:
    """Writes the project's file; ``prefix`` tells its schemas from those of other folders in one session."""
    folder.mkdir(parents=True)
    (folder / "lakehouse.yml").write_text(PROJECT.replace("PREFIX_", prefix), encoding="utf-8")


def deliver(folder: Path, number: int) -> None:
    """Writes one delivery into a project's folder."""
    place = folder / "deliveries" / f"{number + 1:03}"
    place.mkdir(parents=True)
    for name, text in DELIVERIES[number].items():
        (place / f"{name}.csv").write_text(text + "\n", encoding="utf-8")
