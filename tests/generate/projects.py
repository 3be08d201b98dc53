"""A small project for the tests of artefacts: one source, a hub, a satellite, a dimension, one environment of a workspace."""

from __future__ import annotations

from pathlib import Path

from lakehouse.kinds import read_project
from lakehouse.metadata.project import Project

SHOP = """\
name: shop
connections:
  files: {kind: files, path: ./deliveries}
sources:
  customer: {connection: files, object: customer, key: id, columns: {id: int, name: string}}
tables:
  hub_customer: {kind: hub, business_key: customer_id, sources: {customer: id}}
  sat_customer:
    kind: satellite
    parent: hub_customer
    source: customer
    columns: name
  dim_customer: {kind: dimension, from: hub_customer, columns: {name: {type: 2}}}
batches:
  daily:
    select: "*"
    job:
      granularity: layer
environments:
  dev:
    catalog: dev
    landing: /Volumes/dev/landing/files
    control: delta
    paths: {files: /Volumes/dev/landing/in}
    bundle:
      library: /Volumes/dev/libraries/files/lakehouse-0.1.0-py3-none-any.whl
      mode: development
"""


def shop(folder: Path, *changes: tuple[str, str]) -> Project:
    """The project with some of its text replaced; every replaced text stands in it once."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lakehouse.yml").write_text(changed(*changes), encoding="utf-8")
    return read_project(folder)


def changed(*changes: tuple[str, str]) -> str:
    """The text of the project with some of it replaced."""
    text = SHOP
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
        text = text.replace(old, new)
    return text
