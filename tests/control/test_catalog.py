"""The rules of the control catalog, held to every store: SQLite, an event log, the event log as a Delta table, SQL Server."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest

from lakehouse.control.catalog import Checkpoint, Ended, File, Intent, TableHeldError
from lakehouse.control.event_log import EventLogCatalog
from lakehouse.control.sqlite import SqliteCatalog
from lakehouse.errors import ControlError

HUB, LOG = "vault.hub_customer", "persistent_stage.shop_customer"
START = datetime(2024, 1, 1, tzinfo=timezone.utc)


class MemoryEvents:
    """An event log in memory; only one of two writers of a number wins."""

    def __init__(self):
        self.rows, self.turn = [], threading.Lock()

    def make(self):
        pass

    def after(self, sequence):
        snapshots = [s for s, kind, _ in self.rows if kind == "snapshot"]
        first = max(snapshots, default=0)
        return [(s, kind, text) for s, kind, text in self.rows if s > sequence and s >= first]

    def append(self, sequence, kind, text):
        with self.turn:
            if any(s == sequence for s, _, _ in self.rows):
                return False
            self.rows.append((sequence, kind, text))
            return True


class Clock:
    def __init__(self):
        self.now = START

    def __call__(self):
        self.now += timedelta(milliseconds=1)
        return self.now


def _stores(request, tmp_path, clock):
    """A function that opens the store once more, as another process would."""
    options = {"clock": clock, "stale_seconds": 300}
    if request.param == "sqlite":
        return lambda: SqliteCatalog(tmp_path / "control.db", "shop", **options)
    if request.param == "events":
        events = MemoryEvents()
        return lambda: EventLogCatalog(events, "shop", **options)
    if request.param == "delta":
        return _delta_store(request, tmp_path, options)
    if request.param == "tsql":
        return _tsql_store(options)
    from tests.control.sql_server import drop_schema, fresh_schema, open_test_catalog

    schema = fresh_schema()
    request.addfinalizer(lambda: drop_schema(schema))
    return lambda: open_test_catalog("shop", schema=schema, **options)


def _tsql_store(options):
    """The procedures' text, run by an interpreter: proves their logic, not the server."""
    from lakehouse.control.sql_server.store import SqlServerCatalog
    from tests.control.tsql import FakeSession, Server

    server = Server()

    def opened():
        catalog = SqlServerCatalog(FakeSession(server), "control", "shop", **options)
        catalog.init()
        return catalog

    return opened


def _delta_store(request, tmp_path, options):
    from lakehouse.engine.catalogs import _delta_events
    from lakehouse.metadata.environment import Environment

    spark = request.getfixturevalue("spark")
    schema = f"control_{abs(hash(str(tmp_path))) % 10**9}"
    request.addfinalizer(lambda: spark.sql(f"DROP SCHEMA IF EXISTS {schema} CASCADE"))
    return lambda: EventLogCatalog(_delta_events(Environment(), tmp_path, schema, spark), "shop", **options)


SQL_SERVER = pytest.param(
    "sql_server",
    marks=pytest.mark.skipif(
        "LAKEHOUSE_TEST_SQLSERVER" not in os.environ, reason="LAKEHOUSE_TEST_SQLSERVER is not set"
    ),
)


@pytest.fixture(params=["sqlite", "events", "tsql", pytest.param("delta", marks=pytest.mark.load), SQL_SERVER])
def store(request, tmp_path):
    clock = Clock()
    opened = _stores(request, tmp_path, clock)
    opened.clock = clock
    return opened


@pytest.fixture
def catalog(store):
    return store()


def load(catalog, run, name="hub_customer", table=HUB, **ended):
    claim = catalog.claim(run, name, "hub", table)
    assert claim.executes
    catalog.intend(claim, Intent(claim.position, {LOG: 7}, claim.run_id))
    catalog.end(claim, Ended({"read": 2, "inserted": 2}, claim.position, rows=2, offsets={LOG: 7}, **ended))
    return claim


