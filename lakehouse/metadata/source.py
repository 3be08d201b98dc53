"""Source: one table or file of a connection, its key, its columns, and how its changes are captured."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from lakehouse.metadata.entity import DataType, Entity, Names
from lakehouse.metadata.settings import Settings
from lakehouse.sql.types import convert, from_text

OVERLAP = re.compile(r"^(\d+)\s*(second|minute|hour|day|week)s?$")


class Rank(Entity):
    """The position of a row among those delivered with it."""

    partition_by: Names = Field(min_length=1)
    order_by: Names = Field(min_length=1)
    """Columns, each with DESC where the highest comes first."""
    dense: bool = False
    """Whether equal rows take one position only."""

    @property
    def ordered(self) -> tuple[tuple[str, str], ...]:
        """The ordering columns with their direction."""
        words = (entry.rsplit(" ", 1) for entry in self.order_by)
        return tuple(
            (w[0], w[1].upper()) if len(w) > 1 and w[1].upper() in ("ASC", "DESC") else (" ".join(w), "ASC")
            for w in words
        )


class SourceColumn(Entity):
    """A column of a source: delivered, derived by an expression over the columns before it, hashed or ranked."""

    type: DataType
    expression: str | None = None
    """Spark SQL over the source's typed columns; without one the column is delivered under its name."""
    hash: Names = ()
    """The column is a key: the hash of these columns, as a hub or link would hash them."""
    hash_diff: Names = ()
    """The column is the hash of these columns as descriptive ones."""
    rank: Rank | None = None
    """The column is the position of a row among those delivered with it."""
    description: str = ""

    @model_validator(mode="after")
    def _made_in_one_way(self) -> SourceColumn:
        ways = [name for name in ("expression", "hash", "hash_diff", "rank") if getattr(self, name)]
        if len(ways) > 1:
            raise ValueError(f"a column is made in one way, and this one in {len(ways)}: {', '.join(ways)}.")
        return self

    @property
    def is_delivered(self) -> bool:
        """Whether the deliveries hold it."""
        return not (self.expression is not None or self.hash or self.hash_diff or self.rank)


class NullKeys(Entity):
    """What stands for a business key that is NULL, so that its rows have one."""

    required: Names = ()
    """Columns that should never be NULL."""
    optional: Names = ()
    """Columns that may be NULL."""
    required_as: str = "-1"
    optional_as: str = "-2"

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.required, *self.optional)


def _column(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


ColumnSpec = Annotated[SourceColumn, BeforeValidator(_column)]


class Changes(Entity):
    """How a delivery relates to the one before it."""

    by: Literal["snapshot", "watermark"] = "snapshot"
    """snapshot: every delivery holds all rows, a key left out is deleted. watermark: it holds new and changed rows."""
    column: str | None = None
    """The watermark: a column that rises with every change; it also orders several versions of a key in one delivery."""
    overlap: str | None = None
    """How far before the last watermark a table is read again, such as ``3 days``."""

    @field_validator("overlap")
    @classmethod
    def _known_overlap(cls, value: str | None) -> str | None:
        if value is not None and not OVERLAP.match(value):
            raise ValueError(f"'{value}' is not a span of time. Write a number and a unit, such as 3 days or 2 hours.")
        return value

    @model_validator(mode="after")
    def _watermark_has_column(self) -> Changes:
        if self.by == "watermark" and not self.column:
            raise ValueError("a watermark needs its column: {by: watermark, column: ModifiedDate}.")
        if self.by == "snapshot" and self.overlap:
            raise ValueError("an overlap belongs to a watermark, not to a snapshot.")
        return self


def _changes(value: object) -> object:
    return {"by": value} if isinstance(value, str) else value


class Source(Entity):
    """One table or file of a connection."""

    name: str = Field(default="", exclude=True)
    connection: str
    object: str
    """Its name there, such as SalesLT.Customer."""
    files: str | None = None
    """Pattern of its files, if not the connection's."""
    key: Names
    """The columns that tell its rows apart."""
    columns: dict[str, ColumnSpec]
    changes: Annotated[Changes, BeforeValidator(_changes)] = Changes()
    null_keys: NullKeys = NullKeys()
    """Columns whose NULL becomes a text that stands for it, before anything is hashed."""
    applied: str | None = None
    """The column with the business's own time of a row; the load datetime where left out."""
    delivery: Literal["folder", "file", "all"] | None = None
    """What is one delivery: the files of one folder (default for snapshots), one file, or all waiting files (default
    for watermarks)."""
    record_source: str | None = None
    description: str = ""
    settings: Settings = Settings()

    @field_validator("key")
    @classmethod
    def _some_key(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("a source needs at least one key column.")
        return value

    @property
    def delivered(self) -> dict[str, SourceColumn]:
        """The columns that the deliveries hold."""
        return {name: column for name, column in self.columns.items() if column.is_delivered}

    @property
    def derived(self) -> dict[str, SourceColumn]:
        """The columns that are computed while staging."""
        return {name: column for name, column in self.columns.items() if column.expression is not None}

    @property
    def hashed(self) -> dict[str, SourceColumn]:
        """The columns that are hashes of others."""
        return {name: column for name, column in self.columns.items() if column.hash or column.hash_diff}

    @property
    def sequence(self) -> str | None:
        """The column that orders several versions of a key in one delivery."""
        return self.changes.column or self.applied

    @property
    def one_delivery(self) -> Literal["folder", "file", "all"]:
        """What is one delivery."""
        return self.delivery or ("folder" if self.changes.by == "snapshot" else "all")

    def type_of(self, column: str) -> str:
        """The type of a column, found regardless of case."""
        return self.columns[self.spelled(column) or column].type

    def spelled(self, column: str) -> str | None:
        """The column's name as the metadata spells it, or None."""
        lowered = {name.lower(): name for name in self.columns}
        return lowered.get(column.lower())

    def typed(self, column: str, expression: str, *, text: bool) -> str:
        """SQL that turns a delivered value into the column's type; NULL where it cannot be read."""
        return (from_text if text else convert)(expression, self.columns[column].type)


def overlap_interval(overlap: str) -> str:
    """An overlap as an SQL interval.

    >>> overlap_interval("3 days")
    "INTERVAL '3' DAY"
    """
    match = OVERLAP.match(overlap)
    assert match is not None  # validated when the project was read
    number, unit = int(match[1]), match[2].upper()
    return f"INTERVAL '{number * 7}' DAY" if unit == "WEEK" else f"INTERVAL '{number}' {unit}"


def known_columns(columns: dict[str, Any]) -> set[str]:
    """Column names in lower case."""
    return {name.lower() for name in columns}
