"""The story of a batch run in words, for ``lakehouse status``.

Rule: say what happened and what the next start does; counts stand in the table beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

from lakehouse.control.catalog import EXECUTING, STATUS_WORDS, RunRow


def story(rows: Sequence[RunRow]) -> list[str]:
    """Sentences about a batch run (first) and its loads."""
    batch, loads = rows[0], list({row.object: row for row in rows[1:]}.values())
    return [
        _opening(batch),
        *_restart(batch, loads),
        *_failures(loads),
        *_kept_out(loads),
        *_uneven(rows[1:]),
        *_next(batch),
    ]


def _opening(batch: RunRow) -> str:
    seconds = f", {batch.seconds:.1f} s" if batch.seconds is not None else ""
    message = f" {batch.message}." if batch.message and batch.status in ("A", "C") else ""
    return f"Batch {batch.object}, run {batch.run_id}: {STATUS_WORDS[batch.status]} at {batch.started:%Y-%m-%d %H:%M:%S} UTC{seconds}.{message}"


def _restart(batch: RunRow, loads: Sequence[RunRow]) -> list[str]:
    if batch.restarts is None:
        return []
    over = [
        row
        for row in loads
        if row.status == "C" and row.next_status in ("C", "P") and row.message.startswith("done by")
    ]
    landed = sorted({row.row_audit_id for row in over if row.kind == "source" and row.row_audit_id})
    landed += [row.row_audit_id for row in loads if row.status != "C" and row.row_audit_id not in (None, row.run_id)]
    told = [f"It went on with run {batch.restarts}, which had failed."]
    if landed:
        told.append(f"Nothing was copied again: the rows that run {', '.join(map(str, landed))} landed were used.")
    if over:
        told.append(f"Passed over, because they had succeeded before: {_names(over)}.")
    return told


def _failures(loads: Sequence[RunRow]) -> list[str]:
    return [f"{row.object} failed: {row.message}" for row in loads if row.status == "F"]


def _kept_out(loads: Sequence[RunRow]) -> list[str]:
    after = [row for row in loads if row.status == "C" and row.message.startswith("not loaded")]
    told = [f"Not loaded: {_names(after)}."] if after else []
    return told + [f"{row.object}: {row.message}." for row in loads if row.status == "A"]


def _uneven(loads: Sequence[RunRow]) -> list[str]:
    wrong = [row for row in loads if not row.reconciled]
    return (
        [f"The row counts of {_names(wrong)} do not reconcile; look at what was read and what became of it."]
        if wrong
        else []
    )


def _next(batch: RunRow) -> list[str]:
    if batch.status in EXECUTING or batch.status != "F":
        return []
    if batch.next_status == "D":
        return ["The copy is done; the next start loads what is missing from it and copies nothing."]
    if batch.next_status == "R":
        return ["The next start copies again what was not landed, and passes over what succeeded."]
    return ["The next start runs everything."]


def _names(rows: Sequence[RunRow]) -> str:
    names = [row.object for row in rows]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
