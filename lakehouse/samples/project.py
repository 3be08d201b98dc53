"""Sample projects: what ``lakehouse init`` copies and ``lakehouse demo`` delivers."""

from __future__ import annotations

import shutil
from pathlib import Path

from lakehouse.samples.awlt.generate import DELIVERIES, write_delivery

SAMPLES = {"awlt": Path(__file__).parent / "awlt" / "project"}
DELIVERED = "deliveries"
MINIMAL = """\
# yaml-language-server: $schema=lakehouse.schema.json
name: {name}

connections:
  files:
    kind: files
    path: ./deliveries          # one folder per delivery, such as deliveries/2024-01-15/customer.csv
    format: csv
    files: "*/{{table}}.csv"

sources:
  customer:
    connection: files
    object: customer
    key: id
    columns: {{id: int, name: string, city: string}}

tables:
  hub_customer:
    kind: hub
    business_key: customer_id
    sources: {{customer: id}}

  sat_customer:
    kind: satellite
    parent: hub_customer
    source: customer
    columns: [name, city]

  dim_customer:
    kind: dimension
    from: hub_customer
    columns:
      name: {{type: 1}}
      city: {{type: 2}}
"""


def write_sample(name: str, folder: Path) -> None:
    """Copies a sample project."""
    shutil.copytree(SAMPLES[name], folder, dirs_exist_ok=True)


def write_minimal(folder: Path) -> None:
    """Writes a project with one source, a hub, a satellite and a dimension."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lakehouse.yml").write_text(MINIMAL.format(name=folder.name), encoding="utf-8")


def deliver(folder: Path, step: str, *, customers: int = 400) -> str:
    """Puts a delivery into a project's folder and returns its name: ``1`` to ``3``, or ``again`` for the last one anew."""
    root = folder / DELIVERED
    if step != "again":
        return write_delivery(root, int(step), customers=customers).name
    number = 1 + len(list(root.glob("again-*")))
    return write_delivery(root, DELIVERIES, name=f"again-{number}", customers=customers).name