def test_a_load_leaves_head_offsets_counts_files_and_watermark_at_once(catalog):
    run = catalog.start_batch("daily").run_id
    file = File("/in/a.csv", 10, "ab12")
    moment = datetime(2024, 1, 2, tzinfo=timezone.utc)
    claim = load(
        catalog, run, files=[file], watermark=("changed", "2024-01-01", "date"), live_keys=2, last_load_datetime=moment
    )
    catalog.end_batch(run, "S")
    assert catalog.heads([HUB, "other"]) == {HUB: claim.position, "other": 0}
    assert catalog.known_files("hub_customer") == {file}
    assert catalog.watermark("hub_customer", "changed") == "2024-01-01"
    batch, done = catalog.latest_batch()
    assert (batch.status, batch.next_status, done.status, done.counts) == ("S", "P", "S", {"read": 2, "inserted": 2})
    again = catalog.claim(catalog.start_batch("daily").run_id, "hub_customer", "hub", HUB)
    assert (again.position, again.known, dict(again.offsets), again.state.rows) == (
        claim.position + 1,
        True,
        {LOG: 7},
        2,
    )
    assert (again.state.live_keys, again.state.last_load_datetime) == (2, moment)


def test_the_second_start_of_a_running_batch_is_aborted_and_the_first_left_alone(catalog, store):
    first = catalog.start_batch("daily")
    second = store().start_batch("daily")
    assert (first.status, second.status) == ("E", "A")
    assert f"run {first.run_id} since" in second.message
    load(catalog, first.run_id)
    catalog.end_batch(first.run_id, "S")
    assert store().start_batch("daily").status == "E"


def test_the_same_external_id_is_the_same_run(catalog):
    first = catalog.start_batch("daily", external_id="pipeline-1")
    assert catalog.start_batch("daily", external_id="pipeline-1").run_id == first.run_id
    assert catalog.start_batch("daily", external_id="pipeline-2").status == "A"


def test_an_empty_external_id_is_none(catalog):
    assert catalog.start_batch("one", external_id="").run_id != catalog.start_batch("two", external_id="").run_id


def test_a_table_is_held_by_one_run_and_free_when_that_ends(catalog, store):
    one, two = catalog.start_batch("one").run_id, catalog.start_batch("two").run_id
    claim = catalog.claim(one, "hub_customer", "hub", HUB)
    with pytest.raises(TableHeldError, match=f"is being loaded by run {claim.run_id}"):
        store().claim(two, "hub_customer", "hub", HUB)
    catalog.end(claim, Ended({}, 0))
    assert store().claim(two, "hub_customer", "hub", HUB).executes


def test_a_failed_load_is_repeated_with_its_position_and_slice(catalog):
    run = catalog.start_batch("daily").run_id
    claim = catalog.claim(run, "hub_customer", "hub", HUB)
    catalog.intend(claim, Intent(claim.position, {LOG: 7}, claim.run_id, changes={"path": "p"}))
    catalog.fail(claim, ValueError("first line\nsecond line"))
    catalog.end_batch(run, "F", "failed")
    again = catalog.start_batch("daily")
    assert (again.status, again.restarts) == ("D", run)
    repeated = catalog.claim(again.run_id, "hub_customer", "hub", HUB)
    assert repeated.position == claim.position
    assert repeated.unfinished == Intent(claim.position, {LOG: 7}, claim.run_id, changes={"path": "p"})


def test_a_failed_load_that_is_to_be_forgotten_is_not_repeated(catalog):
    run = catalog.start_batch("daily").run_id
    claim = catalog.claim(run, "customer", "source", LOG)
    catalog.intend(claim, Intent(claim.position, {}, claim.run_id, START, {"rows": 3}))
    catalog.fail(claim, ValueError("no"), forget=True)
    catalog.end_batch(run, "F")
    again = catalog.start_batch("daily")
    repeated = catalog.claim(again.run_id, "customer", "source", LOG)
    assert (again.status, repeated.status, repeated.unfinished) == ("R", "R", None)
    assert repeated.position == claim.position + 1


def test_a_copy_that_failed_and_then_succeeded_need_not_be_done_again(catalog):
    run = catalog.start_batch("daily").run_id
    catalog.fail(catalog.claim(run, "customer", "source", LOG), ValueError("no"))
    load(catalog, run, "order", "log.order")
    claim = catalog.claim(run, "customer", "source", LOG)
    catalog.end(claim, Ended({}, claim.position))
    catalog.fail(catalog.claim(run, "sat", "satellite", "vault.sat"), ValueError("no"))
    catalog.end_batch(run, "F")
    assert catalog.start_batch("daily").status == "D"


def test_batches_of_other_names_and_loads_of_the_same_name_do_not_matter(catalog):
    run = catalog.start_batch("one").run_id
    catalog.fail(catalog.claim(run, "two", "hub", HUB), ValueError("no"))
    catalog.end_batch(run, "F")
    assert catalog.start_batch("two").restarts is None
    assert catalog.start_batch("one", restart=False).restarts is None


