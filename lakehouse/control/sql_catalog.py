"""The rules of the control catalog, once, in SQL that SQLite runs; a store says where the transactions go.

Rule: every call is one transaction; a claim is a row that only one run can hold; a run whose process is gone or whose
heartbeat is stale holds nothing. A newcomer never harms a run that executes.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol, TypeVar

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
from lakehouse.control.process import gone, this_process
from lakehouse.control.schema import HISTORY
from lakehouse.errors import ControlError

T = TypeVar("T")
Row = Any
EXECUTING = "ended IS NULL"
SILENT = "its process ended without a word"
ORCHESTRATOR = "an orchestrator"
"""What stands for the process of a run that an orchestrator started and that several processes may share."""


class Transaction(Protocol):
    """What the rules need of a database connection inside a transaction."""

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Runs one statement."""

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]]) -> Any:
        """Runs one statement for many rows."""


class SqlCatalog(ABC):
    """The rules; a store implements ``_transact``."""

    beat_seconds = 5.0
    """How often a run says that it is alive."""

    def __init__(
        self,
        project: str,
        *,
        stale_seconds: float = 300,
        longest_seconds: float = 86_400,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self.project = project
        self._stale = timedelta(seconds=stale_seconds)
        self._longest = timedelta(seconds=longest_seconds)
        self._clock = clock or (lambda: datetime.now(timezone.utc))
        self._process = this_process()

    @abstractmethod
    def _transact(self, work: Callable[[Transaction], T], *, reads: bool = False) -> T:
        """Does the work in one transaction, alone; may do it again if another process was quicker."""

    @abstractmethod
    def init(self) -> int:
        """Makes or upgrades the catalog's tables; returns their version."""

    def _now(self) -> str:
        return self._clock().astimezone(timezone.utc).isoformat(timespec="microseconds")

    # batches ---------------------------------------------------------------------------------------------------------

    def start_batch(self, batch: str, *, external_id: str | None = None, restart: bool = True) -> Started:
        """Begins a batch; the same external id gives the same run. ``restart`` goes on with a failed run, if there is one."""
        return self._transact(lambda db: self._start_batch(db, batch, external_id or None, restart))

    def _start_batch(self, db: Transaction, batch: str, external_id: str | None, restart: bool) -> Started:
        if external_id and (known := self._by_external_id(db, external_id)):
            return known
        enabled = self._object(db, batch, "batch")["enabled"]
        last_good = self._last_batch(db, batch, "S")
        good = last_good["run_id"] if last_good else None
        if not enabled:
            message = f"batch '{batch}' is suspended; lakehouse resume {batch} lets it run"
            return self._refused(db, batch, external_id, "C", good, message)
        if living := self._living_run(db, batch):
            message = (
                f"batch '{batch}' is running already: run {living['run_id']} since {living['started'][:19]}, "
                f"process {living['process']}. It is left alone; wait for it to end."
            )
            return self._refused(db, batch, external_id, "A", good, message)
        failed = self._failed_before(db, batch) if restart else None
        status: Status = failed["next_status"] if failed else "E"
        run_id = self._insert_run(db, None, batch, "batch", status, external_id=external_id)
        if not failed:
            return Started(run_id, "E", None, good)
        landed = (failed["landed_run_id"] or failed["run_id"]) if status == "D" else None
        db.execute("UPDATE run SET restarts = ?, landed_run_id = ?, attempt = ? WHERE run_id = ?", (failed["run_id"], landed, failed["attempt"] + 1, run_id))  # fmt: skip
        return Started(
            run_id, status, failed["run_id"], good, landed, f"goes on with run {failed['run_id']}, which failed"
        )

    def _by_external_id(self, db: Transaction, external_id: str) -> Started | None:
        row = _one(db, "SELECT * FROM run WHERE project = ? AND external_id = ?", self.project, external_id)
        if row is None:
            return None
        return Started(row["run_id"], row["status"], row["restarts"], None, row["landed_run_id"], row["message"])

    def _refused(
        self, db: Transaction, batch: str, external_id: str | None, status: Status, good: int | None, message: str
    ) -> Started:
        run_id = self._insert_run(db, None, batch, "batch", "E", external_id=external_id)
        self._end_run(db, run_id, status, "P", message)
        return Started(run_id, status, None, good, None, message)

    def _living_run(self, db: Transaction, batch: str) -> Row | None:
        """The run of a batch that executes; those whose process is gone are ended first."""
        sql = f"SELECT * FROM run WHERE project = ? AND object = ? AND kind = 'batch' AND {EXECUTING}"
        for row in db.execute(sql, (self.project, batch)).fetchall():
            if self._lives(row):
                return row
            self._bury(db, row["run_id"])
        return None

    def _lives(self, row: Row) -> bool:
        if gone(row["process"]):
            return False
        now = self._clock()
        if row["heartbeat"]:
            return now - datetime.fromisoformat(row["heartbeat"]) < self._stale
        return now - datetime.fromisoformat(row["started"]) < self._longest

    def _bury(self, db: Transaction, batch_run: int, message: str = SILENT) -> None:
        """Ends a batch that did not succeed, and its loads; their tables are free and their intents stay."""
        self._end_children(db, batch_run, message)
        db.execute("UPDATE run SET next_status = 'C' WHERE parent_id = ? AND status = 'S'", (batch_run,))
        self._end_run(db, batch_run, "F", self._batch_next(db, batch_run), message)

    def _end_children(self, db: Transaction, batch_run: int, message: str) -> None:
        for row in db.execute(f"SELECT * FROM run WHERE parent_id = ? AND {EXECUTING}", (batch_run,)).fetchall():
            self._fail_run(db, row, message)

    def _fail_run(self, db: Transaction, run: Row, message: str, *, forget: bool = False) -> None:
        """Ends a load that did not succeed: its table is free, its intent stays for the next one."""
        state = _one(db, "SELECT * FROM table_state WHERE claimed_by = ?", run["run_id"])
        intent = Intent.read(state["intent"]) if state else None
        landed = intent is not None and intent.landed is not None and not forget
        cleared = ", intent = NULL" if forget else ""
        db.execute(f"UPDATE table_state SET claimed_by = NULL{cleared} WHERE claimed_by = ?", (run["run_id"],))
        db.execute("UPDATE object SET failures = failures + 1 WHERE project = ? AND name = ?", (run["project"], run["object"]))  # fmt: skip
        self._end_run(db, run["run_id"], "F", "D" if landed else "R", message)

    def _batch_next(self, db: Transaction, batch_run: int) -> str:
        """R if a copy has to be done again, D if everything that is missing can be made from what was landed."""
        sql = (
            "SELECT count(*) AS copies FROM run WHERE parent_id = ? AND kind = 'source' AND next_status IN ('R', 'P') AND "
            "status <> 'S' AND run_id = (SELECT max(run_id) FROM run AS later WHERE later.parent_id = run.parent_id AND "
            "later.object = run.object)"
        )
        found = _one(db, sql, batch_run)["copies"]
        children = _one(db, "SELECT count(*) AS loads FROM run WHERE parent_id = ?", batch_run)["loads"]
        return "R" if found or not children else "D"

    def _failed_before(self, db: Transaction, batch: str) -> Row | None:
        """The last run of a batch, if it failed and something of it is worth another try."""
        row = self._last_batch(db, batch, "S", "F")
        if row is None or row["status"] != "F" or row["next_status"] == "P" or row["rolled_back_by"] is not None:
            return None
        sql = (
            "SELECT count(*) AS loads, count(CASE WHEN status = 'F' THEN 1 END) AS failed FROM run WHERE parent_id = ?"
        )
        children = _one(db, sql, row["run_id"])
        return row if children["failed"] or not children["loads"] else None

    def _last_batch(self, db: Transaction, batch: str, *statuses: str) -> Row | None:
        marks = ", ".join("?" * len(statuses))
        sql = (
            f"SELECT * FROM run WHERE project = ? AND object = ? AND kind = 'batch' AND status IN ({marks}) "
            "ORDER BY run_id DESC LIMIT 1"
        )
        return db.execute(sql, (self.project, batch, *statuses)).fetchone()

    def end_batch(self, run_id: int, status: Status, message: str = "") -> None:
        """Ends a batch, and its loads that did not end; decides what its next start does."""
        self._transact(lambda db: self._end_batch(db, run_id, status, message))

    def _end_batch(self, db: Transaction, run_id: int, status: Status, message: str) -> None:
        row = _one(db, "SELECT * FROM run WHERE run_id = ?", run_id)
        if row is None or row["ended"] is not None:
            return
        if status == "F":
            self._bury(db, run_id, message)
            return
        self._end_children(db, run_id, "its batch ended before it")
        db.execute("UPDATE run SET next_status = 'P' WHERE parent_id = ?", (run_id,))
        self._end_run(db, run_id, status, "P", message)

    def beat(self, run_id: int) -> bool:
        """Says that a batch is alive; tells whether it was asked to stop."""
        return self._transact(lambda db: self._beat(db, run_id))

    def _beat(self, db: Transaction, run_id: int) -> bool:
        db.execute(f"UPDATE run SET heartbeat = ? WHERE run_id = ? AND {EXECUTING}", (self._now(), run_id))
        row = _one(db, "SELECT stop_requested FROM run WHERE run_id = ?", run_id)
        return bool(row and row["stop_requested"])

    # loads -----------------------------------------------------------------------------------------------------------

    def claim(
        self, batch_run: int, object_name: str, kind: str, table: str, *, definition: str = "", attempts: int | None = 3
    ) -> Claim:
        """Begins a load: a run id, the table for this run alone, its state and the position of its rows."""
        return self._transact(lambda db: self._claim(db, batch_run, object_name, kind, table, definition, attempts))

    def _claim(
        self, db: Transaction, batch_run: int, name: str, kind: str, table: str, definition: str, attempts: int | None
    ) -> Claim:
        batch = _one(db, "SELECT * FROM run WHERE run_id = ?", batch_run)
        if batch is None or batch["ended"] is not None:
            raise ControlError(f"run {batch_run} is not executing any more, so {name} is not loaded by it.")
        before = self._before(db, batch, name) if attempts is not None else None
        if refusal := self._refusal(db, name, kind, definition, attempts, before):
            status, next_status, message = refusal
            run_id = self._insert_run(db, batch_run, name, kind, "E")
            done = _doer(before) if before else None
            db.execute("UPDATE run SET row_audit_id = ? WHERE run_id = ?", (done, run_id))
            self._end_run(db, run_id, status, next_status, message)
            return Claim(run_id, name, table, status=status, message=message)
        db.execute("INSERT OR IGNORE INTO table_state (name) VALUES (?)", (table,))
        state = _one(db, "SELECT * FROM table_state WHERE name = ?", table)
        self._refuse_if_held(db, state)
        status = before["next_status"] if before and before["next_status"] in ("R", "D") else "E"
        return self._take(db, batch_run, name, kind, state, status)

    def _before(self, db: Transaction, batch: Row, name: str) -> Row | None:
        """What became of a load in the run that this batch goes on with."""
        while batch is not None and batch["restarts"] is not None:
            sql = "SELECT * FROM run WHERE parent_id = ? AND object = ? ORDER BY run_id DESC LIMIT 1"
            if found := _one(db, sql, batch["restarts"], name):
                return found
            batch = _one(db, "SELECT * FROM run WHERE run_id = ?", batch["restarts"])
        return None

    def _refusal(
        self, db: Transaction, name: str, kind: str, definition: str, attempts: int | None, before: Row | None
    ) -> tuple[Status, str, str] | None:
        known = self._object(db, name, kind, definition)
        if not known["enabled"]:
            return "C", "P", f"disabled; lakehouse enable {name} lets it run"
        if before and before["next_status"] == "C":
            return "C", "C", f"done by run {_doer(before)}, before the restart"
        if attempts is not None and known["failures"] >= attempts:
            return "A", "R", f"failed {known['failures']} times; when it is mended: lakehouse reset {name}"
        return None

    def _take(self, db: Transaction, batch_run: int, name: str, kind: str, state: Row, status: Status) -> Claim:
        table, unfinished = state["name"], Intent.read(state["intent"])
        run_id = self._insert_run(db, batch_run, name, kind, status)
        position = unfinished.position if unfinished else state["issued"] + 1
        offsets = _offsets(db, table)
        audit = unfinished.row_audit_id if unfinished else run_id
        db.execute(
            "UPDATE run SET row_audit_id = ?, table_name = ?, before_state = ? WHERE run_id = ?",
            (audit, table, json.dumps(self._image(db, name, state, offsets)), run_id),
        )
        db.execute(
            "UPDATE table_state SET claimed_by = ?, issued = max(issued, ?) WHERE name = ?", (run_id, position, table)
        )
        known = bool(state["ended_once"])
        return Claim(run_id, name, table, _state(state), position, offsets, unfinished, known, status)

    def _image(self, db: Transaction, name: str, state: Row, offsets: Mapping[str, int]) -> Mapping[str, Any]:
        """The state of a table before a load, for a rollback."""
        marks = db.execute(
            "SELECT name, value, type FROM parameter WHERE project = ? AND object = ?", (self.project, name)
        )
        columns = ("head", "row_total", "live_keys", "last_load_datetime", "delta_version", "ended_once")
        return {
            **{column: state[column] for column in columns},
            "offsets": dict(offsets),
            "watermarks": [[row["name"], row["value"], row["type"]] for row in marks.fetchall()],
        }

    def _refuse_if_held(self, db: Transaction, state: Row) -> None:
        if state["claimed_by"] is None:
            return
        holder = _one(db, "SELECT * FROM run WHERE run_id = ?", state["claimed_by"])
        batch = _one(db, "SELECT * FROM run WHERE run_id = ?", holder["parent_id"]) or holder
        if holder["ended"] is None and batch["ended"] is None and self._lives(batch):
            raise TableHeldError(
                f"table {state['name']} is being loaded by run {holder['run_id']} since {holder['started'][:19]}, "
                f"process {holder['process']}. One run at a time writes a table; try again when it has ended."
            )
        if batch["ended"] is None:
            self._bury(db, batch["run_id"])
        db.execute("UPDATE table_state SET claimed_by = NULL WHERE name = ?", (state["name"],))

    def intend(self, claim: Claim, intent: Intent) -> None:
        """Writes down what the load is about to do, before its first commit."""
        text = intent.text()

        def work(db: Transaction) -> None:
            self._check_held(db, claim)
            db.execute("UPDATE table_state SET intent = ? WHERE name = ?", (text, claim.table))

        self._transact(work)

    def _check_held(self, db: Transaction, claim: Claim) -> None:
        row = _one(db, "SELECT claimed_by FROM table_state WHERE name = ?", claim.table)
        if row is None or row["claimed_by"] != claim.run_id:
            raise ControlError(
                f"run {claim.run_id} no longer holds table {claim.table}: another run took it over. "
                "Nothing more is written."
            )

    def adopt(self, claim: Claim, head: int) -> Claim:
        """Takes over a table that this catalog has not seen: positions go on after the newest one in it."""

        def work(db: Transaction) -> None:
            self._check_held(db, claim)
            db.execute("UPDATE table_state SET head = ?, issued = ? WHERE name = ?", (head, head + 1, claim.table))

        self._transact(work)
        return replace(claim, position=head + 1, state=replace(claim.state, head=head))

    def end(self, claim: Claim, ended: Ended) -> None:
        """Ends a load: everything that it leaves, in one transaction."""
        self._transact(lambda db: self._end(db, claim, ended))

    def _end(self, db: Transaction, claim: Claim, ended: Ended) -> None:
        self._check_held(db, claim)
        last = ended.last_load_datetime.isoformat() if ended.last_load_datetime else None
        db.execute(
            "UPDATE table_state SET claimed_by = NULL, intent = NULL, ended_once = 1, head = max(head, ?), "
            "row_total = row_total + ?, live_keys = coalesce(?, live_keys), "
            "last_load_datetime = coalesce(?, last_load_datetime), delta_version = ? WHERE name = ?",
            (ended.head, ended.rows, ended.live_keys, last, ended.delta_version, claim.table),
        )
        self._save_offsets(db, claim.table, ended.offsets)
        self._save_counts(db, claim, ended)
        self._save_files(db, claim, ended.files)
        if ended.watermark:
            self._save_watermark(db, claim.object, *ended.watermark, run_id=claim.run_id)
        wrote = ended.head if ended.head > claim.state.head else None
        db.execute(
            "UPDATE run SET position = ?, version_after = ?, reconciled = ? WHERE run_id = ?",
            (wrote, ended.delta_version, int(ended.reconciled), claim.run_id),
        )
        self._end_run(db, claim.run_id, "S", "P", ended.message)
        self._learn(db, claim)

    def _save_offsets(self, db: Transaction, table: str, offsets: Mapping[str, int]) -> None:
        db.executemany(
            "INSERT INTO consumer_offset VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET position = excluded.position",
            [(table, source, position) for source, position in offsets.items()],
        )

    def _replace_offsets(self, db: Transaction, table: str, offsets: Mapping[str, int]) -> None:
        db.execute("DELETE FROM consumer_offset WHERE target = ?", (table,))
        self._save_offsets(db, table, offsets)

    def _save_counts(self, db: Transaction, claim: Claim, ended: Ended) -> None:
        db.executemany(
            "INSERT OR REPLACE INTO row_count (run_id, object, count_type, rows) VALUES (?, ?, ?, ?)",
            [(claim.run_id, claim.object, count_type, rows) for count_type, rows in ended.counts.items()],
        )

    def _save_files(self, db: Transaction, claim: Claim, files: Sequence[File]) -> None:
        now = self._now()
        db.executemany(
            "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?, 'loaded', ?)",
            [(self.project, claim.object, f.path, f.size, f.checksum, claim.run_id, now) for f in files],
        )

    def _learn(self, db: Transaction, claim: Claim) -> None:
        """A load that succeeded: its failures are forgotten, its average duration goes on."""
        row = _one(db, "SELECT started, ended FROM run WHERE run_id = ?", claim.run_id)
        seconds = (datetime.fromisoformat(row["ended"]) - datetime.fromisoformat(row["started"])).total_seconds()
        db.execute(
            "UPDATE object SET failures = 0, average_seconds = (average_seconds * runs + ?) / (runs + 1), runs = runs + 1 "
            "WHERE project = ? AND name = ?",
            (seconds, self.project, claim.object),
        )

    def fail(self, claim: Claim, error: BaseException, *, forget: bool = False) -> None:
        """Ends a load that failed; the intent stays, so that the next run repeats it, unless it is to be forgotten."""
        lines = str(error).splitlines() or [type(error).__name__]

        def work(db: Transaction) -> None:
            run = _one(db, "SELECT * FROM run WHERE run_id = ?", claim.run_id)
            if run is not None and run["ended"] is None:
                self._fail_run(db, run, lines[0][:500], forget=forget)
            db.execute(
                "INSERT INTO load_error VALUES (?, ?, ?, ?, ?)",
                (claim.run_id, claim.object, type(error).__name__, str(error)[:20_000], self._now()),
            )

        self._transact(work)

    def skip(self, batch_run: int, object_name: str, kind: str, message: str) -> None:
        """Records a load that did not run because one before it failed, or because the batch was asked to stop."""

        def work(db: Transaction) -> None:
            run_id = self._insert_run(db, batch_run, object_name, kind, "E")
            self._end_run(db, run_id, "C", "P", message)

        self._transact(work)

    # what loads ask for ----------------------------------------------------------------------------------------------

    def heads(self, tables: Iterable[str]) -> Mapping[str, int]:
        """The head of each table; 0 for one that the catalog does not know."""
        wanted = list(tables)

        def work(db: Transaction) -> dict[str, int]:
            sql = f"SELECT name, head FROM table_state WHERE name IN ({', '.join('?' * len(wanted))})"
            return {row["name"]: row["head"] for row in db.execute(sql, wanted).fetchall()}

        return {**dict.fromkeys(wanted, 0), **self._transact(work, reads=True)}

    def known_files(self, source: str) -> frozenset[File]:
        """The files of a source that were loaded."""

        def work(db: Transaction) -> frozenset[File]:
            sql = "SELECT path, size, checksum FROM file WHERE project = ? AND source = ?"
            rows = db.execute(sql, (self.project, source)).fetchall()
            return frozenset(File(row["path"], row["size"], row["checksum"]) for row in rows)

        return self._transact(work, reads=True)

    def watermark(self, source: str, name: str) -> str | None:
        """The saved value of a watermark."""
        sql = "SELECT value FROM parameter WHERE project = ? AND object = ? AND name = ?"
        row = self._transact(lambda db: _one(db, sql, self.project, source, name), reads=True)
        return str(row["value"]) if row else None

    def set_watermark(self, source: str, name: str, value: str, data_type: str, *, force: bool = False) -> None:
        """Saves a watermark by hand; backwards only with ``force``."""

        def work(db: Transaction) -> None:
            if not self._save_watermark(db, source, name, value, data_type, force=force):
                raise ControlError(
                    f"watermark {name} of {source}: the saved value is newer or the given one is empty. A watermark goes "
                    "backwards only with --force; rows after it are then read again."
                )

        self._transact(work)

    def _save_watermark(
        self, db: Transaction, source: str, name: str, value: str, data_type: str, run_id: int | None = None, *, force: bool = False
    ) -> bool:  # fmt: skip
        """Moves a watermark on; whether it was moved. Empty values and older ones keep the old mark."""
        row = _one(
            db, "SELECT * FROM parameter WHERE project = ? AND object = ? AND name = ?", self.project, source, name
        )
        if value.strip().lower() in ("", "null", "none"):
            return False
        if row and not force and _sortable(value, data_type) < _sortable(row["value"], data_type):
            return False
        db.execute(
            "INSERT OR REPLACE INTO parameter VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self.project, source, name, value, row["value"] if row else None, data_type, run_id),
        )
        db.execute(
            "INSERT INTO parameter_history VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self.project, source, name, value, data_type, run_id, self._now()),
        )
        return True

    def log_row_count(self, run_id: int, count_type: str, rows: int, control_sum: str | None = None) -> None:
        """Records a count that another system took, such as the rows that a copy activity copied."""

        def work(db: Transaction) -> None:
            run = _one(db, "SELECT object FROM run WHERE run_id = ?", run_id)
            if run is None:
                raise ControlError(f"there is no run {run_id} to record a row count for.")
            sql = "INSERT OR REPLACE INTO row_count VALUES (?, ?, ?, ?, ?)"
            db.execute(sql, (run_id, run["object"], count_type, rows, control_sum))

        self._transact(work)

    def checkpoint(self, table: str) -> Checkpoint | None:
        """Where the current rows of a table are kept."""
        row = self._transact(lambda db: _one(db, "SELECT * FROM checkpoint WHERE name = ?", table), reads=True)
        return Checkpoint(row["version"], row["position"], row["layout"], row["row_total"]) if row else None

    def save_checkpoint(self, table: str, checkpoint: Checkpoint) -> None:
        """Notes a new checkpoint."""
        values = (table, checkpoint.version, checkpoint.position, checkpoint.layout, checkpoint.rows)
        self._transact(lambda db: db.execute("INSERT OR REPLACE INTO checkpoint VALUES (?, ?, ?, ?, ?)", values))

    def subject_since(self, log: str, subject: str, layout: str) -> int | None:
        """From which position on a log's rows carry the marks of a subject; None if they do not."""
        sql = "SELECT since FROM subject WHERE log = ? AND name = ? AND layout = ?"
        row = self._transact(lambda db: _one(db, sql, log, subject, layout), reads=True)
        return int(row["since"]) if row else None

    def save_subjects(self, log: str, subjects: Mapping[str, str], position: int) -> None:
        """Notes that rows from ``position`` on carry the marks of these subjects (name to layout)."""

        def work(db: Transaction) -> None:
            rows = db.execute("SELECT * FROM subject WHERE log = ?", (log,)).fetchall()
            known = {row["name"]: row["layout"] for row in rows}
            new = [(log, name, layout, position) for name, layout in subjects.items() if known.get(name) != layout]
            db.executemany("INSERT OR REPLACE INTO subject VALUES (?, ?, ?, ?)", new)
            gone_names = [(log, name) for name in known if name not in subjects]
            db.executemany("DELETE FROM subject WHERE log = ? AND name = ?", gone_names)

        self._transact(work)

    # what people ask for ---------------------------------------------------------------------------------------------

    def latest_batch(self, batch: str | None = None) -> tuple[RunRow, ...]:
        """The latest batch run and its loads, in order of their start."""

        def work(db: Transaction) -> tuple[RunRow, ...]:
            sql = "SELECT max(run_id) AS run_id FROM run WHERE kind = 'batch' AND project = ? AND (? IS NULL OR object = ?)"
            found = _one(db, sql, self.project, batch, batch)["run_id"]
            rows = db.execute("SELECT * FROM run WHERE run_id = ? OR parent_id = ? ORDER BY run_id", (found, found))
            return tuple(_run_row(db, row) for row in rows.fetchall())

        return self._transact(work, reads=True)

    def batches(self, limit: int = 5) -> tuple[RunRow, ...]:
        """The latest batch runs, newest first."""

        def work(db: Transaction) -> tuple[RunRow, ...]:
            sql = "SELECT * FROM run WHERE kind = 'batch' AND project = ? ORDER BY run_id DESC LIMIT ?"
            return tuple(_run_row(db, row) for row in db.execute(sql, (self.project, limit)).fetchall())

        return self._transact(work, reads=True)

    def enable(self, name: str, *, enabled: bool) -> None:
        """Lets a batch or load run, or keeps it from running."""

        def work(db: Transaction) -> None:
            db.execute("INSERT OR IGNORE INTO object (project, name, kind) VALUES (?, ?, '')", (self.project, name))
            sql = "UPDATE object SET enabled = ? WHERE project = ? AND name = ?"
            db.execute(sql, (int(enabled), self.project, name))

        self._transact(work)

    def request_stop(self, batch: str | None = None) -> tuple[int, ...]:
        """Asks the running batches to stop after their current loads; returns their run ids."""

        def work(db: Transaction) -> tuple[int, ...]:
            sql = f"SELECT run_id FROM run WHERE project = ? AND kind = 'batch' AND {EXECUTING} AND (? IS NULL OR object = ?)"
            found = [row["run_id"] for row in db.execute(sql, (self.project, batch, batch)).fetchall()]
            db.executemany("UPDATE run SET stop_requested = 1 WHERE run_id = ?", [(run_id,) for run_id in found])
            return tuple(found)

        return self._transact(work)

    def reset(self, name: str) -> str:
        """Ends what is stuck: executing runs of a batch or load, its claim and its failed attempts; tells what was done."""
        return self._transact(lambda db: self._reset(db, name))

    def _reset(self, db: Transaction, name: str) -> str:
        sql = f"SELECT * FROM run WHERE project = ? AND object = ? AND {EXECUTING}"
        stuck = db.execute(sql, (self.project, name)).fetchall()
        for row in stuck:
            if row["kind"] == "batch":
                self._bury(db, row["run_id"], "reset by hand")
            else:
                self._fail_run(db, row, "reset by hand")
        known = _one(db, "SELECT * FROM object WHERE project = ? AND name = ?", self.project, name)
        db.execute("UPDATE object SET failures = 0 WHERE project = ? AND name = ?", (self.project, name))
        last = self._last_batch(db, name, "S", "F")
        if last:
            db.execute("UPDATE run SET next_status = 'P' WHERE run_id = ?", (last["run_id"],))
        ended = ", ".join(str(row["run_id"]) for row in stuck)
        failures = known["failures"] if known else 0
        parts = [f"ended run {ended}" if stuck else "", f"forgot {failures} failed attempts" if failures else ""]
        return "; ".join(part for part in parts if part) or "nothing was stuck"

    def unfinished(self, table: str) -> Intent | None:
        """What a load of the table that died was about to do."""
        row = self._transact(lambda db: _one(db, "SELECT intent FROM table_state WHERE name = ?", table), reads=True)
        return Intent.read(row["intent"]) if row else None

    def forget_intent(self, table: str) -> None:
        """Forgets what a load that died was about to do; its rows were taken out, so the generation goes up."""
        sql = "UPDATE table_state SET intent = NULL, generation = generation + 1, delta_version = NULL WHERE name = ?"
        self._transact(lambda db: db.execute(sql, (table,)))

    # going back ------------------------------------------------------------------------------------------------------

    def written_by(self, batch_run: int) -> tuple[Written, ...]:
        """The loads of a batch that wrote rows, newest first."""

        def work(db: Transaction) -> tuple[Written, ...]:
            batch = _one(db, "SELECT * FROM run WHERE run_id = ? AND kind = 'batch'", batch_run)
            if batch is None:
                raise ControlError(f"there is no batch run {batch_run}; lakehouse status --runs lists them.")
            if batch["ended"] is None and self._lives(batch):
                raise ControlError(f"run {batch_run} still executes; stop it first: lakehouse stop {batch['object']}.")
            sql = (
                "SELECT * FROM run WHERE parent_id = ? AND table_name IS NOT NULL AND rolled_back_by IS NULL "
                "AND kind NOT IN ('rollback', 'reload') ORDER BY run_id DESC"
            )
            rows = [row for row in db.execute(sql, (batch_run,)).fetchall() if self._left_something(db, row)]
            for row in rows:
                self._refuse_middle(db, row, batch_run)
            return tuple(_written(row) for row in rows)

        return self._transact(work, reads=True)

    def _left_something(self, db: Transaction, row: Row) -> bool:
        """Whether a load moved anything: rows, offsets, files or a watermark; or left an intent behind."""
        if row["status"] == "S":
            return True
        state = _one(db, "SELECT intent FROM table_state WHERE name = ?", row["table_name"])
        intent = Intent.read(state["intent"]) if state else None
        return intent is not None and intent.row_audit_id == row["row_audit_id"]

    def _refuse_middle(self, db: Transaction, row: Row, batch_run: int) -> None:
        later = _one(
            db,
            "SELECT parent_id FROM run WHERE table_name = ? AND run_id > ? AND parent_id <> ? AND position IS NOT NULL "
            "AND rolled_back_by IS NULL ORDER BY run_id LIMIT 1",
            row["table_name"],
            row["run_id"],
            batch_run,
        )
        reader = _one(
            db,
            "SELECT target FROM consumer_offset WHERE source = ? AND position >= ? AND target NOT IN "
            "(SELECT table_name FROM run WHERE parent_id = ? AND table_name IS NOT NULL) LIMIT 1",
            row["table_name"],
            row["position"] if row["position"] is not None else 1 << 62,
            batch_run,
        )
        if later:
            raise ControlError(
                f"run {batch_run} is not the last that wrote {row['table_name']}: run {later['parent_id']} did. "
                f"Roll back the newest first: lakehouse rollback {later['parent_id']}."
            )
        if reader:
            raise ControlError(
                f"{reader['target']} has read what run {batch_run} wrote to {row['table_name']}, in another batch. "
                "Roll back that run first."
            )

    def put_back(self, claim: Claim, written: Written) -> None:
        """Puts a table's state, offsets, watermark and files back to what they were before a load; ends the claim."""
        self._transact(lambda db: self._put_back(db, claim, written))

    def _put_back(self, db: Transaction, claim: Claim, written: Written) -> None:
        self._check_held(db, claim)
        before = written.before
        db.execute(
            "UPDATE table_state SET head = ?, row_total = ?, live_keys = ?, last_load_datetime = ?, delta_version = NULL, "
            "generation = generation + 1, claimed_by = NULL, intent = NULL, ended_once = ? WHERE name = ?",
            (before["head"], before["row_total"], before["live_keys"], before["last_load_datetime"], before["ended_once"], written.table),
        )  # fmt: skip
        self._replace_offsets(db, written.table, before["offsets"])
        db.execute("DELETE FROM checkpoint WHERE name = ? AND position > ?", (written.table, before["head"]))
        db.execute("DELETE FROM file WHERE run_id = ?", (written.run_id,))
        db.execute("DELETE FROM parameter WHERE project = ? AND object = ?", (self.project, written.object))
        for name, value, data_type in before["watermarks"]:
            self._save_watermark(db, written.object, name, value, data_type, claim.run_id, force=True)
        batch = _one(db, "SELECT parent_id FROM run WHERE run_id = ?", written.run_id)["parent_id"]
        db.execute("UPDATE run SET rolled_back_by = ? WHERE run_id IN (?, ?)", (claim.run_id, written.run_id, batch))
        self._end_run(db, claim.run_id, "S", "P", f"took back what run {written.run_id} wrote")

    def start_over(self, claim: Claim, offsets: Mapping[str, int], *, empty: bool) -> None:
        """Sets offsets back and ends the claim; ``empty``: the table loses its rows, so its generation goes up."""

        def work(db: Transaction) -> None:
            self._check_held(db, claim)
            self._replace_offsets(db, claim.table, offsets)
            cleared = ", row_total = 0, live_keys = 0, generation = generation + 1" if empty else ""
            db.execute(
                f"UPDATE table_state SET claimed_by = NULL, intent = NULL, delta_version = NULL{cleared} WHERE name = ?",
                (claim.table,),
            )
            self._end_run(db, claim.run_id, "S", "P", "starts over" if empty else "reads again")

        self._transact(work)

    def housekeeping(self, keep: Mapping[str, int]) -> Mapping[str, int]:
        """Deletes history older than so many days per table of the catalog; returns what was deleted."""

        def work(db: Transaction) -> dict[str, int]:
            deleted = {}
            for table in sorted(keep, key=lambda name: name == "run"):
                before = (self._clock() - timedelta(days=keep[table])).isoformat(timespec="microseconds")
                deleted[table] = db.execute(f"DELETE FROM {table} WHERE {HISTORY[table]}", (before,)).rowcount
            return deleted

        return self._transact(work)

    # runs and objects ------------------------------------------------------------------------------------------------

    def _insert_run(
        self, db: Transaction, parent: int | None, name: str, kind: str, status: str, *, external_id: str | None = None
    ) -> int:
        """A new run. Several processes may share one with an external id, so that none of this host stands for it."""
        now = self._now()
        beat, process = (now, self._process) if external_id is None else (None, ORCHESTRATOR)
        cursor = db.execute(
            "INSERT INTO run (parent_id, external_id, project, object, kind, status, started, heartbeat, process) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (parent, external_id, self.project, name, kind, status, now, beat, process),
        )
        return int(cursor.lastrowid)

    def _end_run(self, db: Transaction, run_id: int, status: str, next_status: str, message: str) -> None:
        db.execute(
            "UPDATE run SET status = ?, next_status = ?, ended = ?, message = ? WHERE run_id = ?",
            (status, next_status, self._now(), message, run_id),
        )

    def _object(self, db: Transaction, name: str, kind: str, definition: str | None = None) -> Row:
        """A batch or load as the catalog knows it; unknown ones register themselves, changed ones start to count anew."""
        db.execute("INSERT OR IGNORE INTO object (project, name, kind) VALUES (?, ?, ?)", (self.project, name, kind))
        if definition is not None:
            db.execute(
                "UPDATE object SET failures = 0, definition = ?, kind = ? WHERE project = ? AND name = ? AND definition <> ?",
                (definition, kind, self.project, name, definition),
            )
        return _one(db, "SELECT * FROM object WHERE project = ? AND name = ?", self.project, name)


def _one(db: Transaction, sql: str, *parameters: Any) -> Any:
    return db.execute(sql, parameters).fetchone()


def _doer(before: Row) -> int:
    """The run that did what a restart skips."""
    return int(before["run_id"] if before["status"] == "S" else before["row_audit_id"] or before["run_id"])


def _offsets(db: Transaction, table: str) -> dict[str, int]:
    rows = db.execute("SELECT source, position FROM consumer_offset WHERE target = ?", (table,)).fetchall()
    return {row["source"]: row["position"] for row in rows}


def _sortable(value: str, data_type: str) -> Any:
    """A watermark's value as something that sorts like its type: a number, or the text of a date or time."""
    from decimal import Decimal, InvalidOperation

    if data_type.startswith(("date", "timestamp", "string", "char", "varchar")):
        return value
    try:
        number = Decimal(value)
    except InvalidOperation:
        number = Decimal("NaN")
    if number.is_nan():
        raise ControlError(f"a watermark of type {data_type} cannot be '{value}'.")
    return number


def _state(row: Row) -> TableState:
    last = datetime.fromisoformat(row["last_load_datetime"]) if row["last_load_datetime"] else None
    return TableState(row["generation"], row["head"], row["row_total"], row["live_keys"], last, row["delta_version"])


def _written(row: Row) -> Written:
    before = json.loads(row["before_state"])
    position = row["position"] or 0
    return Written(
        row["run_id"],
        row["object"],
        row["kind"],
        row["table_name"],
        position,
        row["version_after"],
        row["row_audit_id"],
        before,
    )


def _run_row(db: Transaction, row: Row) -> RunRow:
    counts = db.execute("SELECT count_type, rows FROM row_count WHERE run_id = ?", (row["run_id"],)).fetchall()
    return RunRow(
        row["run_id"],
        row["parent_id"],
        row["object"],
        row["kind"],
        row["status"],
        row["next_status"],
        datetime.fromisoformat(row["started"]),
        datetime.fromisoformat(row["ended"]) if row["ended"] else None,
        row["message"],
        {count["count_type"]: count["rows"] for count in counts},
        row["restarts"],
        row["attempt"],
        row["row_audit_id"],
        bool(row["reconciled"]),
    )
