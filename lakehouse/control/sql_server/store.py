"""The control catalog in SQL Server or Azure SQL: calls of the procedures under ``scripts``.

Rule: the rules are the procedures'; here are only names, JSON and times. Every call is one procedure, one transaction, bound
parameters. A call that may have been carried out before its answer was lost is made again only if it then changes nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from itertools import groupby
from typing import Any, Protocol
from uuid import uuid4

from lakehouse.control.catalog import (
    Checkpoint,
    Claim,
    Ended,
    File,
    Intent,
    RunRow,
    Started,
    Status,
    TableHeldError,
    TableState,
    Written,
)
from lakehouse.control.credentials import parse_secret
from lakehouse.control.process import gone, this_process
from lakehouse.control.schema import HISTORY
from lakehouse.control.secrets import read_secret
from lakehouse.control.sql_catalog import ORCHESTRATOR
from lakehouse.control.sql_server import scripts
from lakehouse.control.sql_server.connection import Session
from lakehouse.control.sql_server.failure import SqlServerError
from lakehouse.errors import ControlError

Row = Mapping[str, Any]
HELD = 51002
"""The number of the refusal that another run writes the table."""
MADE_MEANWHILE = frozenset({1913, 2627, 2714})
"""Numbers that say that another process has just made the same table, index or row."""


class Server(Protocol):
    """What the store needs of a session."""

    def call(
        self, procedure: str, parameters: Mapping[str, object], *, repeatable: bool = False
    ) -> list[dict[str, object]]:
        """Calls a procedure; the rows of its first result set."""

    def query(self, statement: str) -> list[dict[str, object]]:
        """The rows of a statement that only reads."""

    def execute(self, batch: str, *, repeatable: bool = False) -> None:
        """Runs a script."""

    def close(self) -> None:
        """Closes the connection; the next call opens another one."""


def open_sql_server(
    secret: str,
    schema: str,
    project: str,
    *,
    stale_seconds: float = 300,
    longest_seconds: float = 86_400,
    clock: Callable[[], datetime] | None = None,
) -> SqlServerCatalog:
    """The control catalog in the database that a secret names; made or upgraded if need be.

    Raises:
        SetupError: the secret or python-tds is missing.
        ControlError: the secret cannot be read, the server cannot be reached or refuses.
    """
    text, origin = read_secret(secret)
    session = Session(parse_secret(text, origin=origin))
    catalog = SqlServerCatalog(
        session, schema, project, stale_seconds=stale_seconds, longest_seconds=longest_seconds, clock=clock
    )
    catalog.init()
    return catalog


class SqlServerCatalog:
    """A control catalog in a schema of a SQL Server database. Threads may share it."""

    beat_seconds = 15.0
    """How often a run says that it is alive."""

    def __init__(
        self,
        session: Server,
        schema: str,
        project: str,
        *,
        stale_seconds: float = 300,
        longest_seconds: float = 86_400,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self.project = project
        self._session = session
        self._schema = scripts.checked(schema)
        self._patience = {"StaleSeconds": math.ceil(stale_seconds), "LongestSeconds": math.ceil(longest_seconds)}
        self._clock = clock
        self._process = this_process()

    def init(self) -> int:
        """Makes or upgrades the catalog's tables and procedures; returns their version.

        A newer catalog is left alone: its procedures still take the calls of this library.
        """
        try:
            return self._install()
        except SqlServerError as error:
            if MADE_MEANWHILE.isdisjoint(error.numbers):
                raise
        return self._install()

    def _install(self) -> int:
        (found,) = self._session.query(scripts.version_query(self._schema))
        version = int(str(found["Version"]))
        if version >= scripts.VERSION:
            return version
        for script in scripts.installation(self._schema, since=version).values():
            self._session.execute(script, repeatable=True)
        return scripts.VERSION

    def close(self) -> None:
        """Closes the connection; the next call opens another one."""
        self._session.close()

    def _call(self, procedure: str, /, **parameters: object) -> list[Row]:
        """The rows with which a procedure answers that may be called again if its answer got lost.

        Raises:
            TableHeldError, ControlError: it refuses.
        """
        return self._answer(procedure, parameters, repeatable=True)

    def _call_once(self, procedure: str, /, **parameters: object) -> list[Row]:
        """The rows with which a procedure answers that is called once."""
        return self._answer(procedure, parameters, repeatable=False)

    def _answer(self, procedure: str, parameters: Mapping[str, object], *, repeatable: bool) -> list[Row]:
        rows = self._session.call(scripts.procedure(self._schema, procedure), parameters, repeatable=repeatable)
        refusal = rows[0] if rows and "ErrorNumber" in rows[0] else None
        if refusal is not None and refusal["ErrorNumber"] == HELD:
            raise TableHeldError(str(refusal["Message"]))
        if refusal is not None:
            raise ControlError(str(refusal["Message"]))
        return [*rows]

    def _time(self) -> dict[str, object]:
        """The time for a procedure that asks for it; the server's own unless a clock was given."""
        return {"Now": self._clock().astimezone(timezone.utc)} if self._clock else {}

    # batches ---------------------------------------------------------------------------------------------------------

    def start_batch(self, batch: str, *, external_id: str | None = None, restart: bool = True) -> Started:
        """Begins a batch; the same external id gives the same run. ``restart`` goes on with a failed run, if there is one."""
        self._end_gone(batch)
        (row,) = self._call(
            "LogExecutionStart",
            ExternalID=external_id,
            ProjectName=self.project,
            BatchName=batch,
            Restart=restart,
            Process=self._process if external_id is None else ORCHESTRATOR,
            RequestID=str(uuid4()),
            RaiseError=False,
            **self._patience,
            **self._time(),
        )
        return Started(
            row["ExecutionID"],
            row["ExecutionStatus"],
            row["RestartedExecutionID"],
            row["LastSuccessfulExecutionID"],
            row["LandedExecutionID"],
            row["Message"],
        )

    def _end_gone(self, batch: str | None = None) -> bool:
        """Ends the runs that this host has seen to be gone, of one batch or of all; whether there were any."""
        project = self.project if batch is not None else None
        runs = self._call("GetExecuting", ProjectName=project, BatchName=batch)
        dead = [row for row in runs if gone(row["Process"])]
        for row in dead:
            self._call("EndGoneRun", ExecutionID=row["ExecutionID"], Process=row["Process"], **self._time())
        return bool(dead)

    def end_batch(self, run_id: int, status: Status, message: str = "") -> None:
        """Ends a batch, and its loads that did not end; decides what its next start does."""
        self._call(
            "LogExecutionEnd",
            ExecutionID=run_id,
            ExecutionStatus=status,
            Message=message,
            RaiseError=False,
            **self._time(),
        )

    def beat(self, run_id: int) -> bool:
        """Says that a batch is alive; tells whether it was asked to stop."""
        rows = self._call("Beat", ExecutionID=run_id, **self._time())
        return bool(rows and rows[0]["StopRequested"])

    # loads -----------------------------------------------------------------------------------------------------------

    def claim(
        self, batch_run: int, object_name: str, kind: str, table: str, *, definition: str = "", attempts: int | None = 3
    ) -> Claim:
        """Begins a load: a run id, the table for this run alone, its state and the position of its rows."""
        try:
            return self._claim(batch_run, object_name, kind, table, definition, attempts)
        except TableHeldError:
            if not self._end_gone():
                raise
        return self._claim(batch_run, object_name, kind, table, definition, attempts)

    def _claim(
        self, batch_run: int, object_name: str, kind: str, table: str, definition: str, attempts: int | None
    ) -> Claim:
        (row,) = self._call(
            "ClaimTable",
            BatchExecutionID=batch_run,
            ObjectName=object_name,
            ObjectType=kind,
            TableName=table,
            Definition=definition,
            MaxAttempts=attempts,
            Process=self._process,
            RequestID=str(uuid4()),
            RaiseError=False,
            **self._time(),
        )
        return _claim(row, object_name, table)

    def intend(self, claim: Claim, intent: Intent) -> None:
        """Writes down what the load is about to do, before its first commit."""
        text = intent.text()
        self._call("SaveIntent", ExecutionID=claim.run_id, TableName=claim.table, Intent=text, RaiseError=False)

    def adopt(self, claim: Claim, head: int) -> Claim:
        """Takes over a table that this catalog has not seen: positions go on after the newest one in it."""
        (row,) = self._call("AdoptTable", ExecutionID=claim.run_id, TableName=claim.table, Head=head, RaiseError=False)
        return replace(claim, position=row["Position"], state=replace(claim.state, head=row["Head"]))

    def end(self, claim: Claim, ended: Ended) -> None:
        """Ends a load: everything that it leaves, in one transaction."""
        name, value, data_type = ended.watermark or (None, None, None)
        self._call(
            "EndLoad",
            ExecutionID=claim.run_id,
            TableName=claim.table,
            Head=ended.head,
            RowTotal=ended.rows,
            LiveKeys=ended.live_keys,
            DeltaVersion=ended.delta_version,
            LastLoadDatetime=ended.last_load_datetime,
            Counts=json.dumps([{"name": count, "rows": rows} for count, rows in ended.counts.items()]),
            Offsets=_offsets_text(ended.offsets),
            Files=json.dumps([{"path": f.path, "size": f.size, "checksum": f.checksum} for f in ended.files]),
            WatermarkName=name,
            WatermarkValue=value,
            WatermarkType=data_type,
            Reconciled=ended.reconciled,
            Message=ended.message,
            RaiseError=False,
            **self._time(),
        )

    def fail(self, claim: Claim, error: BaseException, *, forget: bool = False) -> None:
        """Ends a load that failed; the intent stays, so that the next run repeats it, unless it is to be forgotten."""
        self._call(
            "LogExecutionError",
            ExecutionID=claim.run_id,
            ErrorMessage=str(error),
            ErrorType=type(error).__name__,
            Forget=forget,
            RaiseError=False,
            **self._time(),
        )

    def skip(self, batch_run: int, object_name: str, kind: str, message: str) -> None:
        """Records a load that did not run because one before it failed, or because the batch was asked to stop."""
        self._call(
            "SkipLoad",
            BatchExecutionID=batch_run,
            ObjectName=object_name,
            ObjectType=kind,
            Message=message,
            Process=self._process,
            RequestID=str(uuid4()),
            RaiseError=False,
            **self._time(),
        )

    # what loads ask for ----------------------------------------------------------------------------------------------

    def heads(self, tables: Iterable[str]) -> Mapping[str, int]:
        """The head of each table; 0 for one that the catalog does not know."""
        wanted = list(tables)
        rows = self._call("GetHeads", Tables=json.dumps(wanted))
        return {**dict.fromkeys(wanted, 0), **{row["TableName"]: row["Head"] for row in rows}}

    def known_files(self, source: str) -> frozenset[File]:
        """The files of a source that were loaded."""
        rows = self._call("GetFiles", ProjectName=self.project, ObjectName=source)
        return frozenset(File(row["Path"], row["Size"], row["Checksum"]) for row in rows)

    def watermark(self, source: str, name: str) -> str | None:
        """The saved value of a watermark."""
        (row,) = self._call("GetParameter", ProjectName=self.project, ObjectName=source, ParameterName=name)
        value: str | None = row["ParameterValue"]
        return value

    def set_watermark(self, source: str, name: str, value: str, data_type: str, *, force: bool = False) -> None:
        """Saves a watermark by hand; backwards only with ``force``."""
        (row,) = self._call(
            "SetParameter",
            ProjectName=self.project,
            ObjectName=source,
            ParameterName=name,
            ParameterValue=value,
            ParameterType=data_type,
            Force=force,
            RaiseError=False,
            **self._time(),
        )
        if not row["Saved"]:
            raise ControlError(row["Message"])

    def log_row_count(self, run_id: int, count_type: str, rows: int, control_sum: str | None = None) -> None:
        """Records a count that another system took, such as the rows that a copy activity copied."""
        self._call(
            "LogRowCount",
            ExecutionID=run_id,
            CountType=count_type,
            RowCount=rows,
            ControlSum=control_sum,
            RaiseError=False,
        )

    def checkpoint(self, table: str) -> Checkpoint | None:
        """Where the current rows of a table are kept."""
        rows = self._call("GetCheckpoint", TableName=table)
        found = [Checkpoint(row["Version"], row["Position"], row["Layout"], row["RowTotal"]) for row in rows]
        return found[0] if found else None

    def save_checkpoint(self, table: str, checkpoint: Checkpoint) -> None:
        """Notes a new checkpoint."""
        self._call(
            "SaveCheckpoint",
            TableName=table,
            Version=checkpoint.version,
            Position=checkpoint.position,
            Layout=checkpoint.layout,
            RowTotal=checkpoint.rows,
        )

    def subject_since(self, log: str, subject: str, layout: str) -> int | None:
        """From which position on a log's rows carry the marks of a subject; None if they do not."""
        rows = self._call("GetSubject", Log=log, Subject=subject, Layout=layout)
        return int(rows[0]["Since"]) if rows else None

    def save_subjects(self, log: str, subjects: Mapping[str, str], position: int) -> None:
        """Notes that rows from ``position`` on carry the marks of these subjects (name to layout)."""
        text = json.dumps([{"name": name, "layout": layout} for name, layout in subjects.items()])
        self._call("SaveSubjects", Log=log, Subjects=text, Position=position)

    # what people ask for ---------------------------------------------------------------------------------------------

    def latest_batch(self, batch: str | None = None) -> tuple[RunRow, ...]:
        """The latest batch run and its loads, in order of their start."""
        return _run_rows(self._call("GetLatestBatch", ProjectName=self.project, BatchName=batch))

    def batches(self, limit: int = 5) -> tuple[RunRow, ...]:
        """The latest batch runs, newest first."""
        return _run_rows(self._call("GetBatches", ProjectName=self.project, Limit=limit))

    def enable(self, name: str, *, enabled: bool) -> None:
        """Lets a batch or load run, or keeps it from running."""
        self._call("SetEnabled", ProjectName=self.project, ObjectName=name, Enabled=enabled)

    def request_stop(self, batch: str | None = None) -> tuple[int, ...]:
        """Asks the running batches to stop after their current loads; returns their run ids."""
        rows = self._call("RequestStop", ProjectName=self.project, BatchName=batch)
        return tuple(row["ExecutionID"] for row in rows)

    def reset(self, name: str) -> str:
        """Ends what is stuck: executing runs of a batch or load, its claim and its failed attempts; tells what was done."""
        (row,) = self._call_once("ResetExecutionStatus", ProjectName=self.project, ObjectName=name, **self._time())
        return str(row["Message"])

    def unfinished(self, table: str) -> Intent | None:
        """What a load of the table that died was about to do."""
        rows = self._call("GetIntent", TableName=table)
        return Intent.read(rows[0]["Intent"]) if rows else None

    def forget_intent(self, table: str) -> None:
        """Forgets what a load that died was about to do; its rows were taken out, so the generation goes up."""
        self._call("ForgetIntent", TableName=table)

    # going back ------------------------------------------------------------------------------------------------------

    def written_by(self, batch_run: int) -> tuple[Written, ...]:
        """The loads of a batch that wrote rows, newest first."""
        self._end_gone()
        rows = self._call("GetWritten", BatchExecutionID=batch_run, RaiseError=False, **self._time())
        return tuple(_written(row) for row in rows)

    def put_back(self, claim: Claim, written: Written) -> None:
        """Puts a table's state, offsets, watermark and files back to what they were before a load; ends the claim."""
        self._call(
            "PutBack",
            ExecutionID=claim.run_id,
            WrittenExecutionID=written.run_id,
            Before=_before_text(written.before),
            RaiseError=False,
            **self._time(),
        )

    def start_over(self, claim: Claim, offsets: Mapping[str, int], *, empty: bool) -> None:
        """Sets offsets back and ends the claim; ``empty``: the table loses its rows, so its generation goes up."""
        self._call(
            "StartOver",
            ExecutionID=claim.run_id,
            TableName=claim.table,
            Offsets=_offsets_text(offsets),
            Empty=empty,
            RaiseError=False,
            **self._time(),
        )

    def housekeeping(self, keep: Mapping[str, int]) -> Mapping[str, int]:
        """Deletes history older than so many days per table of the catalog; returns what was deleted."""
        if unknown := keep.keys() - HISTORY.keys():
            raise ControlError(f"{', '.join(sorted(unknown))}: no table of history. There are: {', '.join(HISTORY)}.")
        days = {f"{table.title().replace('_', '')}Days": days for table, days in keep.items()}
        rows = self._call_once("Housekeeping", **days, **self._time())
        return {row["TableName"]: row["DeletedRows"] for row in rows}