def test_what_succeeded_is_passed_over_by_the_restart_and_the_rest_runs(catalog):
    run = catalog.start_batch("daily").run_id
    done = load(catalog, run)
    catalog.fail(catalog.claim(run, "sat", "satellite", "vault.sat"), ValueError("no"))
    catalog.skip(run, "dim", "dimension", "not loaded")
    catalog.end_batch(run, "F")
    for _ in range(2):  # the restart fails again, and is restarted itself
        again = catalog.start_batch("daily")
        assert again.restarts is not None
        over = catalog.claim(again.run_id, "hub_customer", "hub", HUB)
        assert (over.executes, over.status) == (False, "C")
        assert f"done by run {done.run_id}" in over.message
        catalog.fail(catalog.claim(again.run_id, "sat", "satellite", "vault.sat"), ValueError("no"))
        catalog.end_batch(again.run_id, "F")
    third = catalog.start_batch("daily", restart=False)
    assert catalog.claim(third.run_id, "hub_customer", "hub", HUB, attempts=None).executes


def test_the_restart_copies_again_only_if_a_copy_is_missing(catalog):
    run = catalog.start_batch("daily").run_id
    catalog.fail(catalog.claim(run, "customer", "source", LOG), ValueError("no file"))
    catalog.end_batch(run, "F")
    again = catalog.start_batch("daily")
    assert (again.status, again.landed_run_id) == ("R", None)
    claim = catalog.claim(again.run_id, "customer", "source", LOG)
    catalog.intend(claim, Intent(claim.position, {}, claim.run_id, START, {"rows": 3}))
    catalog.fail(claim, ValueError("transformation"))
    catalog.end_batch(again.run_id, "F")
    third = catalog.start_batch("daily")
    assert (third.status, third.landed_run_id) == ("D", again.run_id)
    landed = catalog.claim(third.run_id, "customer", "source", LOG)
    assert (landed.status, landed.unfinished.row_audit_id, landed.unfinished.load_datetime) == (
        "D",
        claim.run_id,
        START,
    )


def test_a_load_that_fails_three_times_is_passed_over_until_it_changes_or_is_reset(catalog):
    def attempt(definition="v1"):
        run = catalog.start_batch("daily").run_id
        claim = catalog.claim(run, "sat", "satellite", "vault.sat", definition=definition)
        if claim.executes:
            catalog.fail(claim, ValueError("no"))
        catalog.end_batch(run, "F")
        return claim

    assert [attempt().status for _ in range(4)] == ["E", "R", "R", "A"]
    assert catalog.start_batch("daily").restarts is None  # nothing is left to try, so everything else runs anew
    catalog.end_batch(catalog.latest_batch()[0].run_id, "S")
    assert "lakehouse reset sat" in attempt().message
    assert attempt("v2").executes
    for _ in range(2):
        attempt("v2")
    assert attempt("v2").status == "A"
    assert "forgot 3 failed attempts" in catalog.reset("sat")
    assert attempt("v2").executes


def test_success_forgets_failures(catalog):
    for _ in range(2):
        run = catalog.start_batch("daily").run_id
        catalog.fail(catalog.claim(run, "hub_customer", "hub", HUB), ValueError("no"))
        catalog.end_batch(run, "F")
    run = catalog.start_batch("daily").run_id
    load(catalog, run)
    catalog.end_batch(run, "S")
    assert catalog.reset("hub_customer") == "nothing was stuck"


def test_a_stale_heartbeat_declares_a_run_dead_and_a_fresh_one_keeps_it(catalog, store):
    run = catalog.start_batch("daily").run_id
    claim = catalog.claim(run, "hub_customer", "hub", HUB)
    catalog.intend(claim, Intent(claim.position, {LOG: 7}, claim.run_id))
    store.clock.now += timedelta(seconds=250)
    assert catalog.beat(run) is False
    store.clock.now += timedelta(seconds=250)
    assert store().start_batch("daily").status == "A"
    store.clock.now += timedelta(seconds=100)
    heir = store()
    again = heir.start_batch("daily")
    assert again.restarts == run
    repeated = heir.claim(again.run_id, "hub_customer", "hub", HUB)
    assert (repeated.position, repeated.unfinished.heads) == (claim.position, {LOG: 7})
    with pytest.raises(ControlError, match="no longer holds table"):
        catalog.end(claim, Ended({"read": 1}, claim.position))
    with pytest.raises(ControlError, match="is not executing any more"):
        catalog.claim(run, "sat", "satellite", "vault.sat")


