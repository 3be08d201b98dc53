"""Stopped and started again: failed loads, restarts, stops, rollbacks, rebuilds, errors that pass and errors that do not."""

from __future__ import annotations

import threading

import pytest

from lakehouse.engine import delta, table_load
from lakehouse.engine.catalogs import open_catalog
from lakehouse.engine.maintenance import Maintenance
from lakehouse.engine.workspace import open_workspace
from lakehouse.errors import ControlError, MetadataError
from lakehouse.status import story
from tests.rows import Lake, make_lake

pytestmark = pytest.mark.load

PROJECT = """
name: shop
settings: {retries: 1}
connections:
  files: {kind: files, path: ./deliveries, files: "*/{table}.csv"}
sources:
  customer:
    connection: files
    object: customer
    key: id
    columns: {id: int, name: string, city: string}
tables:
  hub_customer: {kind: hub, business_key: customer_id, sources: {customer: id}}
  sat_customer: {kind: satellite, parent: hub_customer, source: customer, columns: [name, city]}
  dim_customer: {kind: dimension, from: hub_customer, columns: {name: {type: 1}, city: {type: 2}}}
"""
FIRST = "id,name,city\n1,Ann,Bonn\n2,Bob,Kiel"
SECOND = "id,name,city\n1,Anna,Ulm\n3,Cid,Jena"
TABLES = [
    ("persistent_stage", "files_customer"),
    ("vault", "hub_customer"),
    ("vault", "sat_customer"),
    ("mart", "dim_customer"),
]


@pytest.fixture
def lake(spark, tmp_path):
    lake = make_lake(spark, tmp_path, PROJECT)
    yield lake
    lake.drop()


def content(lake: Lake):
    """Every table with all columns but those that tell runs apart."""
    hidden = {"row_audit_id", "load_position", "source_file"}
    tables = {}
    for layer, name in TABLES:
        columns = [f"`{c}`" for c in lake.spark.table(lake.name(layer, name)).columns if c not in hidden]
        tables[name] = lake.rows(layer, name, ", ".join(columns))
    return tables


def catalog_of(lake: Lake):
    return open_catalog(lake.project, lake.environment, lake.spark)


def maintenance(lake: Lake):
    return Maintenance(open_workspace(lake.spark, lake.project, lake.environment), catalog_of(lake))


def breaking(monkeypatch, message, *, times=99, only="sat_customer"):
    """Makes the loads of a table fail at their commit; returns how often they tried."""
    tried, original = [], table_load.TableLoad._write

    def write(self, *args):
        if self.load.name == only and len(tried) < times:
            tried.append(self.load.name)
            raise RuntimeError(message)
        return original(self, *args)

    monkeypatch.setattr(table_load.TableLoad, "_write", write)
    return tried


def test_the_restart_copies_nothing_and_loads_what_is_missing(lake: Lake, monkeypatch):
    lake.deliver(customer=FIRST)
    breaking(monkeypatch, "wrong expression")
    failed = lake.run()
    assert [load.state for load in (failed["customer"], failed["hub_customer"], failed["sat_customer"], failed["dim_customer"])] == ["succeeded", "succeeded", "failed", "skipped"]  # fmt: skip
    monkeypatch.undo()
    for file in (lake.folder / "deliveries").rglob("*.csv"):
        file.unlink()  # nothing may be read again
    healed = lake.run()
    assert healed.succeeded
    assert f"run {failed.run_id}" in healed.message
    assert healed["customer"].message.startswith("done by run")
    assert healed["sat_customer"].counts["inserted"] == 2
    told = " ".join(story(catalog_of(lake).latest_batch()))
    assert f"went on with run {failed.run_id}" in told
    assert "Nothing was copied again" in told
    assert "Passed over, because they had succeeded before: customer, hub_customer" in told
    audit = {row[0] for row in lake.rows("vault", "sat_customer", "row_audit_id")}
    assert audit == {row[0] for row in lake.rows("persistent_stage", "files_customer", "row_audit_id")}
    assert lake.run()["customer"].message == "all 1 files known"


