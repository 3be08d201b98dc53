"""The event log of the control catalog as a Delta table.

Rule: an event is one append whose transaction version is its number, under one app id: of two processes that write the same
number Delta lets one through. Local Java processes have no atomic commit, so there a file lock stands around it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from lakehouse.engine import delta

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

APP = "lakehouse:control"
CONFLICTS = (
    "DELTA_CONCURRENT",
    "ConcurrentTransactionException",
    "ConcurrentAppendException",
    "ProtocolChangedException",
)


class DeltaEvents:
    """The log in one Delta table."""

    def __init__(
        self,
        spark: SparkSession,
        table: str,
        make: Callable[[], None],
        exclusive: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._spark = spark
        self._table = table
        self._make = make
        self._exclusive = exclusive

    def make(self) -> None:
        """Makes the log if it is not there."""
        with self._exclusive():
            self._make()

    def after(self, sequence: int) -> list[tuple[int, str, str]]:
        """Number, kind and text of the events after a number in their order, from the newest snapshot if that is later."""
        rows = self._spark.sql(
            f"SELECT sequence, kind, content FROM {self._table} WHERE sequence > {sequence} AND sequence >= "
            f"(SELECT coalesce(max(sequence), 0) FROM {self._table} WHERE kind = 'snapshot') ORDER BY sequence"
        ).collect()
        return [(int(row["sequence"]), str(row["kind"]), str(row["content"])) for row in rows]

    def append(self, sequence: int, kind: str, text: str) -> bool:
        """Writes an event under a number; False if that number was written by somebody else."""
        from pyspark.sql import functions as F

        values = {"sequence": F.lit(sequence).cast("bigint"), "kind": F.lit(kind), "content": F.lit(text)}
        frame = self._spark.range(1).select(*(value.alias(name) for name, value in values.items()))
        observed, observation = delta.observe(frame, {"events": "count(1)"})
        writer = observed.selectExpr("*", "current_timestamp() AS at").writeTo(self._table)
        try:
            with self._exclusive():
                writer.option("txnAppId", APP).option("txnVersion", str(sequence)).append()
        except Exception as error:
            if any(word in str(error) for word in CONFLICTS):
                return False
            raise
        return bool(delta.observed_counts(observation))
