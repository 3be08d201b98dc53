"""The store over the procedures: installing, lost answers, processes that are gone, and the way through python-tds."""

from __future__ import annotations

import json
import socket
from datetime import datetime, timezone

import pytest

from lakehouse.control.catalog import Checkpoint, Ended, File, Intent, TableHeldError
from lakehouse.control.sql_server import scripts
from lakehouse.control.sql_server.failure import SqlServerError
from lakehouse.control.sql_server.scripts import VERSION
from lakehouse.control.sql_server.store import SqlServerCatalog, open_sql_server
from lakehouse.errors import ControlError
from tests.control.tds_server import Authority, Refused, Rows, TdsServer
from tests.control.tsql import FakeSession, Server

HUB, LOG = "vault.hub_customer", "persistent_stage.shop_customer"
GONE = f"{socket.gethostname()}:999999999:1"
"""A process of this host that has ended."""


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def catalog(server):
    return opened(FakeSession(server))


def opened(session, **options):
    catalog = SqlServerCatalog(session, "control", "shop", **options)
    catalog.init()
    return catalog


# installing


def test_a_catalog_is_made_once_and_then_left_alone(server):
    executed = []

    class Watched(FakeSession):
        def execute(self, batch, *, repeatable=False):
            executed.append(repeatable)
            super().execute(batch, repeatable=repeatable)

    assert [opened(Watched(server)).init() for _ in range(2)] == [VERSION, VERSION]
    assert executed == [True] * 3


def test_an_older_catalog_gets_the_newer_scripts_and_keeps_its_rows(server, catalog, monkeypatch):
    run = catalog.start_batch("daily").run_id
    monkeypatch.setattr(scripts, "VERSION", VERSION + 1)
    assert catalog.init() == VERSION + 1
    assert server.db.execute("SELECT version FROM catalog_version ORDER BY version").fetchall() == [(1,), (2,)]
    assert catalog.latest_batch()[0].run_id == run


def test_a_newer_catalog_still_takes_the_calls_of_an_older_library(server, catalog):
    server.db.execute("INSERT INTO catalog_version VALUES (99, (SELECT installed FROM catalog_version))")
    assert catalog.init() == 99
    assert catalog.start_batch("daily").executes


def test_a_table_that_another_process_has_just_made_is_no_error(server):
    class Late(FakeSession):
        errors = [SqlServerError("There is already an object named 'run'.", (2714,))]

        def execute(self, batch, *, repeatable=False):
            if self.errors:
                raise self.errors.pop()
            super().execute(batch, repeatable=repeatable)

    assert opened(Late(server)).start_batch("daily").executes
    with pytest.raises(SqlServerError, match="permission"):
        refused = Late(Server())
        refused.errors = [SqlServerError("no permission", (262,))]
        opened(refused)


# lost answers


class Twice(FakeSession):
    """Every call that may be made again is: its first answer got lost."""

    def call(self, procedure, parameters, *, repeatable=False):
        if repeatable:
            super().call(procedure, parameters)
        return super().call(procedure, parameters)


def test_a_call_whose_answer_was_lost_changes_nothing_when_it_is_made_again(server):
    catalog = opened(Twice(server))
    started = catalog.start_batch("daily")
    claim = catalog.claim(started.run_id, "hub_customer", "hub", HUB)
    assert (started.status, claim.status, claim.position) == ("E", "E", 1)
    claim = catalog.adopt(claim, 41)
    catalog.intend(claim, Intent(claim.position, {LOG: 7}, claim.run_id))
    catalog.end(claim, Ended({"read": 1}, claim.position, rows=5, offsets={LOG: 7}, files=[File("a", 1, "x")]))
    failed = catalog.claim(started.run_id, "sat", "satellite", "vault.sat")
    catalog.fail(failed, ValueError("no"))
    catalog.skip(started.run_id, "dim", "dimension", "not loaded")
    catalog.end_batch(started.run_id, "F", "failed")
    rows = catalog.latest_batch()
    assert [(row.object, row.status) for row in rows] == [
        ("daily", "F"),
        ("hub_customer", "S"),
        ("sat", "F"),
        ("dim", "C"),
    ]
    again = catalog.claim(catalog.start_batch("daily").run_id, "other", "hub", HUB)
    assert (again.state.rows, again.state.head, again.position) == (5, 42, 43)
    assert catalog.known_files("hub_customer") == {File("a", 1, "x")}
    assert server.db.execute("SELECT failures FROM object WHERE name = 'sat'").fetchone() == (1,)
    assert server.db.execute("SELECT count(*) FROM load_error").fetchone() == (1,)