@pytest.mark.classic
def test_an_error_that_passes_is_tried_again_and_bad_data_is_not(lake: Lake, monkeypatch):
    lake.deliver(customer=FIRST)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    tried = breaking(monkeypatch, "[DELTA_CONCURRENT_APPEND] another write", times=1)
    assert lake.run().succeeded
    assert tried == ["sat_customer"]
    monkeypatch.undo()
    lake.deliver(customer=SECOND)
    tried = breaking(monkeypatch, "[CAST_INVALID_INPUT] bad data")
    assert not lake.run().succeeded
    assert tried == ["sat_customer"]


@pytest.mark.classic
def test_a_full_disk_is_told_plainly_and_the_run_goes_on_when_there_is_room(lake: Lake, monkeypatch):
    lake.deliver(customer=FIRST)
    breaking(monkeypatch, "java.io.IOException: No space left on device", only="hub_customer")
    failed = lake.run()
    assert "the disk is full. Nothing of this load was committed." in failed["hub_customer"].message
    batch = catalog_of(lake).latest_batch()[0]
    assert (batch.status, batch.next_status) == ("F", "D")
    monkeypatch.undo()
    assert lake.run().succeeded
    assert len(lake.rows("vault", "hub_customer")) == 2


class Unreachable:
    """A catalog whose connection is lost for a while."""

    def __init__(self, catalog, lost):
        self._catalog, self.lost = catalog, lost

    def __getattr__(self, name):
        if name in self.lost:
            raise ControlError("control catalog: connection lost")
        return getattr(self._catalog, name)


@pytest.mark.classic
def test_a_lost_control_connection_leaves_a_failed_run_and_a_clean_restart(lake: Lake):
    lake.deliver(customer=FIRST)
    lost = Unreachable(catalog_of(lake), {"end", "fail"})
    failed = lake.run(catalog=lost)
    assert "connection lost" in failed["customer"].message
    batch, source = catalog_of(lake).latest_batch()[:2]
    assert (batch.status, batch.next_status, source.status, source.next_status) == ("F", "D", "F", "D")
    healed = lake.run()
    assert healed.succeeded
    assert healed["customer"].counts["inserted"] == 2
    assert len(lake.rows("persistent_stage", "files_customer")) == 2


@pytest.mark.classic
def test_a_batch_that_is_asked_to_stop_ends_after_its_current_loads_and_the_next_goes_on(lake: Lake):
    lake.deliver(customer=FIRST)
    catalog = catalog_of(lake)
    catalog.beat_seconds = 0.05
    asked = threading.Event()

    def progress(result):
        if result.name == "customer" and result.state == "running":
            catalog.request_stop()
            asked.set()

    stopped = lake.run(catalog=catalog, progress=progress)
    assert asked.is_set()
    assert [load.state for load in stopped.loads] == ["succeeded", "skipped", "skipped", "skipped"]
    assert catalog.latest_batch()[0].status == "A"
    assert lake.run().succeeded
    assert len(lake.rows("mart", "dim_customer")) == 3


def test_rollback_takes_the_newest_run_out_everywhere_and_the_same_files_load_again(lake: Lake):
    first = lake.load(customer=FIRST)
    before = content(lake)
    second = lake.load(customer=SECOND)
    after = content(lake)
    with pytest.raises(ControlError, match=f"lakehouse rollback {second.run_id}"):
        maintenance(lake).rollback(first.run_id)
    told = maintenance(lake).rollback(second.run_id)
    assert [line.partition(":")[0].rpartition(".")[2] for line in told] == [name for _, name in reversed(TABLES)]
    assert "back at its version" in told[0]
    assert content(lake) == before
    lake.runs -= 1  # the same day again
    again = lake.run()
    assert again["customer"].counts["read"] == 2
    assert content(lake) == after
    assert lake.run().written() == 0


