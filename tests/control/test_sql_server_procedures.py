"""The procedures as an orchestrator such as Data Factory calls them, run by the interpreter (no server: see tsql.py)."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from lakehouse.control.sql_server.failure import SqlServerError
from lakehouse.control.sql_server.scripts import installation
from tests.control.tsql import Server

START = datetime(2024, 1, 1, 8, tzinfo=timezone.utc)


class Database:
    """The server's procedures as methods; each answers with its only row."""

    def __init__(self):
        self.now = START
        self.server = Server(lambda: self.now)
        for script in installation("control").values():
            self.server.run_script(script)

    def __getattr__(self, name):
        def call(**parameters):
            (row,) = self.server.call(f"[control].[{name}]", parameters)
            return row

        return call

    def batch(self, pipeline, name="daily", **more):
        return self.LogExecutionStart(ExternalID=pipeline, ProjectName="shop", BatchName=name, **more)

    def load(self, pipeline, name, batch=None, **more):
        parent = batch["ExecutionID"] if batch else None
        return self.LogExecutionStart(
            ExternalID=pipeline,
            ProjectName="shop",
            BatchName="daily",
            ObjectName=name,
            ParentExecutionID=parent,
            **more,
        )

    def ok(self, run):
        return self.LogExecutionEnd(ExecutionID=run["ExecutionID"])

    def copied(self, run, rows=10):
        return self.LogRowCount(ExecutionID=run["ExecutionID"], CountType="copied", RowCount=rows)

    def failed(self, run, message="no", **more):
        return self.LogExecutionError(ExecutionID=run["ExecutionID"], ErrorMessage=message, **more)

    def rows(self, sql):
        return self.server.db.execute(sql).fetchall()


@pytest.fixture
def db():
    return Database()


def test_a_start_answers_with_what_a_pipeline_reads(db):
    batch = db.batch("pipeline-1")
    db.now += timedelta(minutes=1)
    load = db.load("pipeline-2", "customer", batch)
    assert load == {
        "ExecutionID": load["ExecutionID"], "ExecutionStatus": "E", "NextLoadStatus": "P", "Executes": 1,
        "LastExecutionID": None, "LastSuccessfulExecutionID": None, "LandedExecutionID": None, "RestartedExecutionID": None,
        "RowAuditID": load["ExecutionID"], "BatchExecutionID": batch["ExecutionID"],
        "BatchStartTime": START.replace(tzinfo=None), "Message": "",
    }  # fmt: skip
    assert db.ok(load) == {
        "ExecutionID": load["ExecutionID"], "ExecutionStatus": "S", "NextLoadStatus": "P", "Message": "",
    }  # fmt: skip
    assert db.ok(batch)["ExecutionStatus"] == "S"
    assert db.load("pipeline-3", "customer")["LastSuccessfulExecutionID"] == load["ExecutionID"]


def test_a_transformation_that_failed_is_restarted_with_the_rows_that_were_landed(db):
    batch = db.batch("1")
    customer, order = db.load("2", "customer", batch), db.load("3", "order", batch)
    db.copied(customer)
    db.copied(order)
    db.ok(order)
    assert db.failed(customer, "job failed")["NextLoadStatus"] == "D"
    assert db.failed(batch)["NextLoadStatus"] == "D"

    for pipeline in ("4", "5"):  # the restart fails again, and is restarted itself
        again = db.batch(pipeline)
        assert (again["ExecutionStatus"], again["LandedExecutionID"]) == ("D", batch["ExecutionID"])
        restarted = db.load(f"{pipeline} customer", "customer", again)
        assert (restarted["ExecutionStatus"], restarted["Executes"]) == ("D", 1)
        assert restarted["LastExecutionID"] == restarted["RowAuditID"] == customer["ExecutionID"]
        done = db.load(f"{pipeline} order", "order", again)
        assert (done["ExecutionStatus"], done["Executes"]) == ("C", 0)
        assert done["Message"] == f"done by run {order['ExecutionID']}, before the restart"
        db.failed(restarted)
        db.failed(again)

    last = db.batch("6")
    db.ok(db.load("7", "customer", last, MaxAttempts=9))
    db.ok(last)
    assert db.batch("8")["ExecutionStatus"] == "E"
    assert db.load("9", "order")["ExecutionStatus"] == "E"


def test_a_copy_that_did_not_finish_is_done_again(db):
    batch = db.batch("1")
    load = db.load("2", "customer", batch)
    assert db.failed(load)["NextLoadStatus"] == "R"
    assert db.failed(batch)["NextLoadStatus"] == "R"
    again = db.load("4", "customer", db.batch("3"))
    assert (again["ExecutionStatus"], again["LastExecutionID"]) == ("R", load["ExecutionID"])
    assert again["RowAuditID"] == again["ExecutionID"]