def test_a_rollback_whose_answer_was_lost_is_made_once(server):
    catalog = opened(Twice(server))
    run = catalog.start_batch("daily").run_id
    claim = catalog.claim(run, "customer", "source", LOG)
    catalog.end(claim, Ended({"read": 1}, 1, rows=5, watermark=("mark", "2", "int")))
    catalog.end_batch(run, "S")
    (written,) = catalog.written_by(run)
    taken = catalog.claim(catalog.start_batch("rollback").run_id, "customer (rollback)", "rollback", LOG)
    catalog.put_back(taken, written)
    again = catalog.claim(catalog.start_batch("reload").run_id, "customer (reload)", "reload", LOG)
    assert (again.state.rows, again.state.head, again.state.generation) == (0, 0, 1)
    catalog.start_over(again, {"x": 1}, empty=True)
    assert catalog.claim(catalog.start_batch("daily").run_id, "customer", "source", LOG).state.generation == 2


# processes that are gone


def started_elsewhere(server, batch, process):
    (row,) = server.call(
        "[control].[LogExecutionStart]",
        {"ExternalID": None, "ProjectName": "shop", "BatchName": batch, "Process": process},
    )
    return row["ExecutionID"]


def test_a_run_whose_process_this_host_has_seen_to_be_gone_does_not_block(server, catalog):
    dead = started_elsewhere(server, "daily", GONE)
    again = catalog.start_batch("daily")
    assert (again.executes, again.restarts) == (True, dead)


def test_a_process_of_another_host_is_waited_for(server, catalog):
    started_elsewhere(server, "daily", "elsewhere:1:1")
    assert catalog.start_batch("daily").status == "A"


def test_a_table_held_by_a_process_that_is_gone_is_taken_over(server, catalog):
    dead = started_elsewhere(server, "one", GONE)
    call = {"BatchExecutionID": dead, "ObjectName": "hub", "ObjectType": "hub", "TableName": HUB}
    server.call("[control].[ClaimTable]", call)
    assert catalog.claim(catalog.start_batch("two").run_id, "hub", "hub", HUB).executes


def test_a_table_held_by_a_living_process_is_refused(server, catalog):
    living = started_elsewhere(server, "one", "elsewhere:1:1")
    call = {
        "BatchExecutionID": living,
        "ObjectName": "hub",
        "ObjectType": "hub",
        "TableName": HUB,
        "Process": "elsewhere:1:1",
    }
    server.call("[control].[ClaimTable]", call)
    with pytest.raises(TableHeldError, match="process elsewhere:1:1"):
        catalog.claim(catalog.start_batch("two").run_id, "hub", "hub", HUB)


# details


def test_history_of_an_unknown_table_is_refused(catalog):
    with pytest.raises(ControlError, match="object: no table of history"):
        catalog.housekeeping({"object": 3, "run": 3})


def test_a_rollback_may_put_back_less_than_there_was(catalog):
    run = catalog.start_batch("daily").run_id
    for _ in range(2):
        claim = catalog.claim(run, "hub_customer", "hub", HUB)
        catalog.end(claim, Ended({}, claim.position, rows=5, offsets={LOG: claim.position}))
    catalog.end_batch(run, "S")
    newest, _ = catalog.written_by(run)
    assert newest.before["offsets"] == {LOG: 1}
    taken = catalog.claim(catalog.start_batch("rollback").run_id, "x", "rollback", HUB)
    changed = type(newest)(**{**vars(newest), "before": {**newest.before, "offsets": {}, "row_total": 0}})
    catalog.put_back(taken, changed)
    again = catalog.claim(catalog.start_batch("daily").run_id, "hub_customer", "hub", HUB)
    assert (again.state.head, again.state.rows, dict(again.offsets)) == (1, 0, {})