def test_a_dead_run_of_another_batch_frees_its_table(catalog, store):
    run = catalog.start_batch("one").run_id
    catalog.claim(run, "hub_customer", "hub", HUB)
    store.clock.now += timedelta(seconds=301)
    other = store()
    assert other.claim(other.start_batch("two").run_id, "hub_customer", "hub", HUB).executes


def test_a_dead_run_of_another_project_counts_as_a_failure_of_its_own_load(catalog, store):
    catalog.claim(catalog.start_batch("daily").run_id, "hub_customer", "hub", HUB)
    store.clock.now += timedelta(seconds=301)
    other = store()
    other.project = "another"
    other.claim(other.start_batch("daily").run_id, "hub_customer", "hub", HUB)
    assert other.reset("hub_customer").startswith("ended run")
    assert "forgot 1 failed attempts" in catalog.reset("hub_customer")


def test_suspended_batches_and_disabled_loads_do_not_run(catalog):
    catalog.enable("daily", enabled=False)
    refused = catalog.start_batch("daily")
    assert (refused.status, "resume daily" in refused.message) == ("C", True)
    assert [row.status for row in catalog.batches()] == ["C"]
    catalog.enable("daily", enabled=True)
    catalog.enable("sat", enabled=False)
    run = catalog.start_batch("daily").run_id
    claim = catalog.claim(run, "sat", "satellite", "vault.sat")
    assert (claim.status, "enable sat" in claim.message) == ("C", True)


def test_a_batch_that_is_suspended_while_it_runs_ends_and_is_not_begun_again(catalog):
    run = catalog.start_batch("daily").run_id
    catalog.enable("daily", enabled=False)
    assert catalog.start_batch("daily").status == "C"
    load(catalog, run)
    catalog.end_batch(run, "S")
    assert catalog.start_batch("daily").last_successful_run_id == run


def test_a_running_batch_hears_that_it_shall_stop(catalog, store):
    run = catalog.start_batch("daily").run_id
    assert catalog.beat(run) is False
    assert store().request_stop("daily") == (run,)
    assert catalog.beat(run) is True
    catalog.end_batch(run, "A", "stopped on request")
    assert store().request_stop() == ()
    assert catalog.start_batch("daily").restarts is None


def test_reset_ends_a_stuck_batch_and_the_next_start_is_a_fresh_one(catalog, store):
    run = catalog.start_batch("daily").run_id
    catalog.claim(run, "hub_customer", "hub", HUB)
    assert f"ended run {run}" in store().reset("daily")
    again = store().start_batch("daily")
    assert (again.status, again.restarts) == ("E", None)
    assert store().claim(again.run_id, "hub_customer", "hub", HUB).executes


@pytest.mark.parametrize(("kind", "old", "older", "newer"), [
    ("bigint", "9", "8", "10"), ("decimal(9,2)", "9.50", "9.49", "10.00"), ("timestamp", "2024-02-01 00:00:00", "2024-01-31 23:59:59", "2024-10-01 00:00:00"),
])  # fmt: skip
def test_a_watermark_never_goes_back_unless_forced(catalog, kind, old, older, newer):
    catalog.set_watermark("customer", "mark", old, kind)
    for value in (older, "", "NULL"):
        with pytest.raises(ControlError, match="only with --force"):
            catalog.set_watermark("customer", "mark", value, kind)
    assert catalog.watermark("customer", "mark") == old
    catalog.set_watermark("customer", "mark", newer, kind)
    catalog.set_watermark("customer", "mark", older, kind, force=True)
    assert catalog.watermark("customer", "mark") == older


def test_a_watermark_that_is_no_number_is_refused(catalog):
    catalog.set_watermark("customer", "mark", "1", "double")
    for value in ("NaN", "2024-01-01"):
        with pytest.raises(ControlError, match="watermark"):
            catalog.set_watermark("customer", "mark", value, "double")
    assert catalog.watermark("customer", "mark") == "1"


def test_a_load_with_an_older_watermark_keeps_the_mark(catalog):
    catalog.set_watermark("hub_customer", "mark", "10", "int")
    load(catalog, catalog.start_batch("daily").run_id, watermark=("mark", "9", "int"))
    assert catalog.watermark("hub_customer", "mark") == "10"


