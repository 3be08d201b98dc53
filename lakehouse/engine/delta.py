"""Writes to Delta tables: appends that are done once, and merges.

Rule: an append carries an app id (table and generation) and the position as its transaction version, so Delta skips one
that was committed before; its commit names the load. Counts come from the rows as they pass (``observe``), never from
another scan.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from lakehouse.names import LOAD_DATETIME, LOAD_POSITION, OUTCOME

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class Stamp:
    """Who writes, and at which position."""

    table: str
    generation: int
    position: int
    run_id: int
    load: str
    purpose: str = ""
    through: str = ""
    """The last file of the delivery in path order: a catalog that was lost learns from it what was read."""

    def options(self) -> dict[str, str]:
        """Delta's writer options for an append that is done once."""
        note = {"load": self.load, "run_id": self.run_id, "position": self.position, "generation": self.generation}
        note |= {"through": self.through} if self.through else {}
        app = ":".join(part for part in ("lakehouse", self.table, str(self.generation), self.purpose) if part)
        return {"txnAppId": app, "txnVersion": str(self.position), "userMetadata": json.dumps(note)}


def append(
    frame: DataFrame, name: str, columns: Sequence[str], *, stamp: Stamp, counts: Mapping[str, str], keep: Sequence[str]
) -> dict[str, int]:
    """Appends the rows whose outcome is in ``keep`` at the stamp's position; returns the counts over all rows."""
    from pyspark.sql import functions as F

    observed, observation = observe(frame, counts)
    rows = observed.filter(F.col(OUTCOME).isin(*keep)) if keep else observed
    position = F.lit(stamp.position).cast("bigint").alias(LOAD_POSITION)
    wanted = [position if column == LOAD_POSITION else F.col(f"`{column}`") for column in columns]
    writer = rows.select(*wanted).writeTo(name)
    for key, value in stamp.options().items():
        writer = writer.option(key, value)
    writer.append()
    return observed_counts(observation) or count(frame, counts)


def observe(frame: DataFrame, counts: Mapping[str, str]) -> tuple[DataFrame, Any]:
    """The frame with an observation that takes the counts as its rows pass."""
    from pyspark.sql import Observation
    from pyspark.sql import functions as F

    observation = Observation()
    metrics = [F.expr(aggregate).alias(name) for name, aggregate in counts.items()]
    return frame.observe(observation, *metrics), observation


def observed_counts(observation: Any) -> dict[str, int]:
    """The counts that were taken; none if the write was skipped as done before."""
    from py4j.protocol import Py4JJavaError

    try:
        found = observation.get
    except Py4JJavaError:
        # classic Spark has no metrics row for a write that Delta skipped
        return {}
    return {name: int(value or 0) for name, value in found.items()}


def count(frame: DataFrame, counts: Mapping[str, str]) -> dict[str, int]:
    """The counts by a query of their own."""
    from pyspark.sql import functions as F

    row = frame.agg(*[F.expr(aggregate).alias(name) for name, aggregate in counts.items()]).collect()[0]
    return {name: int(value or 0) for name, value in row.asDict().items()}


def delta_version(spark: SparkSession, name: str) -> int:
    """The newest Delta version of a table."""
    return int(spark.sql(f"DESCRIBE HISTORY {name} LIMIT 1").collect()[0]["version"])


def files_read(spark: SparkSession, name: str) -> list[tuple[float, str]]:
    """What the commits of a table that still has their rows say of files: when (seconds since 1970), and the last path read.

    Commits that Delta's history no longer keeps are left out.
    """
    held = {row[0] for row in spark.sql(f"SELECT DISTINCT {LOAD_POSITION} FROM {name}").collect()}
    history = spark.sql(f"DESCRIBE HISTORY {name}").selectExpr(
        "version", "unix_millis(timestamp) AS at", "userMetadata"
    )
    newest: dict[int, tuple[float, str]] = {}
    for row in sorted(history.collect(), key=lambda row: int(row["version"])):
        note = _note(row["userMetadata"])
        if note.get("through") and note.get("position") in held:
            newest[note["position"]] = (row["at"] / 1000, str(note["through"]))
    return list(newest.values())


def _note(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def newest_load(spark: SparkSession, name: str) -> datetime | None:
    """The newest load date-time in a table (UTC)."""
    micros = spark.sql(f"SELECT unix_micros(max({LOAD_DATETIME})) AS newest FROM {name}").collect()[0]["newest"]
    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=micros) if micros is not None else None


def stored_head(spark: SparkSession, name: str) -> int:
    """The newest load position in a table; 0 if it has no rows."""
    row = spark.sql(f"SELECT max({LOAD_POSITION}) AS head FROM {name}").collect()[0]
    return int(row["head"] or 0)
