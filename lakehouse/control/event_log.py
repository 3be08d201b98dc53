"""The control catalog as a log of events: for a workspace without a database, where the log is a Delta table.

Rule: an event is the statements of some calls; its sequence number can be written once, by whoever comes first. Every
process keeps the states derived from the log in memory (SQLite), decides on them, and appends; where another process was
first, it takes that one's events and decides again. Calls that wait at the same moment share one event.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from lakehouse.control.schema import VERSIONS, statements
from lakehouse.control.sql_catalog import SqlCatalog, Transaction
from lakehouse.errors import ControlError

T = TypeVar("T")
SNAPSHOT_EVERY = 2_000
"""Events after which the whole state is written as one event, so that a new process reads few."""
VERSION = "version"
SNAPSHOT = "snapshot"


class Events(Protocol):
    """The log itself."""

    def make(self) -> None:
        """Makes the log if it is not there."""

    def after(self, sequence: int) -> list[tuple[int, str, str]]:
        """Number, kind and text of the events after a number in their order, from the newest snapshot if that is later."""

    def append(self, sequence: int, kind: str, text: str) -> bool:
        """Writes an event under a number; False if that number was written by somebody else."""


@dataclass
class _Call:
    """A call that waits for its turn, and what became of it."""

    work: Callable[[Transaction], Any]
    done: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: BaseException | None = None


class EventLogCatalog(SqlCatalog):
    """A control catalog whose states are derived from a log of events."""

    beat_seconds = 60.0

    def __init__(self, events: Events, project: str, **options: Any) -> None:
        super().__init__(project, **options)
        self._events = events
        self._replica = _replica()
        self._sequence = 0
        self._since_snapshot = 0
        self._turn = threading.RLock()
        self._waiting: list[_Call] = []
        self._queue = threading.Lock()
        self.init()

    def init(self) -> int:
        """Makes the log and brings it to the newest version; returns that."""
        self._events.make()
        with self._turn:
            while True:
                self._catch_up()
                version = self._replica.execute("PRAGMA user_version").fetchone()[0]
                if version > len(VERSIONS):
                    raise ControlError(
                        f"the control catalog has version {version} and this library knows {len(VERSIONS)}. "
                        "Install the newer library."
                    )
                if version == len(VERSIONS) or self._write(VERSION, [[text, []] for text in _upgrade(version)]):
                    self._catch_up()
                    return len(VERSIONS)

    def _transact(self, work: Callable[[Transaction], T], *, reads: bool = False) -> T:
        """Does the work alone: at once if it only reads, otherwise with all calls that wait at that moment."""
        if reads:
            with self._turn:
                return work(self._replica)
        call = _Call(work)
        with self._queue:
            self._waiting.append(call)
        with self._turn:
            if not call.done.is_set():
                self._lead()
        if call.error is not None:
            raise call.error
        return call.result  # type: ignore[no-any-return]

    def _lead(self) -> None:
        """Does every waiting call and writes what they changed as one event; again, if somebody else was first."""
        with self._queue:
            calls, self._waiting = self._waiting, []
        try:
            self._decide(calls)
        except BaseException as error:
            for call in calls:
                call.error = call.error or error
        for call in calls:
            call.done.set()

    def _decide(self, calls: Sequence[_Call]) -> None:
        """Attempts until the decisions were made on the newest state: an event proves it, a mere refusal is checked."""
        while True:
            known = self._sequence
            done, refused = self._attempt(calls), any(call.error for call in calls)
            if done and (self._sequence > known or not refused):
                return
            self._catch_up()
            if done and self._sequence == known:
                return

    def _attempt(self, calls: Sequence[_Call]) -> bool:
        """Does the calls on the state that is known and writes what they changed; False if somebody else was first."""
        recorder = _Recorder(self._replica)
        self._replica.execute("BEGIN")
        try:
            for call in calls:
                _try(call, recorder)
            written = not recorder.statements or self._write("calls", recorder.statements)
        except BaseException:
            self._replica.execute("ROLLBACK")
            raise
        self._replica.execute("COMMIT" if written else "ROLLBACK")
        if written and recorder.statements:
            self._sequence += 1
            self._since_snapshot += 1
            self._maybe_snapshot()
        return written

    def _write(self, kind: str, content: list[Any]) -> bool:
        return self._events.append(self._sequence + 1, kind, json.dumps(content))

    def _maybe_snapshot(self) -> None:
        if self._since_snapshot < SNAPSHOT_EVERY:
            return
        version = self._replica.execute("PRAGMA user_version").fetchone()[0]
        dump = [text for text in self._replica.iterdump() if text not in ("BEGIN TRANSACTION;", "COMMIT;")]
        if self._write(SNAPSHOT, [[text, []] for text in [*dump, f"PRAGMA user_version = {version}"]]):
            self._sequence += 1
            self._since_snapshot = 0

    def _catch_up(self) -> None:
        """Applies what others wrote; a snapshot begins anew."""
        for sequence, kind, text in self._events.after(self._sequence):
            if sequence != self._sequence + 1 and kind != SNAPSHOT:
                raise ControlError(
                    f"the log of the control catalog has no event {self._sequence + 1} before {sequence}. Was something "
                    "deleted from it? Restore the table to a former version."
                )
            if kind == SNAPSHOT:
                self._replica.close()
                self._replica = _replica()
            for sql, parameters in json.loads(text):
                self._replica.execute(sql, parameters)
            self._sequence = sequence
            self._since_snapshot = 0 if kind == SNAPSHOT else self._since_snapshot + 1


def _try(call: _Call, recorder: _Recorder) -> None:
    """One call inside the shared transaction: if it refuses, nothing of it stays and the others are not touched."""
    call.error = call.result = None
    kept = len(recorder.statements)
    recorder.db.execute("SAVEPOINT one_call")
    try:
        call.result = call.work(recorder)
    except Exception as error:  # raised again in the thread that called
        recorder.db.execute("ROLLBACK TO one_call")
        del recorder.statements[kept:]
        call.error = error
    recorder.db.execute("RELEASE one_call")


class _Recorder:
    """A connection that writes down the statements that may change something."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.statements: list[list[Any]] = []

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Runs one statement."""
        cursor = self.db.execute(sql, parameters)
        if not sql.lstrip().startswith("SELECT"):
            self.statements.append([sql, list(parameters)])
        return cursor

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]]) -> Any:
        """Runs one statement for many rows."""
        for row in parameters:
            self.execute(sql, row)


def _replica() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    db.row_factory = sqlite3.Row
    return db


def _upgrade(version: int) -> list[str]:
    return [*statements(version), f"PRAGMA user_version = {len(VERSIONS)}"]