def test_a_lost_catalog_goes_on_after_the_rows_that_are_there(catalog):
    claim = catalog.claim(catalog.start_batch("daily").run_id, "hub_customer", "hub", HUB)
    assert not claim.known
    adopted = catalog.adopt(claim, 41)
    assert (adopted.position, adopted.state.head) == (42, 41)
    catalog.end(adopted, Ended({}, 42))
    assert catalog.heads([HUB]) == {HUB: 42}


def test_checkpoints_and_subjects_are_kept(catalog):
    assert catalog.checkpoint(LOG) is None
    catalog.save_checkpoint(LOG, Checkpoint(3, 7, "a:int", 100))
    assert catalog.checkpoint(LOG) == Checkpoint(3, 7, "a:int", 100)
    catalog.save_subjects(LOG, {"one": "a", "two": "b"}, 1)
    catalog.save_subjects(LOG, {"one": "a", "two": "c"}, 5)
    assert [catalog.subject_since(LOG, *pair) for pair in (("one", "a"), ("two", "b"), ("two", "c"))] == [1, None, 5]
    catalog.save_subjects(LOG, {"one": "a"}, 9)
    assert catalog.subject_since(LOG, "two", "c") is None


def test_a_rollback_puts_back_what_was_and_refuses_a_run_in_the_middle(catalog):
    first = catalog.start_batch("daily").run_id
    catalog.set_watermark("customer", "mark", "1", "int")
    before = load(catalog, first, "customer", LOG, files=[File("a", 1, "x")])
    catalog.end_batch(first, "S")
    second = catalog.start_batch("daily").run_id
    load(catalog, second, "customer", LOG, files=[File("b", 1, "y")], watermark=("mark", "2", "int"))
    catalog.end_batch(second, "S")
    with pytest.raises(ControlError, match=f"Roll back the newest first: lakehouse rollback {second}"):
        catalog.written_by(first)
    (written,) = catalog.written_by(second)
    assert (written.object, written.table, written.before["head"]) == ("customer", LOG, before.position)
    catalog.put_back(
        catalog.claim(catalog.start_batch("rollback").run_id, "customer (rollback)", "rollback", LOG), written
    )
    assert catalog.heads([LOG]) == {LOG: before.position}
    assert catalog.known_files("customer") == {File("a", 1, "x")}
    assert catalog.watermark("customer", "mark") == "1"
    assert catalog.written_by(second) == ()
    claim = catalog.claim(catalog.start_batch("daily").run_id, "customer", "source", LOG)
    assert claim.state.generation == 1
    assert claim.position > written.position


def test_a_rollback_leaves_nothing_to_roll_back(catalog):
    run = catalog.start_batch("daily").run_id
    load(catalog, run, "customer", LOG)
    catalog.end_batch(run, "S")
    (written,) = catalog.written_by(run)
    back = catalog.start_batch("rollback").run_id
    catalog.put_back(catalog.claim(back, "customer (rollback)", "rollback", LOG), written)
    catalog.start_over(catalog.claim(back, "customer (reload)", "reload", LOG), {}, empty=False)
    catalog.end_batch(back, "S")
    assert catalog.written_by(back) == ()


def test_a_batch_that_was_rolled_back_is_not_gone_on_with(catalog):
    run = catalog.start_batch("daily").run_id
    load(catalog, run, "customer", LOG)
    catalog.fail(catalog.claim(run, "sat", "satellite", "vault.sat"), ValueError("no"))
    catalog.end_batch(run, "F")
    (written,) = catalog.written_by(run)
    back = catalog.start_batch("rollback").run_id
    catalog.put_back(catalog.claim(back, "customer (rollback)", "rollback", LOG), written)
    catalog.end_batch(back, "S")
    again = catalog.start_batch("daily")
    assert (again.restarts, catalog.claim(again.run_id, "customer", "source", LOG).executes) == (None, True)


def test_a_rollback_is_refused_where_another_batch_has_read_the_rows(catalog):
    first = catalog.start_batch("one").run_id
    claim = load(catalog, first, "customer", LOG)
    catalog.end_batch(first, "S")
    second = catalog.start_batch("two").run_id
    reader = catalog.claim(second, "sat", "satellite", "vault.sat")
    catalog.end(reader, Ended({}, 1, offsets={LOG: claim.position}))
    catalog.end_batch(second, "S")
    with pytest.raises(ControlError, match=r"vault.sat has read"):
        catalog.written_by(first)
    with pytest.raises(ControlError, match="there is no batch run 999"):
        catalog.written_by(999)


