"""The protocol of a control catalog, and the values that it gives and takes.

Rule: a load claims its table, writes down what it is about to do (its intent), commits its rows, and only then ends: head,
offsets, counts, files and watermark move together in one transaction. A load that finds the intent of one that died
repeats exactly that one: same position, same slice, same landed files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal, Protocol

from lakehouse.errors import ControlError

Status = Literal["E", "S", "F", "A", "C", "R", "D"]
"""E executing, S succeeded, F failed, A aborted, C skipped; executing as a restart: R from the start, D without the copy."""
NextStatus = Literal["P", "C", "R", "D"]
"""What the next start does: P process, C skip, R again from the start, D again without the copy."""
STATUS_WORDS = {
    "E": "executing",
    "S": "succeeded",
    "F": "failed",
    "A": "aborted",
    "C": "skipped",
    "R": "restarted, executing",
    "D": "restarted without the copy, executing",
}
EXECUTING = ("E", "R", "D")


class TableHeldError(ControlError):
    """Another run is writing the table; it may be waited for."""


@dataclass(frozen=True)
class File:
    """A delivered file."""

    path: str
    size: int
    """Bytes."""
    checksum: str


@dataclass(frozen=True)
class Intent:
    """What a load is about to do; kept until it ends, so that the next one can repeat it."""

    position: int
    heads: Mapping[str, int]
    """Per input the position up to which the slice reads."""
    row_audit_id: int
    load_datetime: datetime | None = None
    """For a source: the stamp of its rows."""
    landed: Mapping[str, Any] | None = None
    """For a source: what was landed, and where."""
    changes: Mapping[str, Any] | None = None
    """For a merge: where its changed rows are kept, and their counts."""
    rolls_back: int | None = None
    """For a rollback: the batch run whose rows are taken out; nothing else may be loaded before it is done."""

    def text(self) -> str:
        """The intent as JSON, as every store keeps it."""
        moment = self.load_datetime.isoformat() if self.load_datetime else None
        return json.dumps({**{f.name: getattr(self, f.name) for f in fields(self)}, "load_datetime": moment})

    @classmethod
    def read(cls, text: str | None) -> Intent | None:
        """The intent that a store kept, if it keeps one."""
        if not text:
            return None
        value = json.loads(text)
        moment = datetime.fromisoformat(value["load_datetime"]) if value["load_datetime"] else None
        return cls(**{**value, "load_datetime": moment})


@dataclass(frozen=True)
class TableState:
    """What the catalog knows of a table that the library writes."""

    generation: int = 0
    """Raised by whatever takes rows away, so that Delta does not skip a repeated position."""
    head: int = 0
    """The newest position committed; 0 for a table without rows."""
    rows: int = 0
    """Rows written less rows removed."""
    live_keys: int = 0
    """For a persistent stage table: keys whose last row is not D."""
    last_load_datetime: datetime | None = None
    delta_version: int | None = None
    """The Delta version that the last load left, where it noted one."""


@dataclass(frozen=True)
class Started:
    """The answer to the start of a batch."""

    run_id: int
    status: Status
    """E, R or D: go on; A: it is running already; C: it is suspended."""
    restarts: int | None = None
    """The failed run that this one goes on with: what succeeded there is skipped."""
    last_successful_run_id: int | None = None
    landed_run_id: int | None = None
    """For D: the run whose copies are used."""
    message: str = ""

    @property
    def executes(self) -> bool:
        """Whether the batch may run."""
        return self.status in EXECUTING


@dataclass(frozen=True)
class Claim:
    """The right to write a table, held by one run at a time; or why there is nothing to do."""

    run_id: int
    object: str
    table: str
    state: TableState = TableState()
    position: int = 0
    """The position that this load's rows get."""
    offsets: Mapping[str, int] = field(default_factory=dict)
    unfinished: Intent | None = None
    """What a load that died was about to do."""
    known: bool = False
    """Whether the catalog has seen this table before; otherwise it trusts only the table itself."""
    status: Status = "E"
    """E, R or D: go on; C: skipped; A: failed too often."""
    message: str = ""

    @property
    def executes(self) -> bool:
        """Whether the table was claimed."""
        return self.status in EXECUTING


@dataclass(frozen=True)
class Checkpoint:
    """Where the current rows of a persistent stage table are kept, and what they stand for."""

    version: int
    """Delta version of the checkpoint table."""
    position: int
    layout: str
    rows: int
    """Rows that the log had then."""


@dataclass(frozen=True)
class Ended:
    """What a load that ended leaves in the catalog, in one transaction."""

    counts: Mapping[str, int]
    head: int
    """The new head: the claim's position if rows were written, the old head otherwise."""
    rows: int = 0
    """Rows written less rows removed by this load."""
    live_keys: int | None = None
    delta_version: int | None = None
    offsets: Mapping[str, int] = field(default_factory=dict)
    last_load_datetime: datetime | None = None
    files: Sequence[File] = ()
    watermark: tuple[str, str, str] | None = None
    """Name, value and type of a watermark that moves on."""
    message: str = ""
    """Why nothing was loaded, where that is so."""
    reconciled: bool = True
    """Whether the counts add up by the kind's identity."""


@dataclass(frozen=True)
class Written:
    """A load that wrote rows, with the state of its table before: what a rollback puts back."""

    run_id: int
    object: str
    kind: str
    table: str
    position: int
    version_after: int | None
    """The Delta version that the load left, where it noted one."""
    row_audit_id: int
    before: Mapping[str, Any]