def test_a_pipeline_may_say_itself_whether_the_copy_had_finished(db):
    batch = db.batch("1")
    one, two = db.load("2", "customer", batch), db.load("3", "order", batch)
    db.copied(two)
    db.LogRowCount(ExecutionID=one["ExecutionID"], CountType="read", RowCount=1)
    assert db.failed(db.load("4", "product", batch))["NextLoadStatus"] == "R"
    assert db.failed(one, Landed=True)["NextLoadStatus"] == "D"
    assert db.failed(two, Landed=False)["NextLoadStatus"] == "R"


def test_a_load_without_a_batch_restarts_by_its_own_last_run(db):
    first = db.load("1", "customer")
    assert first["BatchExecutionID"] == first["ExecutionID"]
    db.copied(first)
    db.failed(first)
    again = db.load("2", "customer")
    assert (again["ExecutionStatus"], again["RowAuditID"]) == ("D", first["ExecutionID"])
    db.ok(again)
    assert db.load("3", "customer")["ExecutionStatus"] == "E"


def test_a_load_without_a_batch_restarts_by_no_other_load(db):
    failed = db.load("1", "customer")
    db.copied(failed)
    db.failed(failed)
    assert db.load("2", "order")["ExecutionStatus"] == "E"
    assert db.load("3", "customer", ObjectType="satellite")["ExecutionStatus"] == "E"


def test_a_load_without_a_batch_that_was_skipped_meanwhile_restarts_all_the_same(db):
    db.failed(db.load("1", "customer"))
    db.SetEnabled(ProjectName="shop", ObjectName="customer", Enabled=False)
    assert db.load("2", "customer")["ExecutionStatus"] == "C"
    db.SetEnabled(ProjectName="shop", ObjectName="customer", Enabled=True)
    assert db.load("3", "customer")["ExecutionStatus"] == "R"


def test_a_load_in_a_batch_does_not_go_on_with_one_on_its_own(db):
    db.failed(db.load("1", "customer"))
    batch = db.batch("2")
    inside = db.load("3", "customer", batch)
    assert inside["ExecutionStatus"] == "E"
    db.copied(inside)
    db.failed(inside)
    db.failed(batch)
    assert db.load("4", "customer")["ExecutionStatus"] == "R"


def test_a_load_belongs_to_the_batch_that_executes(db):
    batch = db.batch("1")
    assert db.load("2", "customer")["BatchExecutionID"] == batch["ExecutionID"]


def test_a_retried_activity_finds_its_run_again(db):
    batch, load = db.batch("1"), db.load("1", "customer")
    assert db.batch("1") == batch
    assert db.load("1", "customer") == load
    assert db.load("1", "order")["ExecutionID"] != load["ExecutionID"]
    db.ok(load)
    over = db.load("1", "customer")
    assert (over["ExecutionID"], over["ExecutionStatus"], over["Executes"]) == (load["ExecutionID"], "S", 0)


def test_a_newcomer_is_aborted_until_the_maximum_duration_is_over(db):
    batch = db.batch("1", LongestSeconds=3600)
    load = db.load("2", "customer", batch)
    newcomer = db.batch("3")
    assert (newcomer["ExecutionStatus"], newcomer["Executes"], newcomer["NextLoadStatus"]) == ("A", 0, "P")
    assert newcomer["Message"] == (
        f"batch 'daily' is running already: run {batch['ExecutionID']} since 2024-01-01T08:00:00, process an orchestrator. "
        "It is left alone; wait for it to end."
    )
    assert db.load("4", "customer", batch)["ExecutionStatus"] == "A"
    db.now += timedelta(seconds=3599)
    assert db.batch("5")["ExecutionStatus"] == "A"
    db.now += timedelta(seconds=1)
    heir = db.batch("6")
    assert (heir["ExecutionStatus"], heir["RestartedExecutionID"]) == ("R", batch["ExecutionID"])
    assert db.ok(load) == {
        "ExecutionID": load["ExecutionID"], "ExecutionStatus": "F", "NextLoadStatus": "R",
        "Message": "its process ended without a word",
    }  # fmt: skip


def test_a_run_that_sends_a_heartbeat_is_judged_by_it(db):
    batch = db.batch("1", StaleSeconds=60)
    assert db.Beat(ExecutionID=batch["ExecutionID"]) == {"StopRequested": 0}
    db.now += timedelta(seconds=59)
    assert db.batch("2")["ExecutionStatus"] == "A"
    db.now += timedelta(seconds=2)
    assert db.batch("3")["ExecutionStatus"] == "R"