def test_a_load_date_time_comes_back_in_utc_after_a_rollback(catalog):
    run = catalog.start_batch("daily").run_id
    moment = datetime(2024, 1, 2, 3, 4, 5, 678900, tzinfo=timezone.utc)
    for number, stamp in enumerate((moment, datetime(2024, 2, 1, tzinfo=timezone.utc)), start=1):
        claim = catalog.claim(run, "customer", "source", LOG)
        catalog.end(claim, Ended({}, number, last_load_datetime=stamp, live_keys=number))
    catalog.end_batch(run, "S")
    newest, _ = catalog.written_by(run)
    catalog.put_back(catalog.claim(catalog.start_batch("rollback").run_id, "x", "rollback", LOG), newest)
    state = catalog.claim(catalog.start_batch("daily").run_id, "customer", "source", LOG).state
    assert (state.last_load_datetime, state.live_keys) == (moment, 1)


def test_an_intent_keeps_everything(catalog):
    claim = catalog.claim(catalog.start_batch("daily").run_id, "customer", "source", LOG)
    moment = datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=timezone.utc)
    intent = Intent(claim.position, {"a": 1}, claim.run_id, moment, {"rows": 3}, {"path": "é"}, rolls_back=4)
    catalog.intend(claim, intent)
    assert catalog.unfinished(LOG) == intent
    assert catalog.unfinished("other") is None
    catalog.forget_intent(LOG)
    assert catalog.unfinished(LOG) is None


# through python-tds


def test_a_load_goes_through_python_tds(tmp_path, monkeypatch, server):
    """Names, types and NULLs as they arrive at a server; the answers are the interpreter's."""
    authority = Authority(tmp_path, "authority")
    with TdsServer(authority.server_context("localhost"), always=lambda request: answer(server, request)) as tds:
        secret = {"server": "localhost", "port": tds.port, "database": "control", "user": "u", "password": "p" * 9}
        monkeypatch.setenv("CONTROL", json.dumps({**secret, "cafile": authority.cafile}))
        catalog = open_sql_server("env:CONTROL", "control", "shop", stale_seconds=0.5 + 99)
        run = catalog.start_batch("daily", external_id="pipeline").run_id
        claim = catalog.claim(run, "hub_customer", "hub", HUB, definition="d" * 9000)
        catalog.intend(claim, Intent(claim.position, {LOG: 7}, claim.run_id))
        with pytest.raises(TableHeldError, match=f"table {HUB} is being loaded by run {claim.run_id} since"):
            catalog.claim(run, "hub_customer", "hub", HUB, attempts=None)
        catalog.end(
            claim,
            Ended(
                {"read": 2}, 1, rows=2, files=[File("/é.csv", 1, "x")], watermark=("m", "1", "int"), reconciled=False
            ),
        )
        catalog.save_checkpoint(LOG, Checkpoint(3, 7, "a:int", 100))
        catalog.end_batch(run, "S")
        batch, load = catalog.latest_batch()
        catalog.close()
    assert (batch.status, load.status, load.counts, load.reconciled) == ("S", "S", {"read": 2}, False)
    assert load.seconds is not None and load.seconds < 60
    assert server.db.execute("SELECT path FROM file").fetchone() == ("/é.csv",)
    assert server.db.execute("SELECT stale_seconds FROM run").fetchone() == (100,)


def answer(server, request):
    try:
        rows = (
            server.call(request.procedure, dict(request.parameters))
            if request.procedure
            else server.run_script(request.text)
        )
    except SqlServerError as error:
        return Refused(error.numbers[0], str(error))
    return Rows(tuple(rows[0]), [tuple(row.values()) for row in rows]) if rows else []