def _claim(row: Row, object_name: str, table: str) -> Claim:
    if row["Generation"] is None:
        return Claim(row["ExecutionID"], object_name, table, status=row["ExecutionStatus"], message=row["Message"])
    last = _moment(row["LastLoadDatetime"])
    return Claim(
        row["ExecutionID"],
        object_name,
        table,
        TableState(row["Generation"], row["Head"], row["RowTotal"], row["LiveKeys"], last, row["DeltaVersion"]),
        row["Position"],
        {offset["source"]: offset["position"] for offset in json.loads(row["Offsets"] or "[]")},
        Intent.read(row["Intent"]),
        bool(row["Known"]),
        row["ExecutionStatus"],
    )


def _moment(value: object) -> datetime | None:
    """A time of the server, which are all in UTC."""
    return datetime.fromisoformat(str(value)).replace(tzinfo=timezone.utc) if value is not None else None


def _offsets_text(offsets: Mapping[str, int]) -> str:
    return json.dumps([{"source": source, "position": position} for source, position in offsets.items()])


def _written(row: Row) -> Written:
    before = json.loads(row["BeforeState"])
    before["offsets"] = {offset["source"]: offset["position"] for offset in before["offsets"] or ()}
    before["watermarks"] = [[mark["name"], mark["value"], mark["type"]] for mark in before["watermarks"] or ()]
    return Written(
        row["ExecutionID"],
        row["ObjectName"],
        row["ObjectType"],
        row["TableName"],
        row["Position"] or 0,
        row["VersionAfter"],
        row["RowAuditID"],
        before,
    )


def _before_text(before: Mapping[str, Any]) -> str:
    offsets = [{"source": source, "position": position} for source, position in before["offsets"].items()]
    marks = [{"name": name, "value": value, "type": data_type} for name, value, data_type in before["watermarks"]]
    return json.dumps({**before, "offsets": offsets, "watermarks": marks})


def _run_rows(rows: Sequence[Row]) -> tuple[RunRow, ...]:
    """Runs from rows of runs and counts, in the order of the rows."""
    return tuple(_run_row([*group]) for _, group in groupby(rows, key=lambda row: row["ExecutionID"]))


def _run_row(rows: Sequence[Row]) -> RunRow:
    row = rows[0]
    started = _moment(row["StartTime"])
    assert started is not None
    return RunRow(
        row["ExecutionID"],
        row["ParentExecutionID"],
        row["ObjectName"],
        row["ObjectType"],
        row["ExecutionStatus"],
        row["NextLoadStatus"],
        started,
        _moment(row["EndTime"]),
        row["Message"],
        {count["CountType"]: count["CountedRows"] for count in rows if count["CountType"] is not None},
        row["RestartedExecutionID"],
        row["Attempt"],
        row["RowAuditID"],
        bool(row["Reconciled"]),
    )