def test_a_disabled_object_is_skipped_and_a_suspended_batch_too(db):
    db.SetEnabled(ProjectName="shop", ObjectName="customer", Enabled=False)
    batch = db.batch("1")
    skipped = db.load("2", "customer", batch)
    assert (skipped["ExecutionStatus"], skipped["Message"]) == ("C", "disabled; lakehouse enable customer lets it run")
    db.ok(batch)
    db.SetEnabled(ProjectName="shop", ObjectName="daily", Enabled=False)
    assert db.batch("3")["ExecutionStatus"] == "C"


def test_attempts_limit_failed_loads_until_they_are_reset(db):
    for number in range(3):
        db.failed(db.load(f"load {number}", "customer", db.batch(f"batch {number}")))
        db.failed({"ExecutionID": db.rows("SELECT max(run_id) FROM run WHERE kind = 'batch'")[0][0]})
    batch = db.batch("4")
    refused = db.load("5", "customer", batch)
    assert (refused["ExecutionStatus"], refused["NextLoadStatus"]) == ("A", "R")
    assert "failed 3 times" in refused["Message"]
    assert db.ResetExecutionStatus(ProjectName="shop", ObjectName="customer") == {
        "Message": "forgot 3 failed attempts", "EndedRuns": "", "ForgottenFailures": 3,
    }  # fmt: skip
    assert db.load("6", "customer", batch)["ExecutionStatus"] == "R"


def test_a_reset_ends_every_stuck_run_of_a_name(db):
    one, two = db.load("1", "customer"), db.load("2", "order")
    answer = db.ResetExecutionStatus(ProjectName="shop", ObjectName="customer")
    assert answer["Message"] == f"ended run {one['ExecutionID']}; forgot 1 failed attempts"
    assert db.load("3", "customer")["ExecutionStatus"] == "E"
    assert db.ok(two)["ExecutionStatus"] == "S"


def test_a_batch_that_ends_takes_its_loads_with_it(db):
    batch = db.batch("1")
    load = db.load("2", "customer", batch)
    db.ok(batch)
    found = db.rows(f"SELECT status, next_status, message FROM run WHERE run_id = {load['ExecutionID']}")
    assert found == [("F", "P", "its batch ended before it")]
    with pytest.raises(SqlServerError, match="is not executing any more, so order is not loaded by it") as error:
        db.load("3", "order", batch)
    assert error.value.numbers == (51001,)


def test_an_error_is_kept_whole_and_its_first_line_shown(db):
    load = db.load("1", "customer")
    db.failed(load, "50 % of it\r\nsecond line", ErrorType="UserError")
    db.failed(load, "50 % of it\r\nsecond line", ErrorType="UserError")
    assert db.rows("SELECT object, error, message FROM load_error") == [
        ("customer", "UserError", "50 % of it\r\nsecond line")
    ]
    assert db.rows("SELECT message FROM run") == [("50 % of it",)]


def test_a_watermark_is_one_row_even_if_there_is_none(db):
    mark = {"ProjectName": "shop", "ObjectName": "customer", "ParameterName": "changed"}
    assert db.GetParameter(**mark, DefaultValue="19001010")["ParameterValue"] == "19001010"
    saved = db.SetParameter(**mark, ParameterValue="9", ParameterType="int", ExecutionID=7)
    assert saved == {"Saved": 1, "ParameterValue": "9", "Message": ""}
    db.SetParameter(**mark, ParameterValue="19001010")
    assert db.GetParameter(**mark, DefaultValue="0") == {
        "ParameterValue": "19001010", "ParameterType": "int", "PreviousValue": "9", "ExecutionID": None,
    }  # fmt: skip
    for value in ("100", "", " null ", None):
        refused = db.SetParameter(**mark, ParameterValue=value)
        assert (refused["Saved"], refused["ParameterValue"]) == (0, "19001010")
    assert db.SetParameter(**mark, ParameterValue="100", Force=True)["Saved"] == 1
    assert len(db.rows("SELECT * FROM parameter_history")) == 3


@pytest.mark.parametrize(("kind", "old", "new", "moves"), [
    ("bigint", "9223372036854775806", "9223372036854775807", True),
    ("decimal(38,0)", "1" + "0" * 37, "2" + "0" * 37, True), ("decimal(38,0)", "2" + "0" * 37, "1" + "0" * 37, False),
    ("double", "1e300", "1e301", True), ("double", "1e301", "1e300", False), ("int", "-1", "-2", False),
    ("nvarchar", "9", "10", True), ("string", "9", "10", False), ("DateTime", "2024-02-01", "2024-10-01", True),
])  # fmt: skip
def test_watermarks_compare_by_their_type(db, kind, old, new, moves):
    mark = {"ProjectName": "shop", "ObjectName": "customer", "ParameterName": "changed", "ParameterType": kind}
    db.SetParameter(**mark, ParameterValue=old)
    assert db.SetParameter(**mark, ParameterValue=new)["Saved"] == moves


