"""The control catalog in SQLite: the embedded default.

Rule: every call is one transaction that begins with the write lock, so threads and processes take turns; a claim is a row
that only one run can hold. A run whose process is gone holds nothing.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from lakehouse.control.catalog import Checkpoint, Claim, Ended, File, Intent, RunRow, Status, TableState
from lakehouse.errors import ControlError

SCHEMA = """
CREATE TABLE IF NOT EXISTS run (
  run_id INTEGER PRIMARY KEY AUTOINCREMENT, parent_id INTEGER, object TEXT NOT NULL, kind TEXT NOT NULL,
  status TEXT NOT NULL, next_status TEXT NOT NULL DEFAULT 'P', started TEXT NOT NULL, ended TEXT,
  process TEXT NOT NULL, message TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS run_of_batch ON run (parent_id);
CREATE TABLE IF NOT EXISTS table_state (
  name TEXT PRIMARY KEY, generation INTEGER NOT NULL DEFAULT 0, head INTEGER NOT NULL DEFAULT 0,
  issued INTEGER NOT NULL DEFAULT 0, row_total INTEGER NOT NULL DEFAULT 0, live_keys INTEGER NOT NULL DEFAULT 0,
  last_load_datetime TEXT, delta_version INTEGER, claimed_by INTEGER, ended_once INTEGER NOT NULL DEFAULT 0, intent TEXT);
CREATE TABLE IF NOT EXISTS consumer_offset (
  target TEXT NOT NULL, source TEXT NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (target, source));
CREATE TABLE IF NOT EXISTS row_count (
  run_id INTEGER NOT NULL, object TEXT NOT NULL, count_type TEXT NOT NULL, rows INTEGER NOT NULL,
  PRIMARY KEY (run_id, count_type));
CREATE TABLE IF NOT EXISTS load_error (
  run_id INTEGER NOT NULL, object TEXT NOT NULL, error TEXT NOT NULL, message TEXT NOT NULL, at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS parameter (
  object TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, previous_value TEXT, type TEXT NOT NULL,
  run_id INTEGER NOT NULL, PRIMARY KEY (object, name));
CREATE TABLE IF NOT EXISTS parameter_history (
  object TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, type TEXT NOT NULL, run_id INTEGER NOT NULL,
  at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS file (
  source TEXT NOT NULL, path TEXT NOT NULL, size INTEGER NOT NULL, checksum TEXT NOT NULL, run_id INTEGER NOT NULL,
  state TEXT NOT NULL, at TEXT NOT NULL, PRIMARY KEY (source, path, size, checksum));
CREATE TABLE IF NOT EXISTS checkpoint (
  name TEXT PRIMARY KEY, version INTEGER NOT NULL, position INTEGER NOT NULL, layout TEXT NOT NULL,
  row_total INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS subject (
  log TEXT NOT NULL, name TEXT NOT NULL, layout TEXT NOT NULL, since INTEGER NOT NULL, PRIMARY KEY (log, name));
"""


class SqliteCatalog:
    """A control catalog in one SQLite file."""

    def __init__(self, path: Path, *, busy_seconds: float = 60) -> None:
        self.path = path
        self._busy = busy_seconds
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._transaction() as db:
            for statement in SCHEMA.split(";"):
                db.execute(statement)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            db = sqlite3.connect(self.path, timeout=self._busy, isolation_level=None)
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error as error:
            raise ControlError(f"control catalog {self.path}: it cannot be opened: {error}.") from error
        try:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
        except sqlite3.Error as error:
            raise ControlError(f"control catalog {self.path}: {error}.") from error
        finally:
            db.close()

    def start_batch(self, batch: str) -> int:
        """Begins a batch and returns its run id; refuses if the batch is running already."""
        with self._transaction() as db:
            for row in db.execute("SELECT * FROM run WHERE kind = 'batch' AND object = ? AND status = 'E'", (batch,)):
                if _alive(row["process"]):
                    raise ControlError(
                        f"batch '{batch}' is running already: run {row['run_id']} since {row['started'][:19]}, "
                        f"process {row['process']}. Wait for it to end; it is left alone."
                    )
                _bury(db, row["run_id"])
            return _insert_run(db, None, batch, "batch")

    def end_batch(self, run_id: int, status: Status, message: str = "") -> None:
        """Ends a batch."""
        with self._transaction() as db:
            _end_run(db, run_id, status, "P" if status == "S" else "R", message)

    def claim(self, batch_run: int, object_name: str, kind: str, table: str) -> Claim:
        """Begins a load: a run id, the table for this run alone, its state and the position of its rows."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO table_state (name) VALUES (?)", (table,))
            row = db.execute("SELECT * FROM table_state WHERE name = ?", (table,)).fetchone()
            self._refuse_if_held(db, row)
            run_id = _insert_run(db, batch_run, object_name, kind)
            unfinished = _intent(row["intent"])
            position = unfinished.position if unfinished else row["issued"] + 1
            db.execute(
                "UPDATE table_state SET claimed_by = ?, issued = max(issued, ?) WHERE name = ?",
                (run_id, position, table),
            )
            offsets = db.execute("SELECT source, position FROM consumer_offset WHERE target = ?", (table,))
            return Claim(
                run_id,
                object_name,
                table,
                _state(row),
                position,
                {r["source"]: r["position"] for r in offsets},
                unfinished,
                bool(row["ended_once"]),
            )

    def _refuse_if_held(self, db: sqlite3.Connection, state: sqlite3.Row) -> None:
        if state["claimed_by"] is None:
            return
        holder = db.execute("SELECT * FROM run WHERE run_id = ?", (state["claimed_by"],)).fetchone()
        if holder["status"] == "E" and _alive(holder["process"]):
            raise ControlError(
                f"table {state['name']} is being loaded by run {holder['run_id']} since {holder['started'][:19]}, "
                f"process {holder['process']}. One run at a time writes a table; try again when it has ended."
            )
        if holder["status"] == "E":
            _end_run(db, holder["run_id"], "F", "R", "its process ended without a word")

    def intend(self, claim: Claim, intent: Intent) -> None:
        """Writes down what the load is about to do, before its first commit."""
        text = json.dumps(
            {
                "position": intent.position,
                "heads": dict(intent.heads),
                "row_audit_id": intent.row_audit_id,
                "load_datetime": intent.load_datetime.isoformat() if intent.load_datetime else None,
                "landed": intent.landed,
            }
        )
        with self._transaction() as db:
            self._check_held(db, claim)
            db.execute("UPDATE table_state SET intent = ? WHERE name = ?", (text, claim.table))

    def _check_held(self, db: sqlite3.Connection, claim: Claim) -> None:
        row = db.execute("SELECT claimed_by FROM table_state WHERE name = ?", (claim.table,)).fetchone()
        if row["claimed_by"] != claim.run_id:
            raise ControlError(
                f"run {claim.run_id} no longer holds table {claim.table}: run {row['claimed_by']} took it over. "
                "Nothing more is written."
            )

    def adopt(self, claim: Claim, head: int) -> Claim:
        """Takes over a table that this catalog has not seen: positions go on after the newest one in it."""
        with self._transaction() as db:
            self._check_held(db, claim)
            db.execute("UPDATE table_state SET head = ?, issued = ? WHERE name = ?", (head, head + 1, claim.table))
        return replace(claim, position=head + 1, state=replace(claim.state, head=head))

    def end(self, claim: Claim, ended: Ended) -> None:
        """Ends a load: everything that it leaves, in one transaction."""
        now = _now()
        with self._transaction() as db:
            self._check_held(db, claim)
            db.execute(
                "UPDATE table_state SET claimed_by = NULL, intent = NULL, ended_once = 1, head = max(head, ?), "
                "row_total = row_total + ?, live_keys = coalesce(?, live_keys), "
                "last_load_datetime = coalesce(?, last_load_datetime), delta_version = ? WHERE name = ?",
                (
                    ended.head,
                    ended.rows,
                    ended.live_keys,
                    _text(ended.last_load_datetime),
                    ended.delta_version,
                    claim.table,
                ),
            )
            db.executemany(
                "INSERT INTO consumer_offset VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET position = excluded.position",
                [(claim.table, source, position) for source, position in ended.offsets.items()],
            )
            db.executemany(
                "INSERT INTO row_count VALUES (?, ?, ?, ?)",
                [(claim.run_id, claim.object, count_type, rows) for count_type, rows in ended.counts.items()],
            )
            db.executemany(
                "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, 'loaded', ?)",
                [(claim.object, f.path, f.size, f.checksum, claim.run_id, now) for f in ended.files],
            )
            if ended.watermark:
                self._save_watermark(db, claim, *ended.watermark)
            _end_run(db, claim.run_id, "S", "P", ended.message)

    def _save_watermark(self, db: sqlite3.Connection, claim: Claim, name: str, value: str, data_type: str) -> None:
        db.execute(
            "INSERT INTO parameter VALUES (?, ?, ?, NULL, ?, ?) ON CONFLICT DO UPDATE SET "
            "previous_value = value, value = excluded.value, type = excluded.type, run_id = excluded.run_id",
            (claim.object, name, value, data_type, claim.run_id),
        )
        db.execute(
            "INSERT INTO parameter_history VALUES (?, ?, ?, ?, ?, ?)",
            (claim.object, name, value, data_type, claim.run_id, _now()),
        )

    def fail(self, claim: Claim, error: BaseException, *, forget: bool = False) -> None:
        """Ends a load that failed; the intent stays, so that the next run repeats it, unless it is to be forgotten."""
        with self._transaction() as db:
            row = db.execute("SELECT claimed_by, intent FROM table_state WHERE name = ?", (claim.table,)).fetchone()
            if row["claimed_by"] == claim.run_id:
                cleared = ", intent = NULL" if forget else ""
                db.execute(f"UPDATE table_state SET claimed_by = NULL{cleared} WHERE name = ?", (claim.table,))
            intent = _intent(row["intent"])
            _end_run(
                db,
                claim.run_id,
                "F",
                "D" if intent and intent.landed and not forget else "R",
                str(error).splitlines()[0][:500],
            )
            db.execute(
                "INSERT INTO load_error VALUES (?, ?, ?, ?, ?)",
                (claim.run_id, claim.object, type(error).__name__, str(error)[:20_000], _now()),
            )

    def skip(self, batch_run: int, object_name: str, kind: str, message: str) -> None:
        """Records a load that did not run because one before it failed."""
        with self._transaction() as db:
            run_id = _insert_run(db, batch_run, object_name, kind)
            _end_run(db, run_id, "C", "P", message)

    def heads(self, tables: Iterable[str]) -> Mapping[str, int]:
        """The head of each table; 0 for one that the catalog does not know."""
        with self._transaction() as db:
            known = {row["name"]: row["head"] for row in db.execute("SELECT name, head FROM table_state")}
        return {table: known.get(table, 0) for table in tables}

    def known_files(self, source: str) -> frozenset[File]:
        """The files of a source that were loaded."""
        with self._transaction() as db:
            rows = db.execute("SELECT path, size, checksum FROM file WHERE source = ?", (source,))
            return frozenset(File(row["path"], row["size"], row["checksum"]) for row in rows)

    def watermark(self, source: str, name: str) -> str | None:
        """The saved value of a watermark."""
        with self._transaction() as db:
            row = db.execute("SELECT value FROM parameter WHERE object = ? AND name = ?", (source, name)).fetchone()
        return str(row["value"]) if row else None

    def checkpoint(self, table: str) -> Checkpoint | None:
        """Where the current rows of a table are kept."""
        with self._transaction() as db:
            row = db.execute("SELECT * FROM checkpoint WHERE name = ?", (table,)).fetchone()
        return Checkpoint(row["version"], row["position"], row["layout"], row["row_total"]) if row else None

    def save_checkpoint(self, table: str, checkpoint: Checkpoint) -> None:
        """Notes a new checkpoint."""
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO checkpoint VALUES (?, ?, ?, ?, ?)",
                (table, checkpoint.version, checkpoint.position, checkpoint.layout, checkpoint.rows),
            )

    def subject_since(self, log: str, subject: str, layout: str) -> int | None:
        """From which position on a log's rows carry the marks of a subject; None if they do not."""
        with self._transaction() as db:
            row = db.execute(
                "SELECT since FROM subject WHERE log = ? AND name = ? AND layout = ?", (log, subject, layout)
            ).fetchone()
        return int(row["since"]) if row else None

    def save_subjects(self, log: str, subjects: Mapping[str, str], position: int) -> None:
        """Notes that rows from ``position`` on carry the marks of these subjects (name to layout)."""
        with self._transaction() as db:
            known = {row["name"]: row["layout"] for row in db.execute("SELECT * FROM subject WHERE log = ?", (log,))}
            db.executemany(
                "INSERT OR REPLACE INTO subject VALUES (?, ?, ?, ?)",
                [(log, name, layout, position) for name, layout in subjects.items() if known.get(name) != layout],
            )
            db.executemany(
                "DELETE FROM subject WHERE log = ? AND name = ?", [(log, n) for n in known if n not in subjects]
            )

    def latest_batch(self, batch: str | None = None) -> tuple[RunRow, ...]:
        """The latest batch run and its loads, in order of their start."""
        with self._transaction() as db:
            found = db.execute(
                "SELECT max(run_id) AS run_id FROM run WHERE kind = 'batch' AND (? IS NULL OR object = ?)",
                (batch, batch),
            ).fetchone()["run_id"]
            rows = db.execute("SELECT * FROM run WHERE run_id = ? OR parent_id = ? ORDER BY run_id", (found, found))
            return tuple(_run_row(db, row) for row in rows.fetchall())


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _alive(process: str) -> bool:
    """Whether a process still lives; one on another host is believed to."""
    host, _, pid = process.rpartition(":")
    if host != socket.gethostname():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _insert_run(db: sqlite3.Connection, parent: int | None, object_name: str, kind: str) -> int:
    cursor = db.execute(
        "INSERT INTO run (parent_id, object, kind, status, started, process) VALUES (?, ?, ?, 'E', ?, ?)",
        (parent, object_name, kind, _now(), _process()),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _end_run(db: sqlite3.Connection, run_id: int, status: str, next_status: str, message: str) -> None:
    db.execute(
        "UPDATE run SET status = ?, next_status = ?, ended = ?, message = ? WHERE run_id = ?",
        (status, next_status, _now(), message, run_id),
    )


def _bury(db: sqlite3.Connection, batch_run: int) -> None:
    """Ends a batch whose process is gone, and its loads; their tables are free and their intents stay."""
    told = "its process ended without a word"
    for row in db.execute("SELECT run_id FROM run WHERE parent_id = ? AND status = 'E'", (batch_run,)).fetchall():
        _end_run(db, row["run_id"], "F", "R", told)
        db.execute("UPDATE table_state SET claimed_by = NULL WHERE claimed_by = ?", (row["run_id"],))
    _end_run(db, batch_run, "F", "R", told)


def _intent(text: str | None) -> Intent | None:
    if not text:
        return None
    value = json.loads(text)
    moment = datetime.fromisoformat(value["load_datetime"]) if value["load_datetime"] else None
    return Intent(value["position"], value["heads"], value["row_audit_id"], moment, value["landed"])


def _state(row: sqlite3.Row) -> TableState:
    last = datetime.fromisoformat(row["last_load_datetime"]) if row["last_load_datetime"] else None
    return TableState(row["generation"], row["head"], row["row_total"], row["live_keys"], last, row["delta_version"])


def _run_row(db: sqlite3.Connection, row: sqlite3.Row) -> RunRow:
    counts = db.execute("SELECT count_type, rows FROM row_count WHERE run_id = ?", (row["run_id"],))
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
    )