@pytest.mark.classic
def test_a_dimension_that_was_written_after_is_emptied_by_a_rollback_and_loaded_anew(lake: Lake):
    lake.load(customer=FIRST)
    before = content(lake)
    second = lake.load(customer=SECOND)
    lake.spark.sql(f"OPTIMIZE {lake.name('mart', 'dim_customer')}")
    lake.spark.sql(f"ALTER TABLE {lake.name('mart', 'dim_customer')} SET TBLPROPERTIES ('changed' = 'by hand')")
    (lake.folder / "deliveries" / "002" / "customer.csv").unlink()
    told = maintenance(lake).rollback(second.run_id)
    assert "emptied; the next run loads all of it anew" in told[0]
    assert lake.run().succeeded
    assert content(lake) == before


@pytest.mark.classic
def test_an_interrupted_rollback_is_finished_before_anything_is_loaded(lake: Lake, monkeypatch):
    lake.load(customer=FIRST)
    before = content(lake)
    second = lake.load(customer=SECOND)
    monkeypatch.setattr(Maintenance, "_take_out", lambda *a: (_ for _ in ()).throw(RuntimeError("power cut")))
    with pytest.raises(RuntimeError):
        maintenance(lake).rollback(second.run_id)
    monkeypatch.undo()
    lake.deliver(customer=SECOND)
    blocked = lake.run()
    assert f"lakehouse rollback {second.run_id}" in blocked["dim_customer"].message
    maintenance(lake).rollback(blocked.run_id)
    maintenance(lake).rollback(second.run_id)
    assert content(lake) == before


def test_rebuild_and_reload_read_the_inputs_again_and_change_nothing(lake: Lake):
    lake.load(customer=FIRST)
    lake.load(customer=SECOND)
    before = content(lake)
    maintenance(lake).rebuild("sat_customer")
    assert lake.rows("vault", "sat_customer") == []
    rebuilt = lake.run()
    assert rebuilt["sat_customer"].counts["inserted"] == len(before["sat_customer"])
    assert content(lake) == before
    maintenance(lake).reload("hub_customer")
    reloaded = lake.run()
    assert (reloaded["hub_customer"].counts["read"], reloaded["hub_customer"].counts["inserted"]) == (4, 0)
    maintenance(lake).rebuild("dim_customer")
    assert lake.run().succeeded
    assert content(lake) == before
    with pytest.raises(MetadataError, match="a source is the history itself"):
        maintenance(lake).rebuild("customer")


@pytest.mark.classic
def test_reset_forgets_what_a_source_landed_and_its_files_are_read_again(lake: Lake, monkeypatch):
    lake.deliver(customer=FIRST)
    original = delta.append
    monkeypatch.setattr(delta, "append", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("power cut")))
    assert not lake.run().succeeded
    monkeypatch.setattr(delta, "append", original)
    assert "its files are read again" in maintenance(lake).forget("customer")
    catalog_of(lake).reset("shop")
    loaded = lake.run()
    assert loaded["customer"].counts["inserted"] == 2
    assert loaded.message == ""


@pytest.mark.classic
def test_housekeeping_deletes_landed_files_that_no_restart_needs(lake: Lake, monkeypatch):
    lake.load(customer=FIRST)
    lake.deliver(customer=SECOND)
    breaking(monkeypatch, "no", only="hub_customer")
    original = delta.append
    monkeypatch.setattr(delta, "append", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("power cut")))
    lake.run()
    monkeypatch.setattr(delta, "append", original)
    work = maintenance(lake)
    assert work.housekeeping() == []
    told = work.housekeeping(now=lambda: __import__("time").time() + 40 * 86_400)
    assert len([line for line in told if line.startswith("landing: files_customer/")]) == 1
    monkeypatch.undo()
    assert lake.run().succeeded
