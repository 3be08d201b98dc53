"""Waiting and trying again: for a table that another run writes, and after errors that pass by themselves.

Rule: a held table is waited for; a write conflict or a lost connection is tried again with growing pauses; bad data,
a guard or a wrong expression never.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from lakehouse.control.catalog import Catalog, Claim, TableHeldError
from lakehouse.errors import ControlError, LakehouseError, LoadError

logger = logging.getLogger(__name__)
T = TypeVar("T")
PASSING = (
    "DELTA_CONCURRENT",
    "ConcurrentAppendException",
    "ConcurrentDeleteReadException",
    "ConcurrentDeleteDeleteException",
    "ConcurrentTransactionException",
    "ConcurrentWriteException",
    "DELTA_METADATA_CHANGED",
    "MetadataChangedException",
    "ProtocolChangedException",
    "Connection reset",
    "Connection refused",
    "Connection timed out",
    "Read timed out",
    "UNAVAILABLE",
)
"""What the text of an error holds that passes by itself."""
FULL = ("No space left on device", "Disk quota exceeded", "disk is full")


def passes(error: BaseException) -> bool:
    """Whether the same load may succeed when it is tried again at once."""
    if isinstance(error, (LakehouseError, SyntaxError, TypeError)):
        return False
    text = f"{type(error).__name__} {error}"
    return any(word in text for word in PASSING) and not any(word in text for word in FULL)


def tried(attempt: Callable[[], T], what: str, *, retries: int, pause: Callable[[float], None] = time.sleep) -> T:
    """The result of an attempt, tried again after errors that pass, with pauses of 1, 2, 4 … seconds."""
    for number in range(retries):
        try:
            return attempt()
        except Exception as error:
            if not passes(error):
                raise
            logger.warning("%s: attempt %d failed, trying again: %s", what, number + 1, str(error).splitlines()[0])
            pause(2.0**number)
    return attempt()


def claimed(claim: Callable[[], Claim], *, seconds: float, pause: Callable[[float], None] = time.sleep) -> Claim:
    """A claim on a table, waited for while another run writes it.

    Raises:
        TableHeldError: the other run still writes it after so many seconds.
    """
    until, wait = time.monotonic() + seconds, 0.1
    while True:
        try:
            return claim()
        except TableHeldError:
            if time.monotonic() > until:
                raise
        pause(wait)
        wait = min(wait * 2, 2.0)


def without_work(claim: Claim) -> tuple[dict[str, int], str]:
    """The result of a load that the catalog did not let run: nothing to do, or an error if it failed too often."""
    if claim.status == "A":
        raise ControlError(f"{claim.object}: {claim.message}.")
    return {}, claim.message


def refuse_interrupted_rollback(claim: Claim) -> None:
    """A table whose rollback was interrupted is not loaded before that is done."""
    if claim.unfinished is not None and claim.unfinished.rolls_back is not None:
        run_id = claim.unfinished.rolls_back
        raise LoadError(
            f"{claim.table}: a rollback of run {run_id} was interrupted. Finish it first: lakehouse rollback {run_id}."
        )


def told(error: BaseException, catalog: Catalog, claim: Claim, *, forget: bool = False) -> None:
    """Tells the catalog of a load that failed; if it cannot be reached, the error that came first goes on."""
    try:
        catalog.fail(claim, error, forget=forget)
    except LakehouseError as second:
        logger.error("run %d: its failure could not be recorded: %s", claim.run_id, second)


def plainly(error: Exception, table: str) -> LakehouseError:
    """An error of Spark or the system as one that a person can act on."""
    if isinstance(error, LakehouseError):
        return error
    text = str(error)
    if any(word in text for word in FULL):
        return LoadError(
            f"{table}: the disk is full. Nothing of this load was committed. Make room and run again; it goes on from there."
        )
    lines = [line for line in text.splitlines() if line.strip()]
    return LoadError(f"{table}: {lines[0][:1000] if lines else type(error).__name__}")
