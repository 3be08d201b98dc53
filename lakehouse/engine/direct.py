"""Loads one table directly, without log and control catalog.

Rule: the same SELECT as in a batch, compared with the whole target, so any target content, duplicates and several load
date-times are right; no offset moves. For external stages, tests and conformance suites.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lakehouse.engine import delta
from lakehouse.engine.session import spark_session
from lakehouse.engine.table_load import ROWS, WRITTEN
from lakehouse.engine.workspace import complete
from lakehouse.errors import LoadError
from lakehouse.metadata.environment import Environment
from lakehouse.metadata.table import OFFSET, Load
from lakehouse.names import (
    APPLIED_DATETIME,
    CHANGE_TYPE,
    CHANGED_SUBJECTS,
    LOAD_DATETIME,
    LOAD_POSITION,
    RECORD_SOURCE,
    ROW_AUDIT_ID,
)
from lakehouse.sql.ddl import create_schema, create_table, empty_relation
from lakehouse.sql.write import merge_into

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def load(
    table: Load,
    source: DataFrame | str | Mapping[str, DataFrame | str] | None = None,
    *,
    spark: SparkSession | None = None,
    target: str | None = None,
    environment: Environment | None = None,
) -> dict[str, int]:
    """Loads a table from the given rows and returns its counts.

    ``table`` comes from ``read_project(…).table(name)``. ``source`` is a DataFrame or table name, or one per input where
    the load has several; without it the inputs are the environment's tables. Rows need ``load_datetime`` and
    ``record_source``; ``change_type`` (I), ``applied_datetime`` and ``row_audit_id`` may be left out. ``target`` is the
    table to write, the environment's place if left out; it is created if it does not exist.

    Raises:
        LoadError: an input is missing, or lacks the stamps.
    """
    session = spark or spark_session()
    place = environment or Environment()
    name = target or place.table(table.layer, table.name)
    if not target:
        session.sql(create_schema(place.schema_name(table.layer)))
    relations: dict[str, DataFrame | str] = {**_inputs(session, table, source, place)}
    exists = session.catalog.tableExists(name)
    relations["target"] = name if exists else empty_relation(table.definition)
    first = not exists or (table.ghost is not None and session.table(name).isEmpty())
    frame = (table.first if first else table.select).on(session, relations)
    definition = complete(table.definition, frame.schema)
    if not exists:
        session.sql(create_table(name, definition))
    return _write(session, table, frame, name, definition.names)


def _inputs(
    spark: SparkSession, table: Load, source: DataFrame | str | Mapping[str, DataFrame | str] | None, place: Environment
) -> dict[str, DataFrame | str]:
    given = source if isinstance(source, Mapping) else {}
    if source is not None and not isinstance(source, Mapping):
        if len(table.inputs) != 1:
            names = ", ".join(entry.name for entry in table.inputs)
            raise LoadError(f"{table.name} reads several inputs: {names}. Give a mapping of input to rows.")
        given = {table.inputs[0].name: source}
    relations: dict[str, DataFrame | str] = {}
    for entry in table.inputs:
        rows = given.get(entry.name, place.table(entry.relation.layer, entry.relation.name) if source is None else None)
        if rows is None:
            raise LoadError(
                f"{table.name}: no rows given for its input '{entry.name}'. Given: {', '.join(given) or 'none'}."
            )
        frame = spark.table(rows) if isinstance(rows, str) else rows
        log = entry.relation.layer == "persistent_stage"
        relations[entry.name] = _stamped(frame, table.name, entry.name) if log else frame
        relations[entry.name + OFFSET] = "-1"
    return relations


def _stamped(frame: DataFrame, table: str, name: str) -> DataFrame:
    """The rows with the stamps that an external stage may leave out."""
    from pyspark.sql import functions as F

    columns = {column.lower() for column in frame.columns}
    for needed in (LOAD_DATETIME, RECORD_SOURCE):
        if needed not in columns:
            raise LoadError(f"{table}: input '{name}' has no column {needed}. It has: {', '.join(frame.columns)}.")
    defaults = {
        APPLIED_DATETIME: F.col(LOAD_DATETIME),
        CHANGE_TYPE: F.lit("I"),
        ROW_AUDIT_ID: F.lit(None).cast("bigint"),
        CHANGED_SUBJECTS: F.lit(None).cast("array<string>"),
        LOAD_POSITION: F.lit(0).cast("bigint"),
    }
    missing = {column: value for column, value in defaults.items() if column not in columns}
    return frame.withColumns(missing) if missing else frame


def _write(spark: SparkSession, table: Load, frame: DataFrame, name: str, columns: tuple[str, ...]) -> dict[str, int]:
    from pyspark.sql import functions as F

    position = delta.stored_head(spark, name) + 1
    counts = {**table.counts, **ROWS}
    stamp = F.lit(position).cast("bigint").alias(LOAD_POSITION)
    selected = [stamp if column == LOAD_POSITION else F.col(f"`{column}`") for column in columns]
    if table.write == "append":
        observed, observation = delta.observe(frame, counts)
        observed.filter(F.col("outcome") == "inserted").select(*selected).writeTo(name).append()
        counted = delta.observed_counts(observation)
    else:
        counted = delta.count(frame, counts)
        changes = frame.filter(F.col("outcome").isin(*WRITTEN["merge"])).select(*selected, F.col("outcome"))
        spark.sql(merge_into(name, columns, table.keys, "{changes}"), changes=changes)
    return {key: value for key, value in counted.items() if key not in ROWS}