def test_a_watermark_that_is_no_number_is_refused(db):
    mark = {"ProjectName": "shop", "ObjectName": "customer", "ParameterName": "changed", "ParameterType": "int"}
    db.SetParameter(**mark, ParameterValue="1")
    with pytest.raises(SqlServerError, match="is a number") as error:
        db.SetParameter(**mark, ParameterValue="2024-01-01")
    assert error.value.numbers == (51004,)


@pytest.mark.parametrize(("call", "number", "text"), [
    (lambda db: db.copied({"ExecutionID": 99}), 51005, "there is no run 99"),
    (lambda db: db.ok({"ExecutionID": 99}), 51005, "there is no run 99"),
    (lambda db: db.failed({"ExecutionID": 99}), 51005, "there is no run 99"),
    (lambda db: db.LogExecutionEnd(ExecutionID=db.batch("1")["ExecutionID"], ExecutionStatus="X"), 51005, "S, F, A or C"),
    (lambda db: db.batch("1", name=""), 51007, "names its project"),
])  # fmt: skip
def test_a_refusal_is_an_error_that_fails_the_activity(db, call, number, text):
    with pytest.raises(SqlServerError, match=text) as error:
        call(db)
    assert error.value.numbers == (number,)
    assert db.rows("SELECT count(*) FROM run WHERE ended IS NOT NULL") == [(0,)]


def test_a_catalog_that_is_busy_for_too_long_is_an_error_and_nothing_is_changed(db):
    db.server.granted = -1
    with pytest.raises(SqlServerError, match="the control catalog is busy") as error:
        db.batch("1")
    assert error.value.numbers == (51000,)
    db.server.granted = 1
    assert db.batch("1")["Executes"] == 1


def test_a_refusal_is_a_row_where_the_caller_wants_one(db):
    answer = db.LogRowCount(ExecutionID=99, CountType="copied", RowCount=1, RaiseError=False)
    assert answer == {"ErrorNumber": 51005, "Message": "there is no run 99 to record a row count for."}


def test_a_load_that_holds_a_table_is_not_ended_by_the_wrong_procedure(db):
    batch = db.batch("1")
    claim = db.ClaimTable(
        BatchExecutionID=batch["ExecutionID"], ObjectName="hub", ObjectType="hub", TableName="vault.hub"
    )
    with pytest.raises(SqlServerError, match="EndLoad ends it"):
        db.ok(claim)


def test_empty_text_is_no_object_and_no_external_id(db):
    first = db.LogExecutionStart(ExternalID="", ProjectName="shop", BatchName="one", ObjectName="")
    second = db.LogExecutionStart(ExternalID="", ProjectName="shop", BatchName="two", ObjectName="")
    assert first["ExecutionID"] != second["ExecutionID"]
    assert db.rows("SELECT kind, external_id, heartbeat IS NULL FROM run") == [("batch", None, 0), ("batch", None, 0)]
    db.batch("1")
    assert db.rows("SELECT kind, external_id, heartbeat IS NULL FROM run")[2] == ("batch", "1", 1)
    assert db.rows("SELECT name, kind FROM object ORDER BY name") == [
        ("daily", "batch"),
        ("one", "batch"),
        ("two", "batch"),
    ]


def test_parameters_may_come_as_text(db):
    assert db.LogExecutionStart(
        ExternalID="0", ProjectName="shop", BatchName="other", ObjectName="alone", ParentExecutionID=""
    )["Executes"]
    batch = db.batch("1", LongestSeconds="60", Restart="true")
    load = db.load("2", "customer", {"ExecutionID": str(batch["ExecutionID"])})
    assert db.LogRowCount(ExecutionID=str(load["ExecutionID"]), CountType="copied", RowCount="12")["CountedRows"] == 12


def test_names_differ_by_case(db):
    assert db.batch("1", name="Daily")["ExecutionStatus"] == db.batch("2", name="daily")["ExecutionStatus"] == "E"


def test_a_name_that_is_too_long_changes_nothing(db):
    with pytest.raises(SqlServerError):
        db.batch("1", name="x" * 257)
    assert db.rows("SELECT count(*) FROM run") == db.rows("SELECT count(*) FROM object") == [(0,)]


def test_views_show_what_runs_and_what_ran(db):
    for number in range(7):
        batch = db.batch(f"batch {number}")
        load = db.load(f"load {number}", "customer", batch)
        db.copied(load, number)
        if number < 6:
            db.ok(load)
            db.ok(batch)
    assert [row[0] for row in db.rows("SELECT object FROM current_run ORDER BY run_id")] == ["daily", "customer"]
    assert db.rows("SELECT run_id FROM latest_batch") == [(batch["ExecutionID"],)]
    assert len(db.rows("SELECT * FROM last_five")) == 5
    details = db.rows("SELECT count_type, rows FROM run_detail WHERE object = 'customer' ORDER BY run_id")
    assert details == [("copied", number) for number in range(7)]