@dataclass(frozen=True)
class RunRow:
    """A run as ``lakehouse status`` shows it."""

    run_id: int
    parent_id: int | None
    object: str
    kind: str
    status: Status
    next_status: NextStatus
    started: datetime
    ended: datetime | None
    message: str
    counts: Mapping[str, int]
    restarts: int | None = None
    attempt: int = 1
    row_audit_id: int | None = None
    reconciled: bool = True

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        return (self.ended - self.started).total_seconds() if self.ended else None


class Catalog(Protocol):
    """What every store of the control catalog can do."""

    beat_seconds: float
    """How often a run says that it is alive."""

    def init(self) -> int:
        """Makes or upgrades the catalog's tables; returns their version. Idempotent."""

    def start_batch(self, batch: str, *, external_id: str | None = None, restart: bool = True) -> Started:
        """Begins a batch; the same external id gives the same run. ``restart`` goes on with a failed run, if there is one."""

    def end_batch(self, run_id: int, status: Status, message: str = "") -> None:
        """Ends a batch, and its loads that did not end; decides what its next start does."""

    def beat(self, run_id: int) -> bool:
        """Says that a batch is alive; tells whether it was asked to stop."""

    def claim(
        self, batch_run: int, object_name: str, kind: str, table: str, *, definition: str = "", attempts: int | None = 3
    ) -> Claim:
        """Begins a load: a run id, the table for this run alone, its state and the position of its rows.

        A load that failed ``attempts`` times in a row with the same ``definition`` is refused; None does not count and
        does not skip what the restarted run did.

        Raises:
            TableHeldError: another living run writes the table.
        """

    def intend(self, claim: Claim, intent: Intent) -> None:
        """Writes down what the load is about to do, before its first commit."""

    def adopt(self, claim: Claim, head: int) -> Claim:
        """Takes over a table that this catalog has not seen: positions go on after the newest one in it."""

    def end(self, claim: Claim, ended: Ended) -> None:
        """Ends a load: everything that it leaves, in one transaction."""

    def fail(self, claim: Claim, error: BaseException, *, forget: bool = False) -> None:
        """Ends a load that failed; the intent stays, so that the next run repeats it, unless it is to be forgotten."""

    def skip(self, batch_run: int, object_name: str, kind: str, message: str) -> None:
        """Records a load that did not run because one before it failed, or because the batch was asked to stop."""

    def heads(self, tables: Iterable[str]) -> Mapping[str, int]:
        """The head of each table; 0 for one that the catalog does not know."""

    def known_files(self, source: str) -> frozenset[File]:
        """The files of a source that were loaded."""

    def watermark(self, source: str, name: str) -> str | None:
        """The saved value of a watermark."""

    def set_watermark(self, source: str, name: str, value: str, data_type: str, *, force: bool = False) -> None:
        """Saves a watermark by hand; backwards only with ``force``."""

    def log_row_count(self, run_id: int, count_type: str, rows: int, control_sum: str | None = None) -> None:
        """Records a count that another system took, such as the rows that a copy activity copied."""

    def checkpoint(self, table: str) -> Checkpoint | None:
        """Where the current rows of a table are kept."""

    def save_checkpoint(self, table: str, checkpoint: Checkpoint) -> None:
        """Notes a new checkpoint."""

    def subject_since(self, log: str, subject: str, layout: str) -> int | None:
        """From which position on a log's rows carry the marks of a subject; None if they do not."""

    def save_subjects(self, log: str, subjects: Mapping[str, str], position: int) -> None:
        """Notes that rows from ``position`` on carry the marks of these subjects (name to layout)."""

    def latest_batch(self, batch: str | None = None) -> tuple[RunRow, ...]:
        """The latest batch run and its loads, in order of their start."""

    def batches(self, limit: int = 5) -> tuple[RunRow, ...]:
        """The latest batch runs, newest first."""

    def enable(self, name: str, *, enabled: bool) -> None:
        """Lets a batch or load run, or keeps it from running."""

    def request_stop(self, batch: str | None = None) -> tuple[int, ...]:
        """Asks the running batches to stop after their current loads; returns their run ids."""

    def reset(self, name: str) -> str:
        """Ends what is stuck: executing runs of a batch or load, its claim and its failed attempts; tells what was done."""

    def unfinished(self, table: str) -> Intent | None:
        """What a load of the table that died was about to do."""

    def forget_intent(self, table: str) -> None:
        """Forgets what a load that died was about to do; its rows were taken out, so the generation goes up."""

    def written_by(self, batch_run: int) -> tuple[Written, ...]:
        """The loads of a batch that wrote rows, newest first.

        Raises:
            ControlError: there is no such batch, it still runs, or a later run wrote one of its tables or read from it.
        """

    def put_back(self, claim: Claim, written: Written) -> None:
        """Puts a table's state, offsets, watermark and files back to what they were before a load; ends the claim."""

    def start_over(self, claim: Claim, offsets: Mapping[str, int], *, empty: bool) -> None:
        """Sets offsets back and ends the claim; ``empty``: the table loses its rows, so its generation goes up."""

    def housekeeping(self, keep: Mapping[str, int]) -> Mapping[str, int]:
        """Deletes history older than so many days per table of the catalog; returns what was deleted."""