def test_start_over_sets_offsets_back_and_a_table_without_rows_begins_a_generation(catalog):
    run = catalog.start_batch("daily").run_id
    load(catalog, run)
    catalog.start_over(catalog.claim(run, "hub_customer", "hub", HUB), {LOG: 3}, empty=False)
    claim = catalog.claim(run, "hub_customer", "hub", HUB)
    assert (dict(claim.offsets), claim.state.head, claim.state.generation) == ({LOG: 3}, 1, 0)
    catalog.end(claim, Ended({}, claim.state.head, offsets={LOG: 7}))
    catalog.start_over(catalog.claim(run, "hub_customer", "hub", HUB), {}, empty=True)
    claim = catalog.claim(run, "hub_customer", "hub", HUB)
    assert (dict(claim.offsets), claim.state.head, claim.state.rows, claim.state.generation) == ({}, 1, 0, 1)
    assert claim.position > 1


def test_row_counts_of_other_systems_are_kept_with_their_run(catalog):
    run = catalog.start_batch("daily").run_id
    catalog.log_row_count(run, "copied", 12, "34.50")
    assert catalog.latest_batch()[0].counts == {"copied": 12}
    with pytest.raises(ControlError, match="no run 999"):
        catalog.log_row_count(999, "copied", 1)


def test_a_row_count_that_was_there_before_the_load_ended_is_replaced(catalog):
    run = catalog.start_batch("daily").run_id
    claim = catalog.claim(run, "hub_customer", "hub", HUB)
    catalog.log_row_count(claim.run_id, "read", 12)
    catalog.end(claim, Ended({"read": 13}, claim.position))
    assert catalog.latest_batch()[1].counts == {"read": 13}


def test_housekeeping_deletes_only_what_is_old(catalog, store):
    old = catalog.start_batch("daily").run_id
    catalog.fail(catalog.claim(old, "sat", "satellite", "vault.sat"), ValueError("no"))
    load(catalog, old)
    catalog.end_batch(old, "F")
    store.clock.now += timedelta(days=40)
    new = catalog.start_batch("daily").run_id
    load(catalog, new, "other", "vault.other")
    catalog.end_batch(new, "S")
    deleted = catalog.housekeeping({"run": 30, "row_count": 30, "load_error": 30})
    assert deleted == {"run": 2, "row_count": 2, "load_error": 1}
    assert [row.run_id for row in catalog.batches()] == [new, old]
    assert catalog.heads([HUB])[HUB] > 0


def test_two_stores_that_write_in_turn_see_each_other(store):
    one, two = store(), store()
    runs = [catalog.start_batch(f"batch{number}").run_id for number, catalog in enumerate([one, two, one, two])]
    assert len(set(runs)) == 4
    assert {row.run_id for row in store().batches(10)} == set(runs)


def test_threads_of_a_run_lose_nothing(store):
    catalogs = [store() for _ in range(2)]
    run = catalogs[0].start_batch("daily").run_id

    def one(number):
        load(catalogs[number % 2], run, f"hub_{number}", f"vault.hub_{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(16)))
    catalogs[1].end_batch(run, "S")
    rows = store().latest_batch("daily")
    assert sorted(row.object for row in rows[1:]) == sorted(f"hub_{number}" for number in range(16))
    assert {row.status for row in rows} == {"S"}
    assert len({row.run_id for row in rows}) == 17


def test_a_new_process_reads_the_log_from_its_newest_snapshot(monkeypatch):
    monkeypatch.setattr("lakehouse.control.event_log.SNAPSHOT_EVERY", 5)
    events = MemoryEvents()
    first = EventLogCatalog(events, "shop", clock=Clock())
    for number in range(6):
        run = first.start_batch(f"batch {number}").run_id
        load(first, run, f"hub_{number}", f"vault.hub_{number}")
        first.end_batch(run, "S")
    assert [kind for _, kind, _ in events.rows].count("snapshot") >= 2
    assert len(events.after(0)) < len(events.rows)
    second = EventLogCatalog(events, "shop", clock=Clock())
    assert second.batches(10) == first.batches(10)
    assert second.start_batch("later").run_id == max(row.run_id for row in first.latest_batch()) + 1
