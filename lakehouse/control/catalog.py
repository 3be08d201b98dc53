"""The protocol of a control catalog, and the values that it gives and takes.

Rule: a load claims its table, writes down what it is about to do (its intent), commits its rows, and only then ends: head,
offsets, counts, files and watermark move together in one transaction. A load that finds the intent of one that died
repeats exactly that one: same position, same slice, same landed files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

Status = Literal["E", "S", "F", "A", "C", "R", "D"]
"""E executing, S succeeded, F failed, A aborted, C skipped, R retry, D transform-only restart."""
NextStatus = Literal["P", "C", "R", "D"]
"""P process, C skip, R retry, D transform-only restart."""
STATUS_WORDS = {"E": "executing", "S": "succeeded", "F": "failed", "A": "aborted", "C": "skipped"}


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
class Claim:
    """The right to write a table, held by one run at a time."""

    run_id: int
    object: str
    table: str
    state: TableState
    position: int
    """The position that this load's rows get."""
    offsets: Mapping[str, int]
    unfinished: Intent | None
    """What a load that died was about to do."""
    known: bool
    """Whether the catalog has seen this table before; otherwise it trusts only the table itself."""


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

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        return (self.ended - self.started).total_seconds() if self.ended else None


class Catalog(Protocol):
    """What every store of the control catalog can do."""

    def start_batch(self, batch: str) -> int:
        """Begins a batch and returns its run id; refuses if the batch is running already."""

    def end_batch(self, run_id: int, status: Status, message: str = "") -> None:
        """Ends a batch."""

    def claim(self, batch_run: int, object_name: str, kind: str, table: str) -> Claim:
        """Begins a load: a run id, the table for this run alone, its state and the position of its rows."""

    def intend(self, claim: Claim, intent: Intent) -> None:
        """Writes down what the load is about to do, before its first commit."""

    def adopt(self, claim: Claim, head: int) -> Claim:
        """Takes over a table that this catalog has not seen: positions go on after the newest one in it."""

    def end(self, claim: Claim, ended: Ended) -> None:
        """Ends a load: everything that it leaves, in one transaction."""

    def fail(self, claim: Claim, error: BaseException, *, forget: bool = False) -> None:
        """Ends a load that failed; the intent stays, so that the next run repeats it, unless it is to be forgotten."""

    def skip(self, batch_run: int, object_name: str, kind: str, message: str) -> None:
        """Records a load that did not run because one before it failed."""

    def heads(self, tables: Iterable[str]) -> Mapping[str, int]:
        """The head of each table; 0 for one that the catalog does not know."""

    def known_files(self, source: str) -> frozenset[File]:
        """The files of a source that were loaded."""

    def watermark(self, source: str, name: str) -> str | None:
        """The saved value of a watermark."""

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
